"""What a person does to an event without putting it anew: hold it, fire a manual milestone, remove it. Pure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from duly.errors import InvalidEvent
from duly.model.dates import wall_clock
from duly.model.event import Hold, Mark, held_status
from duly.model.history import Cause, Kind
from duly.rules.advance import Ledger
from duly.rules.edit import REMOVED, Edited, Editing, Outcome, armed, fire_passed
from duly.rules.status import announced_status

if TYPE_CHECKING:
    from duly.model.event import EventRow, Status
    from duly.model.lifecycle import Lifecycle


def held(stored: EventRow, hold: Hold, editing: Editing) -> Edited:
    """Return the row after a hold was set: the alarm is cleared, dates and marks stay. Needs no lifecycle.

    To a hold that it has already, nothing happens.
    """
    if stored.hold == hold:
        return Edited(stored, [], Outcome.UNCHANGED)
    ledger = Ledger(stored, editing.firing)
    _write_hold(ledger, stored.hold, hold.value, held_status(hold), editing)
    row = replace(stored, hold=hold.value, revision=stored.revision + 1, next_due_us=None, pending=0)
    return _closed(row, ledger, editing)


def released(stored: EventRow, lifecycle: Lifecycle, editing: Editing) -> Edited:
    """Return the row after its hold was lifted: the status jumps to the truth; what passed meanwhile is born late."""
    if stored.hold == Hold.ACTIVE:
        return Edited(stored, [], Outcome.UNCHANGED)
    row = replace(stored, hold=Hold.ACTIVE.value, revision=stored.revision + 1, error=None)
    ledger = Ledger(stored, editing.firing)
    _write_hold(ledger, stored.hold, row.hold, announced_status(row, lifecycle), editing)
    row = fire_passed(row, lifecycle, ledger, editing, lambda _: Cause.BORN_LATE)
    return armed(row, lifecycle, ledger, Outcome.CHANGED, editing)


def fired_by_hand(stored: EventRow, lifecycle: Lifecycle, milestone: str, editing: Editing) -> Edited:
    """Return the row after a person fired a manual milestone: it is dated now, and has fired.

    What is overdue fires before it. Raises InvalidLifecycle for an unknown milestone, InvalidEvent for one that is
    not manual, has fired, or belongs to an event on hold.
    """
    where = f"event '{stored.id}': {milestone}"
    if not lifecycle.milestone(milestone).manual:
        msg = f"{where} has a date and fires by itself; only manual milestones are fired by hand"
        raise InvalidEvent(msg)
    mark = stored.marks.get(milestone, Mark(1, None))
    if mark.due_us is not None:
        msg = f"{where} has been fired already, at {wall_clock(mark.due_us, stored.zone or 'UTC')}"
        raise InvalidEvent(msg)
    if stored.hold != Hold.ACTIVE:
        msg = f"{where} cannot be fired while the event is {stored.hold}"
        raise InvalidEvent(msg)
    dates = {**stored.dates, milestone: editing.now_us}
    dates = {name: dates[name] for name in lifecycle.shape(tuple(dates)).steps}
    row = replace(stored, dates=dates, revision=stored.revision + 1, error=None)
    ledger = Ledger(stored, editing.firing)
    ledger.verify(announced_status(stored, lifecycle))
    row = fire_passed(
        row, lifecycle, ledger, editing, lambda trigger: Cause.MANUAL if trigger.milestone == milestone else None
    )
    return armed(row, lifecycle, ledger, Outcome.CHANGED, editing)


def removal(stored: EventRow, editing: Editing) -> Edited:
    """Return the tombstone of an event: its chain and generations stay, so that putting it again goes on."""
    ledger = Ledger(stored, editing.firing)
    ledger.write(Kind.REMOVED, REMOVED, actor=editing.actor, reason=editing.reason)
    tombstone = replace(stored, dates={}, given={}, data={}, removed=True, error=None, next_due_us=None, pending=0)
    return _closed(tombstone, ledger, editing)


def _write_hold(ledger: Ledger, before: str, after: str, status: Status, editing: Editing) -> None:
    detail = json.dumps({"hold": [before, after]})
    ledger.write(Kind.HELD, status, actor=editing.actor, reason=editing.reason, detail=detail)


def _closed(row: EventRow, ledger: Ledger, editing: Editing) -> Edited:
    row = replace(row, status=ledger.status, seq=ledger.seq, hash=ledger.hash, updated_us=editing.now_us)
    return Edited(row, ledger.entries, Outcome.CHANGED)
