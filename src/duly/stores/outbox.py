"""The outbox of a store: its verbs about subscribers and deliveries, each one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from duly.errors import UnknownDelivery, UnknownSubscriber
from duly.model.delivery import WAITING_US, Attempt, Delivery, Lease, State, Subscriber
from duly.stores import outbox_verbs
from duly.stores.births import POLICY_KEY, audience, policy_json
from duly.stores.outbox_verbs import Replayed, Result, Settled
from duly.stores.rows import entry_of, ids_text, outage_of
from duly.stores.verb import Rows, Statement, Verb
from duly.stores.verbs import meta_json, put_meta_json

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.history import Entry, Outage
    from duly.model.lifecycle import CatchUp
    from duly.rules.audience import Audience
    from duly.stores.loan import Loan
    from duly.stores.store import Store

IDENTITY_KEY: Final = "identity"
LAST: Final = (1 << 63) - 1


@dataclass(slots=True)
class Told:
    """What a batch of deliveries is about: events' rows (as columns), history entries, outages, dead deliveries."""

    rows: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    entries: dict[tuple[str, int], Entry] = field(default_factory=dict)
    outages: dict[int, Outage] = field(default_factory=dict)
    dead: dict[int, Delivery] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCount:
    """What one subscriber is owed: `pending` in all, of which `leased` are under way and `failing` in backoff."""

    subscriber: str
    pending: int
    leased: int
    failing: int
    next_us: Micros


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """How many deliveries there are: open ones by subscriber, and by state those that people look for.

    Of these (`trouble`), what has been replayed does not count any more.
    """

    open: tuple[OpenCount, ...]
    trouble: Mapping[str, int]

    @property
    def pending(self) -> int:
        """How many are open."""
        return sum(count.pending for count in self.open)

    @property
    def dead(self) -> int:
        """How many are dead, and nobody has had them made again."""
        return self.trouble.get(State.DEAD.value, 0)


