"""An event, its new dates or hold, and an instant → every consequence. Pure (DESIGN.md §3.3)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from duly.errors import RevisionConflict
from duly.model.event import EventRow, Hold, Mark, Status, Trigger
from duly.model.history import GENESIS, Cause, Entry, Kind
from duly.rules.advance import Firing, Ledger
from duly.rules.catch_up import DEFAULT_GRACE
from duly.rules.status import TrackStates, announced_status, triggers_to_come

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from duly.model.dates import Micros
    from duly.model.lifecycle import Lifecycle
    from duly.rules.plan import Plan

REMOVED = Status("removed/removed")


class Outcome(StrEnum):
    """What a put did to an event."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Editing:
    """Under which circumstances an edit is made: when, by whom, why.

    `known_since_us`: since when an event that is new here was known; what passed before is born late.
    `told`: the status that the event's history ends in, where somebody looked.
    """

    now_us: Micros
    known_since_us: Micros
    actor: str | None = None
    reason: str | None = None
    node: str | None = None
    tzdata: str = ""
    told: Status | None = None

    @property
    def late_before_us(self) -> Micros:
        """What was due before it and has not fired is a misfire, not merely late."""
        return self.now_us - DEFAULT_GRACE // timedelta(microseconds=1)

    @property
    def firing(self) -> Firing:
        """The same circumstances, for the ledger."""
        return Firing(self.now_us, self.late_before_us, self.node, told=self.told)


@dataclass(frozen=True, slots=True)
class Edited:
    """What becomes of an event by an edit."""

    row: EventRow
    entries: list[Entry]
    outcome: Outcome


def consequences(stored: EventRow | None, plan: Plan, editing: Editing) -> Edited:
    """Return the row and the history after an event was put. Putting the same again changes nothing.

    Raises RevisionConflict if the event carries a revision that is not the stored one.
    """
    _check_revision(stored, plan)
    fresh = _planned_row(stored, plan, editing)
    if stored is None:
        return _created(fresh, plan.lifecycle, editing)
    if not stored.removed and _same(stored, fresh):
        return Edited(stored, [], Outcome.UNCHANGED)
    return _edited(stored, fresh, plan.lifecycle, editing)


def redefinition(stored: EventRow, plan: Plan, editing: Editing) -> Edited:
    """Return the row re-derived under a changed lifecycle, announcing nothing.

    What the new definition moves is corrected or revoked like any edit; what it dates in the past, other than the
    old one did, is marked as fired without being told: its entries are `born_late`.
    """
    fresh = replace(_planned_row(stored, plan, editing), revision=stored.revision)
    ledger = Ledger(stored, editing.firing)
    detail = json.dumps({"lifecycle": plan.lifecycle.name, "hash": plan.lifecycle.hash})
    row = _unfired(stored, fresh, plan.lifecycle, ledger, editing, kind=Kind.REDEFINED, detail=detail)

    def cause(trigger: Trigger) -> Cause | None:
        return None if stored.dates.get(trigger.milestone) == trigger.due_us else Cause.BORN_LATE

    row = fire_passed(row, plan.lifecycle, ledger, editing, cause)
    return armed(row, plan.lifecycle, ledger, Outcome.CHANGED, editing)


def _check_revision(stored: EventRow | None, plan: Plan) -> None:
    expected = plan.event.revision
    actual = 0 if stored is None or stored.removed else stored.revision
    if expected is not None and expected != actual:
        found = f"it is at revision {actual}" if actual else "it does not exist"
        msg = (
            f"event '{plan.event.id}': this edit was made for revision {expected}, "
            f"but {found}; read it again and repeat the edit"
        )
        raise RevisionConflict(msg)


