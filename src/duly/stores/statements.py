"""Named statements and migrations, out of the `.sql` files of a dialect."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class Migration(NamedTuple):
    """One step from a schema version to the next."""

    version: int
    name: str
    sql: str


@cache
def statements(dialect: str) -> Mapping[str, str]:
    """Return every named statement of a dialect: name → SQL."""
    found: dict[str, str] = {}
    for file in _folder(dialect).iterdir():
        if file.name.endswith(".sql"):
            parts = _NAME.split(file.read_text(encoding="utf-8"))
            found |= {name: sql.strip() for name, sql in zip(parts[1::2], parts[2::2], strict=True)}
    return found


@cache
def migrations(dialect: str) -> tuple[Migration, ...]:
    """Return the migrations of a dialect, from the first on."""
    files = sorted(_folder(dialect).joinpath("migrations").iterdir(), key=lambda file: file.name)
    return tuple(
        Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in files
        if file.name.endswith(".sql")
    )


def _folder(dialect: str) -> Traversable:
    return resources.files("duly.stores").joinpath("sql", dialect)
