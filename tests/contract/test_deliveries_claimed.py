"""Who may attempt a delivery: claims, leases, fencing numbers, and the order within a line of one subscriber and event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from duly.model.delivery import WAITING_US, Retry, Standing, State
from duly.stores.store import Store
from tests.builders import HOUR, MINUTE, SECOND, T0, event
from tests.contract.deeds import fire, fire_all, lit, put
from tests.contract.telling import (
    LEASE,
    NEVER_AGAIN,
    PLENTY,
    assert_lines_move,
    attempted,
    claim,
    dead,
    delivered,
    everything,
    failed,
    fire_leased,
    given_back,
    listener,
    numbers,
    outcomes,
    settle,
    states,
    subscribe,
    wakes,
)

DATES: dict[str, Any] = {
    "registration_open": T0 + 1,
    "registration_close": T0 + 2,
    "event_start": T0 + 3,
    "event_end": T0 + 4,
}
NOW = T0 + 10


@pytest.fixture
def line(store: Store) -> Store:
    """A store with one line of four deliveries, 1 to 4, of which nothing is leased."""
    subscribe(store, listener())
    put(store, event("w1", **DATES))
    fire_all(store, NOW)
    return store


# ------------------------------------------------------------------------------------------------- claiming


def test_only_the_first_of_a_line_is_claimed_and_the_next_when_it_is_closed(line: Store) -> None:
    for number in (1, 2, 3, 4):
        leases = claim(line, NOW)
        assert numbers(leases) == [number]
        assert claim(line, NOW) == []
        assert_lines_move(line)
        settle(line, delivered(leases[0]), now=NOW)
    assert claim(line, NOW) == []
    assert line.outbox.next_wakes() == {}


def test_what_a_lease_says_is_all_that_an_attempt_needs(line: Store) -> None:
    (lease,) = claim(line, NOW)
    assert lease._asdict() == {
        "number": 1, "subscriber": 1, "event_id": "w1", "topic": "registration_open", "seq": 2, "token": 1,
        "attempt": 1, "due_us": T0 + 1, "ready_us": NOW, "is_late": False, "replay_of": 0, "is_suspect": False,
    }  # fmt: skip
    (row,) = (each for each in everything(line) if each.number == 1)
    assert (row.node, row.wake_us, row.attempts, row.state) == ("node-1", NOW + LEASE, 1, State.PENDING)


def test_lines_of_other_events_and_other_subscribers_go_on_beside_each_other(store: Store) -> None:
    subscribe(store, listener("a:b"), listener("a:c"))
    put(store, lit("w1", T0 + 1, T0 + 2), lit("w2", T0 + 1, T0 + 2))
    fire(store, NOW)
    assert {(lease.subscriber, lease.event_id, lease.topic) for lease in claim(store, NOW)} == {
        (1, "w1", "switch_on"), (1, "w2", "switch_on"), (2, "w1", "switch_on"), (2, "w2", "switch_on"),
    }  # fmt: skip


def test_no_more_is_claimed_than_there_is_room_for_each_subscriber_and_what_is_ready_longest_comes_first(
    store: Store,
) -> None:
    first, second = subscribe(store, listener("a:b"), listener("a:c"))
    put(store, *(lit(f"w{n}", T0 + n) for n in range(5)), now=T0 - 1)
    for n in range(5):
        fire(store, T0 + n, fresh_from=T0 - HOUR)
    leases = store.outbox.claim("node-1", NOW, NOW + LEASE, {first: 2, second: 3})
    assert [(lease.subscriber, lease.event_id) for lease in leases] == [
        (first, "w0"), (first, "w1"), (second, "w0"), (second, "w1"), (second, "w2"),
    ]  # fmt: skip
    assert store.outbox.claim("node-1", NOW, NOW + LEASE, {first: 0, second: -1}) == []
    assert store.outbox.claim("node-1", NOW, NOW + LEASE, {}) == []


def test_scenario_28_what_is_fresh_is_claimed_before_the_backlog(store: Store) -> None:
    (number,) = subscribe(store, listener())
    put(store, lit("old1", T0), lit("old2", T0), lit("new", T0 + HOUR), now=T0 - 1)
    fire(store, T0 + HOUR)
    assert [lease.event_id for lease in store.outbox.claim("n", T0 + HOUR, T0 + 2 * HOUR, {number: 2})] == [
        "new",
        "old1",
    ]
    assert [lease.event_id for lease in claim(store, T0 + HOUR)] == ["old2"]


def test_what_is_due_later_is_not_claimed_before_its_instant(line: Store) -> None:
    (lease,) = claim(line, NOW)
    settle(line, failed(lease, NOW + 5 * SECOND), now=NOW)
    assert line.outbox.next_wakes() == {1: NOW + 5 * SECOND}
    assert claim(line, NOW + 5 * SECOND - 1) == []
    (again,) = claim(line, NOW + 5 * SECOND)
    assert (again.number, again.attempt, again.token, again.ready_us) == (1, 2, 2, NOW + 5 * SECOND)


def test_scenario_32_the_second_waits_while_the_first_of_its_event_is_in_backoff_and_other_events_do_not(
    store: Store,
) -> None:
    subscribe(store, listener())
    put(store, lit("w1", T0 + 1, T0 + 2), lit("w2", T0 + 2))
    fire(store, T0 + 1)
    (lease,) = claim(store, T0 + 1)
    settle(store, failed(lease, NOW + HOUR))
    fire(store, T0 + 2)
    (other,) = claim(store, NOW, node="node-2")
    assert other.event_id == "w2"
    settle(store, delivered(other), now=NOW)
    (again,) = claim(store, NOW + HOUR, node="node-2")
    assert (again.event_id, again.topic) == ("w1", "switch_on")
    settle(store, delivered(again), now=NOW + HOUR)
    assert [each.topic for each in claim(store, NOW + HOUR)] == ["switch_off"]


def test_two_nodes_never_hold_the_same_delivery(line: Store) -> None:
    put(line, *(lit(f"w{n}", T0 + 1) for n in range(2, 9)), now=T0)
    fire_all(line, NOW)
    one, two = claim(line, NOW, node="one", room=3), claim(line, NOW, node="two")
    assert len(one) == 3
    assert len(two) == 5
    assert not set(numbers(one)) & set(numbers(two))


# ------------------------------------------------------------------------------- leases that have run out


def test_a_lease_that_has_run_out_is_taken_over_with_a_newer_token_and_its_attempt_is_on_record_as_lost(
    line: Store,
) -> None:
    (mine,) = claim(line, NOW, node="one")
    assert claim(line, NOW + LEASE - 1, node="two") == []
    (theirs,) = claim(line, NOW + LEASE, node="two")
    assert (theirs.number, theirs.token, theirs.attempt) == (mine.number, 2, 2)
    assert outcomes(line, 1) == [(1, "lost")]
    assert settle(line, delivered(mine), now=NOW + LEASE).stale == {1}
    assert states(line)[1] is State.PENDING
    assert settle(line, delivered(theirs), now=NOW + LEASE).stale == frozenset()
    assert outcomes(line, 1) == [(1, "lost"), (2, "delivered")]


def test_a_holder_that_was_late_but_was_not_replaced_may_still_settle(line: Store) -> None:
    (lease,) = claim(line, NOW)
    assert settle(line, delivered(lease), now=NOW + HOUR).stale == frozenset()
    assert states(line)[1] is State.DELIVERED


def test_what_a_dead_node_had_leased_behind_the_first_waits_again_and_is_not_counted_as_attempted(
    store: Store,
) -> None:
    subscribe(store, listener())
    put(store, event("w1", **DATES))
    born = [lease for lease, _ in fire_leased(store, NOW, {1: PLENTY}, node="one").born]
    assert [lease.attempt for lease in born] == [1, 0, 0, 0]
    (first,) = claim(store, NOW + LEASE, node="two")
    assert wakes(store) == {1: NOW + 2 * LEASE, 2: None, 3: None, 4: None}
    # Nobody is told to look for what cannot be claimed.
    assert store.outbox.next_wakes() == {1: NOW + 2 * LEASE}
    assert settle(store, *map(delivered, born)).stale == {1, 2, 3, 4}
    settle(store, delivered(first), now=NOW + LEASE)
    (second,) = claim(store, NOW + LEASE, node="two")
    assert (second.number, second.attempt) == (2, 1)
    assert [len(outcomes(store, number)) for number in (1, 2)] == [2, 0]
    assert_lines_move(store)


def test_a_node_that_was_only_late_claims_its_line_again_and_goes_on_with_all_of_it(store: Store) -> None:
    subscribe(store, listener())
    put(store, event("w1", **DATES))
    born = [lease for lease, _ in fire_leased(store, NOW, {1: 3}).born]
    (first,) = claim(store, NOW + LEASE)
    assert first.token == 2
    assert wakes(store) == {1: NOW + 2 * LEASE, 2: NOW + 2 * LEASE, 3: NOW + 2 * LEASE, 4: None}
    assert settle(store, delivered(first)._replace(wakes=False)).stale == frozenset()
    assert settle(store, delivered(born[1])._replace(wakes=False), delivered(born[2])).stale == frozenset()
    assert numbers(claim(store, NOW + LEASE)) == [4]


def test_a_delivery_that_kills_its_node_each_time_is_dead_after_its_last_attempt(line: Store) -> None:
    now = NOW
    for _ in range(2):
        assert numbers(claim(line, now)) == [1]
        now += LEASE
    assert numbers(claim(line, now)) == []
    first = everything(line)[0]
    assert (first.state, first.reason) == (State.DEAD, "its node ended during the last attempt")
    assert outcomes(line, 1) == [(1, "lost"), (2, "lost")]
    assert numbers(claim(line, now)) == [2]


def test_a_poisonous_one_that_was_leased_behind_another_comes_to_an_end_too(store: Store) -> None:
    subscribe(store, listener(retry=NEVER_AGAIN))
    put(store, lit("w1", T0 + 1, T0 + 2))
    born = [lease for lease, _ in fire_leased(store, NOW, {1: PLENTY}).born]
    settle(store, delivered(born[0])._replace(wakes=False))
    now = NOW
    for _ in range(2):  # its first attempt had not been counted: it gets one more
        now += LEASE
        claim(store, now)
    assert states(store)[2] is State.DEAD


def test_a_schedule_that_has_become_shorter_ends_what_has_been_tried_often_enough(line: Store) -> None:
    (lease,) = claim(line, NOW)
    settle(line, failed(lease, NOW + HOUR), now=NOW)
    subscribe(line, listener(retry=NEVER_AGAIN))
    assert claim(line, NOW + HOUR) == []
    first = everything(line)[0]
    assert first.state is State.DEAD
    assert first.reason == "it has been tried 1 times; by now the schedule of its subscriber allows no more"
    assert numbers(claim(line, NOW + HOUR)) == [2]


def test_death_by_a_lost_attempt_is_told_to_who_listens_for_it(store: Store) -> None:
    subscribe(store, listener(retry=NEVER_AGAIN), listener("a:undertaker", "dead"))
    put(store, lit("w1", T0 + 1))
    fire(store, NOW)
    claim(store, NOW)
    claim(store, NOW + LEASE)
    assert [(d.subscriber, d.event_id, d.topic, d.seq) for d in everything(store)[1:]] == [
        ("a:undertaker", "w1", "dead", -1)
    ]


def test_the_owner_that_starts_ends_all_leases_at_once(store: Store) -> None:
    subscribe(store, listener("a:b"), listener("a:c"))
    put(store, event("w1", **DATES), lit("w2", T0 + 1))
    born = [lease for lease, _ in fire_leased(store, NOW, {1: PLENTY}).born]
    (waiting,) = (lease for lease in claim(store, NOW) if lease.event_id == "w2")
    settle(store, failed(waiting, NOW + HOUR), now=NOW)
    store.outbox.expire_leases(NOW + 1)
    assert_lines_move(store)
    # Should the process that held them be there all the same, it can change nothing.
    assert settle(store, *map(delivered, born)).stale == set(numbers(born))
    assert store.outbox.next_wakes() == {1: NOW + 1, 2: NOW + 1}
    leases = claim(store, NOW + 1, node="next")
    assert {(lease.subscriber, lease.event_id, lease.attempt) for lease in leases} == {
        (1, "w1", 2), (1, "w2", 2), (2, "w1", 2),
    }  # fmt: skip
    # All that can be done now is being done: nobody is called before one of these leases ends.
    assert set(store.outbox.next_wakes().values()) == {NOW + 1 + LEASE}
    assert [each.number for each in everything(store) if each.wake_us == NOW + HOUR] == [waiting.number]


def test_the_owner_that_starts_wakes_a_line_that_waits_for_nobody(
    line: Store, falsify: Callable[..., object]
) -> None:
    falsify("DELETE FROM delivery WHERE number IN (1, 2)")
    assert claim(line, NOW) == []
    line.outbox.expire_leases(NOW)
    assert numbers(claim(line, NOW)) == [3]
    assert_lines_move(line)


# ------------------------------------------------------------------------------------------------- renewing


def test_a_lease_is_extended_as_long_as_it_is_mine(line: Store) -> None:
    (lease,) = claim(line, NOW, node="one")
    assert line.outbox.renew("one", [1, 2, 99], NOW + 2 * LEASE) == {1: lease.token}
    assert line.outbox.renew("two", [1], NOW + 9 * LEASE) == {}
    assert claim(line, NOW + LEASE, node="two") == []
    assert numbers(claim(line, NOW + 2 * LEASE, node="two")) == [1]
    assert line.outbox.renew("one", [1], NOW + 9 * LEASE) == {}
    settle(line, delivered(lease._replace(token=2)))
    assert line.outbox.renew("two", [1], NOW + 9 * LEASE) == {}


def test_after_my_own_lease_has_run_out_and_i_have_claimed_it_again_a_renewal_tells_me_the_newer_token(
    line: Store,
) -> None:
    claim(line, NOW)
    (again,) = claim(line, NOW + LEASE)
    assert line.outbox.renew("node-1", [1], NOW + 2 * LEASE) == {1: again.token}


# ---------------------------------------------------------------------------------------------- giving back


def test_what_was_not_attempted_is_given_back_and_does_not_count(line: Store) -> None:
    (lease,) = claim(line, NOW)
    settle(line, given_back(lease, NOW + 1), now=NOW)
    first = everything(line)[0]
    assert (first.attempts, first.node, first.wake_us) == (0, None, NOW + 1)
    (again,) = claim(line, NOW + 1, node="two")
    assert (again.number, again.attempt, again.token) == (1, 1, 2)
    assert outcomes(line, 1) == []


def test_all_of_a_line_is_given_back_and_goes_on_in_its_order(store: Store) -> None:
    subscribe(store, listener())
    put(store, event("w1", **DATES))
    born = [lease for lease, _ in fire_leased(store, NOW, {1: PLENTY}).born]
    settle(store, *(given_back(lease, NOW) for lease in born), now=NOW)
    assert_lines_move(store)
    assert wakes(store) == {1: NOW, 2: None, 3: None, 4: None}


def test_when_the_first_is_put_off_what_was_leased_behind_it_waits_for_it(store: Store) -> None:
    subscribe(store, listener())
    put(store, event("w1", **DATES))
    born = [lease for lease, _ in fire_leased(store, NOW, {1: PLENTY}).born]
    settle(store, failed(born[0], NOW + HOUR), now=NOW)
    assert_lines_move(store)
    assert store.outbox.next_wakes() == {1: NOW + HOUR}
    assert claim(store, NOW + LEASE, node="two") == []
    # Its holder may say the same once more, at its leisure.
    assert settle(store, *(given_back(lease, None) for lease in born[1:])).stale == frozenset()
    assert_lines_move(store)


@pytest.mark.parametrize("wake", [WAITING_US, None, NOW], ids=["at the end of time", "whenever", "now"])
def test_in_one_settling_the_first_is_closed_and_the_next_given_back_and_the_line_goes_on(
    store: Store, wake: int | None
) -> None:
    subscribe(store, listener())
    put(store, event("w1", **DATES))
    first, second, *_ = [lease for lease, _ in fire_leased(store, NOW, {1: 2}).born]
    settle(store, delivered(first), given_back(second, wake), now=NOW)
    assert_lines_move(store)
    assert numbers(claim(store, NOW)) == [2]


def test_what_is_given_back_to_wait_behind_nothing_goes_on_at_once(line: Store) -> None:
    (lease,) = claim(line, NOW)
    settle(line, given_back(lease, None), now=NOW)
    assert_lines_move(line)
    assert numbers(claim(line, NOW)) == [1]


def test_the_next_is_not_woken_where_its_node_holds_it_too(store: Store) -> None:
    subscribe(store, listener())
    put(store, event("w1", **DATES))
    born = [lease for lease, _ in fire_leased(store, NOW, {1: 2}).born]
    settle(store, delivered(born[0])._replace(wakes=False), now=NOW)
    assert wakes(store)[2] == NOW + LEASE
    assert settle(store, delivered(born[1]), now=NOW).stale == frozenset()
    assert numbers(claim(store, NOW)) == [3]
    assert outcomes(store, 2) == [(1, "delivered")]


# ------------------------------------------------------------------------------------------- who is claimed


def test_nothing_is_owed_to_a_subscriber_that_is_not_active_and_so_nothing_is_claimed(line: Store) -> None:
    subscribe(line, listener(standing=Standing.DISABLED, reason="a person said so"))
    assert claim(line, NOW) == []
    assert line.outbox.claim("node-1", NOW, NOW + LEASE, {1: PLENTY}) == []
    assert line.outbox.next_wakes() == {}


def test_when_something_is_next_owed_is_said_for_each_subscriber_apart_over_both_lanes(store: Store) -> None:
    subscribe(store, listener("a:b"), listener("a:c"), listener("a:d", "nothing"))
    put(store, lit("old", T0), lit("new", T0 + HOUR), now=T0 - 1)
    fire(store, T0 + HOUR)
    leases = claim(store, T0 + HOUR)
    late = {(lease.subscriber, lease.is_late): lease for lease in leases}
    settle(store, failed(late[1, True], T0 + 2 * HOUR), failed(late[1, False], T0 + 3 * HOUR), now=T0 + HOUR)
    settle(store, failed(late[2, True], T0 + 5 * HOUR), failed(late[2, False], T0 + 4 * HOUR), now=T0 + HOUR)
    assert store.outbox.next_wakes() == {1: T0 + 2 * HOUR, 2: T0 + 4 * HOUR}


def test_a_long_schedule_is_kept_to_the_microsecond(store: Store) -> None:
    retry = Retry((timedelta(microseconds=7), timedelta(days=3, microseconds=1)), 0.0)
    subscribe(store, listener(retry=retry))
    assert store.outbox.subscriber("a:b").retry == retry
    put(store, lit("w1", T0 + 1))
    fire(store, NOW)
    now, seen = NOW, []
    while leases := claim(store, now):
        (lease,) = leases
        seen.append(now - NOW)
        delay = store.outbox.subscriber("a:b").retry.delay_us(lease.attempt, lease.number)
        settle(store, dead(lease) if delay is None else failed(lease, now + delay), now=now)
        now += delay or 0
    assert seen == [0, 7, 7 + 3 * 24 * HOUR + 1]
    assert outcomes(store, 1) == [(1, "failed"), (2, "failed"), (3, "failed")]
    assert states(store)[1] is State.DEAD


def test_an_attempt_is_written_down_with_all_that_is_known_of_it(line: Store) -> None:
    (lease,) = claim(line, NOW)
    made = attempted(lease, "failed", NOW)._replace(ended_us=NOW + MINUTE, code=503, said="Service Unavailable")
    settle(line, failed(lease, NOW + HOUR)._replace(attempt=made), now=NOW + MINUTE)
    assert line.outbox.attempts([1, 2]) == {1: [made], 2: []}


def test_what_nodes_have_ended_with_twice_is_claimed_alone_and_others_beside_it(store: Store) -> None:
    subscribe(store, listener("a:b", retry=Retry.exponential(9)))
    put(store, *(lit(f"w{n}", T0 + 1) for n in range(5)))
    fire(store, T0 + 1)
    now = T0 + 2
    for node, claimed in (("n1", 5), ("n2", 5)):  # each ends with all that it has leased
        assert len(store.outbox.claim(node, now, now + LEASE, {1: PLENTY})) == claimed
        now += LEASE + 1
    put(store, lit("new", now - 1), now=now - 2)
    fire(store, now)
    first = store.outbox.claim("n3", now, now + LEASE, {1: PLENTY})
    assert [(lease.event_id, lease.is_suspect) for lease in first] == [("w0", True), ("new", False)]
    assert store.outbox.claim("n3", now, now + LEASE, {1: PLENTY}, suspects=False) == []
    (second,) = store.outbox.claim("n3", now, now + LEASE, {1: PLENTY})
    assert (second.event_id, second.attempt, second.is_suspect) == ("w1", 3, True)
