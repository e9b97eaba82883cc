"""Nodes, outages and what else is kept: signs of life, stretches of silence, values by name."""

from __future__ import annotations

import pytest

from duly.stores.store import LAST, NodeRow, Store
from tests.builders import DAY, HOUR, MINUTE, T0
from tests.contract.deeds import fire, lit, put


def test_a_heartbeat_makes_a_node_known_and_the_next_ones_only_move_its_last_sign(store: Store) -> None:
    store.heartbeat("n1", "host", 7, T0)
    store.heartbeat("n1", "host", 7, T0 + MINUTE)
    assert store.nodes() == [NodeRow("n1", "host", 7, T0, T0 + MINUTE, None)]


def test_the_nodes_seen_last_come_first(store: Store) -> None:
    for minutes, node in enumerate(("a", "b", "c")):
        store.heartbeat(node, "host", 1, T0 + minutes * MINUTE)
    assert [node.id for node in store.nodes(most=2)] == ["c", "b"]


def test_a_node_that_ended_in_good_order_says_so_until_it_beats_again(store: Store) -> None:
    store.heartbeat("n1", "host", 7, T0)
    store.stop_node("n1", T0 + MINUTE)
    assert store.nodes()[0].stopped_us == store.nodes()[0].seen_us == T0 + MINUTE
    store.heartbeat("n1", "host", 7, T0 + HOUR)
    assert store.nodes()[0].stopped_us is None


def test_the_last_sign_of_life_is_that_of_any_node_that_was_firing(store: Store) -> None:
    assert store.last_alive_us() is None
    store.heartbeat("standby", "host", 1, T0 + DAY, owner=False)
    assert store.last_alive_us() is None, "while nobody but a standby is there, nothing fires"
    store.heartbeat("n2", "host", 2, T0)
    store.heartbeat("n3", "host", 3, T0 + HOUR)
    assert store.last_alive_us() == T0 + HOUR


def test_nodes_are_forgotten_when_they_have_been_silent_for_long(store: Store) -> None:
    store.heartbeat("old", "host", 1, T0)
    store.heartbeat("new", "host", 2, T0 + HOUR)
    store.prune_nodes(T0 + HOUR)
    assert [node.id for node in store.nodes()] == ["new"]


def test_an_outage_is_begun_counted_from_the_history_and_finished(store: Store) -> None:
    put(store, lit("w1", T0 - 2 * DAY, T0), lit("w2", T0 + 1))
    outage = store.begin_outage(T0 - 3 * DAY, T0 + HOUR, "n1")
    assert (outage.began_us, outage.ended_us, outage.node, outage.finished_us) == (
        T0 - 3 * DAY,
        T0 + HOUR,
        "n1",
        None,
    )
    fire(store, T0 + HOUR, outage=outage.id)
    finished = store.finish_outage(outage.id, T0 + HOUR + 1, failed=2, window_us=DAY)
    assert (finished.detected, finished.successful, finished.failed, finished.outside_window) == (5, 3, 2, 1)
    assert store.outages() == [finished]


def test_the_window_of_an_outage_includes_its_last_microsecond(store: Store) -> None:
    put(store, lit("in", T0), lit("out", T0 - 1))
    outage = store.begin_outage(None, T0 + DAY, "n1")
    fire(store, T0 + DAY, outage=outage.id)
    assert store.finish_outage(outage.id, T0 + DAY, failed=0, window_us=DAY).outside_window == 1
    assert store.finish_outage(outage.id, T0 + DAY, failed=0, window_us=LAST).outside_window == 0


def test_an_outage_whose_recovery_was_cut_off_is_gone_on_with_under_its_number(store: Store) -> None:
    first = store.begin_outage(T0, T0 + HOUR, "n1")
    second = store.begin_outage(T0 + HOUR, T0 + DAY, "n2")
    assert (second.id, second.began_us, second.ended_us, second.node) == (first.id, T0, T0 + DAY, "n2")
    store.finish_outage(second.id, T0 + DAY, failed=0, window_us=DAY)
    assert store.begin_outage(T0 + DAY, T0 + 2 * DAY, "n3").id > first.id


def test_outages_come_newest_first_and_page_by_page(store: Store) -> None:
    for days in range(3):
        outage = store.begin_outage(T0 + days * DAY, T0 + days * DAY + HOUR, "n1")
        store.finish_outage(outage.id, T0, failed=0, window_us=DAY)
    newest = store.outages(most=2)
    assert [outage.began_us for outage in newest] == [T0 + 2 * DAY, T0 + DAY]
    assert [outage.began_us for outage in store.outages(before=newest[-1].id)] == [T0]


@pytest.mark.parametrize("value", [1, "text ☃", None, [1, {"a": None}], {"nested": {"deep": True}}, 2**70])
def test_a_value_is_kept_under_its_key_until_another_takes_its_place(store: Store, value: object) -> None:
    assert store.meta("key") is None
    store.put_meta("key", "before")
    store.put_meta("key", value)
    assert store.meta("key") == value
    assert store.meta("other") is None
