"""The verbs that change events, once for every store, without I/O: they yield statements and receive rows.

Each is one transaction: a runner begins it, sends the rows of each statement back in, and commits when the verb
returns. Nothing here reads a clock or knows a database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from duly.errors import DulyError, InvalidInput, UnknownEvent
from duly.model.history import Entry, Kind
from duly.rules.advance import Advanced, Firing, Ledger, advance
from duly.rules.edit import Edited, Editing, Outcome, consequences, fired_by_hand, redefinition, removal
from duly.stores.rows import claimed_row, event_columns, event_row, ids_text, marks_text

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.model.lifecycle import Lifecycle
    from duly.rules.plan import Plan

T = TypeVar("T")
Rows = list[tuple[Any, ...]]

# An event that raises is looked at again after this long; a cure (a new release) need not be announced.
SET_ASIDE_US: Final[Micros] = 60 * 60 * 1_000_000


class Statement(NamedTuple):
    """One named statement to run: with one set of parameters, or (`many`) once for each in a batch."""

    name: str
    params: Any = ()
    many: bool = False


Verb = Generator[Statement, Rows, T]
LifecycleOf = Callable[["EventRow"], "Lifecycle"]
Replan = Callable[["EventRow"], "Plan"]


@dataclass(frozen=True, slots=True)
class Fired:
    """What one firing did: the new entries in chronological order, and the events set aside with their errors.

    `claimed`: how many events were looked at; zero means that nothing was due.
    """

    entries: list[Entry]
    set_aside: dict[str, str]
    claimed: int

    @property
    def transitions(self) -> list[Entry]:
        """The triggers that fired."""
        return [entry for entry in self.entries if entry.is_transition]


@dataclass(frozen=True, slots=True, kw_only=True)
class FireRequest:
    """What to fire: up to `most` events of one lane, under these circumstances.

    `fresh_from_us` divides the lanes: alarms from it on are fresh, earlier ones are backlog.
    `strict`: a batch goes no further than the first unclaimed event's alarm.
    """

    firing: Firing
    most: int
    fresh_from_us: Micros
    strict: bool = False


def fire_due(request: FireRequest, lifecycle_of: LifecycleOf) -> Verb[Fired]:
    """Fire what is due: the fresh lane first, then the backlog, oldest first. The commit is the firing."""
    now = request.firing.now_us
    lane = {"now": now, "fresh_from": request.fresh_from_us, "most": request.most}
    firing = request.firing
    rows = yield Statement("claim_fresh", lane)
    if len(rows) < request.most:
        # One more than will be fired: its alarm is the horizon of a strict batch.
        most = request.most - len(rows)
        backlog = yield Statement(
            "claim_backlog", {"fresh_from": min(request.fresh_from_us, now + 1), "most": most + 1}
        )
        if request.strict and len(backlog) > most:
            firing = firing._replace(horizon=(backlog[most][9], backlog[most][0]))
        rows = rows + backlog[:most]
    results: list[tuple[str, Advanced]] = []
    troubled: dict[str, tuple[EventRow | None, Exception]] = {}
    for columns in rows:
        row = None
        try:
            row = claimed_row(columns)
            results.append((row.id, advance(row, lifecycle_of(row), firing)))
        except Exception as error:  # noqa: BLE001 - whatever an event raises, it alone is set aside (P7)
            troubled[columns[0]] = (row, error)
    entries = [entry for _, result in results for entry in result.entries]
    entries.sort(key=_chronology)
    if results:
        yield Statement("update_fired", [_fired_columns(id_, result, now) for id_, result in results], many=True)
    errors = yield from _set_aside(troubled, {columns[0]: columns for columns in rows}, firing)
    if entries:
        yield Statement("insert_history", entries, many=True)
    return Fired(entries, errors, len(rows))


def _chronology(entry: Entry) -> tuple[Micros, str, int]:
    """Order by due instant, event, and place in the event's history (which is milestone order)."""
    return (entry[6] if entry[5] is None else entry[5], entry[0], entry[1])


def _fired_columns(id_: str, result: Advanced, now: Micros) -> tuple[object, ...]:
    _, marks, status, seq, hash_, next_due, pending = result
    return (marks_text(marks), status, seq, hash_, next_due, pending, now, id_)


