"""What an event's status is at an instant: derived, half-open, the same whoever asks."""

from __future__ import annotations

import pytest

from duly.model.dates import Micros
from duly.model.event import EventRow, Hold, Mark
from duly.rules.status import announced_status, status_at, track_states_at, triggers_to_come
from tests.builders import CAMPUS, CONFERENCE, DAY, HOUR, T0, at, event, planned, row_of, seminar

FULL = {
    "registration_open": T0,
    "registration_close": T0 + 10 * HOUR,
    "event_start": T0 + 12 * HOUR,
    "event_end": T0 + 14 * HOUR,
    "certificate_start": T0 + 20 * HOUR,
    "certificate_end": T0 + 30 * HOUR,
}


def headline_by_hand(dates: dict[str, Micros], instant: Micros) -> str:
    """Return a campus event's status as DESIGN.md, section 3.1, says it: worked out apart from the code."""

    def passed(name: str) -> bool:
        return name in dates and dates[name] <= instant

    if "event_start" not in dates or "event_end" not in dates:
        return "draft/draft"
    if passed("event_end"):
        available = passed("certificate_start") and not passed("certificate_end")
        return "ongoing/certificate_available" if available else "completed/event_ended"
    if passed("event_start"):
        return "ongoing/event_started"
    if passed("registration_close"):
        return "upcoming/registration_closed"
    if passed("registration_open") or ("registration_close" in dates and "registration_open" not in dates):
        return "upcoming/registration_open"
    return "upcoming/" + ("registration_not_started" if "registration_open" in dates else "registration_not_required")


@pytest.mark.parametrize("missing", [None, *FULL])
def test_the_status_is_that_of_the_design_before_at_and_after_every_instant(missing: str | None) -> None:
    dates = {name: due for name, due in FULL.items() if name != missing}
    row = row_of(dates)
    for due in FULL.values():
        for instant in (due - 1, due, due + 1):
            assert status_at(row, CAMPUS, instant) == headline_by_hand(dates, instant)


def test_a_window_is_half_open_to_the_microsecond() -> None:
    row = row_of(FULL)
    assert status_at(row, CAMPUS, FULL["event_start"] - 1).sub_status == "registration_closed"
    assert status_at(row, CAMPUS, FULL["event_start"]).sub_status == "event_started"
    assert status_at(row, CAMPUS, FULL["certificate_end"] - 1) == "ongoing/certificate_available"
    assert status_at(row, CAMPUS, FULL["certificate_end"]) == "completed/event_ended"


@pytest.mark.parametrize("hold", [hold for hold in Hold if hold is not Hold.ACTIVE])
def test_an_event_on_hold_is_its_hold_at_every_instant_and_has_no_triggers(hold: Hold) -> None:
    row = row_of(FULL, hold=hold.value)
    assert {status_at(row, CAMPUS, instant) for instant in (0, T0, T0 + 99 * DAY)} == {f"{hold}/{hold}"}
    assert announced_status(row, CAMPUS) == f"{hold}/{hold}"
    assert triggers_to_come(row, CAMPUS) == []


def test_scenario_12_at_the_very_instant_of_close_and_start_the_event_has_started() -> None:
    row = row_of({**FULL, "registration_close": FULL["event_start"]})
    assert status_at(row, CAMPUS, FULL["event_start"] - 1) == "upcoming/registration_open"
    assert status_at(row, CAMPUS, FULL["event_start"]) == "ongoing/event_started"
    assert [t.milestone for t in triggers_to_come(row, CAMPUS)][1:3] == ["registration_close", "event_start"]


def test_scenario_13_the_registration_track_goes_on_under_the_headline_of_the_event() -> None:
    row = row_of({**FULL, "registration_close": FULL["event_start"] + HOUR})
    during, after = FULL["event_start"] + HOUR - 1, FULL["event_start"] + HOUR
    assert track_states_at(row, CAMPUS, during)["registration"] == "open"
    assert track_states_at(row, CAMPUS, after)["registration"] == "closed"
    assert status_at(row, CAMPUS, during) == status_at(row, CAMPUS, after) == "ongoing/event_started"


def test_what_has_been_announced_is_what_fired_not_what_is_due() -> None:
    row = row_of(FULL, marks={"registration_open": Mark(1, T0), "registration_close": Mark(2, None)})
    assert announced_status(row, CAMPUS) == "upcoming/registration_open"
    assert status_at(row, CAMPUS, T0 + 11 * HOUR) == "upcoming/registration_closed"


def test_a_mark_of_a_milestone_without_a_date_says_nothing_about_the_status() -> None:
    dates = {name: FULL[name] for name in ("event_start", "event_end")}
    row = row_of(dates, marks={"registration_open": Mark(1, T0)})
    assert announced_status(row, CAMPUS) == "upcoming/registration_not_required"


def test_triggers_to_come_stand_in_the_order_of_due_instant_and_lifecycle_with_their_generations() -> None:
    shuffled = dict(sorted(FULL.items(), reverse=True)) | {"registration_open": FULL["event_end"]}
    row = row_of(shuffled, marks={"event_start": Mark(1, FULL["event_start"]), "event_end": Mark(3, None)})
    found = [(trigger.milestone, trigger.generation) for trigger in triggers_to_come(row, CAMPUS)]
    assert found == [
        ("registration_close", 1),
        ("registration_open", 1),  # the same instant as event_end, and before it in the lifecycle
        ("event_end", 3),
        ("certificate_start", 1),
        ("certificate_end", 1),
    ]


def test_a_removed_event_has_no_triggers() -> None:
    assert triggers_to_come(row_of(FULL, removed=True), CAMPUS) == []


def test_milestones_that_come_out_of_lifecycle_order_leave_the_track_where_the_latest_brought_it() -> None:
    dates = {
        "registration_close": T0,
        "registration_open": T0 + HOUR,
    }  # never accepted by a put, but a row may say so
    row = row_of(dates)
    assert track_states_at(row, CAMPUS, T0)["registration"] == "closed"
    assert track_states_at(row, CAMPUS, T0 + HOUR)["registration"] == "open"


def test_an_implied_state_holds_from_the_start_where_only_a_later_milestone_is_dated() -> None:
    row = row_of({"registration_close": T0, "event_start": T0, "event_end": T0})
    assert status_at(row, CAMPUS, 0) == "upcoming/registration_open"


def test_between_rounds_a_track_is_in_its_state_between() -> None:
    lifecycle = seminar()
    row = row_of({"deadline": T0, "deadline#2": T0 + DAY, "deadline#3": T0 + 2 * DAY, "first_talk": T0 + 9 * DAY})
    states = [track_states_at(row, lifecycle, T0 + days * DAY)["papers"] for days in (-1, 0, 1, 2)]
    assert states == ["open", "extended", "extended", "over"]


def test_ten_rounds_follow_each_other_by_number_not_by_spelling() -> None:
    names = ["paper_deadline", *(f"paper_deadline#{number}" for number in range(2, 11))]
    row = row_of(dict.fromkeys(reversed(names), T0), CONFERENCE)
    assert [trigger.milestone for trigger in triggers_to_come(row, CONFERENCE)] == names
    assert track_states_at(row, CONFERENCE, T0)["submission"] == "closed"


def test_a_manual_milestone_is_never_a_trigger() -> None:
    lifecycle = seminar()
    row: EventRow = row_of(planned(event(lifecycle=lifecycle, first_talk=T0, last_talk=T0), lifecycle).dates)
    assert "proceedings" not in {trigger.milestone for trigger in triggers_to_come(row, lifecycle)}
    assert status_at(row, lifecycle, at("9000-01-01 00:00")) == "over/done"
