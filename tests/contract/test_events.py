"""Events: put, edited, read, listed, removed; idempotent, and all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from duly.errors import RevisionConflict, UnknownEvent
from duly.model.event import Event, Hold
from duly.rules.edit import Outcome
from duly.stores.store import Store
from tests.builders import CONTEST, DAY, HOUR, T0, at, editing, event
from tests.contract.deeds import assert_all_sound, briefly, fire, ledger, lit, put, remove
from tests.contract.places import Rows


def test_an_event_comes_back_as_it_was_put(store: Store) -> None:
    given = replace(
        event(event_start=T0 + HOUR, event_end="2026-05-02"), name="Röbotics ☃", data={"seats": [1, None]}
    )
    made = put(store, given)
    assert made.outcomes == {"w1": Outcome.CREATED}
    row = store.get_event("w1")
    assert row == made.rows["w1"]
    assert (row.name, row.data, row.revision, row.hold) == ("Röbotics ☃", {"seats": [1, None]}, 1, "active")
    assert row.dates == {"event_start": T0 + HOUR, "event_end": at("2026-05-03 00:00")}
    assert (row.next_due_us, row.pending, row.removed, row.error) == (T0 + HOUR, 2, False, None)


def test_the_microsecond_and_far_off_years_are_kept_exactly(store: Store) -> None:
    first, last = at("1900-01-01 00:00:00.000001"), at("9998-12-31 23:59:59.999999")
    put(store, event(event_start=first, event_end=last), known_since=first + 1)
    assert list(store.get_event("w1").dates.values()) == [first, last]
    assert store.next_due_us() == last


@pytest.mark.parametrize(
    "id_",
    ["a", "A", "o'brien", 'say "x"', "a/b", "%", "_", "\\", "null", "ünï", "日本", "🎉", "x" * 255, "[1]", "w1;--"],
)
def test_any_allowed_id_is_found_again_and_no_other(store: Store, id_: str) -> None:
    put(store, lit(id_, T0 + HOUR), lit("other", T0 + HOUR))
    assert store.get_event(id_).id == id_
    assert set(store.get_events([id_])) == {id_}
    assert briefly(store.history(id_)) == [f"{id_} created"]


@pytest.mark.parametrize(
    "data",
    [
        {"quote": "'\"\\", "line": "a\nb\tc", "nul": "a\0b", "": ""},
        {"deep": {"er": [[], {}]}, "big": 2**70, "x": 1e300},
    ],
)
def test_data_comes_back_as_it_was_put_and_putting_it_again_changes_nothing(
    store: Store, data: dict[str, object]
) -> None:
    put(store, replace(lit("w1", T0), data=data))
    assert store.get_event("w1").data == data
    assert put(store, replace(lit("w1", T0), data=data)).outcomes == {"w1": Outcome.UNCHANGED}


def test_an_event_that_never_was_is_unknown_by_name(store: Store) -> None:
    with pytest.raises(UnknownEvent, match="there is no event 'w9'"):
        store.get_event("w9")
    with pytest.raises(UnknownEvent, match="there is no event 'w9'"):
        remove(store, "w9")
    assert store.get_events(["w9"]) == {}
    assert store.history("w9") == []


def test_putting_the_same_again_writes_nothing_at_all(store: Store) -> None:
    put(store, lit("w1", T0 + HOUR))
    before = (store.get_event("w1"), ledger(store))
    again = put(store, lit("w1", T0 + HOUR), now=T0 + 1)
    assert (again.outcomes, again.entries) == ({"w1": Outcome.UNCHANGED}, [])
    assert (store.get_event("w1"), ledger(store)) == before


def test_an_empty_put_is_nothing(store: Store) -> None:
    assert put(store).outcomes == {}
    assert ledger(store) == []


def test_an_edit_is_written_with_its_row_in_one_go(store: Store) -> None:
    put(store, lit("w1", T0 + HOUR))
    edited = put(store, lit("w1", T0 + DAY), reason="rain")
    assert edited.outcomes == {"w1": Outcome.CHANGED}
    assert [(entry.kind, entry.reason) for entry in store.history("w1")] == [("created", None), ("edited", "rain")]
    assert store.get_event("w1") == edited.rows["w1"]
    assert_all_sound(store)


def test_an_edit_for_another_revision_is_refused_and_nothing_of_its_batch_is_written(store: Store) -> None:
    put(store, lit("w1", T0 + HOUR))
    before = (store.list_events(), ledger(store))
    stale = replace(lit("w1", T0 + DAY), revision=7)
    with pytest.raises(RevisionConflict, match="event 'w1'"):
        put(store, lit("w0", T0), stale, lit("w2", T0))
    assert (store.list_events(), ledger(store)) == before


def test_with_keep_good_the_refused_one_is_named_and_the_others_are_written(store: Store) -> None:
    put(store, lit("w1", T0 + HOUR))
    stale = replace(lit("w1", T0 + DAY), revision=7)
    result = put(store, lit("w0", T0 + HOUR), stale, lit("w2", T0 + HOUR), all_or_nothing=False)
    assert result.outcomes == {"w0": Outcome.CREATED, "w2": Outcome.CREATED}
    assert list(result.refused) == ["w1"]
    assert "revision 7" in result.refused["w1"]
    assert store.get_event("w1").dates == {"switch_on": T0 + HOUR}
    assert_all_sound(store)


def test_the_same_event_twice_in_one_batch_is_put_one_after_the_other(store: Store) -> None:
    result = put(store, lit("w1", T0 + HOUR), lit("w1", T0 + DAY), lit("w1", T0 + DAY))
    assert result.outcomes == {"w1": Outcome.UNCHANGED}
    assert briefly(store.history("w1")) == ["w1 created", "w1 edited"]
    assert store.get_event("w1").dates == {"switch_on": T0 + DAY}
    assert_all_sound(store)


def test_a_batch_of_thousands_is_one_put(store: Store) -> None:
    events = [lit(f"w{number:04}", T0 + number) for number in range(2_500)]
    put(store, *events)
    again = put(store, *events)
    assert set(again.outcomes.values()) == {Outcome.UNCHANGED}
    assert (len(again.outcomes), again.entries) == (2_500, [])


def test_events_are_listed_page_by_page_in_the_order_of_their_ids(store: Store) -> None:
    put(store, *(lit(id_, T0) for id_ in ("b", "a", "Z", "c", "é", "aa")))
    pages, after = [], ""
    while page := store.list_events(after=after, most=2):
        pages.append([row.id for row in page])
        after = page[-1].id
    assert pages == [["Z", "a"], ["aa", "b"], ["c", "é"]]


def test_events_are_listed_by_their_alarm_soonest_first_and_those_without_one_not_at_all(store: Store) -> None:
    put(
        store,
        lit("late", T0 + DAY),
        lit("b", T0 + HOUR),
        lit("a", T0 + HOUR),
        replace(lit("held", T0), hold=Hold.DRAFT),
    )
    assert [row.id for row in store.list_by_alarm()] == ["a", "b", "late"]
    assert [row.id for row in store.list_by_alarm(until_us=T0 + HOUR)] == ["a", "b"]
    assert [row.id for row in store.list_by_alarm(until_us=T0 + HOUR - 1)] == []
    assert [row.id for row in store.list_by_alarm(most=1)] == ["a"]


def test_the_alarm_of_the_store_is_that_of_its_soonest_event(store: Store) -> None:
    assert store.next_due_us() is None
    put(store, lit("w1", T0 + DAY), lit("w2", T0 + HOUR))
    assert store.next_due_us() == T0 + HOUR
    remove(store, "w2")
    assert store.next_due_us() == T0 + DAY


def test_scenario_31_a_removed_event_is_unknown_keeps_its_history_and_goes_on_when_it_is_put_again(
    store: Store,
) -> None:
    put(store, lit("w1", T0 + HOUR, T0 + DAY))
    fire(store, T0 + HOUR)
    remove(store, "w1", T0 + HOUR)
    with pytest.raises(UnknownEvent):
        store.get_event("w1")
    with pytest.raises(UnknownEvent):
        remove(store, "w1")
    assert store.get_events(["w1"])["w1"].removed
    assert [row.removed for row in store.list_events()] == [True]
    assert put(store, lit("w1", T0 + HOUR, T0 + DAY)).outcomes == {"w1": Outcome.RESTORED}
    assert fire(store, T0 + HOUR).claimed == 0
    fire(store, T0 + DAY)
    assert briefly(store.history("w1")) == [
        "w1 created",
        "w1 fired switch_on",
        "w1 removed",
        "w1 restored",
        "w1 fired switch_off",
    ]
    assert_all_sound(store)


def test_a_manual_milestone_is_fired_by_hand_in_one_transaction(store: Store) -> None:
    put(store, event(lifecycle=CONTEST, contest_start=T0, contest_end=T0 + HOUR))
    fire(store, T0 + HOUR)
    edited = store.fire_by_hand("w1", "results_final", lambda: editing(T0 + DAY, actor="jury"))
    assert store.get_event("w1") == edited.row
    assert store.history("w1")[-1] == edited.entries[-1]
    assert store.get_event("w1").status == "completed/results_final"
    with pytest.raises(UnknownEvent):
        store.fire_by_hand("w9", "results_final", lambda: editing(T0))
    assert_all_sound(store)


def test_a_hold_is_set_and_lifted_by_hand_and_setting_it_again_writes_nothing(store: Store) -> None:
    put(store, lit("w1", T0, T0 + DAY))
    held = store.set_hold("w1", Hold.POSTPONED, lambda: editing(T0, actor="ada"))
    assert store.get_event("w1") == held.row
    assert fire(store, T0).claimed == 0
    assert store.set_hold("w1", Hold.POSTPONED, lambda: editing(T0 + 1)).entries == []
    store.set_hold("w1", Hold.ACTIVE, lambda: editing(T0 + HOUR))
    assert briefly(store.history("w1")) == ["w1 created", "w1 held", "w1 held", "w1 fired switch_on"]
    with pytest.raises(UnknownEvent):
        store.set_hold("w9", Hold.ACTIVE, lambda: editing(T0))
    assert_all_sound(store)


@pytest.mark.parametrize("deed", ["hold", "remove", "fire"])
def test_a_deed_on_an_event_whose_status_was_falsified_leaves_its_chain_whole(
    store: Store, falsify: Callable[..., Rows], deed: str
) -> None:
    put(store, event(lifecycle=CONTEST, contest_start=T0, contest_end=T0 + HOUR))
    falsify("UPDATE event SET status = 'on/fire'")
    if deed == "hold":
        store.set_hold("w1", Hold.CANCELLED, lambda: editing(T0))
    elif deed == "remove":
        remove(store, "w1")
    else:
        store.fire_by_hand("w1", "results_final", lambda: editing(T0))
    assert_all_sound(store)


def test_counts_tell_how_much_there_is_of_everything(store: Store) -> None:
    put(store, lit("w1", T0 + HOUR, T0 + DAY), lit("w2", T0 + DAY), replace(lit("w3", T0), hold=Hold.CANCELLED))
    put(store, lit("gone", T0))
    remove(store, "gone")
    counts = store.counts(T0 + HOUR)
    assert (counts.events, counts.armed, counts.pending, counts.set_aside) == (3, 2, 3, 0)
    assert (counts.overdue, counts.oldest_overdue_us, counts.next_due_us) == (1, T0 + HOUR, T0 + HOUR)
    assert counts.by_status == {"cancelled/cancelled": 1, "dark/dark": 2}
    assert store.count_overdue(T0 + HOUR - 1) == 0
    assert store.count_overdue(T0 + DAY) == 2


def test_of_an_empty_store_everything_counts_nothing(store: Store) -> None:
    counts = store.counts(T0)
    assert (counts.events, counts.armed, counts.pending, counts.overdue) == (0, 0, 0, 0)
    assert (counts.oldest_overdue_us, counts.next_due_us, counts.by_status) == (None, None, {})


def test_an_event_as_its_user_wrote_it_can_be_put_again_from_its_row(store: Store) -> None:
    given = Event(
        "w1", lifecycle="lamp", dates={"switch_on": "2026-05-01 10:00", "switch_off": "switch_on + 2 hours"}
    )
    put(store, given)
    row = store.get_event("w1")
    assert row.given == {"switch_on": row.given["switch_on"], "switch_off": row.given["switch_off"]}
    assert put(store, given).outcomes == {"w1": Outcome.UNCHANGED}
