"""An event and an instant: what fires, in which order, and what becomes of the event."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from duly.model.dates import Micros
from duly.model.event import Hold, Mark, Status
from duly.model.history import Cause, Kind, broken_link
from duly.rules.advance import Firing, advance
from tests.builders import (
    CAMPUS,
    CONTEST,
    DAY,
    HOUR,
    MINUTE,
    T0,
    Life,
    advanced,
    assert_quiet,
    assert_sound,
    event,
    row_of,
    seminar,
)

LATER = T0 + 99 * DAY


def life(now: Micros = T0, hold: Hold = Hold.ACTIVE, **dates: Any) -> Life:
    found = Life()
    found.put(now, event(hold=hold, **dates))
    return found


def test_a_trigger_is_due_at_its_very_instant_and_not_a_microsecond_before() -> None:
    mine = life(event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)
    assert mine.advance(T0 + HOUR - 1) == []
    (fired,) = mine.advance(T0 + HOUR)
    assert (fired.kind, fired.milestone, fired.due_us, fired.at_us) == ("fired", "event_start", T0 + HOUR, T0 + HOUR)
    assert fired.lateness == timedelta(0)
    assert (fired.from_status, fired.to_status) == ("upcoming/registration_not_required", "ongoing/event_started")


def test_what_has_fired_does_not_fire_again() -> None:
    mine = life(event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)
    assert len(mine.advance(T0 + HOUR)) == 1
    assert mine.advance(T0 + HOUR) == mine.advance(T0 + 2 * HOUR - 1) == []


def test_scenario_01_what_was_missed_fires_in_order_each_from_where_the_one_before_led() -> None:
    mine = life(registration_close=T0 + HOUR, event_start=T0 + 2 * HOUR, event_end=T0 + 3 * HOUR)
    fired = mine.advance(T0 + 4 * HOUR, late_before=T0 + 4 * HOUR)
    assert [(e.milestone, e.due_us, e.from_status, e.to_status, e.cause) for e in fired] == [
        ("registration_close", T0 + HOUR, "upcoming/registration_open", "upcoming/registration_closed", "caught_up"),
        ("event_start", T0 + 2 * HOUR, "upcoming/registration_closed", "ongoing/event_started", "caught_up"),
        ("event_end", T0 + 3 * HOUR, "ongoing/event_started", "completed/event_ended", "caught_up"),
    ]
    assert_sound(mine.now_row, mine.entries, CAMPUS)
    assert (mine.now_row.next_due_us, mine.now_row.pending) == (None, 0)


def test_scenario_12_two_triggers_of_one_instant_fire_in_lifecycle_order() -> None:
    mine = life(registration_close=T0 + HOUR, event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)
    fired = mine.advance(T0 + HOUR)
    assert [entry.milestone for entry in fired] == ["registration_close", "event_start"]
    assert [entry.to_status for entry in fired] == ["upcoming/registration_closed", "ongoing/event_started"]


def test_scenario_13_a_close_after_the_start_fires_and_leaves_the_headline() -> None:
    mine = life(registration_close=T0 + 3 * HOUR, event_start=T0 + HOUR, event_end=T0 + 5 * HOUR)
    mine.advance(T0 + HOUR)
    (fired,) = mine.advance(T0 + 3 * HOUR)
    assert (fired.milestone, fired.from_status, fired.to_status) == (
        "registration_close",
        "ongoing/event_started",
        "ongoing/event_started",
    )


@pytest.mark.parametrize("hold", [hold for hold in Hold if hold is not Hold.ACTIVE])
def test_nothing_of_an_event_on_hold_fires(hold: Hold) -> None:
    mine = life(hold=hold, event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)
    assert mine.advance(LATER) == []
    assert (mine.status, mine.now_row.next_due_us) == (f"{hold}/{hold}", None)


def test_late_is_what_was_due_before_the_bound_and_only_that() -> None:
    mine = life(registration_close=T0 + HOUR, event_start=T0 + HOUR + 1, event_end=T0 + 2 * HOUR)
    fired = mine.advance(T0 + 3 * HOUR, late_before=T0 + HOUR + 1)
    assert [entry.cause for entry in fired] == [Cause.CAUGHT_UP, Cause.SCHEDULED, Cause.SCHEDULED]


def test_the_outage_is_noted_on_what_was_caught_up_and_only_there() -> None:
    mine = life(registration_close=T0 + HOUR, event_start=T0 + 2 * HOUR, event_end=T0 + 3 * HOUR)
    firing = Firing(T0 + 3 * HOUR, T0 + 2 * HOUR, "node-1", 7)
    entries = advance(mine.now_row, CAMPUS, firing).entries
    assert [(entry.outage, entry.node) for entry in entries] == [(7, "node-1"), (None, "node-1"), (None, "node-1")]


def test_nothing_at_or_beyond_the_horizon_fires_and_the_alarm_stays_there() -> None:
    mine = life(registration_close=T0 + HOUR, event_start=T0 + 2 * HOUR, event_end=T0 + 3 * HOUR)
    fired = mine.advance(LATER, horizon=(T0 + 2 * HOUR, ""))
    assert [entry.milestone for entry in fired] == ["registration_close"]
    assert (mine.now_row.next_due_us, mine.now_row.pending) == (T0 + 2 * HOUR, 2)


def test_at_the_horizons_own_instant_the_smaller_event_id_goes_first() -> None:
    mine = life(event_start=T0 + HOUR, event_end=T0 + HOUR)
    assert mine.advance(LATER, horizon=(T0 + HOUR, "w0")) == []
    assert mine.advance(LATER, horizon=(T0 + HOUR, "w1")) == []
    assert len(mine.advance(LATER, horizon=(T0 + HOUR, "w2"))) == 2


def test_a_falsified_status_is_repaired_before_anything_fires_and_the_chain_holds() -> None:
    mine = life(event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)
    mine.row = replace(mine.now_row, status=Status("completed/event_ended"))
    repaired, fired = mine.advance(T0 + HOUR)
    assert repaired.kind == Kind.REPAIRED
    assert repaired.details == {"found": "completed/event_ended"}
    assert (repaired.to_status, fired.from_status) == ("upcoming/registration_not_required",) * 2
    assert fired.to_status == "ongoing/event_started"
    assert_sound(mine.now_row, mine.entries, CAMPUS)


def test_a_falsified_status_is_repaired_even_where_nothing_is_due() -> None:
    mine = life(hold=Hold.CANCELLED, event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)
    mine.row = replace(mine.now_row, status=Status("ongoing/event_started"))
    assert [entry.kind for entry in mine.advance(T0)] == [Kind.REPAIRED]
    assert mine.status == "cancelled/cancelled"
    assert_sound(mine.now_row, mine.entries, CAMPUS)


def test_a_second_generation_fires_under_its_own_number() -> None:
    row = row_of({"event_start": T0, "event_end": T0 + HOUR}, marks={"event_start": Mark(2, None)})
    result = advance(row, CAMPUS, Firing(T0, T0))
    assert [(e.milestone, e.generation) for e in result.entries if e.kind == Kind.FIRED] == [("event_start", 2)]
    assert result.marks["event_start"] == Mark(2, T0)
    assert advanced(row, result).next_due_us == T0 + HOUR


def test_the_row_that_was_given_is_left_as_it_was() -> None:
    mine = life(event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)
    before = mine.now_row
    advance(before, CAMPUS, Firing(LATER, 0))
    assert before.marks == {}
    assert before.seq == 1


def test_a_notice_fires_and_moves_nothing() -> None:
    mine = Life(CONTEST)
    mine.put(T0, event(lifecycle=CONTEST, contest_start=T0 + 2 * HOUR, contest_end=T0 + 4 * HOUR))
    (told,) = mine.advance(T0 + HOUR)
    assert (told.milestone, told.from_status) == ("start_reminder", told.to_status)
    assert_quiet(mine.now_row, CONTEST, T0 + HOUR)


def test_rounds_fire_one_after_the_other() -> None:
    mine = Life(seminar())
    days: dict[str, Any] = {
        "deadline": T0 + DAY,
        "deadline_2": T0 + 2 * DAY,
        "first_talk": T0 + 8 * DAY,
        "last_talk": T0 + 9 * DAY,
    }
    mine.put(T0 - 9 * DAY, event(lifecycle=mine.lifecycle, **days))
    fired = mine.advance(T0 + 3 * DAY)
    assert [(e.milestone, e.to_status) for e in fired] == [
        ("warning", "soon/papers"),
        ("deadline", "soon/papers"),
        ("deadline#2", "soon/waiting"),
    ]


@pytest.mark.parametrize("years", [1900, 2200])
def test_bad_input_23_far_off_instants_fire_like_any_other(years: int) -> None:
    mine = life(event_start=f"{years}-01-01T00:00:00Z", event_end=f"{years}-01-02T00:00:00Z")
    fired = mine.advance(T0 + 400 * 366 * DAY)
    assert [entry.milestone for entry in fired] == ["event_start", "event_end"]
    assert mine.status == "completed/event_ended"


@pytest.mark.parametrize("age", [0, 1, 366 * DAY], ids=["now", "a microsecond ago", "a year ago"])
def test_bad_input_24_whatever_is_due_now_or_was_fires_once(age: Micros) -> None:
    mine = life(event_start=T0 - age, event_end=T0 + HOUR)
    assert [entry.milestone for entry in mine.advance(T0)] == ["event_start"]
    assert mine.advance(T0) == []
    assert mine.entries[-1].lateness == timedelta(microseconds=age)


def test_a_date_that_is_no_milestone_raises_instead_of_being_skipped() -> None:
    row = row_of({"event_start": T0, "nonsense": T0})
    with pytest.raises((LookupError, ValueError)):
        advance(row, CAMPUS, Firing(T0, T0))


def test_a_single_microsecond_between_two_minutes_is_kept() -> None:
    mine = life(event_start=T0 + MINUTE + 1, event_end=T0 + HOUR)
    assert mine.advance(T0 + MINUTE) == []
    assert [entry.due_us for entry in mine.advance(T0 + MINUTE + 1)] == [T0 + MINUTE + 1]
    assert broken_link(mine.entries) is None
