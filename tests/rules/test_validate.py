"""Refusals and warnings about the dates of one event, taken together."""

from __future__ import annotations

from typing import Any

import pytest

from duly.errors import InvalidEvent
from duly.model.event import Event
from duly.rules.plan import plan
from duly.rules.validate import check_dates, passed_at_creation
from tests.builders import CAMPUS, CONFERENCE, CONTEST, DAY, HOUR, T0, at, event, planned

ORDER = [
    "registration_open",
    "registration_close",
    "event_start",
    "event_end",
    "certificate_start",
    "certificate_end",
]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("event_start", "event_end"),
        ("registration_open", "registration_close"),
        ("certificate_start", "certificate_end"),
    ],
)
def test_bad_input_22_an_end_before_its_beginning_is_refused_naming_both(earlier: str, later: str) -> None:
    dates: dict[str, Any] = {earlier: T0 + HOUR, later: T0}
    with pytest.raises(InvalidEvent) as refused:
        planned(event(**dates))
    assert str(refused.value) == (
        f"event 'w1': {later} (2026-05-01 08:00 UTC) is before {earlier} (2026-05-01 09:00 UTC)"
    )


def test_bad_input_22_the_refusal_speaks_in_the_zone_of_the_event() -> None:
    dates = {"event_start": "2026-05-01T10:00", "event_end": "2026-05-01T09:00"}
    with pytest.raises(InvalidEvent, match=r"09:00 Europe/Berlin\) is before .*10:00 Europe/Berlin"):
        plan(Event("w1", dates=dates, zone="Europe/Berlin"), CAMPUS)


def test_bad_input_22_all_instants_equal_are_accepted_with_a_warning_for_each_window() -> None:
    dates: dict[str, Any] = dict.fromkeys(ORDER, T0)
    found = planned(event(**dates))
    assert sorted(warning.split(": ", 1)[1] for warning in found.warnings) == [
        "certificate_start and certificate_end are at the same instant: a window of no length",
        "event_start and event_end are at the same instant: a window of no length",
        "registration_open and registration_close are at the same instant: a window of no length",
    ]


def test_a_microsecond_is_a_window() -> None:
    assert planned(event(event_start=T0, event_end=T0 + 1)).warnings == ()


def test_scenario_07_one_date_left_behind_its_predecessor_is_refused_naming_the_pair() -> None:
    dates: dict[str, Any] = {
        "registration_open": T0 + DAY,
        "registration_close": T0 + HOUR,
        "event_start": T0 + 2 * DAY,
    }
    with pytest.raises(InvalidEvent, match=r"registration_close \(.*\) is before registration_open"):
        planned(event(**dates, event_end=T0 + 3 * DAY))


def test_scenario_13_what_is_on_different_tracks_may_come_in_any_order() -> None:
    found = planned(event(registration_close=T0 + 4 * HOUR, event_start=T0, event_end=T0 + DAY))
    assert found.warnings == ()


def test_rounds_must_follow_each_other_and_each_round_is_ordered_within_itself() -> None:
    with pytest.raises(InvalidEvent, match=r"paper_deadline#2 \(.*\) is before paper_deadline \("):
        planned(event(paper_deadline=T0 + DAY, paper_deadline_2=T0), CONFERENCE)
    with pytest.raises(InvalidEvent, match=r"paper_deadline#2 \(.*\) is before abstract_deadline#2"):
        planned(event(abstract_deadline_2=T0 + DAY, paper_deadline_2=T0), CONFERENCE)


def test_a_second_rounds_abstracts_may_be_due_before_the_first_rounds_papers() -> None:
    dates: dict[str, Any] = {
        "abstract_deadline": T0,
        "paper_deadline": T0 + 9 * DAY,
        "abstract_deadline_2": T0 + 5 * DAY,
    }
    assert planned(event(**dates), CONFERENCE).warnings == ()


def test_a_default_that_falls_before_what_was_given_is_refused_too() -> None:
    with pytest.raises(InvalidEvent, match="certificate_end"):
        planned(event(event_start=T0, event_end=T0 + DAY, certificate_end=T0 + HOUR))


def test_a_default_at_the_same_instant_is_what_was_meant_and_warns_of_nothing() -> None:
    found = planned(event(contest_start=T0, contest_end=T0 + HOUR, scoreboard_thaw=T0 + HOUR), CONTEST)
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("1969-12-31 23:59:59.999999", True),
        ("1970-01-01 00:00", False),
        ("2099-12-31 23:59:59.999999", False),
        ("2100-01-01 00:00", True),
        ("1900-01-02 00:00", True),
    ],
)
def test_bad_input_23_a_year_that_is_nearly_always_a_slip_is_kept_and_said_aloud(text: str, odd: bool) -> None:
    instant = at(text if text.count(":") > 1 else text + ":00")
    found = planned(event(event_start=instant))
    assert found.dates["event_start"] == instant
    assert found.warnings == ((f"event 'w1': event_start is in the year {text[:4]}: is that meant?",) if odd else ())


def test_scenario_14_what_had_passed_before_the_event_was_known_is_warned_of_by_name() -> None:
    dates = {"event_end": T0 + 2 * HOUR, "event_start": T0, "registration_open": T0 - HOUR}
    assert passed_at_creation(dates, T0 - HOUR, where="event 'w1'") == []
    assert passed_at_creation(dates, T0, where="event 'w1'") == [
        "event 'w1': registration_open (2026-05-01 07:00 UTC) has already passed"
    ]
    assert passed_at_creation(dates, T0 + 2 * HOUR, where="event 'w1'") == [
        "event 'w1': 2 dates have already passed, the last of them event_start (2026-05-01 08:00 UTC)"
    ]


def test_bad_input_22_bare_days_in_the_wrong_order_are_refused_even_where_their_instants_are_equal() -> None:
    dates = {"event_start": "2026-12-05", "event_end": "2026-12-04"}
    with pytest.raises(InvalidEvent, match=r"event_end \(2026-12-04\) is before event_start \(2026-12-05\)"):
        plan(Event("w1", dates=dates), CAMPUS, zone="UTC")


def test_dates_without_a_zone_are_spoken_of_in_utc() -> None:
    with pytest.raises(InvalidEvent, match="08:00 UTC"):
        check_dates({"event_start": T0 + 1, "event_end": T0}, CAMPUS, where="event 'w1'", zone=None)
