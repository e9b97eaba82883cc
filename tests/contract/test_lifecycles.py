"""Definitions: kept by their content, one current for each name, read back the same, and re-derived from once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Never

import pytest

from duly.errors import InvalidEvent, StoreBusy, UnknownLifecycle
from duly.model.event import EventRow, Hold
from duly.model.lifecycle import Lifecycle
from duly.rules.plan import Plan
from duly.stores.redefining import FROM_THE_FIRST, Place
from duly.stores.store import Store
from tests.builders import CAMPUS, DAY, HOUR, SECOND, T0, editing, event, lamp, planned
from tests.contract.deeds import LIFECYCLES, assert_all_sound, audit, briefly, fire, lit, put
from tests.contract.places import Place as StorePlace
from tests.contract.places import Rows

Falsify = Callable[..., Rows]


def brighter() -> Lifecycle:
    """Return the lamp's second definition: what is on is bright."""
    on, off = lamp().milestones
    return replace(lamp(), milestones=(replace(on, state="bright"), off))


def replanned(row: EventRow, lifecycle: Lifecycle) -> Plan:
    hold, dates = Hold(row.hold), dict[str, Any](row.dates)
    return planned(replace(event(row.id, lifecycle=lifecycle, **dates), hold=hold, name=row.name), lifecycle)


def walk(store: Store, replan: Callable[[EventRow], Plan], *, now: int = T0 + HOUR, most: int = 500) -> list[int]:
    """Re-derive page by page, while time goes on; return how many events each page changed."""
    pages: list[int] = []
    clock = itertools.count(now, SECOND)
    place: Place | None = FROM_THE_FIRST
    while place is not None:
        assert len(pages) < 20, "the walk does not come to its end"
        count, place = store.rederive(replan, lambda: editing(next(clock)), after=place, most=most)
        pages.append(count)
    return pages


def rederive(store: Store, lifecycle: Lifecycle) -> int:
    return sum(walk(store, lambda row: replanned(row, lifecycle)))


def test_every_definition_comes_back_with_the_hash_that_it_had(store: Store) -> None:
    assert {name: lifecycle.hash for name, lifecycle in store.load_lifecycles().items()} == {
        lifecycle.name: lifecycle.hash for lifecycle in LIFECYCLES
    }


def test_a_definition_is_read_back_by_who_never_saw_it_declared(store: Store) -> None:
    put(store, lit("w1", T0))
    store._lifecycles.clear()
    assert store.lifecycle_of(store.get_event("w1")) == lamp()


def test_declaring_the_same_again_changes_nothing(store: Store, falsify: Falsify) -> None:
    before = falsify("SELECT hash, name, origin, current, declared_at FROM lifecycle ORDER BY hash")
    store.declare_lifecycles([], LIFECYCLES, T0 + DAY)
    assert falsify("SELECT hash, name, origin, current, declared_at FROM lifecycle ORDER BY hash") == before


def test_a_changed_definition_becomes_the_current_one_and_the_old_one_stays(store: Store) -> None:
    put(store, lit("w1", T0))
    store.declare_lifecycles([brighter()], [], T0 + 1)
    assert store.load_lifecycles()["lamp"] == brighter()
    assert store.lifecycle_of(store.get_event("w1")) == lamp()


def test_going_back_to_an_earlier_definition_makes_that_the_current_one_again(store: Store) -> None:
    store.declare_lifecycles([brighter()], [], T0 + 1)
    store.declare_lifecycles([lamp()], [], T0 + 2)
    assert store.load_lifecycles()["lamp"] == lamp()


def test_a_built_in_definition_never_replaces_one_of_the_users(store: Store) -> None:
    mine = replace(CAMPUS, title="Mine")
    store.declare_lifecycles([mine], [], T0)
    store.declare_lifecycles([], [CAMPUS], T0)
    assert store.load_lifecycles()["campus_event"].title == "Mine"


