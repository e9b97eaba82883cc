"""What is no longer true is no longer told: withdrawn in the very transaction that makes it untrue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from duly.model.delivery import State
from duly.model.event import Hold
from duly.stores.store import Store
from tests.builders import HOUR, MINUTE, SECOND, T0, editing, event
from tests.contract.deeds import fire, fire_all, lit, put, remove
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
    given_back,
    listener,
    numbers,
    owed,
    settle,
    states,
    subscribe,
    wakes,
)

DATES: dict[str, Any] = {
    "registration_open": T0,
    "registration_close": T0 + HOUR,
    "event_start": T0 + 2 * HOUR,
    "event_end": T0 + 3 * HOUR,
}
NOW = T0 + 2 * HOUR


@pytest.fixture
def line(store: Store) -> Store:
    """A store whose `w1` has three deliveries to tell, and `w2` one."""
    subscribe(store, listener("a:b", "*", "revoked", "held", "removed"))
    put(store, event("w1", **DATES), event("w2", registration_open=T0), now=T0 - 1)
    for now in (T0, T0 + HOUR, NOW):
        fire_all(store, now)
    return store


def hold(store: Store, to: Hold, now: int = NOW) -> None:
    store.set_hold("w1", to, lambda: editing(now))


@pytest.mark.parametrize("to", [Hold.CANCELLED, Hold.POSTPONED, Hold.ARCHIVED, Hold.DRAFT])
def test_scenario_16_a_hold_withdraws_what_the_event_was_still_to_tell_but_for_its_own_notice(
    line: Store, to: Hold
) -> None:
    hold(line, to)
    assert owed(line) == [
        "a:b w1 registration_open withdrawn",
        "a:b w2 registration_open pending",
        "a:b w1 registration_close withdrawn",
        "a:b w1 event_start withdrawn",
        f"a:b w1 {to} pending",
    ]
    assert everything(line)[0].reason == f"the event is {to}"
    assert everything(line)[0].closed_us == NOW
    assert wakes(line) == {2: T0, 5: NOW}
    assert_lines_move(line)


def test_a_hold_that_a_put_sets_withdraws_as_well(line: Store) -> None:
    put(line, event("w1", hold=Hold.CANCELLED, **DATES), now=NOW)
    assert [d.state for d in everything(line) if d.event_id == "w1"] == [State.WITHDRAWN] * 3 + [State.PENDING]


def test_a_removal_withdraws_all_but_its_own_notice(line: Store) -> None:
    hold(line, Hold.CANCELLED)
    remove(line, "w1", NOW)
    open_ = [d.topic for d in everything(line) if d.event_id == "w1" and d.is_open]
    assert open_ == ["cancelled", "removed"]
    assert_lines_move(line)


def test_a_resumption_withdraws_nothing_that_was_said_of_the_hold(line: Store) -> None:
    hold(line, Hold.CANCELLED)
    hold(line, Hold.ACTIVE, NOW + 1)
    assert [d.topic for d in everything(line) if d.event_id == "w1" and d.is_open] == ["cancelled", "resumed"]


def test_scenario_05_what_is_revoked_before_it_was_told_is_not_told_any_more(line: Store) -> None:
    put(line, event("w1", **{**DATES, "registration_close": NOW + HOUR}), now=NOW)
    assert [f"{d.topic} {d.state}" for d in everything(line) if d.event_id == "w1"] == [
        "registration_open pending",
        "registration_close withdrawn",
        "event_start pending",
        "revoked pending",
    ]
    assert everything(line)[2].reason == "registration_close was revoked, or has no date any more"
    fire_all(line, NOW + HOUR)
    assert [d.topic for d in everything(line)][-2:] == ["registration_close", "event_end"]


def test_what_has_lost_its_date_is_not_told_any_more(line: Store) -> None:
    without = {name: due for name, due in DATES.items() if name != "registration_open"}
    put(line, event("w1", **without), now=NOW)
    assert [d.state for d in everything(line) if d.topic == "registration_open"] == [State.WITHDRAWN, State.PENDING]
    assert_lines_move(line)
    assert wakes(line)[3] == NOW


def test_what_is_moved_within_the_past_stands_and_is_told(line: Store) -> None:
    put(line, event("w1", **{**DATES, "registration_open": T0 + 1}), now=NOW)
    assert {d.state for d in everything(line)} == {State.PENDING}


def test_an_edit_of_one_event_touches_no_other(line: Store) -> None:
    before = [d for d in everything(line) if d.event_id == "w2"]
    hold(line, Hold.CANCELLED)
    remove(line, "w1", NOW)
    assert [d for d in everything(line) if d.event_id == "w2"] == before


def test_what_is_under_way_is_left_to_its_node_and_the_next_of_the_line_follows_it(line: Store) -> None:
    leases = claim(line, NOW)
    hold(line, Hold.CANCELLED, NOW + 1)
    assert states(line) == {
        1: State.PENDING, 2: State.PENDING, 3: State.WITHDRAWN, 4: State.WITHDRAWN, 5: State.PENDING,
    }  # fmt: skip
    assert settle(line, *map(delivered, leases), now=NOW + 2).stale == frozenset()
    assert [lease.topic for lease in claim(line, NOW + 2)] == ["cancelled"]
    assert_lines_move(line)


def test_what_is_in_backoff_is_withdrawn_too(line: Store) -> None:
    settle(line, *(failed(lease, NOW + HOUR) for lease in claim(line, NOW)), now=NOW)
    hold(line, Hold.CANCELLED)
    assert states(line)[1] is State.WITHDRAWN
    assert [lease.topic for lease in claim(line, NOW)] == ["cancelled"]


def test_what_a_node_had_in_its_hands_and_gives_back_later_is_fenced_off(store: Store) -> None:
    subscribe(store, listener("a:b", "*", "held"))
    put(store, lit("w1", T0 + 1))
    fire(store, T0 + 1)
    (lease,) = claim(store, T0 + 1)
    settle(store, given_back(lease, T0 + 2), now=T0 + 1)
    store.set_hold("w1", Hold.CANCELLED, lambda: editing(T0 + 2))
    assert states(store)[1] is State.WITHDRAWN
    assert settle(store, delivered(lease)).stale == {1}


def test_what_a_person_had_made_again_is_not_withdrawn(line: Store) -> None:
    hold(line, Hold.CANCELLED)
    line.outbox.replay([1], NOW)
    hold(line, Hold.POSTPONED, NOW + 1)
    assert [d.state for d in everything(line) if d.replay_of] == [State.PENDING]


def test_neither_a_dead_delivery_nor_an_outage_is_made_untrue_by_an_edit(store: Store) -> None:
    subscribe(store, listener("a:b", retry=NEVER_AGAIN), listener("a:c", "dead", "outage"))
    put(store, lit("w1", T0 + 1))
    fire(store, T0 + 1)
    settle(store, *map(dead, claim(store, T0 + 1)), now=T0 + 1)
    store.finish_outage(store.begin_outage(T0, T0 + 1, "n").id, T0 + 1, failed=0, window_us=0)
    remove(store, "w1", T0 + 2)
    assert [d.topic for d in everything(store) if d.is_open] == ["dead", "outage"]


def test_an_event_that_comes_into_being_on_hold_is_news_all_the_same(store: Store) -> None:
    subscribe(store, listener("a:b", "created", "edited"))
    put(store, event("w1", hold=Hold.PENDING_APPROVAL, **DATES))
    put(store, event("w1", hold=Hold.PENDING_APPROVAL, **{**DATES, "event_end": T0 + 5 * HOUR}), now=T0 + 1)
    assert (everything(store)[0].topic, everything(store)[0].state) == ("created", State.PENDING)
    remove(store, "w1", T0 + 2)
    assert everything(store)[0].state is State.WITHDRAWN


def test_a_hold_that_fails_withdraws_nothing(line: Store, falsify: Callable[..., object]) -> None:
    falsify("CREATE TRIGGER refuse BEFORE INSERT ON delivery BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(Exception, match="no"):
        hold(line, Hold.CANCELLED)
    falsify("DROP TRIGGER refuse")
    assert {d.state for d in everything(line)} == {State.PENDING}
    assert line.get_event("w1").hold == Hold.ACTIVE


def test_however_often_a_start_is_moved_after_it_has_fired_one_announcement_of_it_is_left(store: Store) -> None:
    subscribe(store, listener("a:b", "event_start"))
    dates: dict[str, Any] = {"event_start": T0 + HOUR, "event_end": T0 + 100 * HOUR}
    put(store, event("w1", **dates))
    for _ in range(5):
        now = dates["event_start"] + 11 * MINUTE
        fire_all(store, now)
        dates["event_start"] = now + HOUR
        put(store, event("w1", **dates), now=now)
    fire_all(store, dates["event_start"])
    assert list(states(store).values()) == [State.WITHDRAWN] * 5 + [State.PENDING]
    assert_lines_move(store)


def test_the_first_left_of_a_leased_line_follows_at_once_when_the_lease_is_lost(store: Store) -> None:
    subscribe(store, listener("a:b", "*", "held"))
    put(store, event("w1", **DATES))
    born = [lease for lease, _ in fire_leased(store, NOW, {1: PLENTY}, fresh_from=T0 - HOUR).born]
    hold(store, Hold.CANCELLED, NOW + SECOND)
    assert [d.state for d in everything(store)] == [State.PENDING] * 4  # all in the hands of one node
    (first,) = claim(store, NOW + LEASE, node="two")
    settle(store, delivered(first), now=NOW + LEASE)
    assert numbers(claim(store, NOW + LEASE, node="two")) == [born[1].number]
    assert_lines_move(store)