class Outbox:
    """What is owed to subscribers. All instants are microseconds UTC; any thread may call."""

    def __init__(self, store: Store) -> None:
        """Belong to a store."""
        self._store = store
        self._identity: str | None = None

    # -- identity ---------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """The store's own name, made when it was: 8 hex digits. The delivery ids begin with it."""
        if self._identity is None:
            found = self._store.read(meta_json(IDENTITY_KEY))
            self._identity = str(found) if found is not None else self._store.write(identified(secrets.token_hex(4)))
        return self._identity

    def forget_identity(self) -> None:
        """Ask the store for its identity again: it may have been given another (see `residence.adopt`)."""
        self._identity = None

    def delivery_id(self, number: int) -> str:
        """Return the idempotency key of a delivery."""
        return f"{self.identity}-{number}"

    # -- who listens ------------------------------------------------------------------------------------

    def audience(self) -> Audience:
        """Return everybody who is told, with the policies in force."""
        return self._store.read(audience())

    def subscribers(self) -> list[Subscriber]:
        """Return all subscribers, also those that are not active."""
        return list(self.audience().by_number.values())

    def subscriber(self, name: str) -> Subscriber:
        """Return a subscriber. Raises UnknownSubscriber."""
        for subscriber in self.subscribers():
            if subscriber.name == name:
                return subscriber
        raise UnknownSubscriber(f"there is no subscriber '{name}'")

    def put_subscriber(self, subscriber: Subscriber, now_us: Micros) -> Subscriber:
        """Add or change a subscriber; what one that is not active was owed is parked."""
        return self._store.write(outbox_verbs.put_subscriber(subscriber, now_us))

    def change_subscriber(
        self, name: str, change: Callable[[Subscriber | None], Subscriber], now_us: Micros
    ) -> Subscriber:
        """Put what `change` makes of the subscriber of that name (None: there is none), in one transaction."""
        return self._store.write(outbox_verbs.change_subscriber(name, change, now_us))

    def declare(self, declared: Sequence[Subscriber], now_us: Micros) -> list[Subscriber]:
        """Make these the subscribers that code declares; see `outbox_verbs.declare`."""
        return self._store.write(outbox_verbs.declare(declared, now_us))

    def put_policy(self, catch_up: CatchUp, grace: timedelta) -> None:
        """Keep what the scheduler says of misfires, for whoever else commits transitions."""
        said = policy_json(catch_up, grace)
        if self._store.read(meta_json(POLICY_KEY)) != said:
            self._store.write(put_meta_json(POLICY_KEY, said))

    # -- delivering -------------------------------------------------------------------------------------

    def next_wakes(self) -> dict[int, Micros]:
        """Return when the next delivery of each subscriber may be attempted; who is owed nothing is left out."""
        wakes = {}
        for number, fresh, late in self._store.read(_rows(Statement("next_wakes"))):
            soonest = min((wake for wake in (fresh, late) if wake is not None), default=WAITING_US)
            if soonest < WAITING_US:
                wakes[number] = soonest
        return wakes

    def claim(
        self, node: str, now_us: Micros, until_us: Micros, rooms: Mapping[int, int], *, suspects: bool = True
    ) -> list[Lease]:
        """Lease what may be attempted now, for each subscriber (by number) as much as it has room.

        `suspects`: also one of those during which nodes have ended; see `outbox_verbs.claim`.
        """
        return self._store.write(outbox_verbs.claim(node, now_us, until_us, rooms, suspects=suspects))

    def settle(self, results: Sequence[Result], now_us: Micros) -> Settled:
        """Write what became of leased deliveries; those whose lease was lost change nothing."""
        return self._store.write(outbox_verbs.settle(results, now_us))

    def settle_with(
        self, result: Result, now_us: Micros, work: Callable[[Any], None], loan: Loan | None = None
    ) -> Settled:
        """Settle one delivery and run `work` with a connection in the same transaction: both or neither (P11).

        Where the lease was lost, `work` is not called. `loan`: under which it can be called in.
        """

        def then(settled: Settled, connection: Any) -> None:
            if not settled.stale:
                work(connection)

        return self._store.write_with(outbox_verbs.settle([result], now_us), then, loan)

    def renew(self, node: str, numbers: Sequence[int], until_us: Micros) -> dict[int, int]:
        """Extend leases. Returns number → token of those that are still this node's."""
        params = {"node": node, "numbers": ids_text(numbers), "until": until_us}
        return dict(self._store.write(_rows(Statement("renew_leases", params))))

    def expire_leases(self, now_us: Micros) -> None:
        """End all leases: their holders are gone. For the one process that owns the store."""
        self._store.write(_expire(now_us))

    def told_of(self, leases: Iterable[Lease], known: Mapping[tuple[str, int], Entry]) -> Told:
        """Return what deliveries are about, in one read; entries that are `known` are not read again."""
        # Read anew each time: a store that has been given another name speaks under that name at once.
        told, self._identity = self._store.read(_told_of(list(leases), known, self.identity))
        return told

    # -- reading ----------------------------------------------------------------------------------------

    def deliveries(
        self,
        *,
        state: State | None = None,
        subscriber: str | None = None,
        event_id: str | None = None,
        topic: str | None = None,
        since_us: Micros | None = None,
        unreplayed: bool = False,
        before: int = LAST,
        most: int = 100,
    ) -> list[Delivery]:
        """Return deliveries, newest first. `since_us`: born then or later; `unreplayed`: not made again yet."""
        params = {"state": state, "subscriber": subscriber, "event_id": event_id, "topic": topic}
        page = {"since": since_us, "unreplayed": int(unreplayed), "before": before, "most": most}
        statement = Statement("list_deliveries", {**params, **page})
        return self._deliveries(statement)

    def of_event(self, event_id: str) -> list[Delivery]:
        """Return all deliveries about an event, oldest first."""
        return self._deliveries(Statement("deliveries_of_event", {"event_id": event_id}))

    def delivery(self, number: int) -> Delivery:
        """Return one delivery. Raises UnknownDelivery."""
        found = self._deliveries(Statement("get_deliveries", {"numbers": ids_text([number])}))
        if not found:
            raise UnknownDelivery(f"there is no delivery {number}")
        return found[0]

    def attempts(self, numbers: Sequence[int]) -> dict[int, list[Attempt]]:
        """Return the attempts of deliveries, by number."""
        found: dict[int, list[Attempt]] = {number: [] for number in numbers}
        for columns in self._store.read(_rows(Statement("attempts_of", {"numbers": ids_text(numbers)}))):
            found[columns[0]].append(Attempt._make(columns))
        return found

    def counts(self) -> DeliveryCounts:
        """Return how many there are, in one consistent read."""
        return self._store.read(_counts())

    def count_of_outage(self, outage: int) -> dict[str, int]:
        """Return what became of the deliveries of what was caught up after an outage: state → how many."""
        return dict(self._store.read(_rows(Statement("count_of_outage", {"outage": outage}))))

    # -- what people do ---------------------------------------------------------------------------------

    def replay(self, numbers: Sequence[int], now_us: Micros, *, to: str | None = None) -> Replayed:
        """Make closed deliveries again, as new rows; `to` another subscriber. Raises UnknownSubscriber."""
        return self._store.write(outbox_verbs.replay(numbers, now_us, to=to))

    def announce(self, event_id: str, seq: int, to: str, now_us: Micros) -> int:
        """Have one history entry told to a subscriber that has no delivery of it. Returns its number."""
        return self._store.write(outbox_verbs.announce_entry(event_id, seq, to, now_us))

    def park(self, numbers: Sequence[int], reason: str, now_us: Micros) -> dict[int, str | None]:
        """Close pending deliveries as parked. Returns for each None, or why it could not be."""
        return self._store.write(outbox_verbs.park(numbers, reason, now_us))

    def park_all(self, reason: str, now_us: Micros) -> int:
        """Park everything that is pending. Returns how many."""
        return self._store.write(outbox_verbs.park_all(reason, now_us))

    def _deliveries(self, statement: Statement) -> list[Delivery]:
        return [delivery_of(columns, self.identity) for columns in self._store.read(_rows(statement))]


