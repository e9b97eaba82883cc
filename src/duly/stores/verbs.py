"""The verbs that change events, once for every store, without I/O: they yield statements and receive rows.

Each is one transaction: a runner begins it, sends the rows of each statement back in, and commits when the verb
returns. Nothing here reads a clock or knows a database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from duly.errors import DulyError, StoreBusy, StoreError, StoreFull, StoreStopped, UnknownEvent, WrongState
from duly.model.event import Hold
from duly.model.history import Entry, Kind
from duly.rules.advance import Advanced, Firing, Ledger, advance
from duly.rules.by_hand import fired_by_hand, held, released, removal
from duly.rules.edit import Edited, Editing, Outcome, consequences
from duly.stores.births import Born, LeaseTerms, announce, withdraw_untold
from duly.stores.rows import (
    claimed_row,
    entry_of,
    event_columns,
    event_row,
    ids_text,
    marks_text,
    unreadable_claim,
)
from duly.stores.verb import Rows, Statement, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duly.model.dates import Micros
    from duly.model.event import EventRow, Status
    from duly.model.lifecycle import Lifecycle
    from duly.rules.plan import Plan

# An event that raises is looked at again after this long, and whenever a node becomes the owner.
SET_ASIDE_US: Final[Micros] = 60 * 60 * 1_000_000

# What no event is to blame for, whichever was being looked at.
STORE_TROUBLE: Final = (StoreBusy, StoreFull, StoreStopped, WrongState)


# Asked for inside the transaction, so that its instant is not before that of an edit which came first.
Circumstances = Callable[[], Editing]
LifecycleOf = Callable[["EventRow"], "Lifecycle"]
Subjects = dict[str, tuple["EventRow", "Lifecycle | None"]]


@dataclass(frozen=True, slots=True)
class Fired:
    """What one firing did: the new entries in chronological order, and the events set aside with their errors.

    `claimed`: how many events were looked at; zero means that nothing was due. `born`: the deliveries that were born
    leased, each with its entry.
    """

    entries: list[Entry]
    set_aside: dict[str, str]
    claimed: int
    born: list[Born] = field(default_factory=list)

    @property
    def transitions(self) -> list[Entry]:
        """The triggers that fired."""
        return [entry for entry in self.entries if entry.is_transition]


@dataclass(frozen=True, slots=True, kw_only=True)
class FireRequest:
    """What to fire: up to `most` events of one lane, under these circumstances.

    `fresh_from_us` divides the lanes: alarms from it on are fresh, earlier ones are backlog.
    `strict`: one chronology of everything, so that there is one lane only, and a batch goes no further than the
    first unclaimed event's alarm. `lease`: the terms on which deliveries are born leased, None if they are not.
    """

    firing: Firing
    most: int
    fresh_from_us: Micros
    strict: bool = False
    lease: LeaseTerms | None = None


def fire_due(request: FireRequest, lifecycle_of: LifecycleOf) -> Verb[Fired]:
    """Fire what is due: the fresh lane first, then the backlog, oldest first. The commit is the firing."""
    rows, firing = yield from _claimed(request)
    results, troubled, subjects = _advanced(rows, lifecycle_of, firing, {})
    if doubtful := [id_ for id_, result in results if _is_repaired(result.entries)]:
        # Nearly never: where a status is false, the history says from which one its repair leads on.
        told = yield from _told_statuses(doubtful)
        results, troubled, subjects = _advanced(rows, lifecycle_of, firing, told)
    entries = _chronicle(results)
    if results:
        columns = [_fired_columns(id_, result, firing.now_us) for id_, result in results]
        yield Statement("update_fired", columns, many=True)
    errors = yield from set_aside(troubled, firing)
    if entries:
        yield Statement("insert_history", entries, many=True)
    born = yield from announce(entries, subjects, firing.now_us, request.lease)
    return Fired(entries, errors, len(rows), born)


def _claimed(request: FireRequest) -> Verb[tuple[Rows, Firing]]:
    """Claim up to `most` events; return their rows, and how far they may be fired."""
    firing, most = request.firing, request.most
    # A strict chronology has one lane only: what is fresh would overtake the backlog.
    fresh_from = firing.now_us + 1 if request.strict else min(request.fresh_from_us, firing.now_us + 1)
    rows = yield Statement("claim_fresh", {"now": firing.now_us, "fresh_from": fresh_from, "most": most})
    most -= len(rows)
    if most > 0:
        # One more than will be fired: its alarm is the horizon of a strict batch.
        backlog = yield Statement("claim_backlog", {"fresh_from": fresh_from, "most": most + 1})
        if request.strict and len(backlog) > most:
            firing = firing._replace(horizon=(backlog[most][9], backlog[most][0]))
        rows = rows + backlog[:most]
    return rows, firing


def _advanced(
    rows: Rows, lifecycle_of: LifecycleOf, firing: Firing, told: Mapping[str, Status]
) -> tuple[list[tuple[str, Advanced]], list[tuple[EventRow, str]], Subjects]:
    """Advance each claimed event by itself.

    Returns what becomes of them, those that raised with their errors, and the former as they were, with lifecycles.
    """
    results: list[tuple[str, Advanced]] = []
    troubled: list[tuple[EventRow, str]] = []
    subjects: Subjects = {}
    for columns in rows:
        row = None
        try:
            row = claimed_row(columns)
            mine = firing._replace(told=told[row.id]) if row.id in told else firing
            lifecycle = lifecycle_of(row)
            results.append((row.id, advance(row, lifecycle, mine)))
            subjects[row.id] = (row, lifecycle)
        except STORE_TROUBLE:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an event raises, it alone is set aside (P7)
            troubled.append((row or unreadable_claim(columns), error_text(error)))
    return results, troubled, subjects


def _is_repaired(entries: Sequence[Entry]) -> bool:
    return bool(entries) and entries[0].kind == Kind.REPAIRED


def _told_statuses(ids: Sequence[str]) -> Verb[dict[str, Status]]:
    """Return the status that each event's history ends in."""
    found = yield Statement("history_of_events", {"ids": ids_text(ids)})
    return {entry.event_id: entry.status for _, entry in map(entry_of, found)}