def _planned_row(stored: EventRow | None, plan: Plan, editing: Editing) -> EventRow:
    """Return the row with all that the plan says, and all that only the stored one knows."""
    event = plan.event
    known = stored or EventRow(id=event.id, hash=GENESIS, known_since_us=editing.known_since_us)
    dates = plan.dates
    fired = {name: mark.due_us for name, mark in known.marks.items() if mark.due_us is not None}
    by_hand = {name: due for name, due in fired.items() if _is_manual(name, plan.lifecycle)}
    if by_hand:
        # No record dates them; what a person has fired stays fired when the event is put again, also after a
        # removal, which leaves nothing but the marks.
        dates = {**dates, **by_hand}
        dates = {name: dates[name] for name in plan.lifecycle.shape(tuple(dates)).steps}
    return EventRow(
        id=event.id,
        name=event.name,
        lifecycle=plan.lifecycle.name,
        lifecycle_hash=plan.lifecycle.hash,
        zone=plan.zone,
        hold=Hold(event.hold).value,
        revision=known.revision + 1,
        dates=dates,
        given=plan.given,
        marks=known.marks,
        data=plan.data,
        status=known.status,
        seq=known.seq,
        hash=known.hash,
        known_since_us=known.known_since_us,
        tzdata=editing.tzdata,
    )


def _is_manual(name: str, lifecycle: Lifecycle) -> bool:
    milestone = lifecycle.by_name.get(name.partition("#")[0])
    return milestone is not None and milestone.manual


def _same(stored: EventRow, fresh: EventRow) -> bool:
    return all(
        getattr(stored, name) == getattr(fresh, name)
        for name in ("name", "lifecycle", "lifecycle_hash", "zone", "hold", "dates", "given", "data", "error")
    )


def _created(fresh: EventRow, lifecycle: Lifecycle, editing: Editing) -> Edited:
    ledger = Ledger(fresh, editing.firing)
    ledger.write(
        Kind.CREATED,
        announced_status(fresh, lifecycle),
        actor=editing.actor,
        reason=editing.reason,
        detail=json.dumps({"dates": fresh.dates}),
    )
    row = fresh
    if fresh.hold == Hold.ACTIVE:
        row = fire_passed(fresh, lifecycle, ledger, editing, _born_late_before(fresh.known_since_us))
    return armed(row, lifecycle, ledger, Outcome.CREATED, editing)


def _born_late_before(known_since_us: Micros) -> Callable[[Trigger], Cause | None]:
    return lambda trigger: Cause.BORN_LATE if trigger.due_us < known_since_us else None


def _edited(stored: EventRow, fresh: EventRow, lifecycle: Lifecycle, editing: Editing) -> Edited:
    """Write the edit itself, then what it undoes, then what it brings about at once."""
    ledger = Ledger(stored, editing.firing)
    if not stored.removed and stored.error is None and stored.lifecycle_hash == fresh.lifecycle_hash:
        ledger.verify(announced_status(stored, lifecycle))
    kind, detail = _kind_of(stored, fresh), _changes(stored, fresh)
    row = _unfired(stored, fresh, lifecycle, ledger, editing, kind=kind, detail=detail)
    if row.hold == Hold.ACTIVE:
        row = fire_passed(row, lifecycle, ledger, editing, _cause_by(stored, row))
    outcome = Outcome.RESTORED if stored.removed else Outcome.CHANGED
    return armed(row, lifecycle, ledger, outcome, editing)


def _unfired(
    stored: EventRow,
    fresh: EventRow,
    lifecycle: Lifecycle,
    ledger: Ledger,
    editing: Editing,
    *,
    kind: Kind,
    detail: str,
) -> EventRow:
    """Write the edit and what it does to milestones that had fired; return the row with their new marks."""
    now = editing.now_us
    marks = dict(stored.marks)
    revoked, corrected = [], []
    for name, (generation, due) in stored.marks.items():
        new_due = fresh.dates.get(name)
        if due is None or new_due is None or new_due == due:
            continue
        if new_due > now:
            revoked.append(name)
            marks[name] = Mark(generation + 1, None)
        else:
            corrected.append(name)
            marks[name] = Mark(generation, new_due)
    row = replace(fresh, marks=marks)
    status = announced_status(row, lifecycle)
    write = partial(ledger.write, actor=editing.actor, reason=editing.reason)
    write(kind, ledger.status if revoked else status, detail=detail)
    for name in revoked:
        generation, due = stored.marks[name]
        write(Kind.REVOKED, status, milestone=name, generation=generation, due_us=due)
    for name in corrected:
        generation, _ = stored.marks[name]
        write(Kind.CORRECTED, status, milestone=name, generation=generation, due_us=row.dates[name])
    for name in _withdrawn(stored, fresh):
        mark = stored.marks.get(name)
        generation = mark.generation if mark else 1
        write(Kind.WITHDRAWN, status, milestone=name, generation=generation, due_us=stored.dates[name])
    return row


