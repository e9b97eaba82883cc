"""What a person does to an event without putting it anew: a hold, a manual milestone, a removal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from duly.errors import InvalidEvent, InvalidLifecycle
from duly.model.dates import Micros
from duly.model.event import Hold, Status
from duly.model.history import Kind
from duly.rules.edit import Outcome
from tests.builders import CAMPUS, CONTEST, DAY, HOUR, T0, Life, assert_quiet, assert_sound, event

# ---------------------------------------------------------------------------------------------- milestones
CONTEST_DATES: dict[str, Any] = {"contest_start": T0 + 2 * HOUR, "contest_end": T0 + 4 * HOUR}


def contest(now: Micros) -> Life:
    life = Life(CONTEST)
    life.put(T0, event(lifecycle=CONTEST, **CONTEST_DATES))
    life.advance(now)
    return life


def test_a_manual_milestone_fires_when_a_person_says_so_and_is_dated_by_that() -> None:
    life = contest(T0 + 5 * HOUR)
    (entry,) = life.fire_by_hand(T0 + 6 * HOUR, "results_final")
    assert (entry.kind, entry.milestone, entry.cause, entry.actor) == ("fired", "results_final", "manual", "jury")
    assert entry.due_us == entry.at_us == T0 + 6 * HOUR
    assert life.status == "completed/results_final"
    assert_quiet(life.now_row, CONTEST, T0 + 6 * HOUR)
    assert_sound(life.now_row, life.entries, CONTEST)


def test_what_is_overdue_fires_before_a_manual_milestone() -> None:
    life = contest(T0)
    entries = life.fire_by_hand(T0 + 4 * HOUR, "results_final")
    assert [(e.milestone, e.cause) for e in entries] == [
        ("start_reminder", "caught_up"),
        ("contest_start", "caught_up"),
        ("contest_end", "scheduled"),  # due this very instant: within the grace it is merely late
        ("results_final", "manual"),
    ]
    assert_sound(life.now_row, life.entries, CONTEST)


def test_a_manual_milestone_fires_once() -> None:
    life = contest(T0 + 5 * HOUR)
    life.fire_by_hand(T0 + 6 * HOUR, "results_final")
    with pytest.raises(InvalidEvent, match=r"event 'w1': results_final has been fired already, at 2026-05-01 14:00"):
        life.fire_by_hand(T0 + 7 * HOUR, "results_final")


@pytest.mark.parametrize("milestone", ["contest_end", "start_reminder"])
def test_what_fires_by_itself_is_not_fired_by_hand(milestone: str) -> None:
    with pytest.raises(InvalidEvent, match="fires by itself"):
        contest(T0).fire_by_hand(T0, milestone)


def test_an_unknown_milestone_is_not_fired_by_hand() -> None:
    with pytest.raises(InvalidLifecycle, match="no milestone 'party'"):
        contest(T0).fire_by_hand(T0, "party")


def test_nothing_of_an_event_on_hold_is_fired_by_hand() -> None:
    life = contest(T0)
    life.put(T0, event(lifecycle=CONTEST, hold=Hold.POSTPONED, **CONTEST_DATES))
    with pytest.raises(InvalidEvent, match="while the event is postponed"):
        life.fire_by_hand(T0, "results_final")


def test_what_was_fired_by_hand_outlives_every_put() -> None:
    life = contest(T0 + 5 * HOUR)
    life.fire_by_hand(T0 + 6 * HOUR, "results_final")
    again = life.put(T0 + 7 * HOUR, event(lifecycle=CONTEST, **CONTEST_DATES))
    assert again.outcome == Outcome.UNCHANGED
    life.put(T0 + 7 * HOUR, event(lifecycle=CONTEST, hold=Hold.ARCHIVED, **CONTEST_DATES))
    life.put(T0 + 8 * HOUR, event(lifecycle=CONTEST, **CONTEST_DATES))
    assert life.status == "completed/results_final"
    assert_sound(life.now_row, life.entries, CONTEST)


def test_scenario_31_what_was_fired_by_hand_outlives_a_removal() -> None:
    life = contest(T0 + 5 * HOUR)
    life.fire_by_hand(T0 + 6 * HOUR, "results_final")
    life.remove(T0 + 7 * HOUR)
    life.put(T0 + 8 * HOUR, event(lifecycle=CONTEST, **CONTEST_DATES))
    assert life.status == "completed/results_final"
    assert_quiet(life.now_row, CONTEST, T0 + 8 * HOUR)
    assert_sound(life.now_row, life.entries, CONTEST)


# --------------------------------------------------------------------------------------------------- holds


def race() -> Life:
    life = Life()
    dates: dict[str, Any] = {"event_start": T0 + 2 * HOUR, "event_end": T0 + 4 * HOUR}
    life.put(T0, event(registration_close=T0 + HOUR, **dates))
    return life


@pytest.mark.parametrize("hold", [hold for hold in Hold if hold is not Hold.ACTIVE])
def test_a_hold_by_hand_clears_the_alarm_and_keeps_everything_else(hold: Hold) -> None:
    life = race()
    life.advance(T0 + HOUR)
    before = life.now_row
    edited = life.hold(T0 + HOUR, hold)
    (entry,) = edited.entries
    assert (entry.kind, entry.to_status, entry.actor) == (Kind.HELD, f"{hold}/{hold}", "ada")
    assert entry.details == {"hold": ["active", hold.value]}
    row = life.now_row
    assert (row.next_due_us, row.pending, row.revision) == (None, 0, before.revision + 1)
    assert (row.dates, row.marks, row.given) == (before.dates, before.marks, before.given)
    assert life.advance(T0 + DAY) == []
    assert_sound(row, life.entries, CAMPUS)


def test_to_the_hold_that_it_has_nothing_happens() -> None:
    life = race()
    assert life.hold(T0, Hold.ACTIVE).outcome == Outcome.UNCHANGED
    life.hold(T0, Hold.CANCELLED)
    before = life.now_row
    assert life.hold(T0 + 1, Hold.CANCELLED).outcome == Outcome.UNCHANGED
    assert life.now_row == before


def test_scenario_15_a_hold_that_is_lifted_by_hand_is_the_truth_at_once() -> None:
    life = race()
    life.hold(T0, Hold.PENDING_APPROVAL)
    entries = life.hold(T0 + 3 * HOUR, Hold.ACTIVE).entries
    assert [(e.kind, e.milestone, e.cause, e.actor) for e in entries] == [
        ("held", None, None, "ada"),
        ("fired", "registration_close", "born_late", "ada"),
        ("fired", "event_start", "born_late", "ada"),
    ]
    assert life.now_row.next_due_us == T0 + 4 * HOUR
    assert_quiet(life.now_row, CAMPUS, T0 + 3 * HOUR)
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_from_one_hold_to_another_nothing_fires() -> None:
    life = race()
    life.hold(T0, Hold.POSTPONED)
    (entry,) = life.hold(T0 + DAY, Hold.CANCELLED).entries
    assert (entry.from_status, entry.to_status) == ("postponed/postponed", "cancelled/cancelled")


def test_an_event_that_was_set_aside_is_looked_at_again_when_its_hold_is_lifted() -> None:
    life = race()
    life.hold(T0, Hold.DRAFT)
    life.row = replace(life.now_row, error="boom")
    life.hold(T0, Hold.ACTIVE)
    assert (life.now_row.error, life.now_row.next_due_us) == (None, T0 + HOUR)


@pytest.mark.parametrize("deed", ["hold", "lift", "fire", "remove"])
def test_a_deed_on_an_event_whose_status_was_falsified_leaves_its_chain_whole_where_the_history_was_asked(
    deed: str,
) -> None:
    life = contest(T0 + 5 * HOUR)
    if deed == "lift":
        life.hold(T0 + 5 * HOUR, Hold.DRAFT)
    told = life.status
    life.row = replace(life.now_row, status=Status("on/fire"))
    life.told_status = told
    if deed == "hold":
        life.hold(T0 + 6 * HOUR, Hold.CANCELLED)
    elif deed == "lift":
        life.hold(T0 + 6 * HOUR, Hold.ACTIVE)
    elif deed == "fire":
        life.fire_by_hand(T0 + 6 * HOUR, "results_final")
    else:
        life.remove(T0 + 6 * HOUR)
    assert_sound(life.now_row, life.entries, CONTEST)
