"""The contract of every store: its verbs, each one transaction, and what each promises.

A store is synchronous; the engine calls it in threads of its own. A subclass brings connections and runs verbs;
what the verbs do is written once (`verbs.py`, `audit.py`). All instants are microseconds UTC; time is always an
argument.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from duly.errors import StoreRefused, StoreRejected, UnknownLifecycle
from duly.lifecycles.reader import lifecycle_from_plain
from duly.rules.audience import OUTAGE
from duly.stores import verbs
from duly.stores.audit import AuditPage, audit
from duly.stores.births import audience, write_births
from duly.stores.declaring import changed_lifecycles, declare_all
from duly.stores.outbox import Outbox
from duly.stores.redefining import FROM_THE_FIRST, Place, Replan, rederive
from duly.stores.residence import beaten
from duly.stores.rows import entry_of, ids_text, outage_of, readable_row
from duly.stores.surroundings import Surroundings
from duly.stores.verb import Statement, Verb
from duly.stores.verbs import Circumstances, Fired, FireRequest, Put

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from duly.model.dates import Micros
    from duly.model.event import EventRow, Hold
    from duly.model.history import Entry, Outage
    from duly.model.lifecycle import Lifecycle
    from duly.rules.advance import Firing
    from duly.rules.edit import Edited, Editing
    from duly.rules.plan import Plan
    from duly.stores.backups import Backup
    from duly.stores.loan import Loan

T = TypeVar("T")
LAST = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much there is. `pending` triggers of `armed` events are to come; `overdue` events await a firing."""

    events: int
    armed: int
    pending: int
    overdue: int
    oldest_overdue_us: Micros | None
    set_aside: int
    next_due_us: Micros | None
    by_status: Mapping[str, int]


class NodeRow(NamedTuple):
    """One scheduler process, as the store knows it; `owner`: whether it was firing when it was last seen."""

    id: str
    host: str
    pid: int
    started_us: Micros
    seen_us: Micros
    stopped_us: Micros | None
    owner: bool = True