def _kind_of(stored: EventRow, fresh: EventRow) -> Kind:
    if stored.removed:
        return Kind.RESTORED
    return Kind.HELD if stored.hold != fresh.hold else Kind.EDITED


def _withdrawn(stored: EventRow, fresh: EventRow) -> Iterable[str]:
    """Return the milestones that were still to come and now have no date any more."""
    gone = (name for name in stored.dates if name not in fresh.dates)
    return [name for name in gone if (mark := stored.marks.get(name)) is None or mark[1] is None]


def _changes(stored: EventRow, fresh: EventRow) -> str:
    """Return what the edit changed, as JSON: old and new value of each thing."""
    changed: dict[str, object] = {
        name: [getattr(stored, name), getattr(fresh, name)]
        for name in ("name", "lifecycle", "zone", "hold")
        if getattr(stored, name) != getattr(fresh, name)
    }
    moved = {
        name: [stored.dates.get(name), fresh.dates.get(name)]
        for name in {**stored.dates, **fresh.dates}
        if stored.dates.get(name) != fresh.dates.get(name)
    }
    if moved:
        changed["dates"] = moved
    if stored.data != fresh.data:
        changed["data"] = sorted(
            key for key in {**stored.data, **fresh.data} if stored.data.get(key) != fresh.data.get(key)
        )
    return json.dumps(changed)


def _cause_by(stored: EventRow, row: EventRow) -> Callable[[Trigger], Cause | None]:
    """Say of each passed milestone why the edit fires it; None leaves it to the firing loop, as a misfire."""
    if stored.removed or stored.hold != Hold.ACTIVE:
        # Nothing was to fire meanwhile, so nothing of it was missed.
        return lambda _: Cause.BORN_LATE

    def cause(trigger: Trigger) -> Cause | None:
        before = stored.dates.get(trigger.milestone)
        if before == trigger.due_us:
            return None
        # A date that was moved into the past was known all along; only one that is new can have been born late.
        return Cause.BORN_LATE if before is None and trigger.due_us < row.known_since_us else Cause.EDITED

    return cause


def fire_passed(
    row: EventRow,
    lifecycle: Lifecycle,
    ledger: Ledger,
    editing: Editing,
    cause_of: Callable[[Trigger], Cause | None],
) -> EventRow:
    """Fire at once what the edit itself has made due.

    If something that had fallen due before and is merely late stands in front of it, that fires too: within
    one event nothing overtakes (I4).
    """
    passed = [t for t in triggers_to_come(row, lifecycle) if t.due_us <= editing.now_us]
    causes = [cause_of(trigger) for trigger in passed]
    while causes and causes[-1] is None:
        causes.pop()
    if not causes:
        return row
    tracks = TrackStates.as_fired(row, lifecycle)
    marks = dict(row.marks)
    for trigger, cause in zip(passed, causes, strict=False):
        tracks.apply(trigger.milestone, trigger.due_us)
        late = Cause.CAUGHT_UP if trigger.due_us < editing.late_before_us else Cause.SCHEDULED
        ledger.fired(trigger, tracks.status, cause or late, actor=editing.actor, reason=editing.reason)
        marks[trigger.milestone] = Mark(trigger.generation, trigger.due_us)
    return replace(row, marks=marks)


def armed(row: EventRow, lifecycle: Lifecycle, ledger: Ledger, outcome: Outcome, editing: Editing) -> Edited:
    """Set the alarm to the first trigger that is still to come."""
    left = triggers_to_come(row, lifecycle)
    row = replace(
        row,
        next_due_us=left[0].due_us if left else None,
        pending=len(left),
        status=ledger.status,
        seq=ledger.seq,
        hash=ledger.hash,
        updated_us=editing.now_us,
    )
    return Edited(row, ledger.entries, outcome)
