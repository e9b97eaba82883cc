"""The ledger: gapless for each event, numbered over all, read from either end."""

from __future__ import annotations

from duly.model.history import GENESIS, broken_link, link
from duly.stores.store import Store
from tests.builders import DAY, HOUR, T0
from tests.contract.deeds import assert_all_sound, briefly, fire, ledger, lit, put, remove


def busy(store: Store) -> None:
    put(store, lit("w1", T0, T0 + HOUR), lit("w2", T0))
    fire(store, T0)
    put(store, lit("w1", T0, T0 + DAY), now=T0 + 1)
    remove(store, "w2", T0 + 2)
    fire(store, T0 + DAY)


def test_each_event_has_entries_1_to_n_chained_from_the_genesis_on(store: Store) -> None:
    busy(store)
    entries = store.history("w1")
    assert briefly(entries) == ["w1 created", "w1 fired switch_on", "w1 edited", "w1 fired switch_off"]
    assert [entry.seq for entry in entries] == [1, 2, 3, 4]
    assert entries[0].hash == link(GENESIS, entries[0])
    assert broken_link(entries) is None
    assert_all_sound(store)


def test_an_entry_comes_back_as_it_was_written(store: Store) -> None:
    made = put(store, lit("w1", T0), reason="it's ☃ \\ 'quoted'")
    fired = fire(store, T0, outage=4)
    assert store.history("w1") == [*made.entries, *fired.entries]


def test_the_ledger_of_all_is_read_page_by_page_in_the_order_of_the_commits(store: Store) -> None:
    busy(store)
    whole, after = [], 0
    while page := store.history_after(after, most=2):
        assert len(page) <= 2
        whole += [entry for _, entry in page]
        after = page[-1][0]
    assert whole == ledger(store)
    assert briefly(whole) == [
        "w1 created",
        "w2 created",
        "w1 fired switch_on",
        "w2 fired switch_on",
        "w1 edited",
        "w2 removed",
        "w1 fired switch_off",
    ]


def test_the_latest_entries_come_newest_first_and_earlier_ones_page_by_page(store: Store) -> None:
    busy(store)
    latest = store.history_latest(most=3)
    assert briefly(entry for _, entry in latest) == ["w1 fired switch_off", "w2 removed", "w1 edited"]
    earlier = store.history_latest(before=latest[-1][0], most=2)
    assert briefly(entry for _, entry in earlier) == ["w2 fired switch_on", "w1 fired switch_on"]


def test_the_end_of_the_ledger_is_its_last_number_and_instant(store: Store) -> None:
    assert store.history_end() is None
    busy(store)
    number, at_us = store.history_end() or (0, 0)
    assert (number, at_us) == (store.history_latest(most=1)[0][0], T0 + DAY)


def test_of_an_outage_the_history_tells_what_was_caught_up_and_nothing_else(store: Store) -> None:
    put(store, lit("w1", T0, T0 + HOUR), lit("w2", T0 + 1))
    fire(store, T0 + HOUR, late_before=T0 + HOUR, outage=7)
    assert briefly(store.history_of_outage(7)) == ["w1 fired switch_on", "w2 fired switch_on"]
    assert briefly(store.history_of_outage(7, most=1)) == ["w1 fired switch_on"]
    assert store.history_of_outage(8) == []


def test_a_removed_event_still_tells_its_history(store: Store) -> None:
    busy(store)
    assert briefly(store.history("w2")) == ["w2 created", "w2 fired switch_on", "w2 removed"]
