"""Everything that can be asked of and put into a store of events, with or without a scheduler running."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

from duly.clock import SystemClock
from duly.errors import DulyError, InvalidEvent, InvalidInput, InvalidSetting, UnknownEvent, UnknownLifecycle
from duly.lifecycles.reader import built_in, built_in_names
from duly.model.dates import GivenDate, Micros, read_zone, tzdata_version
from duly.model.event import Event, EventRow, Hold, Trigger
from duly.model.instants import INSTANT_MIN
from duly.rules.advance import Firing
from duly.rules.edit import Editing, Outcome
from duly.rules.plan import Plan, plan
from duly.rules.status import triggers_to_come
from duly.rules.validate import passed_at_creation
from duly.rules.view import EventView
from duly.stores import residence
from duly.stores.redefining import FROM_THE_FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from duly.clock import Clock
    from duly.model.history import Entry, Outage
    from duly.model.lifecycle import Lifecycle
    from duly.stores.audit import AuditPage
    from duly.stores.redefining import Place
    from duly.stores.store import Counts, Store

PUT_BATCH: Final = 1000
MICROSECOND: Final = timedelta(microseconds=1)
DEFAULT_STORE: Final = "sqlite:///duly.db"


@dataclass(frozen=True, slots=True)
class PutResult:
    """What a put did: each event's outcome, warnings, refusals by event id, and the entries that it wrote."""

    outcomes: Mapping[str, Outcome]
    warnings: tuple[str, ...]
    refused: Mapping[str, str]
    entries: tuple[Entry, ...]

    def count(self, outcome: Outcome) -> int:
        """Return how many events had this outcome."""
        return sum(1 for found in self.outcomes.values() if found == outcome)


@dataclass(frozen=True, slots=True)
class Overdue:
    """A trigger that should have fired and has not, with the event that it belongs to."""

    trigger: Trigger
    event_name: str


def open_store(url: str) -> Store:
    """Return the store that a URL names, not yet opened. `sqlite:///events.db`, `sqlite:///:memory:`."""
    scheme, separator, path = url.partition("://")
    if not separator:
        msg = f"store {url!r} is not a URL; write sqlite:///{url} for a file"
        raise InvalidSetting(msg)
    if scheme != "sqlite":
        msg = f"store {url!r}: this version of Duly keeps events in SQLite only (sqlite:///events.db)"
        raise InvalidSetting(msg)
    if not path.startswith("/") or path == "/" or "?" in path:
        msg = f"store {url!r}: write sqlite:///events.db (relative) or sqlite:////var/lib/events.db (absolute)"
        raise InvalidSetting(msg)
    from duly.stores.sqlite import SqliteStore

    return SqliteStore(path[1:])


