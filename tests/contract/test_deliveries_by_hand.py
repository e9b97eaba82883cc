"""What people do about deliveries: replay what is closed, announce what was never owed, park what is pending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from duly.errors import InvalidInput, UnknownDelivery, UnknownSubscriber
from duly.model.delivery import Standing, State
from duly.model.event import Hold
from duly.stores.outbox_verbs import ANNOUNCED, Result
from duly.stores.store import Store
from tests.builders import HOUR, T0, editing, event
from tests.contract.deeds import fire, fire_all, lit, put
from tests.contract.telling import (
    LEASE,
    NEVER_AGAIN,
    PLENTY,
    assert_lines_move,
    claim,
    dead,
    delivered,
    everything,
    failed,
    fire_leased,
    listener,
    numbers,
    owed,
    settle,
    states,
    subscribe,
    topics,
)

DATES: dict[str, Any] = {
    "registration_open": T0 + 1,
    "registration_close": T0 + 2,
    "event_start": T0 + 3,
    "event_end": T0 + 4,
}
NOW = T0 + 10
Falsify = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def line(store: Store) -> Store:
    """A store with one line of four deliveries, 1 to 4, of which nothing is leased."""
    subscribe(store, listener())
    put(store, event("w1", **DATES))
    fire_all(store, NOW)
    return store


def close(store: Store, *states_: State) -> None:
    """Close the next of a line in each of these states."""
    for state in states_:
        (lease,) = claim(store, NOW)
        settle(store, Result(lease, state, None, "so", None), now=NOW)


# ---------------------------------------------------------------------------------------------------- replay


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
def test_what_is_closed_is_made_again_as_a_new_row_that_names_the_old_one(store: Store, state: State) -> None:
    subscribe(store, listener())
    put(store, lit("w1", T0 + 1))
    fire(store, NOW)
    close(store, state)
    before = everything(store)[0]
    made = store.outbox.replay([1], NOW + HOUR)
    assert (made.made, made.refused) == ({1: 2}, {})
    assert everything(store)[0] == before
    again = store.outbox.delivery(2)
    assert (again.replay_of, again.state, again.seq, again.topic, again.due_us, again.created_us, again.attempts) == (
        1, State.PENDING, before.seq, before.topic, before.due_us, NOW + HOUR, 0,
    )  # fmt: skip
    assert again.id != before.id
    (lease,) = claim(store, NOW + HOUR)
    assert (lease.number, lease.replay_of, lease.is_late, lease.attempt) == (2, 1, True, 1)


def test_a_replay_goes_to_the_end_of_its_line(line: Store) -> None:
    close(line, State.DEAD)
    line.outbox.replay([1], NOW)
    assert_lines_move(line)
    order = []
    while leases := claim(line, NOW):
        order += numbers(leases)
        settle(line, *map(delivered, leases), now=NOW)
    assert order == [2, 3, 4, 5]


def test_one_is_replayed_once_and_then_its_replay_is(line: Store) -> None:
    close(line, *[State.DELIVERED] * 4)
    assert line.outbox.replay([1, 1], NOW).made == {1: 5}
    again = line.outbox.replay([1, 5, 2], NOW)
    assert again.made == {2: 6}
    assert again.refused == {1: "it has been replayed already; replay that one", 5: "it is still pending"}
    close(line, State.DEAD)
    assert line.outbox.replay([5], NOW).made == {5: 7}
    assert line.outbox.delivery(7).replay_of == 5


def test_each_is_refused_by_itself_with_the_reason(line: Store) -> None:
    close(line, State.DEAD)
    replayed = line.outbox.replay([99, 1, 2, -1], NOW)
    assert replayed.made == {1: 5}
    assert replayed.refused == {
        99: "there is no such delivery",
        2: "it is still pending",
        -1: "there is no such delivery",
    }
    assert line.outbox.replay([], NOW).made == {}


def test_a_replay_may_go_to_somebody_else_once_each(line: Store) -> None:
    subscribe(line, listener("a:c", "nothing"))
    close(line, State.DEAD, State.DEAD)
    assert line.outbox.replay([1, 2], NOW, to="a:c").made == {1: 5, 2: 6}
    assert [(d.subscriber, d.replay_of) for d in everything(line)[4:]] == [("a:c", 1), ("a:c", 2)]
    assert line.outbox.replay([1], NOW, to="a:c").made == {}
    assert line.outbox.replay([1], NOW).made == {1: 7}
    assert_lines_move(line)


def test_nothing_is_replayed_to_who_is_unknown_or_not_active(line: Store) -> None:
    close(line, State.DEAD)
    with pytest.raises(UnknownSubscriber, match="there is no subscriber 'nobody'; there are: a:b"):
        line.outbox.replay([1], NOW, to="nobody")
    subscribe(line, listener(standing=Standing.GONE, reason="no code declares it any more"))
    refused = line.outbox.replay([1], NOW).refused
    assert refused == {1: "its subscriber 'a:b' is gone (no code declares it any more); name another"}
    assert len(everything(line)) == 4


def test_what_a_replay_repeats_is_read_from_the_history(line: Store) -> None:
    close(line, State.MISSED)
    line.outbox.replay([1], NOW)
    close(line, *[State.DELIVERED] * 3)
    (lease,) = claim(line, NOW)
    told = line.outbox.told_of([lease], {})
    assert told.entries["w1", lease.seq].milestone == "registration_open"
    assert set(told.rows) == {"w1"}


def test_a_dead_news_and_an_outage_can_be_replayed_too(store: Store) -> None:
    subscribe(store, listener("a:b", retry=NEVER_AGAIN), listener("a:c", "dead", "outage", retry=NEVER_AGAIN))
    put(store, lit("w1", T0 + 1))
    fire(store, NOW)
    store.finish_outage(store.begin_outage(T0, NOW, "n").id, NOW, failed=0, window_us=0)
    for _ in range(2):
        settle(store, *map(dead, claim(store, NOW)), now=NOW)
    assert store.outbox.replay([2, 3], NOW).made == {2: 4, 3: 5}
    told = store.outbox.told_of(claim(store, NOW), {})
    assert (list(told.dead), list(told.outages)) == ([1], [1])


# -------------------------------------------------------------------------------------------------- announce


def test_what_passed_before_the_event_was_known_can_be_announced_once(store: Store) -> None:
    subscribe(store, listener(), listener("a:c"))
    put(store, event("w1", **DATES), now=NOW, known_since=NOW)
    assert owed(store) == []
    number = store.outbox.announce("w1", 2, "a:c", NOW)
    announced = store.outbox.delivery(number)
    assert (announced.subscriber, announced.topic, announced.due_us) == ("a:c", "registration_open", T0 + 1)
    assert announced.to_json()["replay_of"] is None
    (lease,) = claim(store, NOW)
    # No policy withholds what a person has said should be told.
    assert lease.replay_of == ANNOUNCED
    with pytest.raises(InvalidInput, match="'a:c' has been told of entry 2 already, by delivery 1; replay that"):
        store.outbox.announce("w1", 2, "a:c", NOW)
    store.outbox.announce("w1", 2, "a:b", NOW)
    assert topics(store) == ["registration_open"]


def test_what_was_announced_can_be_replayed(store: Store) -> None:
    subscribe(store, listener("a:b", retry=NEVER_AGAIN))
    put(store, event("w1", **DATES), now=NOW, known_since=NOW)
    number = store.outbox.announce("w1", 2, "a:b", NOW)
    settle(store, *map(dead, claim(store, NOW)), now=NOW)
    assert store.outbox.replay([number], NOW).made == {number: number + 1}


def test_nothing_is_announced_that_did_not_happen_or_to_who_cannot_be_told(line: Store) -> None:
    with pytest.raises(InvalidInput, match="event 'w1' has no history entry 99"):
        line.outbox.announce("w1", 99, "a:b", NOW)
    with pytest.raises(InvalidInput, match="event 'none' has no history entry 1"):
        line.outbox.announce("none", 1, "a:b", NOW)
    with pytest.raises(UnknownSubscriber):
        line.outbox.announce("w1", 1, "nobody", NOW)
    subscribe(line, listener("a:c", standing=Standing.DISABLED, reason="it said 410"))
    with pytest.raises(InvalidInput, match=r"entry 1 of event 'w1' .* 'a:c' is disabled \(it said 410\)"):
        line.outbox.announce("w1", 1, "a:c", NOW)
    with pytest.raises(InvalidInput, match="by delivery 1; replay that"):
        line.outbox.announce("w1", 2, "a:b", NOW)
    assert len(everything(line)) == 4


def test_a_creation_can_be_announced_as_well(line: Store) -> None:
    line.outbox.announce("w1", 1, "a:b", NOW)
    assert topics(line)[-1] == "created"
    assert everything(line)[-1].due_us == T0


# ------------------------------------------------------------------------------------------------------ park


def test_what_is_pending_is_parked_with_the_reason_and_the_next_of_its_line_goes_on(line: Store) -> None:
    assert line.outbox.park([1, 3], "not today", NOW) == {1: None, 3: None}
    assert [(d.state, d.reason, d.closed_us) for d in everything(line)][::2] == [
        (State.PARKED, "not today", NOW),
        (State.PARKED, "not today", NOW),
    ]
    assert_lines_move(line)
    assert numbers(claim(line, NOW)) == [2]


def test_what_is_closed_leased_or_not_there_is_not_parked_and_the_reason_is_said(line: Store) -> None:
    close(line, State.DELIVERED)
    (lease,) = claim(line, NOW)
    assert line.outbox.park([1, 2, 3, 99], "so", NOW) == {
        1: "it is not pending",
        2: "it is being delivered just now",
        3: None,
        99: "it is not pending",
    }
    assert settle(line, delivered(lease), now=NOW).stale == frozenset()
    assert numbers(claim(line, NOW)) == [4]


def test_what_is_in_backoff_is_parked_and_released_as_a_new_row(line: Store) -> None:
    (lease,) = claim(line, NOW)
    settle(line, failed(lease, NOW + HOUR), now=NOW)
    line.outbox.park([1], "so", NOW)
    assert line.outbox.replay([1], NOW).made == {1: 5}
    assert_lines_move(line)
    assert [attempt.outcome for attempt in line.outbox.attempts([1])[1]] == ["failed"]


def test_everything_is_parked_leases_and_all_and_who_held_one_is_fenced_off(store: Store) -> None:
    subscribe(store, listener("a:b"), listener("a:c"))
    put(store, event("w1", **DATES), lit("w2", T0 + 1))
    born = [lease for lease, _ in fire_leased(store, NOW, {1: PLENTY}).born]
    assert store.outbox.park_all("this store is a copy", NOW) == 10
    assert {(d.state, d.reason) for d in everything(store)} == {(State.PARKED, "this store is a copy")}
    assert settle(store, *map(delivered, born)).stale == set(numbers(born))
    assert store.outbox.renew("node-1", numbers(born), NOW + HOUR) == {}
    assert store.outbox.next_wakes() == {}
    assert claim(store, NOW + LEASE) == []
    assert store.outbox.park_all("again", NOW) == 0
    # What happens from now on is told as ever.
    put(store, event("w1", **{**DATES, "event_end": NOW + 5}), now=NOW)
    fire_all(store, NOW + 5)
    assert [d.topic for d in everything(store) if d.is_open] == ["event_end", "event_end"]
    assert_lines_move(store)


def test_what_is_parked_stays_parked_whatever_becomes_of_its_event(line: Store) -> None:
    line.outbox.park([1], "so", NOW)
    line.set_hold("w1", Hold.CANCELLED, lambda: editing(NOW))
    assert [states(line)[number] for number in (1, 2)] == [State.PARKED, State.WITHDRAWN]


def test_a_delivery_is_asked_for_by_its_number(line: Store) -> None:
    assert line.outbox.delivery(3).topic == "event_start"
    with pytest.raises(UnknownDelivery, match="there is no delivery 99"):
        line.outbox.delivery(99)