def _chronicle(results: Sequence[tuple[str, Advanced]]) -> list[Entry]:
    """Return all entries by due instant, event, and place in the event's history (which is milestone order)."""
    entries = [entry for _, result in results for entry in result.entries]
    # A repair has no due instant of its own: it is told with the first trigger that fires after it.
    firsts = {id_: result.entries[:2][-1] for id_, result in results if _is_repaired(result.entries)}

    def place(entry: Entry) -> tuple[Micros, str, int]:
        due = entry[5] if entry[5] is not None else firsts[entry[0]].due_us
        return (entry[6] if due is None else due, entry[0], entry[1])

    entries.sort(key=place)
    return entries


def set_aside_next(request: FireRequest, error: Exception) -> Verb[Fired]:
    """Set aside the one event that comes next, because the store refused to write what its firing brought about.

    What the row says of the end of its history may be what is false; the history itself is asked.
    """
    rows, firing = yield from _claimed(replace(request, most=1))
    troubled: list[tuple[EventRow, str]] = []
    for columns in rows:
        row = unreadable_claim(columns)
        told = yield Statement("history_of_event", {"event_id": row.id})
        if told:
            _, last = entry_of(told[-1])
            row = replace(row, seq=last.seq, hash=last.hash, status=last.status)
        troubled.append((row, error_text(error)))
    errors = yield from set_aside(troubled, firing)
    return Fired([], errors, len(rows))


def _fired_columns(id_: str, result: Advanced, now: Micros) -> tuple[object, ...]:
    _, marks, status, seq, hash_, next_due, pending = result
    return (marks_text(marks), status, seq, hash_, next_due, pending, now, id_)


def set_aside(troubled: Sequence[tuple[EventRow, str]], firing: Firing) -> Verb[dict[str, str]]:
    """Set events aside: their error and a later alarm (if they have any); an entry only when the error is news."""
    updates, entries = [], []
    for row, said in troubled:
        ledger = Ledger(row, firing)
        if row.error != said:
            ledger.write(Kind.SET_ASIDE, row.status, reason=said)
            entries += ledger.entries
        later = None if row.next_due_us is None else firing.now_us + SET_ASIDE_US
        updates.append((said, later, ledger.seq, ledger.hash, firing.now_us, row.id))
    if updates:
        yield Statement("update_set_aside", updates, many=True)
    if entries:
        yield Statement("insert_history", entries, many=True)
        yield from announce(entries, {row.id: (row, None) for row, _ in troubled}, firing.now_us)
    return {row.id: said for row, said in troubled}


def error_text(error: BaseException) -> str:
    """Return an error as one line that can be stored and shown."""
    said = str(error).splitlines()[0] if str(error) else ""
    said = said if isinstance(error, DulyError) else f"{type(error).__name__}: {said}"
    return said.encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class Put:
    """What a put did, in the order of the plans: outcome by event id, and the events refused with the reason."""

    outcomes: dict[str, Outcome]
    refused: dict[str, str]
    rows: dict[str, EventRow]
    entries: list[Entry]