class Agenda:
    """A store of events and what can be done with it. Synchronous; safe to call from any thread.

    `lifecycles`: your own, besides the built-in ones. `time_zone`: in which wall times are read that name no zone
    and whose event and lifecycle name none. `environment`: the name of the one that this is (by default what
    DULY_ENVIRONMENT says): in another, the store is a copy, and its deliveries are parked.
    """

    def __init__(
        self,
        store: str | Store = DEFAULT_STORE,
        *,
        lifecycles: Iterable[Lifecycle] = (),
        time_zone: str | None = None,
        clock: Clock | None = None,
        environment: str | None = None,
    ) -> None:
        """Name the store; nothing is opened yet."""
        self.store = open_store(store) if isinstance(store, str) else store
        self.clock = clock or SystemClock()
        self.environment = environment or residence.named_environment()
        self.time_zone = None if time_zone is None else read_zone(time_zone)[0]
        self._declared = {lifecycle.name: lifecycle for lifecycle in lifecycles}
        self._current: dict[str, Lifecycle] = {}

    # -- opening ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the store, bring its schema up to date, and make our lifecycles known to it."""
        now = self.clock.now()
        self.store.open(now)
        self.store.declare_lifecycles(self._declared.values(), map(built_in, built_in_names()), now)
        self._current = self.store.load_lifecycles()

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def __enter__(self) -> Self:
        """Open."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def lifecycle(self, name: str) -> Lifecycle:
        """Return a lifecycle by name. Raises UnknownLifecycle."""
        found = self._current.get(name)
        if found is None:
            self._current = self.store.load_lifecycles()
            found = self._current.get(name)
        if found is None:
            msg = f"lifecycle '{name}' is unknown; known are: {', '.join(sorted(self._current))}"
            raise UnknownLifecycle(msg)
        return found

    @property
    def lifecycles(self) -> Mapping[str, Lifecycle]:
        """The current lifecycles by name."""
        return dict(self._current)

    # -- writing ----------------------------------------------------------------------------------------

    def plan(self, event: Event) -> Plan:
        """Resolve an event's dates without writing anything. Raises InvalidInput, UnknownLifecycle."""
        try:
            lifecycle = self.lifecycle(event.lifecycle)
        except UnknownLifecycle as error:
            msg = f"event '{event.id}': {error}"
            raise UnknownLifecycle(msg) from None
        return plan(event, lifecycle, zone=self.time_zone)

    def put(
        self,
        events: Event | Iterable[Event],
        *,
        known_for: timedelta | None = timedelta(0),
        keep_good: bool = False,
        actor: str | None = None,
        reason: str | None = None,
        node: str | None = None,
    ) -> PutResult:
        """Create or edit events. Putting the same again changes nothing.

        All are written in one transaction, or (an error) none; with `keep_good`, the refused ones are named in the
        result and the others written. `known_for`: for how long an event that is new here and has no `created_at`
        is taken to have been known; what had passed before that is born late, the rest a misfire. None: for ever.
        """
        if known_for is not None and known_for < timedelta(0):
            msg = f"known_for {known_for} is negative; use a duration from zero up, or None for ever"
            raise InvalidInput(msg)
        plans, refused = self._planned(_events_in(events), keep_good=keep_good)
        circumstances = self._editing(actor, reason, node)

        def editing(plan: Plan) -> Editing:
            given = circumstances()
            since = plan.created_us
            if since is None:
                ago = INSTANT_MIN if known_for is None else given.now_us - known_for // MICROSECOND
                since = max(INSTANT_MIN, ago)
            return replace(given, known_since_us=since)

        outcomes: dict[str, Outcome] = {}
        entries: list[Entry] = []
        # One transaction when all must stand or fall together; else batches, so that others can write between.
        size = PUT_BATCH if keep_good else max(1, len(plans))
        for batch in _batches(plans, size):
            put = self.store.put_events(batch, editing, all_or_nothing=not keep_good)
            outcomes |= put.outcomes
            refused |= put.refused
            entries += put.entries
        warnings = tuple(_warnings(plans, outcomes, self.clock.now()))
        return PutResult(outcomes, warnings, refused, tuple(entries))

    def _editing(self, actor: str | None, reason: str | None, node: str | None) -> Callable[[], Editing]:
        """Return what says under which circumstances an edit is made; its instant is read when it is asked."""
        tzdata = tzdata_version()

        def editing() -> Editing:
            now = self.clock.now()
            return Editing(now_us=now, known_since_us=now, actor=actor, reason=reason, node=node, tzdata=tzdata)

        return editing

    def _planned(self, events: Sequence[Event], *, keep_good: bool) -> tuple[list[Plan], dict[str, str]]:
        plans: list[Plan] = []
        refused: dict[str, str] = {}
        seen: set[str] = set()
        for event in events:
            try:
                if event.id in seen:
                    msg = f"event '{event.id}' is there twice in one put; give it once"
                    raise InvalidEvent(msg)
                plans.append(self.plan(event))
                seen.add(event.id)
            except DulyError as error:
                if not keep_good:
                    raise
                refused[str(event.id)] = str(error)
        return plans, refused

    def set_hold(
        self,
        event_id: str,
        hold: Hold,
        *,
        actor: str | None = None,
        reason: str | None = None,
        node: str | None = None,
    ) -> PutResult:
        """Set or lift a hold, leaving all else as it is. Raises UnknownEvent; to lift one, UnknownLifecycle."""
        edited = self.store.set_hold(event_id, Hold(hold), self._editing(actor, reason, node))
        return PutResult({event_id: edited.outcome}, (), {}, tuple(edited.entries))

    def fire(
        self,
        event_id: str,
        milestone: str,
        *,
        actor: str | None = None,
        reason: str | None = None,
        node: str | None = None,
    ) -> Sequence[Entry]:
        """Fire a manual milestone now. Returns the entries. Raises UnknownEvent, InvalidLifecycle, InvalidEvent."""
        return self.store.fire_by_hand(event_id, milestone, self._editing(actor, reason, node)).entries

    def remove(
        self, event_id: str, *, actor: str | None = None, reason: str | None = None, node: str | None = None
    ) -> None:
        """Remove an event: it fires no more; its history stays. Raises UnknownEvent."""
        self.store.remove_event(event_id, self._editing(actor, reason, node))

    def rederive_changed(self, node: str | None = None) -> int:
        """Re-derive every event whose lifecycle's definition has changed. Returns how many."""
        editing = self._editing(None, None, node)
        total = 0
        place: Place | None = FROM_THE_FIRST
        while place is not None:
            count, place = self.store.rederive(self._replan, editing, after=place)
            total += count
        return total

    def take_up(self, node: str | None = None) -> None:
        """Do what a new owner does before it fires.

        Park what a copy would send, follow changed lifecycles, look again at what was set aside.
        """
        residence.take_up(self.store, self.environment, self.clock.now())
        self.rederive_changed(node)
        self.store.wake_set_aside(self.clock.now())

    def _replan(self, row: EventRow) -> Plan:
        return plan(event_of(row), self.lifecycle(row.lifecycle), zone=self.time_zone)

    # -- reading ----------------------------------------------------------------------------------------

    def get(self, event_id: str) -> EventView:
        """Return an event as it is now, its status derived. Raises UnknownEvent, UnknownLifecycle."""
        return self._view(self.store.get_event(event_id))

    def _view(self, row: EventRow) -> EventView:
        return EventView(row, self.store.lifecycle_of(row), self.clock.now())

    def events(self, *, after: str = "", most: int | None = None) -> Iterator[EventView]:
        """Yield events in the order of their ids. One whose lifecycle is unknown is left to `set_aside`."""
        left = most if most is not None else -1
        while left != 0:
            rows = self.store.list_events(after=after, most=PUT_BATCH)
            if not rows:
                return
            after = rows[-1].id
            for row in rows:
                try:
                    view = None if row.removed else self._view(row)
                except UnknownLifecycle:
                    view = None
                if view is not None and left != 0:
                    left -= 1
                    yield view

    def set_aside(self) -> list[EventRow]:
        """Return the events that raised, with their errors."""
        return self.store.list_set_aside()

    def upcoming(self, most: int = 20) -> list[Trigger]:
        """Return the next triggers of all events, soonest first; what is overdue comes first of all."""
        found: list[Trigger] = []
        for row in self.store.list_by_alarm(most=most):
            if row.error is None:
                found += triggers_to_come(row, self.store.lifecycle_of(row))
        return sorted(found, key=lambda t: (t.due_us, t.event_id, t.order))[:most]

    def overdue(self, *, most: int = 100_000) -> list[Overdue]:
        """Return what should have fired by now and has not, in chronological order."""
        now = self.clock.now()
        found = []
        for row in self.store.list_by_alarm(until_us=now, most=most):
            if row.error is None:
                triggers = triggers_to_come(row, self.store.lifecycle_of(row))
                found += [Overdue(trigger, row.name) for trigger in triggers if trigger.due_us <= now]
        return sorted(found, key=lambda o: (o.trigger.due_us, o.trigger.event_id, o.trigger.order))[:most]

    def history(self, event_id: str | None = None, *, most: int = 100) -> list[Entry]:
        """Return an event's whole history, or the latest entries of all events, oldest first.

        A removed event still has one. Raises UnknownEvent for one that never was.
        """
        if event_id is None:
            return [entry for _, entry in reversed(self.store.history_latest(most=most))]
        entries = self.store.history(event_id)
        if not entries:
            msg = f"there is no event '{event_id}'"
            raise UnknownEvent(msg)
        return entries

    def outages(self, *, most: int = 20) -> list[Outage]:
        """Return outages, newest first."""
        return self.store.outages(most=most)

    def counts(self) -> Counts:
        """Return how much there is."""
        return self.store.counts(self.clock.now())

    def check(self, *, repair: bool = False, most: int = 500) -> Iterator[AuditPage]:
        """Audit the whole store page by page: status, alarm, marks, and every chain of hashes."""
        after = ""
        while True:
            now = self.clock.now()
            page = self.store.audit(after, Firing(now, now), most=most, history=True, repair=repair)
            if page.last is None:
                return
            yield page
            after = page.last


def event_of(row: EventRow) -> Event:
    """Return a stored event as it could be put again."""
    return Event(
        id=row.id,
        name=row.name,
        lifecycle=row.lifecycle,
        dates={name: GivenDate.from_json(given) for name, given in row.given.items()},
        zone=row.zone,
        hold=Hold(row.hold),
        data=row.data,
    )


def _events_in(events: Event | Iterable[Event]) -> list[Event]:
    found: list[object] = [events] if isinstance(events, Event) else list(events)
    for event in found:
        if not isinstance(event, Event):
            msg = f"put takes events, not {type(event).__name__}; a record becomes one by Event.from_record(record)"
            raise InvalidInput(msg)
    return [event for event in found if isinstance(event, Event)]


def _batches(plans: Sequence[Plan], size: int) -> Iterator[list[Plan]]:
    waiting = iter(plans)
    while batch := list(itertools.islice(waiting, size)):
        yield batch


def _warnings(plans: Iterable[Plan], outcomes: Mapping[str, Outcome], now: Micros) -> Iterator[str]:
    for each in plans:
        yield from each.warnings
        if outcomes.get(each.event.id) == Outcome.CREATED:
            yield from passed_at_creation(each.dates, now, where=f"event '{each.event.id}'")