def test_not_even_where_both_are_declared_for_the_first_time_together(
    place: StorePlace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = place.make(tmp_path_factory.mktemp("fresh"))
    store.open(T0)
    mine = replace(CAMPUS, title="Mine")
    store.declare_lifecycles([mine], [CAMPUS], T0)
    assert store.load_lifecycles()["campus_event"].title == "Mine"
    store.declare_lifecycles([mine], [CAMPUS], T0 + 1)
    assert store.load_lifecycles()["campus_event"].title == "Mine"
    store.close()


def test_a_user_may_declare_the_very_definition_that_is_built_in(store: Store) -> None:
    store.declare_lifecycles([CAMPUS], [], T0)
    store.declare_lifecycles([], [replace(CAMPUS, title="Newer")], T0 + 1)
    assert store.load_lifecycles()["campus_event"] == CAMPUS


def test_a_newer_built_in_definition_replaces_the_older_one(store: Store) -> None:
    store.declare_lifecycles([], [replace(CAMPUS, title="Newer")], T0 + 1)
    assert store.load_lifecycles()["campus_event"].title == "Newer"


def test_a_definition_that_cannot_be_read_leaves_the_others_and_says_why(store: Store, falsify: Falsify) -> None:
    put(store, lit("w1", T0))
    falsify("UPDATE lifecycle SET definition = '{}' WHERE name = 'lamp'")
    store._lifecycles.clear()
    assert "lamp" not in store.load_lifecycles()
    with pytest.raises(UnknownLifecycle, match=r"event 'w1': lifecycle 'lamp' is unknown here .*'.*' is missing"):
        store.lifecycle_of(store.get_event("w1"))
    assert list(fire(store, T0).set_aside) == ["w1"]


def test_scenario_33_events_of_a_changed_definition_are_derived_anew_once_soonest_alarm_first(store: Store) -> None:
    put(store, lit("a", T0, T0 + DAY), lit("b", T0, T0 + 2 * HOUR), replace(lit("c", T0), hold=Hold.CANCELLED))
    fire(store, T0)
    store.declare_lifecycles([brighter()], [], T0 + 1)
    order: list[str] = []

    def replan(row: EventRow) -> Plan:
        order.append(row.id)
        return replanned(row, brighter())

    assert walk(store, replan, most=2) == [2, 1, 0]
    assert order == ["b", "a", "c"]
    assert rederive(store, brighter()) == 0
    assert [(row.id, str(row.status)) for row in store.list_events()] == [
        ("a", "bright/bright"),
        ("b", "bright/bright"),
        ("c", "cancelled/cancelled"),
    ]
    assert [entry.kind for entry in store.history("a")] == ["created", "fired", "redefined"]
    assert_all_sound(store)


def test_scenario_33_a_node_that_still_plans_by_the_old_definition_changes_nothing_and_ends(store: Store) -> None:
    put(store, lit("w1", T0))
    store.declare_lifecycles([brighter()], [], T0 + 1)
    assert rederive(store, lamp()) == 0
    assert briefly(store.history("w1")) == ["w1 created"]


def test_an_event_that_the_new_definition_cannot_carry_is_set_aside_and_the_others_go_on(store: Store) -> None:
    put(store, lit("a", T0), lit("bad", T0), replace(lit("held", T0), hold=Hold.DRAFT))
    store.declare_lifecycles([brighter()], [], T0 + 1)

    def replan(row: EventRow) -> Plan:
        if row.id != "a":
            msg = "switch_on: too bright"
            raise InvalidEvent(msg)
        return replanned(row, brighter())

    assert sum(walk(store, replan, most=1)) == 3
    bad, held = store.list_set_aside()
    assert bad.error == "its lifecycle 'lamp' has changed, and now: switch_on: too bright"
    assert (bad.next_due_us or 0) > T0 + 2 * HOUR
    assert held.next_due_us is None
    assert store.history("bad")[-1].reason == bad.error
    assert store.get_event("a").lifecycle_hash == brighter().hash
    walk(store, replan)
    assert [entry.kind for entry in store.history("bad")] == ["created", "set_aside"]
    rederive(store, brighter())
    assert store.list_set_aside() == [], "a definition that can carry it takes it back"
    assert_all_sound(store)


@pytest.mark.parametrize("column", ["given", "dates", "data", "marks"])
def test_an_event_whose_row_cannot_be_read_does_not_keep_the_others_from_being_derived_anew(
    store: Store, falsify: Falsify, column: str
) -> None:
    put(store, lit("a", T0), lit("bad", T0), lit("c", T0))
    falsify(f"UPDATE event SET {column} = '{{' WHERE id = 'bad'")
    store.declare_lifecycles([brighter()], [], T0 + 1)
    assert rederive(store, brighter()) == 3
    assert rederive(store, brighter()) == 0
    assert [row.id for row in store.list_set_aside()] == ["bad"]
    assert falsify(f"SELECT {column} FROM event WHERE id = 'bad'") == [("{",)], "what cannot be read is kept as it is"
    assert {row.id for row in store.list_events() if row.lifecycle_hash == brighter().hash} == {"a", "c"}
    assert briefly(store.history("bad")) == ["bad created", "bad set_aside"]


def test_whatever_else_replanning_raises_sets_aside_that_event_alone(store: Store) -> None:
    put(store, lit("w1", T0))
    store.declare_lifecycles([brighter()], [], T0 + 1)

    def replan(_: EventRow) -> Plan:
        raise KeyError("oops")

    assert sum(walk(store, replan)) == 1
    assert "KeyError: 'oops'" in str(store.list_set_aside()[0].error)


def test_a_store_that_is_busy_is_no_fault_of_the_event_that_was_being_looked_at(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, lit("w1", T0))
    store._lifecycles.clear()

    def busy(*_: object) -> Never:
        msg = "busy"
        raise StoreBusy(msg)

    monkeypatch.setattr(store, "load_lifecycles", busy)
    with pytest.raises(StoreBusy):
        fire(store, T0)
    with pytest.raises(StoreBusy):
        audit(store)
    monkeypatch.undo()
    store.declare_lifecycles([brighter()], [], T0 + 1)
    monkeypatch.setattr(store, "load_lifecycles", busy)
    with pytest.raises(StoreBusy):
        walk(store, busy)
    assert store.list_set_aside() == []
    assert briefly(store.history("w1")) == ["w1 created"]
