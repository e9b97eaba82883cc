"""What is shown of deliveries: lists with filters and pages, counts, attempts, and the ids that receivers see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from duly.errors import UnknownDelivery
from duly.model.delivery import State
from duly.stores.outbox import OpenCount
from duly.stores.outbox_verbs import Result
from duly.stores.store import Store
from tests.builders import DAY, HOUR, T0
from tests.contract.deeds import fire, lit, put
from tests.contract.telling import claim, delivered, everything, failed, fire_leased, listener, settle, subscribe

NOW = T0 + 10


@pytest.fixture
def busy(store: Store) -> Store:
    """Two subscribers, two events with two deliveries each for both: one in each state."""
    subscribe(store, listener("a:b"), listener("a:c"))
    put(store, lit("w1", T0 + 1, T0 + 2), lit("w2", T0 + 1, T0 + 2))
    fire(store, NOW)
    first, second, third, fourth = sorted(claim(store, NOW), key=lambda lease: lease.number)
    settle(
        store,
        delivered(first),
        failed(second, NOW + HOUR),
        Result(third, State.MISSED, None, "so", None),
        Result(fourth, State.DEAD, None, "so", None),
        now=NOW,
    )
    claim(store, NOW, room=1)
    return store


def listed(store: Store, **how: Any) -> list[int]:
    return [d.number for d in store.outbox.deliveries(**how)]


def test_deliveries_are_listed_newest_first_page_by_page(busy: Store) -> None:
    assert listed(busy) == [8, 7, 6, 5, 4, 3, 2, 1]
    assert listed(busy, most=3) == [8, 7, 6]
    assert listed(busy, before=6, most=3) == [5, 4, 3]
    assert listed(busy, before=1) == []


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"state": State.DELIVERED}, [1]),
        ({"state": State.MISSED}, [3]),
        ({"state": State.DEAD}, [4]),
        ({"state": State.PENDING}, [8, 7, 6, 5, 2]),
        ({"state": State.PARKED}, []),
        ({"subscriber": "a:b"}, [7, 5, 3, 1]),
        ({"subscriber": "nobody"}, []),
        ({"event_id": "w1"}, [6, 5, 2, 1]),
        ({"event_id": "none"}, []),
        ({"topic": "switch_off"}, [8, 7, 6, 5]),
        ({"topic": "switch_off", "event_id": "w1", "subscriber": "a:c"}, [6]),
        ({"state": State.DEAD, "before": 4}, []),
        ({"since_us": NOW}, [8, 7, 6, 5, 4, 3, 2, 1]),
        ({"since_us": NOW + 1}, []),
    ],
)
def test_deliveries_are_listed_by_what_is_asked(busy: Store, how: dict[str, Any], expected: list[int]) -> None:
    assert listed(busy, **how) == expected


def test_what_has_been_replayed_can_be_left_out_and_is_no_trouble_any_more(busy: Store) -> None:
    assert busy.outbox.counts().trouble == {"dead": 1, "missed": 1}
    busy.outbox.replay([4], NOW)
    assert listed(busy, state=State.DEAD) == [4]
    assert listed(busy, state=State.DEAD, unreplayed=True) == []
    assert busy.outbox.counts().trouble == {"missed": 1}


def test_all_that_an_event_has_or_had_to_tell_is_shown_oldest_first(busy: Store) -> None:
    assert [d.number for d in busy.outbox.of_event("w2")] == [3, 4, 7, 8]
    assert busy.outbox.of_event("none") == []


def test_what_is_shown_of_one_says_how_it_stands(busy: Store) -> None:
    shown = {d.number: d.to_json() for d in everything(busy)}
    assert shown[1]["state"] == "delivered"
    assert (shown[1]["attempts"], shown[1]["closed_at"]) == (1, "2026-05-01T08:00:00.000010Z")
    assert (shown[2]["leased"], shown[2]["next_attempt_at"]) == (False, "2026-05-01T09:00:00.000010Z")
    assert (shown[5]["leased"], shown[5]["next_attempt_at"]) == (True, None)
    assert (shown[6]["leased"], shown[6]["next_attempt_at"]) == (False, None)  # it waits behind the second


def test_open_ones_are_counted_by_subscriber_and_closed_ones_by_what_is_the_matter_with_them(busy: Store) -> None:
    counts = busy.outbox.counts()
    assert counts.open == (
        OpenCount(subscriber="a:b", pending=2, leased=1, failing=0, next_us=NOW),
        OpenCount(subscriber="a:c", pending=3, leased=1, failing=1, next_us=NOW + 30_000_000),
    )
    assert counts.pending == 5


def test_where_nothing_is_owed_nothing_is_counted(store: Store) -> None:
    subscribe(store, listener())
    counts = store.outbox.counts()
    assert (counts.open, counts.trouble, counts.pending) == ((), {}, 0)


def test_after_an_outage_it_is_counted_what_became_of_what_it_had_kept_back(store: Store) -> None:
    subscribe(store, listener(), listener("a:c", "outage"))
    put(store, lit("w1", T0, T0 + 2 * DAY), lit("w2", T0 + DAY), lit("w3", T0 + 3 * DAY), now=T0 - 1)
    outage = store.begin_outage(T0 - 1, T0 + 2 * DAY, "node-1")
    fire(store, T0 + 2 * DAY + 1, outage=outage.id, late_before=T0 + 2 * DAY)
    store.finish_outage(outage.id, T0 + 2 * DAY + 1, failed=0, window_us=DAY)
    fire(store, T0 + 3 * DAY)
    assert store.outbox.count_of_outage(outage.id) == {"missed": 2}
    assert store.outbox.count_of_outage(99) == {}


def test_of_an_outage_the_deliveries_to_all_subscribers_are_counted_in_each_state(store: Store) -> None:
    subscribe(store, listener(), listener("a:c"))
    put(store, lit("w1", T0, T0 + HOUR), now=T0 - 1)
    outage = store.begin_outage(T0 - 1, NOW + HOUR, "node-1")
    born = fire_leased(store, NOW + HOUR, {1: 9}, outage=outage.id).born
    settle(store, delivered(born[0][0]), now=NOW + HOUR)
    assert store.outbox.count_of_outage(outage.id) == {"delivered": 1, "pending": 3}


# ---------------------------------------------------------------------------------------------------- names


def test_a_store_has_a_name_of_its_own_that_the_ids_of_its_deliveries_begin_with(busy: Store) -> None:
    identity = busy.outbox.identity
    assert len(identity) == 8
    assert int(identity, 16) >= 0
    assert busy.outbox.delivery_id(7) == f"{identity}-7"
    assert [d.id for d in everything(busy)] == [f"{identity}-{number}" for number in range(1, 9)]


def test_the_id_of_a_delivery_is_the_same_over_all_its_attempts_and_after_a_restart(busy: Store) -> None:
    before = busy.outbox.delivery(2).id
    if busy.shared:
        busy.close()
        busy.open(NOW)
    claim(busy, NOW + HOUR)
    assert busy.outbox.delivery(2).id == before


def test_a_store_that_is_renamed_by_another_process_speaks_under_its_new_name_at_once(
    busy: Store, falsify: Callable[..., object]
) -> None:
    assert busy.outbox.identity != "12345678"
    falsify("UPDATE meta SET value = '\"12345678\"' WHERE key = 'identity'")
    # Whoever is about to tell something looks it up.
    busy.outbox.told_of([], {})
    assert busy.outbox.delivery_id(1) == "12345678-1"


def test_two_stores_have_two_names(store: Store) -> None:
    from duly.stores.sqlite import SqliteStore

    other = SqliteStore(":memory:")
    other.open(T0)
    assert other.outbox.identity != store.outbox.identity
    other.close()


def test_a_number_that_is_not_there_is_not_found(busy: Store) -> None:
    with pytest.raises(UnknownDelivery):
        busy.outbox.delivery(0)
    assert busy.outbox.attempts([0]) == {0: []}


def test_what_a_batch_is_about_is_read_at_once_and_what_is_known_is_not_read_again(busy: Store) -> None:
    (lease,) = (each for each in claim(busy, NOW + HOUR) if each.number == 2)
    known = busy.history("w1")[1]._replace(reason="known")
    told = busy.outbox.told_of([lease], {("w1", 2): known})
    assert told.entries == {("w1", 2): known}
    again = busy.outbox.told_of([lease], {})
    assert again.entries["w1", 2] == busy.history("w1")[1]
    assert list(again.rows) == ["w1"]
    assert busy.outbox.told_of([], {}).rows == {}