class Store(ABC):
    """A durable place for events and their history."""

    url: str
    shared: bool = True  # whether other processes can write to it

    def __init__(self) -> None:
        """Know no lifecycle yet."""
        self._lifecycles: dict[str, Lifecycle] = {}
        self._current: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}
        self.outbox = Outbox(self)
        self.surroundings = Surroundings()

    # -- what a subclass brings -------------------------------------------------------------------------

    @abstractmethod
    def write(self, verb: Verb[T]) -> T:
        """Run a verb in one write transaction: all of it, or (an error) nothing."""

    @abstractmethod
    def write_with(self, verb: Verb[T], then: Callable[[T, Any], None], loan: Loan | None = None) -> T:
        """Run a verb, then `then` with its result and a connection, in one write transaction: both or neither.

        Under a loan it can be called in by another thread. Raises WrongState if it was, what `then` raises.
        """

    @abstractmethod
    def read(self, verb: Verb[T]) -> T:
        """Run a verb in one consistent read."""

    @abstractmethod
    def open(self, now_us: Micros) -> None:
        """Connect, and bring the schema up to date. Opening an open store does nothing."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect. Closing twice does nothing."""

    @abstractmethod
    def own(self) -> bool:
        """Try to become the one process that fires. True if it is us (already)."""

    @abstractmethod
    def disown(self) -> None:
        """Let another process become the owner."""

    @property
    @abstractmethod
    def stopped(self) -> str | None:
        """Why nothing more is written (fail-stop), None while all is well."""

    # -- firing -----------------------------------------------------------------------------------------

    def fire_due(self, request: FireRequest) -> Fired:
        """Fire up to `most` due events of one lane. The commit is the firing. Nothing due: an empty result."""
        try:
            return self.write(verbs.fire_due(request, self._lifecycle_to_fire))
        except StoreRejected as error:
            # The database refused what one of these events brought about (it has fired before, say). Halving finds
            # it, and it alone is set aside (P7).
            if request.most > 1:
                return self.fire_due(replace(request, most=request.most // 2))
            return self.write(verbs.set_aside_next(request, error))

    def next_due_us(self) -> Micros | None:
        """Return the alarm of the whole store: when it must next be looked at, None for never."""
        return self.read(_number(Statement("next_due_at")))

    # -- events -----------------------------------------------------------------------------------------

    def put_events(
        self, plans: Sequence[Plan], editing: Callable[[Plan], Editing], *, all_or_nothing: bool = True
    ) -> Put:
        """Create or edit events in one transaction. Idempotent; raises RevisionConflict."""
        return self.write(verbs.put_events(plans, editing, all_or_nothing=all_or_nothing))

    def remove_event(self, event_id: str, editing: Circumstances) -> Edited:
        """Leave a tombstone of an event; its history stays. Raises UnknownEvent."""
        return self.write(verbs.remove_event(event_id, editing))

    def fire_by_hand(self, event_id: str, milestone: str, editing: Circumstances) -> Edited:
        """Fire a manual milestone. Raises UnknownEvent, InvalidLifecycle, InvalidEvent."""
        return self.write(verbs.fire_by_hand(event_id, milestone, self.lifecycle_of, editing))

    def set_hold(self, event_id: str, hold: Hold, editing: Circumstances) -> Edited:
        """Set or lift a hold. Raises UnknownEvent; to lift one, UnknownLifecycle."""
        return self.write(verbs.set_hold(event_id, hold, self.lifecycle_of, editing))

    def get_event(self, event_id: str) -> EventRow:
        """Return an event's row. Raises UnknownEvent."""
        return self.read(verbs.existing(event_id))

    def get_events(self, ids: Sequence[str]) -> dict[str, EventRow]:
        """Return the rows of those ids that exist, tombstones included."""
        return {row.id: row for row in self._rows(Statement("get_events", {"ids": ids_text(ids)}))}

    def list_events(self, *, after: str = "", most: int = 1000) -> list[EventRow]:
        """Return up to `most` events after an id, in the order of ids, tombstones included."""
        return self._rows(Statement("list_events", {"after": after, "most": most}))

    def list_by_alarm(self, *, until_us: Micros = LAST, most: int = 1000) -> list[EventRow]:
        """Return up to `most` events whose alarm is at or before an instant, soonest first."""
        return self._rows(Statement("list_by_alarm", {"until": until_us, "most": most}))

    def list_set_aside(self, *, most: int = 1000) -> list[EventRow]:
        """Return events that raised and wait to be looked at again."""
        return self._rows(Statement("list_set_aside", {"most": most}))

    def count_overdue(self, now_us: Micros) -> int:
        """Return how many events await a firing. Answered by the index alone."""
        return self.read(_number(Statement("count_overdue", {"now": now_us}))) or 0

    def counts(self, now_us: Micros) -> Counts:
        """Return how much there is, in one consistent read."""
        return self.read(_counts(now_us))

    # -- history ----------------------------------------------------------------------------------------

    def history(self, event_id: str) -> list[Entry]:
        """Return an event's whole history, tombstones' too; empty for an event that never was."""
        return [entry for _, entry in self._entries(Statement("history_of_event", {"event_id": event_id}))]

    def history_after(self, entry: int, *, most: int = 1000) -> list[tuple[int, Entry]]:
        """Return up to `most` entries of all events, numbered, in the order in which they were committed."""
        return self._entries(Statement("history_after", {"after": entry, "most": most}))

    def history_latest(self, *, before: int = LAST, most: int = 100) -> list[tuple[int, Entry]]:
        """Return the latest entries of all events, newest first."""
        return self._entries(Statement("history_latest", {"before": before, "most": most}))

    def history_of_outage(self, outage: int, *, most: int = 1000) -> list[Entry]:
        """Return the transitions that were caught up after an outage, in the order in which they fired."""
        found = self._entries(Statement("history_of_outage", {"outage": outage, "most": most}))
        return [entry for _, entry in found]

    def history_end(self) -> tuple[int, Micros] | None:
        """Return the number and the instant of the last entry of all, None while there is none."""
        rows = self.read(_rows(Statement("history_end")))
        return (rows[0][0], rows[0][1]) if rows else None

    # -- nodes and outages ------------------------------------------------------------------------------

    def heartbeat(self, node: str, host: str, pid: int, now_us: Micros, *, owner: bool = True) -> None:
        """Say that a node is alive, and whether it is the one that fires."""
        params = {"id": node, "host": host, "pid": pid, "now": now_us, "owner": int(owner)}
        here = self.surroundings
        witness = self.write(beaten(Statement("upsert_node", params), is_heard=owner and here.is_heard))
        if witness is not None:
            # Only once it is committed: the witness must never know more than the store.
            here.bear_witness(witness)

    def stop_node(self, node: str, now_us: Micros) -> None:
        """Say that a node has ended in good order."""
        self.write(_done(Statement("stop_node", {"id": node, "now": now_us})))

    def nodes(self, *, most: int = 20) -> list[NodeRow]:
        """Return the nodes seen last, newest first."""
        rows = self.read(_rows(Statement("list_nodes", {"most": most})))
        return [NodeRow._make([*row[:6], bool(row[6])]) for row in rows]

    def prune_nodes(self, before_us: Micros) -> None:
        """Forget nodes that were last seen before an instant."""
        self.write(_done(Statement("prune_nodes", {"before": before_us})))

    def last_alive_us(self) -> Micros | None:
        """Return the last heartbeat of any node that was firing. None: there never was one."""
        return self.read(_number(Statement("last_seen")))

    def begin_outage(self, began_us: Micros | None, ended_us: Micros, node: str) -> Outage:
        """Record that an outage has ended now. One whose recovery was itself cut off is gone on with."""
        return self.write(_begin_outage(began_us, ended_us, node))

    def finish_outage(self, outage: int, now_us: Micros, *, failed: int, window_us: Micros) -> Outage:
        """Record that everything missed in an outage has been dealt with, and count it from the history."""
        params = {"id": outage, "now": now_us, "failed": failed, "window": window_us}
        return self.write(_finish_outage(params))

    def outages(self, *, before: int = LAST, most: int = 20) -> list[Outage]:
        """Return outages, newest first."""
        rows = self.read(_rows(Statement("list_outages", {"before": before, "most": most})))
        return [outage_of(row) for row in rows]

    # -- lifecycles -------------------------------------------------------------------------------------

    def lifecycle_of(self, row: EventRow) -> Lifecycle:
        """Return the definition that an event row follows. Raises UnknownLifecycle."""
        found = self._lifecycles.get(row.lifecycle_hash)
        if found is None:
            self.load_lifecycles()
            found = self._lifecycles.get(row.lifecycle_hash)
        if found is None:
            why = self._unreadable.get(row.lifecycle_hash, "its definition is not in the store")
            msg = f"event '{row.id}': lifecycle '{row.lifecycle}' is unknown here ({why}); declare it again"
            raise UnknownLifecycle(msg)
        return found

    def _lifecycle_to_fire(self, row: EventRow) -> Lifecycle:
        """Return the definition, but not to an event that was set aside because it cannot follow the current one."""
        if row.error is not None and self._current.get(row.lifecycle, row.lifecycle_hash) != row.lifecycle_hash:
            raise UnknownLifecycle(row.error)
        return self.lifecycle_of(row)

    def load_lifecycles(self) -> dict[str, Lifecycle]:
        """Read the definitions anew. Returns the current ones by name."""
        # On the connection of whoever calls: inside a write verb this must not wait for another connection.
        current = {}
        for hash_, name, definition, _, is_current in self.read(_rows(Statement("list_lifecycles"))):
            if hash_ not in self._lifecycles:
                try:
                    self._lifecycles[hash_] = lifecycle_from_plain(json.loads(definition))
                except Exception as error:  # noqa: BLE001 - one that cannot be read parks its events, no others
                    self._unreadable[hash_] = verbs.error_text(error)
                    continue
            if is_current:
                current[name] = self._lifecycles[hash_]
        self._current = {name: lifecycle.hash for name, lifecycle in current.items()}
        return current

    def declare_lifecycles(
        self, declared: Iterable[Lifecycle], built_in: Iterable[Lifecycle], now_us: Micros
    ) -> None:
        """Make definitions the current ones of their names. A built-in one never replaces one of the user's."""
        wanted = [(lifecycle, "declared") for lifecycle in declared]
        wanted += [(lifecycle, "built-in") for lifecycle in built_in]
        if self.read(changed_lifecycles(wanted)):
            self.write(declare_all(wanted, now_us))
        self._lifecycles |= {lifecycle.hash: lifecycle for lifecycle, _ in wanted}

    def rederive(
        self, replan: Replan, editing: Circumstances, *, after: Place = FROM_THE_FIRST, most: int = 500
    ) -> tuple[int, Place | None]:
        """Re-derive a page of events whose lifecycle has changed, soonest alarm first.

        Returns how many were, and where to go on (None: that was the last page).
        """
        return self.write(rederive(replan, editing, most, after))

    def wake_set_aside(self, now_us: Micros) -> None:
        """Have the events that were set aside looked at again now."""
        self.write(_done(Statement("wake_set_aside", {"now": now_us})))

    # -- upkeep -----------------------------------------------------------------------------------------

    def audit(self, after: str, firing: Firing, *, most: int = 500, history: bool, repair: bool) -> AuditPage:
        """Check a page of events against their own history and rules; with `repair`, set right what can be."""
        verb = audit(after, most, self.lifecycle_of, firing, history=history, repair=repair)
        return self.write(verb) if repair else self.read(verb)

    def meta(self, key: str) -> Any:
        """Return a JSON value kept under a key, None if there is none."""
        return self.read(verbs.meta_json(key))

    def put_meta(self, key: str, value: object) -> None:
        """Keep a JSON value under a key."""
        self.write(verbs.put_meta_json(key, value))

    def backup(
        self, path: Path, now_us: Micros, *, force: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Backup:
        """Write a verified copy of the whole store to a new file, while others go on using it.

        `force`: over a file that is there. `progress` is called with (done, of all), in pages. Raises StoreRefused,
        StoreFull; then there is no file under that name that was not there before.
        """
        del path, now_us, force, progress
        raise StoreRefused(f"store {self.url}: Duly makes backups of SQLite files only")

    def damage(self) -> list[str]:
        """Return what the database itself finds wrong with what it keeps. Reads everything."""
        return []

    # -- shorthand --------------------------------------------------------------------------------------

    def _rows(self, statement: Statement) -> list[EventRow]:
        return [readable_row(columns) for columns in self.read(_rows(statement))]

    def _entries(self, statement: Statement) -> list[tuple[int, Entry]]:
        return [entry_of(columns) for columns in self.read(_rows(statement))]


def _rows(statement: Statement) -> Verb[list[tuple[Any, ...]]]:
    return (yield statement)


def _done(statement: Statement) -> Verb[None]:
    yield statement


def _number(statement: Statement) -> Verb[int | None]:
    """Return the first column of the only row: an integer or NULL."""
    found: int | None = (yield statement)[0][0]
    return found


def _counts(now_us: Micros) -> Verb[Counts]:
    armed, pending = (yield Statement("count_alarms"))[0]
    overdue, oldest = (yield Statement("count_overdue", {"now": now_us}))[0]
    return Counts(
        events=(yield Statement("count_events"))[0][0],
        armed=armed,
        pending=pending,
        overdue=overdue,
        oldest_overdue_us=oldest,
        set_aside=(yield Statement("count_set_aside"))[0][0],
        next_due_us=(yield Statement("next_due_at"))[0][0],
        by_status=dict((yield Statement("count_by_status"))),
    )


def _begin_outage(began_us: Micros | None, ended_us: Micros, node: str) -> Verb[Outage]:
    unfinished = yield Statement("unfinished_outage")
    if unfinished:
        params = {"id": unfinished[0][0], "ended_at": ended_us, "node": node}
        return outage_of((yield Statement("extend_outage", params))[0])
    params = {"began_at": began_us, "ended_at": ended_us, "node": node}
    return outage_of((yield Statement("insert_outage", params))[0])


def _finish_outage(params: Mapping[str, int]) -> Verb[Outage]:
    outage = outage_of((yield Statement("finish_outage", params))[0])
    news = (yield from audience()).news(OUTAGE, -outage.id, "", params["now"])
    yield from write_births(news, params["now"])
    return outage
