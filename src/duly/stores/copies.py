"""The mark of a copy: what is kept in a store that has been found to be one, until a person confirms it (P18)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from duly.stores.verb import Statement, Verb

if TYPE_CHECKING:
    from duly.model.dates import Micros

COPY_KEY: Final = "copy"
CONFIRM: Final = "duly check --adopt"


class Copy(NamedTuple):
    """Of which store (its identity) another is a copy, how that was seen, and since when it is marked as one.

    `since_us` is None while no owner has noticed it yet: then nothing is marked, and nothing parked.
    """

    of: str
    why: str
    since_us: Micros | None = None

    @property
    def sentence(self) -> str:
        """What people are told."""
        will = "will be" if self.since_us is None else "are"
        return f"this store is a copy of {self.of} ({self.why}); its deliveries {will} parked until '{CONFIRM}'"

    @property
    def reason(self) -> str:
        """Why its deliveries are parked: the same for all, however it was seen."""
        return f"this store is a copy of {self.of}; confirm it with '{CONFIRM}'"

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {"of": self.of, "why": self.why, "noticed": self.since_us is not None}


def copy_kept() -> Verb[Copy | None]:
    """Return the mark, None for a store that is none, or has been confirmed."""
    rows = yield Statement("get_meta", {"key": COPY_KEY})
    kept = json.loads(rows[0][0]) if rows else None
    return None if kept is None else Copy(**kept)
