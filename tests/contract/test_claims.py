"""Claims: who is fired, who goes first, and what becomes of an event that raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from duly.model.event import Hold
from duly.model.history import Cause, broken_link
from duly.rules.edit import Outcome
from duly.stores.store import Store
from duly.stores.verbs import SET_ASIDE_US
from tests.builders import DAY, HOUR, MINUTE, SECOND, T0, event, lamp
from tests.contract.deeds import assert_all_sound, briefly, fire, fire_all, ledger, lit, put, request
from tests.contract.places import Rows

Falsify = Callable[..., Rows]


def names(fired_entries: list[str]) -> list[str]:
    return [entry.split()[0] for entry in fired_entries]


# ------------------------------------------------------------------------------------------------- what is due


def test_nothing_due_is_an_empty_result(store: Store) -> None:
    put(store, lit("w1", T0 + HOUR))
    fired = fire(store, T0 + HOUR - 1)
    assert (fired.claimed, fired.entries, fired.set_aside, fired.transitions) == (0, [], {}, [])


def test_an_event_is_claimed_at_its_very_instant_and_armed_for_its_next_trigger(store: Store) -> None:
    put(store, lit("w1", T0 + HOUR, T0 + DAY))
    fired = fire(store, T0 + HOUR, fresh_from=T0)
    assert (fired.claimed, briefly(fired.transitions)) == (1, ["w1 fired switch_on"])
    row = store.get_event("w1")
    assert (row.status, row.next_due_us, row.pending, row.updated_us) == ("lit/lit", T0 + DAY, 1, T0 + HOUR)
    assert row.marks["switch_on"] == (1, T0 + HOUR)
    assert_all_sound(store)


def test_fired_once_it_is_not_fired_again(store: Store) -> None:
    put(store, lit("w1", T0))
    assert fire(store, T0).claimed == 1
    assert fire(store, T0 + DAY).claimed == 0


def test_everything_due_of_an_event_fires_in_one_batch(store: Store) -> None:
    put(store, lit("w1", T0, T0 + HOUR))
    assert briefly(fire(store, T0 + DAY, most=1).entries) == ["w1 fired switch_on", "w1 fired switch_off"]


def test_an_event_on_hold_is_never_claimed(store: Store) -> None:
    put(store, replace(lit("w1", T0), hold=Hold.CANCELLED))
    assert fire(store, T0 + DAY).claimed == 0


def test_what_was_due_before_the_grace_was_caught_up_and_the_rest_was_scheduled(store: Store) -> None:
    put(store, lit("w1", T0, T0 + HOUR))
    fired = fire(store, T0 + HOUR, late_before=T0 + HOUR, outage=3)
    assert [(entry.cause, entry.outage) for entry in fired.entries] == [(Cause.CAUGHT_UP, 3), (Cause.SCHEDULED, None)]


# ------------------------------------------------------------------------------------------------------- lanes


def test_the_fresh_lane_is_claimed_first_and_the_backlog_fills_the_rest(store: Store) -> None:
    put(store, lit("old-1", T0), lit("old-2", T0 + 1), lit("new-1", T0 + DAY), lit("new-2", T0 + DAY - SECOND))
    fired = fire(store, T0 + DAY, most=3, fresh_from=T0 + DAY - MINUTE)
    assert names(briefly(fired.entries)) == ["old-1", "new-2", "new-1"]
    assert names(briefly(fire(store, T0 + DAY, most=3, fresh_from=T0 + DAY - MINUTE).entries)) == ["old-2"]


def test_scenario_28_a_full_fresh_lane_does_not_wait_for_the_backlog(store: Store) -> None:
    put(store, *(lit(f"old-{n}", T0) for n in range(5)), *(lit(f"new-{n}", T0 + DAY) for n in range(2)))
    fired = fire(store, T0 + DAY, most=2, fresh_from=T0 + DAY - MINUTE)
    assert names(briefly(fired.entries)) == ["new-0", "new-1"]


def test_an_alarm_at_the_border_of_the_lanes_is_fresh_and_belongs_to_one_lane_only(store: Store) -> None:
    put(store, lit("at", T0), lit("before", T0 - 1))
    fired = fire(store, T0 + MINUTE, most=1, fresh_from=T0)
    assert briefly(fired.entries) == ["at fired switch_on"]
    put(store, lit("at-2", T0))
    assert fire(store, T0 + MINUTE, most=9, fresh_from=T0).claimed == 2


def test_nothing_ahead_of_the_clock_is_claimed_even_where_the_lanes_meet_in_the_future(store: Store) -> None:
    put(store, lit("w1", T0 + HOUR))
    assert fire(store, T0, fresh_from=T0 + DAY).claimed == 0
    assert fire(store, T0, fresh_from=T0 - DAY).claimed == 0


def test_a_batch_claims_no_more_than_it_is_told_to(store: Store) -> None:
    put(store, *(lit(f"w{n}", T0) for n in range(7)))
    assert [batch.claimed for batch in fire_all(store, T0 + DAY, most=3)] == [3, 3, 1]


# -------------------------------------------------------------------------------------------------- set aside


def broken(store: Store, falsify: Falsify, how: str) -> None:
    """Put a good event before, a broken one, and a good one after it; all due at once."""
    put(store, lit("a", T0), lit("broken", T0), lit("c", T0))
    falsify(how)


BREAKAGES = {
    "dates that are no JSON": "UPDATE event SET dates = '{' WHERE id = 'broken'",
    "dates that are no mapping": "UPDATE event SET dates = '[1]' WHERE id = 'broken'",
    "a date that is no number": """UPDATE event SET dates = '{"switch_on":"soon"}' WHERE id = 'broken'""",
    "marks that are no marks": """UPDATE event SET marks = '{"switch_on":7}' WHERE id = 'broken'""",
    "a milestone that does not exist": """UPDATE event SET dates = '{"party":1}' WHERE id = 'broken'""",
    "a lifecycle that is not there": "UPDATE event SET lifecycle_hash = 'f00' WHERE id = 'broken'",
}


@pytest.mark.parametrize("how", BREAKAGES.values(), ids=BREAKAGES.keys())
def test_scenario_18_an_event_that_raises_is_set_aside_alone_with_its_error_and_a_later_alarm(
    store: Store, falsify: Falsify, how: str
) -> None:
    broken(store, falsify, how)
    fired = fire(store, T0 + HOUR)
    assert briefly(fired.transitions) == ["a fired switch_on", "c fired switch_on"]
    assert list(fired.set_aside) == ["broken"]
    (aside,) = store.list_set_aside()
    assert (aside.id, aside.error) == ("broken", fired.set_aside["broken"])
    assert aside.next_due_us == T0 + HOUR + SET_ASIDE_US
    assert store.counts(T0 + HOUR).set_aside == 1
    assert fire(store, T0 + HOUR).claimed == 0
    assert_all_sound(store)


@pytest.mark.parametrize("how", BREAKAGES.values(), ids=BREAKAGES.keys())
def test_scenario_18_it_is_told_once_in_the_history_however_often_it_raises(
    store: Store, falsify: Falsify, how: str
) -> None:
    broken(store, falsify, how)
    for hours in (1, 3, 5):
        assert list(fire(store, T0 + hours * HOUR).set_aside) == ["broken"]
    told = store.history("broken")
    assert briefly(told) == ["broken created", "broken set_aside"]
    assert told[-1].reason == store.list_set_aside()[0].error
    assert_all_sound(store)


def test_an_event_that_raises_in_another_way_is_told_again(store: Store, falsify: Falsify) -> None:
    broken(store, falsify, BREAKAGES["a lifecycle that is not there"])
    fire(store, T0)
    falsify(BREAKAGES["a milestone that does not exist"])
    falsify("UPDATE event SET lifecycle_hash = ? WHERE id = 'broken'", lamp().hash)
    fire(store, T0 + DAY)
    reasons = [entry.reason for entry in store.history("broken") if entry.kind == "set_aside"]
    assert len(reasons) == len(set(reasons)) == 2


def test_the_error_names_event_and_lifecycle_and_what_would_help(store: Store, falsify: Falsify) -> None:
    broken(store, falsify, BREAKAGES["a lifecycle that is not there"])
    assert fire(store, T0).set_aside["broken"] == (
        "event 'broken': lifecycle 'lamp' is unknown here (its definition is not in the store); declare it again"
    )


def test_an_event_that_was_cured_fires_at_its_next_look_and_is_no_longer_set_aside(
    store: Store, falsify: Falsify
) -> None:
    broken(store, falsify, BREAKAGES["a lifecycle that is not there"])
    fire(store, T0)
    falsify("UPDATE event SET lifecycle_hash = ? WHERE id = 'broken'", lamp().hash)
    fired = fire(store, T0 + SET_ASIDE_US)
    assert briefly(fired.transitions) == ["broken fired switch_on"]
    assert store.list_set_aside() == []
    assert store.get_event("broken").error is None
    assert_all_sound(store)


def test_putting_it_again_cures_it_at_once(store: Store, falsify: Falsify) -> None:
    broken(store, falsify, BREAKAGES["a lifecycle that is not there"])
    fire(store, T0)
    assert put(store, lit("broken", T0), now=T0 + 1).outcomes == {"broken": Outcome.CHANGED}
    assert store.list_set_aside() == []
    assert briefly(fire(store, T0 + 1).transitions) == ["broken fired switch_on"]
    assert_all_sound(store)


def test_an_event_whose_row_cannot_be_read_hides_no_other_and_is_shown_with_its_error(
    store: Store, falsify: Falsify
) -> None:
    broken(store, falsify, BREAKAGES["dates that are no JSON"])
    for rows in (store.list_events(), list(store.get_events(["a", "broken", "c"]).values())):
        assert {row.id for row in rows} == {"a", "broken", "c"}
        (aside,) = (row for row in rows if row.error is not None)
        assert (aside.id, aside.dates) == ("broken", {})
        assert "JSON" in str(aside.error)


def test_an_edit_of_an_event_whose_row_cannot_be_read_is_refused_naming_it_and_the_others_are_put(
    store: Store, falsify: Falsify
) -> None:
    broken(store, falsify, BREAKAGES["dates that are no JSON"])
    result = put(store, lit("a", T0 + DAY), lit("broken", T0 + DAY), all_or_nothing=False)
    assert result.outcomes == {"a": Outcome.CHANGED}
    assert result.refused["broken"].startswith("event 'broken': its row cannot be read")


REFUSED = {
    "a mark that got lost": "marks = '{}', status = 'dark/dark'",  # fires again in one generation: the unique index
    "an end of its history that got lost": "seq = 1",
    "an instant that no column holds": """dates = '{"switch_on":-99999999999999999999}', marks = '{}'""",
}


@pytest.mark.parametrize("how", REFUSED.values(), ids=REFUSED.keys())
def test_a_firing_that_the_database_refuses_holds_up_no_other_and_is_told_once(
    store: Store, falsify: Falsify, how: str
) -> None:
    put(store, lit("m", T0, T0 + HOUR))
    fire(store, T0)
    falsify(f"UPDATE event SET {how}, next_due_at = ? WHERE id = 'm'", T0)
    put(store, *(lit(f"{id_}{n}", T0) for id_ in "az" for n in range(20)))
    batches = fire_all(store, T0 + HOUR, most=16)
    assert sum(len(batch.transitions) for batch in batches) == 40
    (aside,) = store.list_set_aside()
    assert (aside.id, aside.next_due_us) == ("m", T0 + HOUR + SET_ASIDE_US)
    assert [entry.kind for entry in store.history("m")] == ["created", "fired", "set_aside"]
    assert broken_link(store.history("m")) is None
    fire(store, T0 + 3 * HOUR)
    assert [entry.kind for entry in store.history("m")].count("set_aside") == 1


def test_a_firing_that_is_refused_is_set_aside_even_where_no_history_is_left(store: Store, falsify: Falsify) -> None:
    put(store, lit("w1", T0))
    falsify("DELETE FROM history")
    falsify(f"UPDATE event SET {REFUSED['an instant that no column holds']}, next_due_at = ?", T0)
    assert list(fire(store, T0).set_aside) == ["w1"]
    assert fire(store, T0).claimed == 0


def test_an_edit_repairs_a_falsified_status_and_its_chain_holds_even_where_marks_are_false(
    store: Store, falsify: Falsify
) -> None:
    put(store, lit("w1", T0, T0 + DAY), lit("w2", T0, T0 + DAY))
    fire(store, T0)
    falsify("UPDATE event SET marks = '{}' WHERE id = 'w1'")
    falsify("UPDATE event SET status = 'out/out' WHERE id = 'w2'")
    put(store, lit("w1", T0, T0 + 2 * DAY), lit("w2", T0, T0 + 2 * DAY), now=T0 - 1)
    for id_ in ("w1", "w2"):
        assert [entry.kind for entry in store.history(id_)] == ["created", "fired", "repaired", "edited"]
        assert broken_link(store.history(id_)) is None


def test_a_new_owner_looks_again_at_once_at_what_the_last_one_set_aside(store: Store, falsify: Falsify) -> None:
    broken(store, falsify, BREAKAGES["a lifecycle that is not there"])
    put(store, lit("held", T0), lit("gone", T0 + DAY))
    fire(store, T0)
    falsify("UPDATE event SET lifecycle_hash = ? WHERE id = 'broken'", lamp().hash)
    falsify("UPDATE event SET error = 'x', hold = 'draft', next_due_at = NULL WHERE id = 'held'")
    falsify("UPDATE event SET error = 'x', removed = 1, next_due_at = NULL WHERE id = 'gone'")
    store.wake_set_aside(T0 + MINUTE)
    assert [row.id for row in store.list_set_aside() if row.next_due_us is not None] == ["broken"]
    assert briefly(fire(store, T0 + MINUTE).transitions) == ["broken fired switch_on"]


def test_what_is_set_aside_is_not_listed_among_what_is_to_come(store: Store, falsify: Falsify) -> None:
    broken(store, falsify, BREAKAGES["a lifecycle that is not there"])
    fire(store, T0)
    assert store.list_by_alarm() == []


def test_a_claim_for_nobody_claims_nobody(store: Store) -> None:
    put(store, lit("w1", T0))
    assert store.fire_due(request(T0, most=0)).claimed == 0
    assert ledger(store)[-1].kind == "created"


def test_a_status_that_was_falsified_is_repaired_by_the_firing_and_told(store: Store, falsify: Falsify) -> None:
    put(store, event(event_start=T0 + HOUR, event_end=T0 + DAY))
    falsify("UPDATE event SET status = 'completed/event_ended'")
    fired = fire(store, T0 + HOUR)
    assert briefly(fired.entries) == ["w1 repaired", "w1 fired event_start"]
    assert store.get_event("w1").status == "ongoing/event_started"
    assert_all_sound(store)


def test_marks_that_were_falsified_do_not_break_the_chain_of_what_fires_next(store: Store, falsify: Falsify) -> None:
    put(store, lit("w1", T0, T0 + DAY))
    falsify("""UPDATE event SET marks = '{"switch_on":[1,5]}', next_due_at = ?""", T0 + DAY)
    fire(store, T0 + DAY)
    entries = store.history("w1")
    assert [(entry.from_status, entry.to_status) for entry in entries] == [
        ("", "dark/dark"),
        ("dark/dark", "lit/lit"),
        ("lit/lit", "out/out"),
    ]
