"""What a reader sees: right at the instant of the reading, whoever is or is not running."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from duly.model.event import Hold, Mark
from duly.rules.view import EventView
from tests.builders import CAMPUS, DAY, HOUR, T0, Life, event, row_of


def life() -> Life:
    found = Life()
    found.put(
        T0 - DAY, replace(event(registration_close=T0, event_start=T0 + HOUR, event_end=T0 + 2 * HOUR), name="Race")
    )
    return found


def view(row_life: Life, now: int) -> EventView:
    return EventView(row_life.now_row, CAMPUS, now)


def test_scenario_29_the_page_is_right_while_nothing_runs_and_says_what_is_outstanding() -> None:
    seen = view(life(), T0 + HOUR)
    assert seen.status == "ongoing/event_started"
    assert seen.announced == "upcoming/registration_open"
    assert [trigger.milestone for trigger in seen.overdue] == ["registration_close", "event_start"]
    assert [trigger.milestone for trigger in seen.upcoming] == ["registration_close", "event_start", "event_end"]
    assert seen.tracks == {"registration": "closed", "event": "started", "certificate": "unavailable"}


def test_at_the_very_instant_a_trigger_is_overdue_and_not_a_microsecond_before() -> None:
    assert view(life(), T0 - 1).overdue == []
    assert [trigger.milestone for trigger in view(life(), T0).overdue] == ["registration_close"]


def test_after_the_firing_derived_and_announced_agree() -> None:
    caught_up = life()
    caught_up.advance(T0 + HOUR)
    seen = view(caught_up, T0 + HOUR)
    assert seen.status == seen.announced == "ongoing/event_started"
    assert seen.overdue == []
    assert seen.mark("event_start") == Mark(1, T0 + HOUR)
    assert seen.mark("event_end") is None


def test_a_view_tells_what_the_row_says_of_the_event() -> None:
    row = row_of({"event_start": T0}, name="Race", data={"room": 7}, revision=3, error="boom", hold="postponed")
    seen = EventView(row, CAMPUS, T0)
    assert (seen.id, seen.name, seen.hold, seen.revision) == ("w1", "Race", Hold.POSTPONED, 3)
    assert (seen.data, seen.error, seen.status) == ({"room": 7}, "boom", "postponed/postponed")
    assert seen.dates == {"event_start": datetime(2026, 5, 1, 8, tzinfo=UTC)}


def test_as_json_everything_is_plain_and_instants_end_in_z() -> None:
    caught_up = life()
    caught_up.advance(T0)
    told = view(caught_up, T0 + HOUR).to_json()
    assert told["status"] == "ongoing/event_started"
    assert told["announced_status"] == "upcoming/registration_closed"
    assert told["next_due_at"] == "2026-05-01T09:00:00Z"
    assert told["overdue"] == ["event_start"]
    assert told["upcoming"] == ["event_start", "event_end"]
    dates = told["dates"]
    assert isinstance(dates, dict)
    assert {name: (date["due_at"], date["generation"], date["fired"]) for name, date in dates.items()} == {
        "registration_close": ("2026-05-01T08:00:00Z", 1, True),
        "event_start": ("2026-05-01T09:00:00Z", 1, False),
        "event_end": ("2026-05-01T10:00:00Z", 1, False),
    }


def test_an_event_that_waits_for_nothing_has_no_alarm_to_tell() -> None:
    finished = life()
    finished.advance(T0 + DAY)
    assert view(finished, T0 + DAY).to_json()["next_due_at"] is None