def put_events(plans: Sequence[Plan], editing: Callable[[Plan], Editing], *, all_or_nothing: bool) -> Verb[Put]:
    """Create or edit events, set-wise. All dates of an edit move in this one transaction.

    An edit that is refused (a stale revision) raises if `all_or_nothing`, so that nothing is written; else it
    is named in the result and the others go on.
    """
    ids = [plan.event.id for plan in plans]
    stored = yield Statement("get_events", {"ids": ids_text(ids)})
    before = {columns[0]: columns for columns in stored}
    put = Put({}, {}, {}, [])
    changed: dict[str, EventRow] = {}
    for plan in plans:
        id_ = plan.event.id
        try:
            row = put.rows.get(id_) or (stored_row(before[id_]) if id_ in before else None)
            edited = consequences(row, plan, editing(plan))
            if _is_repaired(edited.entries):
                told = yield from _told_statuses([id_])
                edited = consequences(row, plan, replace(editing(plan), told=told.get(id_)))
        except DulyError as error:
            if all_or_nothing:
                raise
            put.refused[id_] = str(error)
            continue
        put.outcomes[id_] = edited.outcome
        put.rows[id_] = edited.row
        if edited.entries:
            changed[id_] = edited.row
            put.entries.extend(edited.entries)
    lifecycles = {plan.event.id: plan.lifecycle for plan in plans}
    yield from write_events(list(changed.values()), put.entries, lifecycles.get)
    return put


def write_events(
    rows: Sequence[EventRow],
    entries: Sequence[Entry],
    lifecycle_of: Callable[[str], Lifecycle | None],
    *,
    data: Mapping[str, object] | None = None,
) -> Verb[None]:
    """Write whole rows, their new entries and the deliveries of these, set-wise; withdraw what is true no more.

    `lifecycle_of`: an event's definition, by its id; None where it is unknown here. `data`: what an event that is
    being removed had, as its tags say who hears of that.
    """
    if rows:
        yield Statement("upsert_event", [event_columns(row) for row in rows], many=True)
    if entries:
        yield Statement("insert_history", entries, many=True)
        subjects = {row.id: (replace(row, data=data) if data else row, lifecycle_of(row.id)) for row in rows}
        now = entries[-1].at_us
        yield from withdraw_untold(entries, {row.id: row for row in rows}, now)
        yield from announce(entries, subjects, now)


def remove_event(event_id: str, editing: Circumstances) -> Verb[Edited]:
    """Turn an event into a tombstone. Raises UnknownEvent."""
    row = yield from existing(event_id)
    edited = removal(row, (yield from _told(row, editing)))
    yield from write_events([edited.row], edited.entries, lambda _: None, data=row.data)
    return edited


def fire_by_hand(event_id: str, milestone: str, lifecycle_of: LifecycleOf, editing: Circumstances) -> Verb[Edited]:
    """Fire a manual milestone. Raises UnknownEvent, InvalidLifecycle, InvalidEvent."""
    row = yield from existing(event_id)
    lifecycle = lifecycle_of(row)
    edited = fired_by_hand(row, lifecycle, milestone, (yield from _told(row, editing)))
    return (yield from _write_edited(edited, lifecycle))


def set_hold(event_id: str, hold: Hold, lifecycle_of: LifecycleOf, editing: Circumstances) -> Verb[Edited]:
    """Set or lift a hold, leaving all else as it is. Only lifting needs the lifecycle. Raises UnknownEvent."""
    row = yield from existing(event_id)
    told = yield from _told(row, editing)
    lifecycle = lifecycle_of(row) if hold is Hold.ACTIVE else None
    edited = held(row, hold, told) if lifecycle is None else released(row, lifecycle, told)
    return (yield from _write_edited(edited, lifecycle))


def _told(row: EventRow, editing: Circumstances) -> Verb[Editing]:
    """Return the circumstances, with the status in which the history ends: its next entry leads on from it."""
    told = yield from _told_statuses([row.id])
    return replace(editing(), told=told.get(row.id))


def _write_edited(edited: Edited, lifecycle: Lifecycle | None) -> Verb[Edited]:
    if edited.entries:
        yield from write_events([edited.row], edited.entries, lambda _: lifecycle)
    return edited


def stored_row(columns: tuple[Any, ...]) -> EventRow:
    """Read a whole event row. Raises StoreError, naming the event, for one that makes no sense."""
    try:
        return event_row(columns)
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"event '{columns[0]}': its row cannot be read ({error_text(error)}); restore it from a backup"
        raise StoreError(msg) from error


def existing(event_id: str) -> Verb[EventRow]:
    """Return an event's row. Raises UnknownEvent for one that was never put, or was removed."""
    rows = yield Statement("get_events", {"ids": ids_text([event_id])})
    if not rows or (row := stored_row(rows[0])).removed:
        msg = f"there is no event '{event_id}'"
        raise UnknownEvent(msg)
    return row


def meta_json(key: str) -> Verb[Any]:
    """Return a value kept under a key of `meta`, None if there is none."""
    rows = yield Statement("get_meta", {"key": key})
    return json.loads(rows[0][0]) if rows else None


def put_meta_json(key: str, value: object) -> Verb[None]:
    """Keep a JSON value under a key of `meta`."""
    yield Statement("put_meta", {"key": key, "value": json.dumps(value)})
