"""The shape of a MAP.toml, as pydantic checks it. Imported only where a map is read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from duly.sources.templates import Template


def _is_template(text: str) -> str:
    Template.read(text)  # InvalidSource is a ValueError, so pydantic names the place
    return text


_Template = Annotated[str, Field(min_length=1), AfterValidator(_is_template)]
_Hold = Literal["draft", "pending_approval", "postponed", "cancelled", "archived"]
_Name = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SessionsTable(_Strict):
    """`[sessions]`: a table of dates in each record → rounds of milestones."""

    field: _Name
    milestones: dict[_Name, list[_Name]]


class MapFile(_Strict):
    """A MAP.toml."""

    id: _Template
    name: _Template | None = None
    lifecycle: _Name = "campus_event"
    files: list[_Name] = []
    records: _Name | None = None
    zone: _Template | None = None
    default_zone: _Name | None = None
    created_at: _Template | None = None
    undated: list[str] = []
    duplicates: Literal["refuse", "merge"] = "refuse"
    data: list[_Name] | None = None
    dates: dict[_Name, _Template] = {}
    sessions: SessionsTable | None = None
    in_order: list[_Name] = []
    hold: dict[_Hold, _Name] = {}
