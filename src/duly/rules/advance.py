"""An event and an instant → what fires, and what becomes of the event. Pure; the heart of every firing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from duly.model.event import Mark, Status, Trigger
from duly.model.history import Cause, Entry, Kind, link
from duly.rules.status import TrackStates, announced_status, triggers_to_come

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.model.lifecycle import Lifecycle

NOTHING_HASHED = b""


class Firing(NamedTuple):
    """Under which circumstances triggers are fired.

    `now_us`: the instant of the firing. `late_before_us`: what was due before it counts as caught up.
    `horizon`: (due, event id): only triggers strictly before it fire; None for no such bound.
    `told`: the status that the event's history ends in, where somebody looked; None to trust what is derived.
    """

    now_us: Micros
    late_before_us: Micros
    node: str | None = None
    outage: int | None = None
    horizon: tuple[Micros, str] | None = None
    told: Status | None = None


class Advanced(NamedTuple):
    """What becomes of an event: new history entries, and the row's fields that change with them."""

    entries: list[Entry]
    marks: dict[str, Mark]
    status: Status
    seq: int
    hash: bytes
    next_due_us: Micros | None
    pending: int


def advance(event: EventRow, lifecycle: Lifecycle, firing: Firing) -> Advanced:
    """Fire what is due of an event, in order, and verify its status before and after (DESIGN.md §2.5).

    If the row's status is not what its fired transitions amount to, a `repaired` entry comes first.
    """
    pending = triggers_to_come(event, lifecycle)
    due = [trigger for trigger in pending if _is_due(trigger, firing)]
    tracks = TrackStates.as_fired(event, lifecycle)
    ledger = Ledger(event, firing)
    ledger.verify(announced_status(event, lifecycle) if not due else tracks.status)
    marks = dict(event.marks)
    for trigger in due:
        tracks.apply(trigger.milestone, trigger.due_us)
        cause = Cause.CAUGHT_UP if trigger.due_us < firing.late_before_us else Cause.SCHEDULED
        ledger.fired(trigger, tracks.status, cause)
        marks[trigger.milestone] = Mark(trigger.generation, trigger.due_us)
    left = pending[len(due) :]
    return Advanced(
        ledger.entries,
        marks,
        ledger.status,
        ledger.seq,
        ledger.hash,
        left[0].due_us if left else None,
        len(left),
    )


def _is_due(trigger: Trigger, firing: Firing) -> bool:
    if trigger.due_us > firing.now_us:
        return False
    return firing.horizon is None or (trigger.due_us, trigger.event_id) < firing.horizon


class Ledger:
    """Writes the next entries of one event's history: numbers them, chains them, keeps the status in step."""

    __slots__ = ("_event_id", "_firing", "_written", "entries", "hash", "seq", "status")

    def __init__(self, event: EventRow, firing: Firing) -> None:
        """Go on where the event's row ends."""
        self._event_id = event.id
        self._firing = firing
        self._written = event.status
        self.entries: list[Entry] = []
        self.seq = event.seq
        self.hash = event.hash
        self.status = event.status if firing.told is None else firing.told

    def verify(self, expected: Status) -> None:
        """Compare the stored status with the one that the history amounts to; repair and record a difference."""
        if self._written == expected == self.status:
            return
        if self._firing.told is None:
            self.status = expected
        detail = json.dumps({"found": str(self._written)})
        self.write(Kind.REPAIRED, expected, detail=detail)

    def fired(self, trigger: Trigger, status: Status, cause: Cause, **said: str | None) -> None:
        """Record one transition."""
        self.write(
            Kind.FIRED,
            status,
            milestone=trigger.milestone,
            generation=trigger.generation,
            due_us=trigger.due_us,
            cause=cause.value,
            **said,
        )

    def write(  # noqa: PLR0913 - an entry has that many facts
        self,
        kind: Kind,
        status: Status,
        *,
        milestone: str | None = None,
        generation: int | None = None,
        due_us: Micros | None = None,
        cause: str | None = None,
        actor: str | None = None,
        reason: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Append one entry that leads from the present status to `status`."""
        now, _, node, outage, _, _ = self._firing
        self.seq += 1
        entry = Entry(
            self._event_id,
            self.seq,
            kind.value,
            milestone,
            generation,
            due_us,
            now,
            self.status,
            status,
            cause,
            actor,
            reason,
            detail,
            node,
            outage if kind is Kind.FIRED and cause == Cause.CAUGHT_UP else None,
            NOTHING_HASHED,
        )
        self.hash = link(self.hash, entry)
        self.entries.append(entry._replace(hash=self.hash))
        self.status = status