def delivery_of(columns: Sequence[Any], identity: str) -> Delivery:
    """Read a delivery's row as it is shown."""
    (number, subscriber, event_id, topic, seq, state, reason, due, created, wake, closed, attempts, node,
     replay_of) = columns  # fmt: skip
    return Delivery(
        number=number,
        id=f"{identity}-{number}",
        subscriber=subscriber,
        event_id=event_id,
        topic=topic,
        seq=seq,
        state=State(state),
        reason=reason,
        due_us=due,
        created_us=created,
        wake_us=wake,
        closed_us=closed,
        attempts=attempts,
        node=node,
        replay_of=replay_of,
    )


def _rows(statement: Statement) -> Verb[Rows]:
    return (yield statement)


def identified(fresh: str) -> Verb[str]:
    """Keep an identity, unless another process was quicker."""
    found = yield from meta_json(IDENTITY_KEY)
    if found is None:
        yield from put_meta_json(IDENTITY_KEY, fresh)
    return fresh if found is None else str(found)


def _expire(now_us: Micros) -> Verb[None]:
    yield Statement("expire_leases", {"now": now_us, "waiting": WAITING_US})
    yield Statement("orphaned_lines", {"now": now_us, "waiting": WAITING_US})


def _told_of(
    leases: Sequence[Lease], known: Mapping[tuple[str, int], Entry], identity: str
) -> Verb[tuple[Told, str]]:
    identity = str((yield from meta_json(IDENTITY_KEY)) or identity)
    told = Told(entries=dict(known))
    ids = {lease.event_id for lease in leases if lease.event_id}
    if ids:
        told.rows = {row[0]: row for row in (yield Statement("get_events", {"ids": ids_text(list(ids))}))}
    wanted = {(lease.event_id, lease.seq) for lease in leases if lease.seq > 0} - told.entries.keys()
    if wanted:
        for columns in (yield Statement("history_at", {"pairs": ids_text(list(wanted))})):
            _, entry = entry_of(columns)
            told.entries[entry.event_id, entry.seq] = entry
    others = [lease for lease in leases if lease.seq < 0]
    if others:
        numbers = ids_text([-lease.seq for lease in others])
        told.outages = {row[0]: outage_of(row) for row in (yield Statement("outages_at", {"ids": numbers}))}
        found = yield Statement("get_deliveries", {"numbers": numbers})
        told.dead = {row[0]: delivery_of(row, identity) for row in found}
    return told, identity


def _counts() -> Verb[DeliveryCounts]:
    counted = yield Statement("count_open")
    found = tuple(
        OpenCount(subscriber=name, pending=pending, leased=leased, failing=failing, next_us=wake)
        for name, pending, leased, failing, wake in counted
    )
    return DeliveryCounts(found, dict((yield Statement("count_trouble"))))
