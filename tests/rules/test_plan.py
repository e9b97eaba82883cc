"""An event's dates, as given, become instants: defaults, rounds, relative dates, and everything that is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from duly.errors import DulyError, InvalidDate, InvalidEvent, InvalidZone
from duly.model.event import Event
from duly.model.lifecycle import Lifecycle, Milestone
from duly.rules.plan import plan
from tests.builders import CAMPUS, CONFERENCE, CONTEST, DAY, HOUR, MINUTE, T0, at, event, lamp, planned, seminar


def refusal(event_: Event, lifecycle: Lifecycle = CAMPUS) -> str:
    with pytest.raises(DulyError) as refused:
        plan(event_, lifecycle, zone="UTC")
    assert str(refused.value).startswith("event 'w1': ")
    return str(refused.value).removeprefix("event 'w1': ")


def dated(**dates: object) -> Event:
    return Event("w1", dates=dates)


def test_dates_stand_in_lifecycle_order_however_they_were_given() -> None:
    found = planned(event(event_end=T0 + DAY, event_start=T0, registration_open=T0 - DAY))
    assert list(found.dates.items()) == [
        ("registration_open", T0 - DAY),
        ("event_start", T0),
        ("event_end", T0 + DAY),
    ]


def test_a_date_may_be_named_by_its_milestone_or_by_its_field_but_not_by_both() -> None:
    assert planned(event(start_datetime=T0)).dates == {"event_start": T0}
    twice = refusal(event(start_datetime=T0, event_start=T0))
    assert twice == "event_start is dated twice; give it once, as 'event_start' or as its field"


def test_what_is_empty_is_left_out() -> None:
    assert planned(dated(event_start=None, event_end="")).dates == {}


def test_certificates_with_only_an_end_become_available_at_the_end_of_the_event() -> None:
    found = planned(event(event_start=T0, event_end=T0 + HOUR, certificate_end=T0 + DAY))
    assert found.dates["certificate_start"] == T0 + HOUR
    assert "certificate_start" not in found.given


def test_certificates_without_any_date_or_without_an_end_of_the_event_are_not_dated() -> None:
    assert "certificate_start" not in planned(event(event_start=T0, event_end=T0 + HOUR)).dates
    assert "certificate_start" not in planned(event(certificate_end=T0 + DAY)).dates


def test_a_default_never_replaces_what_was_given() -> None:
    found = planned(event(event_end=T0, certificate_start=T0 + HOUR, certificate_end=T0 + DAY))
    assert found.dates["certificate_start"] == T0 + HOUR


def test_a_default_that_hangs_on_a_later_default_is_dated_too() -> None:
    lifecycle = replace(
        lamp(),
        milestones=(
            Milestone(name="warm_up", default="switch_on - 10 minutes"),
            Milestone(name="switch_on", track="light", state="lit", default="switch_off - 1 hour"),
            Milestone(name="switch_off", track="light", state="out"),
        ),
    )
    found = planned(event(lifecycle=lifecycle, switch_off=T0), lifecycle)
    assert found.dates == {"warm_up": T0 - 70 * MINUTE, "switch_on": T0 - HOUR, "switch_off": T0}


def test_a_relative_date_follows_its_anchor_whichever_was_given_first() -> None:
    found = planned(dated(registration_close="event_start - 2 days at 23:59", event_start="2026-05-10T10:00:00Z"))
    assert found.dates["registration_close"] == at("2026-05-08 23:59")
    assert "event_start - 2 days at 23:59" in str(found.given["registration_close"])


def test_a_relative_date_whose_anchor_has_none_is_refused() -> None:
    message = refusal(dated(registration_close="event_start - 2 days"))
    assert message.startswith("registration_close is relative to 'event_start', which has no date")


@pytest.mark.parametrize(
    ("dates", "circle"),
    [
        ({"event_start": "event_start + 1 hour"}, "event_start → event_start"),
        (
            {"event_start": "event_end - 1 hour", "event_end": "event_start + 1 hour"},
            "event_start → event_end → event_start",
        ),
    ],
)
def test_bad_input_26_dates_that_hang_on_each_other_are_refused_naming_the_circle(
    dates: dict[str, object], circle: str
) -> None:
    assert refusal(dated(**dates)) == f"the dates hang on each other in a circle: {circle}"


def test_bad_input_26_a_circle_in_a_corner_does_not_spoil_the_refusal() -> None:
    ring = {
        "registration_open": "registration_close - 1 day",
        "registration_close": "event_start - 1 day",
        "event_start": "registration_open + 9 days",
        "event_end": "2026-05-10T10:00:00Z",
    }
    assert refusal(dated(**ring)).startswith("the dates hang on each other in a circle: ")


def test_rounds_are_dated_by_name_or_by_field_and_the_first_may_be_called_one() -> None:
    dates = {"paper_deadline#1": "2026-01-01", "paper_deadline#2": "2026-02-01"}
    found = plan(Event("w1", lifecycle="conference", dates=dates), CONFERENCE)
    assert list(found.dates) == ["paper_deadline_reminder", "paper_deadline", "paper_deadline#2"]
    assert found.dates["paper_deadline"] == at("2026-01-02 12:00")  # the end of the day anywhere on Earth


def test_the_first_round_by_its_two_names_is_dated_twice() -> None:
    dates = {"paper_deadline#1": "2026-01-01", "paper_deadline": "2026-02-01"}
    assert "dated twice" in refusal(Event("w1", dates=dates), CONFERENCE)


NO_ROUNDS = ["#0", "#02", "#-1", "#x", "#1000", "#", "#" + "9" * 5000, "#²", "#2#2", "#1#2"]


@pytest.mark.parametrize(
    "name",
    [*(f"paper_deadline{number}" for number in NO_ROUNDS), "camera_ready#2", "nonsense", "nonsense#1", "#1", ""],
)
def test_a_name_that_is_no_milestone_and_no_round_is_refused(name: str) -> None:
    with pytest.raises(InvalidEvent):
        plan(Event("w1", dates={name: "2026-01-01T00:00:00Z"}), CONFERENCE)
    assert len(refusal(Event("w1", dates={name: "2026-01-01T00:00:00Z"}), CONFERENCE)) < 500


@pytest.mark.parametrize("name", ["results_final", "results_final#1"])
def test_a_manual_milestone_takes_no_date(name: str) -> None:
    message = refusal(Event("w1", dates={name: "2026-01-01T00:00:00Z"}), CONTEST)
    assert "manual" in message


def test_a_milestone_that_does_not_repeat_has_no_second_round_and_the_refusal_says_so() -> None:
    message = refusal(Event("w1", dates={"camera_ready#2": "2026-01-01"}), CONFERENCE)
    assert "does not repeat" in message


def test_what_a_lifecycle_requires_is_missed_by_name() -> None:
    lifecycle = seminar()
    message = refusal(event(lifecycle=lifecycle, last_talk=T0), lifecycle)
    assert message == "first_talk has no date, but lifecycle 'seminar' requires one"


def test_the_zone_of_the_event_goes_before_that_of_the_lifecycle_and_the_schedulers_comes_last() -> None:
    naive = {"paper_deadline": "2026-05-01T10:00:00"}
    own = plan(Event("w1", dates=naive, zone="Asia/Tokyo"), CONFERENCE, zone="Europe/Berlin")
    assert (own.zone, own.dates["paper_deadline"]) == ("Asia/Tokyo", at("2026-05-01 01:00"))
    lifecycles = plan(Event("w1", dates=naive), CONFERENCE, zone="Europe/Berlin")
    assert (lifecycles.zone, lifecycles.dates["paper_deadline"]) == ("AoE", at("2026-05-01 22:00"))
    start = {"event_start": "2026-05-01T10:00:00"}
    schedulers = plan(Event("w1", dates=start), CAMPUS, zone="Europe/Berlin")
    assert (schedulers.zone, schedulers.dates["event_start"]) == ("Europe/Berlin", at("2026-05-01 08:00"))


def test_a_zone_that_is_none_is_refused_naming_the_event_and_an_odd_one_is_warned_of() -> None:
    with pytest.raises(InvalidZone, match="event 'w1': "):
        plan(Event("w1", zone="PT"), CAMPUS)
    warnings = plan(Event("w1", zone="Etc/GMT+12"), CAMPUS).warnings
    assert len(warnings) == 1
    assert warnings[0].startswith("event 'w1': ")


def test_a_date_that_cannot_be_read_is_refused_naming_event_and_field() -> None:
    with pytest.raises(InvalidDate, match="event 'w1': start_datetime: "):
        plan(dated(start_datetime="soon-ish"), CAMPUS)


def test_a_date_that_cannot_be_resolved_is_refused_naming_event_and_milestone() -> None:
    with pytest.raises(InvalidDate, match=r"event 'w1': event_start: .*no zone"):
        plan(dated(start_datetime="2026-05-01T10:00:00"), CAMPUS)


def test_since_when_an_event_is_known_is_read_like_any_date() -> None:
    assert planned(Event("w1")).created_us is None
    known = Event("w1", created_at=datetime(2026, 5, 1, 8, tzinfo=UTC))
    assert planned(known).created_us == T0


@pytest.mark.parametrize(
    "data", [{"x": float("nan")}, {"x": {1, 2}}, {"x": "\ud800"}, {"x": 10**5000}, {"x": b"bytes"}, [1], "text"]
)
def test_data_that_cannot_be_kept_as_json_is_refused(data: object) -> None:
    assert "data" in refusal(replace(Event("w1"), data=data))  # type: ignore[arg-type]  # that is the point


def test_data_that_is_nested_without_end_is_refused() -> None:
    endless: dict[str, object] = {}
    endless["self"] = endless
    assert "data" in refusal(replace(Event("w1"), data=endless))


def test_data_is_kept_as_it_will_be_read_back() -> None:
    found = planned(replace(Event("w1"), data={"seats": (1, 2), 3: "three"}))  # type: ignore[dict-item]
    assert found.data == {"seats": [1, 2], "3": "three"}


def test_an_unknown_hold_is_refused_naming_those_that_there_are() -> None:
    message = refusal(replace(Event("w1"), hold="closed"))  # type: ignore[arg-type]  # as a careless caller would
    assert "'closed'" in message
    assert "cancelled" in message


def test_a_hold_given_as_its_word_is_as_good_as_the_enum() -> None:
    assert planned(replace(Event("w1"), hold="cancelled")).event.hold == "cancelled"  # type: ignore[arg-type]
