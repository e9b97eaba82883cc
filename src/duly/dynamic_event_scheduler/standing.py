"""How far the application has been told, as the store keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from duly.stores.store import LAST
from duly.stores.verb import Statement
from duly.stores.verbs import meta_json, put_meta_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duly.model.dates import Micros
    from duly.model.history import Outage
    from duly.stores.store import Store
    from duly.stores.verb import Verb

KEY: Final = "dynamic_event_scheduler"


class Outcome(Enum):
    """What became of a transition at its first turn."""

    TOLD = auto()
    NOTHING_TO_TELL = auto()
    OUTSIDE_WINDOW = auto()
    OWED = auto()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the last recovery's transitions have been told. All counts are final once it is `done`.

    `outage`: the last one that has been looked at. `unsaved`: those of which the application did not take note at
    once. `until`: the number of the last history entry that belongs to it.
    """

    outage: int = 0
    at_us: Micros | None = None
    detected: int = 0
    successful: int = 0
    set_aside: int = 0
    unsaved: int = 0
    outside_window: int = 0
    until: int = 0
    done: bool = True

    @property
    def failed(self) -> int:
        """How many could not be fired, or were not taken note of."""
        return self.set_aside + self.unsaved

    def joined(self, outages: Sequence[Outage], now_us: Micros, until: int) -> Progress:
        """Return what there is to do after these outages, besides what is left of earlier ones."""
        so_far = Progress(outage=self.outage) if self.done else self
        detected = so_far.detected + sum(outage.detected for outage in outages)
        return replace(
            so_far,
            outage=max([so_far.outage, *(outage.id for outage in outages)]),
            at_us=now_us,
            detected=detected,
            set_aside=so_far.set_aside + sum(outage.failed for outage in outages),
            until=until,
            done=not detected,
        )

    def counted(self, outcome: Outcome) -> Progress:
        """Return the progress with one more transition through."""
        if outcome is Outcome.OWED:
            return replace(self, unsaved=self.unsaved + 1)
        outside = self.outside_window + (outcome is Outcome.OUTSIDE_WINDOW)
        return replace(self, successful=self.successful + 1, outside_window=outside)


@dataclass(slots=True)
class Standing:
    """Up to which entry of the history the application knows, and what it is still owed of what came before."""

    cursor: int = 0
    owed: dict[str, list[int]] = field(default_factory=dict)
    recovery: Progress = field(default_factory=Progress)

    def to_json(self) -> dict[str, object]:
        """Return what is kept in the store."""
        return {"cursor": self.cursor, "owed": self.owed, "recovery": asdict(self.recovery)}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Standing:
        """Read what `to_json` wrote."""
        return cls(kept["cursor"], kept["owed"], Progress(**kept["recovery"]))


def standing_of(store: Store) -> Standing | None:
    """Return how far the application has been told; None if it never asked to be."""
    kept = store.meta(KEY)
    return None if kept is None else Standing.from_json(kept)


def last_recovery(store: Store) -> Progress:
    """Return the last recovery as the store has it: another process's, or that of an earlier run."""
    standing = standing_of(store)
    if standing is not None:
        return standing.recovery
    last = store.outages(most=1)
    if not last:
        return Progress()
    return Progress(
        outage=last[0].id,
        at_us=last[0].ended_us,
        detected=last[0].detected,
        successful=last[0].successful,
        set_aside=last[0].failed,
        outside_window=last[0].outside_window,
    )


def subscribe(store: Store) -> None:
    """Have everything told from now on; what has happened before, nobody had asked for.

    One transaction, so that of several processes that start at once only the first decides where "now" is.
    """
    store.write(_subscribe())


def keep(store: Store, standing: Standing) -> None:
    """Write down how far the application has been told."""
    store.put_meta(KEY, standing.to_json())


def _subscribe() -> Verb[None]:
    if (yield from meta_json(KEY)) is None:
        standing = yield from standing_now()
        yield from put_meta_json(KEY, standing.to_json())


def standing_now() -> Verb[Standing]:
    """Return the standing of one who wants to be told from now on."""
    end = yield Statement("history_end")
    outages = yield Statement("list_outages", {"before": LAST, "most": 1})
    # One whose recovery was cut off goes on under its number; what it catches up is told.
    seen = 0 if not outages else outages[0][0] - (outages[0][4] is None)
    return Standing(end[0][0] if end else 0, recovery=Progress(outage=seen))
