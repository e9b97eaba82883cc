"""What the tests of the outbox do, in few words: subscribe, claim, settle, and look at what is owed to whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from duly.model.dates import Micros
from duly.model.delivery import WAITING_US, Attempt, Delivery, Lease, Retry, State, Subscriber
from duly.stores.births import LeaseTerms
from duly.stores.outbox_verbs import Result, Settled
from duly.stores.store import Store
from duly.stores.verbs import Fired
from tests.builders import SECOND, T0
from tests.contract.deeds import request

LEASE: Final = 30 * SECOND
PLENTY: Final = 1_000
ONCE_AGAIN: Final = Retry((timedelta(seconds=5),), 0.0)  # two attempts, without jitter
NEVER_AGAIN: Final = Retry((), 0.0)


def listener(name: str = "a:b", *topics: str, **how: Any) -> Subscriber:
    """Return a handler that listens to these topics (none named: to every milestone), tried twice."""
    said: dict[str, Any] = {"channel": "handler", "retry": ONCE_AGAIN, **how}
    return Subscriber(name=name, topics=topics or ("*",), **said)


def subscribe(store: Store, *subscribers: Subscriber, now: Micros = T0) -> list[int]:
    """Add subscribers; return their numbers."""
    return [store.outbox.put_subscriber(subscriber, now).number for subscriber in subscribers]


def fire_leased(
    store: Store, now: Micros, rooms: Mapping[int, int], *, node: str = "node-1", most: int = 500, **said: Any
) -> Fired:
    """Fire one batch whose deliveries are born leased, as far as there is room."""
    terms = LeaseTerms(node, now + LEASE, rooms)
    return store.fire_due(replace(request(now, most=most, **said), lease=terms))


def claim(store: Store, now: Micros, *, node: str = "node-1", room: int = PLENTY) -> list[Lease]:
    """Claim what may be attempted, of every subscriber."""
    rooms = dict.fromkeys(store.outbox.next_wakes(), room)
    return store.outbox.claim(node, now, now + LEASE, rooms)


def attempted(lease: Lease, outcome: str, now: Micros, node: str = "node-1") -> Attempt:
    """Return the attempt that was made under a lease."""
    return Attempt(lease.number, max(1, lease.attempt), node, now, now, outcome, None, None)


def delivered(lease: Lease, now: Micros = T0) -> Result:
    """Return a delivery that was made."""
    return Result(lease, State.DELIVERED, None, None, attempted(lease, "delivered", now))


def failed(lease: Lease, wake: Micros, now: Micros = T0) -> Result:
    """Return a delivery that is tried again later."""
    return Result(lease, State.PENDING, wake, "it is down", attempted(lease, "failed", now))


def dead(lease: Lease, now: Micros = T0) -> Result:
    """Return a delivery that is given up."""
    return Result(lease, State.DEAD, None, "it is down", attempted(lease, "failed", now))


def given_back(lease: Lease, wake: Micros | None) -> Result:
    """Return a delivery that was not attempted."""
    return Result(lease, State.PENDING, wake, None, None)


def settle(store: Store, *results: Result, now: Micros = T0) -> Settled:
    """Settle in one transaction."""
    return store.outbox.settle(results, now)


def everything(store: Store) -> list[Delivery]:
    """Return all deliveries, oldest first."""
    return store.outbox.deliveries(most=1_000_000)[::-1]


def owed(store: Store) -> list[str]:
    """Return all deliveries, as short as `a:b w1 switch_on pending`; oldest first."""
    return [f"{d.subscriber} {d.event_id} {d.topic} {d.state}" for d in everything(store)]


def topics(store: Store, *, subscriber: str = "a:b", state: State | None = None) -> list[str]:
    """Return what one subscriber is or was told, oldest first."""
    return [d.topic for d in everything(store) if d.subscriber == subscriber and state in {None, d.state}]


def states(store: Store) -> dict[int, State]:
    """Return the state of each delivery, by number."""
    return {d.number: d.state for d in everything(store)}


def wakes(store: Store) -> dict[int, Micros | None]:
    """Return when each open delivery may be attempted, by number; None for one that waits in its line."""
    open_ = (d for d in everything(store) if d.is_open)
    return {d.number: None if d.wake_us == WAITING_US else d.wake_us for d in open_}


def numbers(leases: Iterable[Lease]) -> list[int]:
    """Return which deliveries are under these leases."""
    return [lease.number for lease in leases]


def outcomes(store: Store, number: int) -> list[tuple[int, str]]:
    """Return the attempts of a delivery: number and outcome."""
    return [(attempt.number, attempt.outcome) for attempt in store.outbox.attempts([number])[number]]


def assert_lines_move(store: Store) -> None:
    """Hold that in each line only the first is ready or leased, unless one node has leased it with those behind it.

    And that no line is stuck: its first never waits for another.
    """
    lines: dict[tuple[str, str], list[Delivery]] = {}
    for each in everything(store):
        assert each.is_open == (each.wake_us is not None), f"a limbo: {each}"
        assert each.is_open == (each.closed_us is None), f"a limbo: {each}"
        if each.is_open:
            lines.setdefault((each.subscriber, each.event_id), []).append(each)
    for line, (first, *behind) in lines.items():
        assert first.wake_us != WAITING_US, f"{line} is stuck: its first waits for nobody"
        for each in behind:
            leased = each.node is not None and each.node == first.node
            assert leased or (each.wake_us == WAITING_US and each.node is None), f"{line}: {each} overtakes {first}"