def _set_aside(
    troubled: dict[str, tuple[EventRow | None, Exception]],
    claimed: dict[str, tuple[Any, ...]],
    firing: Firing,
) -> Verb[dict[str, str]]:
    """Set events that raised aside: their error and a later alarm; an entry only when the error is news."""
    updates, entries, errors = [], [], {}
    for id_, (row, error) in troubled.items():
        said = errors[id_] = error_text(error)
        columns = claimed[id_]
        seq, hash_ = columns[7], columns[8]
        if row is not None and row.error != said:
            ledger = Ledger(row, firing)
            ledger.write(Kind.SET_ASIDE, row.status, reason=said)
            entries += ledger.entries
            seq, hash_ = ledger.seq, ledger.hash
        updates.append((said, firing.now_us + SET_ASIDE_US, seq, hash_, firing.now_us, id_))
    if updates:
        yield Statement("update_set_aside", updates, many=True)
    if entries:
        yield Statement("insert_history", entries, many=True)
    return errors


def error_text(error: BaseException) -> str:
    """Return an error as one line that can be stored and shown."""
    said = str(error).splitlines()[0] if str(error) else ""
    return said if isinstance(error, DulyError) else f"{type(error).__name__}: {said}"


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
    rows = {columns[0]: event_row(columns) for columns in stored}
    put = Put({}, {}, {}, [])
    changed: dict[str, EventRow] = {}
    for plan in plans:
        id_ = plan.event.id
        try:
            edited = consequences(rows.get(id_), plan, editing(plan))
        except DulyError as error:
            if all_or_nothing:
                raise
            put.refused[id_] = str(error)
            continue
        put.outcomes[id_] = edited.outcome
        put.rows[id_] = rows[id_] = edited.row
        if edited.entries:
            changed[id_] = edited.row
            put.entries.extend(edited.entries)
    yield from write_events(list(changed.values()), put.entries)
    return put


def write_events(rows: Sequence[EventRow], entries: Sequence[Entry]) -> Verb[None]:
    """Write whole rows and their new entries, set-wise."""
    if rows:
        yield Statement("upsert_event", [event_columns(row) for row in rows], many=True)
    if entries:
        yield Statement("insert_history", entries, many=True)


def remove_event(event_id: str, editing: Editing) -> Verb[Edited]:
    """Turn an event into a tombstone. Raises UnknownEvent."""
    row = yield from existing(event_id)
    edited = removal(row, editing)
    yield from write_events([edited.row], edited.entries)
    return edited


def fire_by_hand(event_id: str, milestone: str, lifecycle_of: LifecycleOf, editing: Editing) -> Verb[Edited]:
    """Fire a manual milestone. Raises UnknownEvent, InvalidLifecycle, InvalidEvent."""
    row = yield from existing(event_id)
    edited = fired_by_hand(row, lifecycle_of(row), milestone, editing)
    yield from write_events([edited.row], edited.entries)
    return edited


def existing(event_id: str) -> Verb[EventRow]:
    """Return an event's row. Raises UnknownEvent for one that was never put, or was removed."""
    rows = yield Statement("get_events", {"ids": ids_text([event_id])})
    if not rows or (row := event_row(rows[0])).removed:
        msg = f"there is no event '{event_id}'"
        raise UnknownEvent(msg)
    return row


def rederive(replan: Replan, editing: Editing, most: int) -> Verb[int]:
    """Re-derive up to `most` events whose lifecycle's definition has changed. Returns how many; 0 is done.

    An event that the new definition cannot carry is set aside with the reason, and the others go on.
    """
    stored = yield Statement("list_redefined", {"most": most})
    rows, entries = [], []
    for columns in stored:
        row = event_row(columns)
        try:
            edited = redefinition(row, replan(row), editing)
        except InvalidInput as error:
            ledger = Ledger(row, editing.firing)
            said = f"its lifecycle '{row.lifecycle}' has changed, and now: {error_text(error)}"
            ledger.write(Kind.SET_ASIDE, row.status, reason=said)
            entries += ledger.entries
            later = editing.now_us + SET_ASIDE_US
            rows.append(replace(row, error=said, next_due_us=later, seq=ledger.seq, hash=ledger.hash))
            continue
        rows.append(edited.row)
        entries += edited.entries
    yield from write_events(rows, entries)
    return len(stored)


def meta_json(key: str) -> Verb[Any]:
    """Return a value kept under a key of `meta`, None if there is none."""
    rows = yield Statement("get_meta", {"key": key})
    return json.loads(rows[0][0]) if rows else None


def put_meta_json(key: str, value: object) -> Verb[None]:
    """Keep a JSON value under a key of `meta`."""
    yield Statement("put_meta", {"key": key, "value": json.dumps(value)})
