"""The judge of histories: the invariants I1 to I6 of PROMISES.md as one pure function, for torture and property tests.

It knows nothing of how Duly fires: it reads rows and entries, and says in sentences what may not be. Only the
definitions (which milestone comes before which, which status a set of dates amounts to) are asked of the product.
What was told of a history is judged next door, in `telling_checker.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from duly.model.dates import Micros
from duly.model.event import EventRow, Hold, Mark
from duly.model.history import Entry
from duly.model.lifecycle import Lifecycle
from duly.rules.status import status_at

LifecycleOf = Callable[[EventRow], Lifecycle]
Trigger = tuple[str, str, int]  # event, milestone, generation

_EVERYTHING = "*"


def faults(
    rows: Iterable[EventRow],
    histories: Mapping[str, Sequence[Entry]],
    lifecycle_of: LifecycleOf,
    *,
    quiet_at: Micros | None = None,
) -> list[str]:
    """Return everything that is wrong, as sentences; empty if all is well.

    `quiet_at`: an instant at which nothing is being fired, so that nothing may be due and every status must be
    the derived one.
    """
    found: list[str] = []
    for row in rows:
        entries = histories.get(row.id, ())
        said = [
            *_fired_twice(entries),
            *_early(entries),
            *_marks(row, entries),
            *_out_of_order(row, entries, lifecycle_of),
            *_chain(entries),
            *_end(row, entries),
            *_alarm(row, lifecycle_of),
        ]
        if quiet_at is not None:
            said += _not_quiet(row, lifecycle_of, quiet_at)
        found += [f"event '{row.id}': {sentence}" for sentence in said]
    return found


def missing(histories: Mapping[str, Sequence[Entry]], planned: Mapping[Trigger, Micros]) -> list[str]:
    """Return the planned triggers that did not fire exactly once, and with their date, as sentences."""
    fired: dict[Trigger, list[Micros | None]] = {}
    for entries in histories.values():
        for entry in entries:
            if entry.kind == "fired":
                key = (entry.event_id, str(entry.milestone), entry.generation or 0)
                fired.setdefault(key, []).append(entry.due_us)
    said = [
        f"{key}: planned for {due}, fired {fired.get(key, [])}"
        for key, due in planned.items()
        if fired.get(key) != [due]
    ]
    return said + [f"{key}: fired without having been planned" for key in fired if key not in planned]


def _fired_twice(entries: Sequence[Entry]) -> Iterator[str]:
    counted = Counter((e.milestone, e.generation) for e in entries if e.kind == "fired")
    for (milestone, generation), count in counted.items():
        if count > 1:
            yield f"I1: {milestone} of generation {generation} fired {count} times"


def _early(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        # A milestone without a date is fired by a person: it is never early.
        if entry.kind == "fired" and entry.due_us is not None and entry.at_us < entry.due_us:
            yield f"I2: {entry.milestone} fired {entry.due_us - entry.at_us} µs early (entry {entry.seq})"


def _marks(row: EventRow, entries: Sequence[Entry]) -> Iterator[str]:
    told: dict[str, Mark] = {}
    for entry in entries:
        name, generation = str(entry.milestone), entry.generation or 0
        if entry.kind in {"fired", "corrected"} and entry.due_us is not None:
            told[name] = Mark(generation, entry.due_us)
        elif entry.kind == "revoked":
            told.pop(name, None)
    marks = {name: Mark(*mark) for name, mark in row.marks.items() if mark[1] is not None}
    if marks != told:
        yield f"I3: the row says {marks} fired, the history {told}"


def _out_of_order(row: EventRow, entries: Sequence[Entry], lifecycle_of: LifecycleOf) -> Iterator[str]:
    """Hold I4: what fires is later than all that fired before it, unless an edit has just brought it there."""
    latest: tuple[Micros, int] | None = None
    touched: set[str] = set()
    for entry in entries:
        if entry.kind != "fired":
            touched |= _touched(entry)
            continue
        if entry.due_us is None:
            continue
        name = str(entry.milestone)
        place = (entry.due_us, lifecycle_of(row).order(name))
        if latest is None or place > latest:
            latest, touched = place, set()
        elif not touched & {name, _EVERYTHING}:
            yield f"I4: {name} fired after a later trigger (entry {entry.seq})"


def _touched(entry: Entry) -> set[str]:
    """Return the milestones that an entry may have brought to another date; everything, where it does not say."""
    if entry.kind == "revoked":
        return {str(entry.milestone)}
    if entry.kind == "edited":
        moved = json.loads(entry.detail or "{}").get("dates", {})
        return set(moved)
    return {_EVERYTHING} if entry.kind in {"created", "held", "restored", "redefined"} else set()


def _chain(entries: Sequence[Entry]) -> Iterator[str]:
    """Hold I5, with the hash worked out apart from the product's own code."""
    previous, status = b"\0" * 32, ""
    for number, entry in enumerate(entries, start=1):
        if entry.seq != number:
            yield f"I5: entry {number} is missing (found {entry.seq})"
            return
        if entry.from_status != status:
            yield f"I5: entry {number} starts from '{entry.from_status}', the one before ended in '{status}'"
        if entry.hash != _link(previous, entry):
            yield f"I5: entry {number} does not carry the hash of its content"
        previous, status = entry.hash, entry.to_status


def _link(previous: bytes, entry: Entry) -> bytes:
    free = "" if entry.actor is None and entry.reason is None else json.dumps([entry.actor, entry.reason])
    told = [*entry[:10], free, entry.detail]
    return hashlib.sha256(previous + "\x1f".join(map(str, told)).encode()).digest()


def _end(row: EventRow, entries: Sequence[Entry]) -> Iterator[str]:
    if not entries:
        yield "I5: it has no history"
    elif (row.seq, row.hash, row.status) != (entries[-1].seq, entries[-1].hash, entries[-1].to_status):
        yield f"I5: its row ends at {row.seq} '{row.status}', its history at {entries[-1].seq} '{entries[-1].to_status}'"


def _pending(row: EventRow, lifecycle_of: LifecycleOf) -> list[tuple[Micros, int]]:
    if row.hold != Hold.ACTIVE or row.removed:
        return []
    order = lifecycle_of(row).order
    unfired = (name for name in row.dates if name not in row.marks or row.marks[name][1] is None)
    return sorted((row.dates[name], order(name)) for name in unfired)


def _alarm(row: EventRow, lifecycle_of: LifecycleOf) -> Iterator[str]:
    if row.error is not None:
        return
    pending = _pending(row, lifecycle_of)
    expected = (pending[0][0] if pending else None, len(pending))
    if (row.next_due_us, row.pending) != expected:
        yield f"I6: its alarm is {row.next_due_us} for {row.pending} triggers, must be {expected[0]} for {expected[1]}"


def _not_quiet(row: EventRow, lifecycle_of: LifecycleOf, now: Micros) -> Iterator[str]:
    if row.removed or row.error is not None:
        return
    late = [due for due, _ in _pending(row, lifecycle_of) if due <= now]
    if late:
        yield f"L1: {len(late)} triggers are due and have not fired, the first since {now - late[0]} µs"
    derived = status_at(row, lifecycle_of(row), now)
    if row.status != derived:
        yield f"I6: its status is '{row.status}', must be '{derived}'"
