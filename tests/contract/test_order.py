"""Order: within a batch, over the batches of a strict backlog, and within each event always."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duly.model.history import Entry
from duly.rules.status import status_at
from duly.stores.store import Store
from tests.builders import CAMPUS, DAY, HOUR, MINUTE, T0, event
from tests.contract.deeds import LIFECYCLES, assert_all_sound, briefly, fire, fire_all, ledger, lit, put
from tests.contract.places import PLACES, Rows

Falsify = Callable[..., Rows]


def chronology(entries: list[Entry]) -> list[tuple[int, str, int]]:
    """Return (due, event, place in the lifecycle) of each transition, as the ledger tells them."""
    return [(e.due_us or 0, e.event_id, CAMPUS.order(e.milestone or "")) for e in entries if e.is_transition]


def test_a_batch_is_told_by_due_instant_then_event_then_milestone(store: Store) -> None:
    start, end = T0 + HOUR, T0 + 2 * HOUR
    put(
        store,
        event("b", registration_close=start, event_start=start, event_end=end),
        event("a", registration_close=T0, event_start=start, event_end=end),
        event("c", event_start=T0, event_end=T0),
    )
    fired = fire(store, T0 + DAY)
    assert briefly(fired.entries) == [
        "a fired registration_close",
        "c fired event_start",
        "c fired event_end",
        "a fired event_start",
        "b fired registration_close",
        "b fired event_start",
        "a fired event_end",
        "b fired event_end",
    ]
    assert [entry for entry in ledger(store) if entry.is_transition] == fired.entries


def test_a_repair_is_told_before_what_its_event_fires_also_in_a_batch_of_several(
    store: Store, falsify: Falsify
) -> None:
    put(store, lit("a", T0, T0 + HOUR), lit("b", T0 + 1))
    falsify("UPDATE event SET status = 'out/out' WHERE id = 'a'")
    fired = fire(store, T0 + DAY)
    assert briefly(fired.entries) == [
        "a repaired",
        "a fired switch_on",
        "b fired switch_on",
        "a fired switch_off",
    ]
    assert_all_sound(store)


def test_a_batch_that_is_not_strict_may_run_ahead_of_what_it_did_not_claim(store: Store) -> None:
    put(store, lit("a", T0, T0 + DAY), lit("b", T0 + 1))
    assert len(fire(store, T0 + DAY, most=1).transitions) == 2


def test_a_strict_batch_goes_no_further_than_the_first_event_that_it_did_not_claim(store: Store) -> None:
    put(store, lit("a", T0, T0 + DAY), lit("b", T0 + 1))
    assert briefly(fire(store, T0 + DAY, most=1, strict=True).entries) == ["a fired switch_on"]
    assert briefly(fire(store, T0 + DAY, most=1, strict=True).entries) == ["b fired switch_on"]
    assert briefly(fire(store, T0 + DAY, most=1, strict=True).entries) == ["a fired switch_off"]


def test_where_a_strict_batch_ends_in_the_middle_of_an_instant_the_smaller_ids_go_first(store: Store) -> None:
    put(store, *(lit(f"w{n}", T0, T0) for n in range(5)))
    batches = fire_all(store, T0 + HOUR, most=2, strict=True)
    assert [[entry.event_id for entry in batch.entries] for batch in batches] == [
        ["w0", "w0", "w1", "w1"],
        ["w2", "w2", "w3", "w3"],
        ["w4", "w4"],
    ]


def test_a_strict_backlog_goes_before_what_is_fresh(store: Store) -> None:
    # Who asked for one chronology of everything gets it; who must not wait for a backlog does not ask.
    put(store, *(lit(f"old-{n}", T0 + n) for n in range(4)), lit("new", T0 + DAY))
    batches = fire_all(store, T0 + DAY, most=2, strict=True, fresh_from=T0 + DAY - MINUTE)
    fired = [entry.event_id for batch in batches for entry in batch.entries]
    assert fired == ["old-0", "old-1", "old-2", "old-3", "new"]


@st.composite
def backlogs(draw: st.DrawFn) -> dict[str, list[int]]:
    """Return, by event, up to five instants (minutes) in the order of a campus event's milestones."""
    minutes = st.lists(st.integers(0, 30), min_size=5, max_size=5).map(sorted)
    ids = draw(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=10, unique=True))
    return {id_: draw(minutes) for id_ in ids}


def backlogged(store: Store, backlog: dict[str, list[int]]) -> None:
    names = ("registration_open", "registration_close", "event_start", "event_end", "certificate_end")
    for id_, minutes in backlog.items():
        dates: dict[str, Any] = {name: T0 + minute * MINUTE for name, minute in zip(names, minutes, strict=True)}
        put(store, event(id_, **dates))


def opened(place_name: str, folder: Path) -> Store:
    (place,) = (place for place in PLACES if place.name == place_name)
    store = place.make(folder)
    store.open(T0)
    store.declare_lifecycles([], LIFECYCLES, T0)
    return store


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(backlogs(), st.integers(1, 6), st.integers(0, 40))
def test_strict_batches_of_any_size_tell_one_chronology(
    tmp_path: Path, backlog: dict[str, list[int]], most: int, fresh_minutes: int
) -> None:
    # On the store in memory alone: what is searched here is the verb, which is the same for all.
    store = opened("sqlite-memory", tmp_path)
    backlogged(store, backlog)
    end = T0 + 30 * MINUTE
    fire_all(store, end, most=most, strict=True, fresh_from=end - fresh_minutes * MINUTE)
    told = chronology(ledger(store))
    assert told == sorted(told)
    assert len(told) == sum(len(minutes) for minutes in backlog.values()) + len(
        backlog
    )  # certificate_start by itself
    assert_all_sound(store)
    assert {row.status for row in store.list_events()} == {status_at(r, CAMPUS, end) for r in store.list_events()}
    store.close()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(backlogs(), st.integers(1, 6), st.lists(st.integers(0, 30), max_size=5).map(sorted), st.integers(0, 10))
def test_whatever_the_batches_and_the_lanes_each_event_fires_in_order_and_all_come_to_their_status(
    tmp_path: Path, backlog: dict[str, list[int]], most: int, stops: list[int], grace: int
) -> None:
    store = opened("sqlite-memory", tmp_path)
    backlogged(store, backlog)
    for minute in [*stops, 30]:
        now = T0 + minute * MINUTE
        fire_all(store, now, most=most, fresh_from=now - grace * MINUTE)
        assert {row.id for row in store.list_events() if row.status != status_at(row, CAMPUS, now)} == set()
    for id_ in backlog:
        told = chronology(store.history(id_))
        assert told == sorted(told)
    assert_all_sound(store)
    store.close()
