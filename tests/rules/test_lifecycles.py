"""The lifecycles that ship: their shapes, and their statuses over whole seasons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from duly.errors import InvalidEvent, InvalidLifecycle, UnknownLifecycle
from duly.lifecycles.reader import built_in, built_in_names
from duly.model.dates import Micros, Side, to_micros
from duly.model.event import Event, EventRow, Hold
from duly.model.history import Cause, Entry, Kind
from duly.model.lifecycle import CatchUp, Headline, Lifecycle, Milestone, Policy, Track
from duly.model.shape import Step
from duly.rules.catch_up import Verdict, effective, is_current, judge
from duly.rules.plan import plan
from duly.rules.status import status_at, track_states_at

CAMPUS = built_in("campus_event")
CONFERENCE = built_in("conference")
CONTEST = built_in("contest")


def at(text: str) -> Micros:
    """Return the instant of an ISO time in UTC."""
    return to_micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


def row_of(lifecycle: Lifecycle, dates: dict[str, object], *, hold: str = Hold.ACTIVE) -> EventRow:
    """Return the row of an event that is put with these dates; bare dates are read in UTC, or as it says."""
    planned = plan(Event("e", lifecycle=lifecycle.name, dates=dates), lifecycle, zone="UTC")
    return EventRow(id="e", lifecycle=lifecycle.name, dates=planned.dates, hold=hold)


def season(lifecycle: Lifecycle, dates: dict[str, object], *, before: str = "2020-01-01") -> list[tuple[str, str]]:
    """Return (milestone, status from then on) for a row with these dates, beginning with what was before."""
    row = row_of(lifecycle, dates)
    told = [("", str(status_at(row, lifecycle, at(before))))]
    for name, due in sorted(row.dates.items(), key=lambda item: (item[1], lifecycle.order(item[0]))):
        told.append((name, str(status_at(row, lifecycle, due))))
    return told


# ------------------------------------------------------------------------------------------------ all of them


def test_the_three_that_ship_are_known_by_name_and_read_once() -> None:
    assert built_in_names() == ("campus_event", "conference", "contest")
    for name in built_in_names():
        assert built_in(name).name == name
        assert built_in(name) is built_in(name)


@pytest.mark.parametrize("name", ["conferense", "../conference", "conference.toml", "", "reader"])
def test_a_lifecycle_that_does_not_ship_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnknownLifecycle, match=r"no lifecycle named '.*' ships with Duly; "):
        built_in(name)


def test_a_misspelt_lifecycle_is_suggested() -> None:
    with pytest.raises(UnknownLifecycle, match="did you mean 'conference'"):
        built_in("conferense")


@pytest.mark.parametrize("name", built_in_names())
def test_every_milestone_has_a_title_and_every_lifecycle_says_what_it_is_for(name: str) -> None:
    lifecycle = built_in(name)
    assert lifecycle.title
    assert lifecycle.description.endswith(".")
    assert [milestone.name for milestone in lifecycle.milestones if not milestone.title] == []


@pytest.mark.parametrize("name", built_in_names())
def test_the_main_statuses_are_those_that_every_lifecycle_shares(name: str) -> None:
    mains = {rule.status.partition("/")[0] for rule in built_in(name).headline}
    assert mains == {"draft", "upcoming", "ongoing", "completed"}


@pytest.mark.parametrize("name", built_in_names())
@pytest.mark.parametrize("hold", [hold for hold in Hold if hold is not Hold.ACTIVE])
def test_an_event_on_hold_has_the_hold_twice_as_its_status(name: str, hold: Hold) -> None:
    assert status_at(EventRow(id="e", hold=hold.value), built_in(name), 0) == f"{hold}/{hold}"


@pytest.mark.parametrize("name", built_in_names())
def test_what_ends_or_is_due_is_a_closing_and_all_else_an_opening(name: str) -> None:
    closings = {"close", "end", "deadline", "camera_ready"}
    for milestone in built_in(name).milestones:
        is_closing = any(milestone.name.endswith(word) for word in closings)
        assert milestone.side == (Side.CLOSING if is_closing else Side.OPENING), milestone.name


@pytest.mark.parametrize("name", built_in_names())
def test_an_event_without_any_date_is_a_draft(name: str) -> None:
    assert status_at(EventRow(id="e"), built_in(name), 0) == "draft/draft"


# ---------------------------------------------------------------------------------------------- campus_event


def test_a_campus_event_is_dated_by_the_fields_of_the_system_that_it_replaces() -> None:
    assert {field: milestone.name for field, milestone in CAMPUS.by_field.items()} == {
        "registration_start_date": "registration_open",
        "registration_end_date": "registration_close",
        "start_datetime": "event_start",
        "end_datetime": "event_end",
        "certificate_start_date": "certificate_start",
        "certificate_end_date": "certificate_end",
    }


CAMPUS_DATES: dict[str, object] = {
    "registration_start_date": "2025-08-27T20:30:00Z",
    "registration_end_date": "2025-09-01T10:00:00Z",
    "start_datetime": "2025-09-02T11:00:00Z",
    "end_datetime": "2025-09-02T12:00:00Z",
    "certificate_start_date": "2025-09-03T00:00:00Z",
    "certificate_end_date": "2025-10-03T00:00:00Z",
}


def test_a_campus_event_goes_through_the_statuses_of_the_design() -> None:
    assert season(CAMPUS, CAMPUS_DATES) == [
        ("", "upcoming/registration_not_started"),
        ("registration_open", "upcoming/registration_open"),
        ("registration_close", "upcoming/registration_closed"),
        ("event_start", "ongoing/event_started"),
        ("event_end", "completed/event_ended"),
        ("certificate_start", "ongoing/certificate_available"),
        ("certificate_end", "completed/event_ended"),
    ]


def test_at_the_microsecond_before_a_milestone_the_old_status_still_holds() -> None:
    row = row_of(CAMPUS, CAMPUS_DATES)
    due = row.dates["event_start"]
    assert status_at(row, CAMPUS, due - 1) == "upcoming/registration_closed"
    assert status_at(row, CAMPUS, due) == "ongoing/event_started"


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (("closed", "ended", "available"), "ongoing/certificate_available"),
        (("closed", "ended", "unavailable"), "completed/event_ended"),
        (("closed", "ended", "expired"), "completed/event_ended"),
        (("open", "ended", "unavailable"), "completed/event_ended"),
        (("open", "started", "available"), "ongoing/event_started"),
        (("closed", "started", "unavailable"), "ongoing/event_started"),
        (("closed", "scheduled", "available"), "upcoming/registration_closed"),
        (("open", "scheduled", "unavailable"), "upcoming/registration_open"),
        (("not_started", "scheduled", "unavailable"), "upcoming/registration_not_started"),
        (("not_required", "scheduled", "unavailable"), "upcoming/registration_not_required"),
    ],
)
def test_the_headline_of_a_campus_event_is_that_of_the_design(states: tuple[str, ...], status: str) -> None:
    assert CAMPUS.shape(("event_start", "event_end")).status(states) == status


@pytest.mark.parametrize("missing", ["start_datetime", "end_datetime"])
def test_a_campus_event_without_a_start_or_an_end_is_a_draft(missing: str) -> None:
    dates = {name: value for name, value in CAMPUS_DATES.items() if name != missing}
    row = row_of(CAMPUS, dates)
    for instant in (at("2020-01-01"), at("2025-09-02T11:30:00"), at("2030-01-01")):
        assert status_at(row, CAMPUS, instant) == "draft/draft"


def test_a_campus_event_without_registration_dates_requires_none() -> None:
    dates: dict[str, object] = {"event_start": "2025-09-02T11:00Z", "event_end": "2025-09-02T12:00Z"}
    assert season(CAMPUS, dates)[0] == ("", "upcoming/registration_not_required")


def test_a_campus_event_that_says_only_when_registration_closes_has_it_open_before() -> None:
    dates: dict[str, object] = {
        "registration_close": "2025-09-01T10:00Z",
        "event_start": "2025-09-02T11:00Z",
        "event_end": "2025-09-02T12:00Z",
    }
    assert season(CAMPUS, dates)[:2] == [
        ("", "upcoming/registration_open"),
        ("registration_close", "upcoming/registration_closed"),
    ]


def test_certificates_with_only_an_end_are_available_from_the_end_of_the_event() -> None:
    dates = CAMPUS_DATES | {"certificate_start_date": None}
    assert season(CAMPUS, dates)[4:] == [
        ("event_end", "ongoing/certificate_available"),
        ("certificate_start", "ongoing/certificate_available"),
        ("certificate_end", "completed/event_ended"),
    ]
    assert row_of(CAMPUS, dates).dates["certificate_start"] == at("2025-09-02T12:00:00")


def test_without_any_certificate_date_there_are_none() -> None:
    dates = CAMPUS_DATES | {"certificate_start_date": None, "certificate_end_date": None}
    assert "certificate_start" not in row_of(CAMPUS, dates).dates
    assert season(CAMPUS, dates)[-1] == ("event_end", "completed/event_ended")


def test_scenario_12_registration_that_closes_at_the_start_leaves_the_event_started() -> None:
    row = row_of(CAMPUS, CAMPUS_DATES | {"registration_end_date": "2025-09-02T11:00:00Z"})
    assert status_at(row, CAMPUS, at("2025-09-02T11:00:00")) == "ongoing/event_started"
    assert CAMPUS.order("registration_close") < CAMPUS.order("event_start")


def test_scenario_13_registration_that_outlasts_the_start_does_not_hide_that_the_event_runs() -> None:
    row = row_of(CAMPUS, CAMPUS_DATES | {"registration_end_date": "2025-09-02T11:30:00Z"})
    assert status_at(row, CAMPUS, at("2025-09-02T11:15:00")) == "ongoing/event_started"
    assert track_states_at(row, CAMPUS, at("2025-09-02T11:15:00"))["registration"] == "open"
    assert status_at(row, CAMPUS, at("2025-09-02T11:30:00")) == "ongoing/event_started"
    assert track_states_at(row, CAMPUS, at("2025-09-02T11:30:00"))["registration"] == "closed"


def test_the_announcements_of_a_campus_event_follow_the_default_policy() -> None:
    for milestone in CAMPUS.milestones:
        answer = effective((milestone.catch_up, CAMPUS.catch_up))
        assert (answer.policy, answer.window) == (Policy.ALL, timedelta(hours=24))


# ------------------------------------------------------------------------------------------------ conference


CONFERENCE_DATES: dict[str, object] = {
    "cfp_open": "2026-01-15",
    "abstract_deadline": "2026-05-04",
    "paper_deadline": "2026-05-15",
    "notification": "2026-08-01",
    "camera_ready": "2026-09-01",
    "event_start": "2026-11-12",
    "event_end": "2026-11-16",
}


def test_a_conference_goes_from_its_call_to_its_last_day() -> None:
    assert season(CONFERENCE, CONFERENCE_DATES) == [
        ("", "upcoming/submission_not_started"),
        ("cfp_open", "upcoming/submission_open"),
        ("abstract_deadline", "upcoming/abstracts_closed"),
        ("paper_deadline_reminder", "upcoming/abstracts_closed"),
        ("paper_deadline", "upcoming/under_review"),
        ("notification", "upcoming/decisions_announced"),
        ("camera_ready", "upcoming/papers_final"),
        ("event_start", "ongoing/event_started"),
        ("event_end", "completed/event_ended"),
    ]


def test_the_days_of_a_conference_are_days_anywhere_on_earth() -> None:
    row = row_of(CONFERENCE, CONFERENCE_DATES)
    assert row.dates["cfp_open"] == at("2026-01-15T12:00:00")
    assert row.dates["paper_deadline"] == at("2026-05-16T12:00:00")
    assert row.dates["paper_deadline_reminder"] == at("2026-05-09T12:00:00")


def test_a_call_that_says_only_when_it_closes_is_open_from_the_start() -> None:
    row = row_of(CONFERENCE, {"paper_deadline": "2026-05-15"})
    assert status_at(row, CONFERENCE, at("2020-01-01")) == "upcoming/submission_open"
    assert status_at(row, CONFERENCE, row.dates["paper_deadline"]) == "upcoming/under_review"


def test_a_conference_without_a_call_is_announced_and_takes_place() -> None:
    dates: dict[str, object] = {"event_start": "2026-11-12", "event_end": "2026-11-16"}
    assert season(CONFERENCE, dates) == [
        ("", "upcoming/announced"),
        ("event_start", "ongoing/event_started"),
        ("event_end", "completed/event_ended"),
    ]


def test_between_two_rounds_submission_stays_open_and_only_the_last_deadline_closes_it() -> None:
    dates: dict[str, object] = {
        "abstract_deadline": "2026-01-08",
        "paper_deadline": "2026-01-15",
        "abstract_deadline#2": "2026-05-08",
        "paper_deadline#2": "2026-05-15",
        "notification": "2026-03-01",
        "notification#2": "2026-08-01",
    }
    row = row_of(CONFERENCE, dates)

    def seen(milestone: str) -> tuple[str, str, str]:
        states = track_states_at(row, CONFERENCE, row.dates[milestone])
        status = status_at(row, CONFERENCE, row.dates[milestone])
        return str(status), states["submission"], states["decision"]

    assert seen("abstract_deadline") == ("upcoming/abstracts_closed", "abstracts_closed", "pending")
    assert seen("paper_deadline") == ("upcoming/submission_open", "open", "pending")
    assert seen("notification") == ("upcoming/submission_open", "open", "partly_announced")
    assert seen("abstract_deadline#2") == ("upcoming/abstracts_closed", "abstracts_closed", "partly_announced")
    assert seen("paper_deadline#2") == ("upcoming/under_review", "closed", "partly_announced")
    assert seen("notification#2") == ("upcoming/decisions_announced", "closed", "announced")


def test_a_second_round_that_is_dated_later_opens_a_submission_that_had_closed() -> None:
    one = row_of(CONFERENCE, {"paper_deadline": "2026-01-15"})
    two = row_of(CONFERENCE, {"paper_deadline": "2026-01-15", "paper_deadline#2": "2026-05-15"})
    instant = at("2026-02-01")
    assert status_at(one, CONFERENCE, instant) == "upcoming/under_review"
    assert status_at(two, CONFERENCE, instant) == "upcoming/submission_open"


def test_only_some_milestones_of_a_conference_repeat() -> None:
    repeating = [milestone.name for milestone in CONFERENCE.milestones if milestone.repeats]
    assert repeating == ["abstract_deadline", "paper_deadline_reminder", "paper_deadline", "notification"]


def fired(milestone: str, due_us: Micros, at_us: Micros) -> Entry:
    """Return the entry of a milestone that was fired when it had been missed."""
    said = dict.fromkeys(Entry._fields) | {"event_id": "e", "seq": 1, "kind": Kind.FIRED, "cause": Cause.CAUGHT_UP}
    return Entry(**{**said, "milestone": milestone, "due_us": due_us, "at_us": at_us})  # type: ignore[arg-type]


def missed(lifecycle: Lifecycle, row: EventRow, milestone: str, now: str) -> Verdict:
    """Return the verdict on a milestone that was fired only now."""
    entry = fired(milestone, row.dates[milestone], at(now))
    policy = effective((lifecycle.milestone(milestone).catch_up, lifecycle.catch_up))
    return judge(entry, row, lifecycle, policy=policy, now_us=at(now)).verdict


def test_the_reminder_of_a_deadline_is_sent_late_until_the_deadline_and_never_after() -> None:
    row = row_of(CONFERENCE, CONFERENCE_DATES)
    assert missed(CONFERENCE, row, "paper_deadline_reminder", "2026-05-16T11:59:59") == Verdict.DELIVER
    assert missed(CONFERENCE, row, "paper_deadline_reminder", "2026-05-16T12:00:00") == Verdict.SKIP


def test_the_reminder_of_a_second_round_is_current_until_the_deadline_of_that_round() -> None:
    dates: dict[str, object] = {
        "paper_deadline": "2026-01-15",
        "paper_deadline#2": "2026-05-15",
        "paper_deadline_reminder#2": "paper_deadline#2 - 7 days",
    }
    row = row_of(CONFERENCE, dates)
    assert row.dates["paper_deadline_reminder#2"] == at("2026-05-09T12:00:00")
    assert missed(CONFERENCE, row, "paper_deadline_reminder#2", "2026-05-14T00:00:00") == Verdict.DELIVER
    assert missed(CONFERENCE, row, "paper_deadline_reminder#2", "2026-05-17T00:00:00") == Verdict.SKIP


def test_an_opening_is_announced_late_only_while_it_is_open_and_a_deadline_always() -> None:
    row = row_of(CONFERENCE, CONFERENCE_DATES | {"cfp_open": "2026-05-16T06:00Z", "abstract_deadline": None})
    assert missed(CONFERENCE, row, "cfp_open", "2026-05-16T08:00:00") == Verdict.DELIVER
    assert missed(CONFERENCE, row, "cfp_open", "2026-05-16T12:00:00") == Verdict.SKIP
    assert missed(CONFERENCE, row, "paper_deadline", "2026-05-17T11:00:00") == Verdict.DELIVER
    assert missed(CONFERENCE, row, "paper_deadline", "2026-05-17T12:00:01") == Verdict.MISSED


def test_authors_are_notified_up_to_a_week_late() -> None:
    row = row_of(CONFERENCE, CONFERENCE_DATES)
    assert missed(CONFERENCE, row, "notification", "2026-08-08T12:00:00") == Verdict.DELIVER
    assert missed(CONFERENCE, row, "notification", "2026-08-08T12:00:01") == Verdict.MISSED


# --------------------------------------------------------------------------------------------------- contest


CONTEST_DATES: dict[str, object] = {
    "registration_open": "2026-03-01T00:00Z",
    "registration_close": "2026-03-31T00:00Z",
    "contest_start": "2026-04-01T09:00Z",
    "contest_end": "2026-04-01T14:00Z",
}


def test_a_contest_without_a_freeze_goes_from_registration_to_its_end() -> None:
    assert season(CONTEST, CONTEST_DATES) == [
        ("", "upcoming/registration_not_started"),
        ("registration_open", "upcoming/registration_open"),
        ("registration_close", "upcoming/registration_closed"),
        ("start_reminder", "upcoming/registration_closed"),
        ("contest_start", "ongoing/contest_started"),
        ("contest_end", "completed/contest_ended"),
    ]


def test_a_contest_that_dates_its_thaw_freezes_an_hour_before_its_end() -> None:
    dates = CONTEST_DATES | {"scoreboard_thaw": "2026-04-01T17:00Z"}
    assert season(CONTEST, dates)[5:] == [
        ("scoreboard_freeze", "ongoing/scoreboard_frozen"),
        ("contest_end", "completed/results_pending"),
        ("scoreboard_thaw", "completed/results_revealed"),
    ]
    assert row_of(CONTEST, dates).dates["scoreboard_freeze"] == at("2026-04-01T13:00:00")


def test_a_freeze_that_was_not_given_moves_along_with_the_end() -> None:
    dates = CONTEST_DATES | {"scoreboard_thaw": "2026-04-01T17:00Z", "contest_end": "2026-04-01T14:30Z"}
    assert row_of(CONTEST, dates).dates["scoreboard_freeze"] == at("2026-04-01T13:30:00")


def test_a_freeze_that_was_given_stays() -> None:
    dates = CONTEST_DATES | {"scoreboard_freeze": "2026-04-01T12:00Z"}
    row = row_of(CONTEST, dates)
    assert row.dates["scoreboard_freeze"] == at("2026-04-01T12:00:00")
    assert status_at(row, CONTEST, at("2026-04-02")) == "completed/results_pending"


def test_results_are_declared_final_by_hand_and_no_date_can_be_given_for_it() -> None:
    with pytest.raises(InvalidEvent, match="results_final is a manual milestone"):
        row_of(CONTEST, CONTEST_DATES | {"results_final": "2026-04-02T00:00Z"})
    frozen = row_of(CONTEST, CONTEST_DATES | {"scoreboard_freeze": "2026-04-01T13:00Z"})
    declared = EventRow(id="e", dates={**frozen.dates, "results_final": at("2026-04-03")})
    assert status_at(declared, CONTEST, at("2026-04-02")) == "completed/results_pending"
    assert status_at(declared, CONTEST, at("2026-04-03")) == "completed/results_final"


def test_scenario_13_registration_for_a_contest_may_outlast_its_start() -> None:
    row = row_of(CONTEST, CONTEST_DATES | {"registration_close": "2026-04-01T13:00Z"})
    assert status_at(row, CONTEST, at("2026-04-01T10:00:00")) == "ongoing/contest_started"
    assert track_states_at(row, CONTEST, at("2026-04-01T10:00:00"))["registration"] == "open"
    assert status_at(row, CONTEST, at("2026-04-01T13:00:00")) == "ongoing/contest_started"
    assert track_states_at(row, CONTEST, at("2026-04-01T13:00:00"))["registration"] == "closed"
    assert missed(CONTEST, row, "registration_close", "2026-04-01T13:30:00") == Verdict.DELIVER


def test_upsolving_opens_at_the_end_and_leaves_the_status_to_the_results() -> None:
    row = row_of(CONTEST, CONTEST_DATES | {"upsolving_close": "2026-05-01T00:00Z"})
    assert row.dates["upsolving_open"] == row.dates["contest_end"]
    states = [
        track_states_at(row, CONTEST, instant)["upsolving"]
        for instant in (at("2026-04-01T13:59:59"), at("2026-04-01T14:00:00"), at("2026-05-01T00:00:00"))
    ]
    assert states == ["not_started", "open", "closed"]
    assert status_at(row, CONTEST, at("2026-04-20")) == "completed/contest_ended"
    assert track_states_at(row_of(CONTEST, CONTEST_DATES), CONTEST, 0)["upsolving"] == "not_offered"


@pytest.mark.parametrize("missing", ["contest_start", "contest_end"])
def test_a_contest_without_a_start_or_an_end_is_a_draft(missing: str) -> None:
    row = row_of(CONTEST, CONTEST_DATES | {missing: None})
    assert status_at(row, CONTEST, at("2026-04-01T10:00:00")) == "draft/draft"


def test_starts_within_the_hour_is_said_until_the_start_and_never_after() -> None:
    row = row_of(CONTEST, CONTEST_DATES)
    assert row.dates["start_reminder"] == at("2026-04-01T08:00:00")
    assert missed(CONTEST, row, "start_reminder", "2026-04-01T08:59:59") == Verdict.DELIVER
    assert missed(CONTEST, row, "start_reminder", "2026-04-01T09:00:00") == Verdict.SKIP


def test_a_freeze_is_announced_late_only_while_the_scoreboard_is_frozen() -> None:
    row = row_of(CONTEST, CONTEST_DATES | {"scoreboard_thaw": "2026-04-01T17:00Z"})
    assert missed(CONTEST, row, "scoreboard_freeze", "2026-04-01T16:59:59") == Verdict.DELIVER
    assert missed(CONTEST, row, "scoreboard_freeze", "2026-04-01T17:00:00") == Verdict.SKIP
    assert missed(CONTEST, row, "scoreboard_thaw", "2026-04-08T17:00:00") == Verdict.DELIVER


# --------------------------------------------------------------------------------------- the words themselves


def one_track(*milestones: Milestone, undated: str = "", headline: tuple[Headline, ...] = ()) -> Lifecycle:
    """Return a lifecycle with one track."""
    return Lifecycle(name="one", tracks=(Track("work", "before", undated),), milestones=milestones, headline=headline)


def test_with_one_track_and_no_rule_the_status_is_its_state_twice() -> None:
    lifecycle = one_track(Milestone(name="begin", track="work", state="begun"))
    row = EventRow(id="e", dates={"begin": 10})
    assert [str(status_at(row, lifecycle, now)) for now in (9, 10)] == ["before/before", "begun/begun"]


def test_a_milestone_that_is_left_out_is_skipped_and_only_the_implied_ones_hold_before_the_next() -> None:
    lifecycle = one_track(
        Milestone(name="one", track="work", state="first", implied=True),
        Milestone(name="two", track="work", state="second"),
        Milestone(name="three", track="work", state="third"),
    )
    assert lifecycle.shape(("three",)).before == ("first",)
    assert lifecycle.shape(("two", "three")).before == ("first",)
    assert lifecycle.shape(("one", "three")).before == ("before",)
    assert lifecycle.shape(()).before == ("before",)


def test_an_event_that_dates_nothing_of_a_track_is_in_its_undated_state() -> None:
    lifecycle = one_track(
        Milestone(name="begin", track="work", state="begun"), Milestone(name="hint"), undated="nothing"
    )
    assert lifecycle.shape(("hint",)).before == ("nothing",)
    assert lifecycle.shape(("hint", "begin")).before == ("before",)


def test_a_shape_says_what_each_milestone_does_in_lifecycle_order() -> None:
    lifecycle = one_track(
        Milestone(name="hint", repeats=True),
        Milestone(name="due", track="work", state="done", repeats=True, between="going_on"),
    )
    shape = lifecycle.shape(("due#2", "due", "hint", "due#10"))
    assert list(shape.steps) == ["hint", "due", "due#2", "due#10"]
    assert shape.steps["hint"] == Step(lifecycle.order("hint"), -1, "")
    assert [shape.steps[name].state for name in ("due", "due#2", "due#10")] == ["going_on", "going_on", "done"]


def test_shapes_are_shared_and_their_number_is_bounded() -> None:
    lifecycle = one_track(Milestone(name="due", track="work", state="done", repeats=True))
    assert lifecycle.shape(("due",)) is lifecycle.shape(("due",))
    for last in range(2, 1000):
        lifecycle.shape((f"due#{last}",))
        lifecycle.shape(("due", f"due#{last}"))
    assert len(lifecycle._shapes) <= 1024


def test_a_status_that_was_worked_out_once_is_remembered() -> None:
    shape = CAMPUS.shape(("event_start", "event_end"))
    states = ("open", "scheduled", "unavailable")
    assert shape.status(states) is shape.status(states)


def test_milestones_are_found_by_name_round_and_field() -> None:
    assert CONFERENCE.milestone("paper_deadline#2") is CONFERENCE.milestone("paper_deadline")
    assert CONFERENCE.order("paper_deadline") < CONFERENCE.order("paper_deadline#2")
    assert CONFERENCE.order("paper_deadline#999") < CONFERENCE.order("notification")
    assert "results_final" not in CONTEST.by_field
    assert CONTEST.by_name["results_final"].manual


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("poster", "has no milestone 'poster'; it has: cfp_open, abstract_deadline"),
        (
            "cfp_open#2",
            "milestone 'cfp_open' of lifecycle 'conference' does not repeat, so 'cfp_open#2' means nothing",
        ),
        ("paper_deadline#1", "'paper_deadline#1' is not a round of 'paper_deadline'"),
        ("paper_deadline#0", "written 'paper_deadline#2' to 'paper_deadline#999'"),
        ("paper_deadline#1000", "is not a round of"),
        ("paper_deadline#two", "is not a round of"),
        ("paper_deadline#٢", "is not a round of"),
    ],
)
def test_a_milestone_or_round_that_does_not_exist_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(InvalidLifecycle) as refusal:
        CONFERENCE.milestone(name)
    assert message in str(refusal.value)


def test_a_notice_is_current_until_what_it_says_or_else_until_what_its_default_hangs_on() -> None:
    lifecycle = one_track(
        Milestone(name="said", default="due - 1 day", until="end"),
        Milestone(name="derived", default="due - 1 day"),
        Milestone(name="open_ended"),
        Milestone(name="due", track="work", state="done"),
        Milestone(name="end", track="work", state="over"),
    )
    assert [lifecycle.notice_until(name) for name in ("said", "derived", "open_ended")] == ["end", "due", None]
    row = EventRow(id="e", dates={"said": 0, "derived": 0, "open_ended": 0, "due": 10, "end": 20})
    for name, last in (("said", 19), ("derived", 9)):
        entry = fired(name, 0, 0)
        assert is_current(entry, row, lifecycle, last)
        assert not is_current(entry, row, lifecycle, last + 1)
    assert lifecycle.by_name["said"].is_notice
    assert not lifecycle.by_name["due"].is_notice


def test_what_a_level_says_of_misfires_is_told_and_nothing_else() -> None:
    assert CatchUp().to_json() == {}
    assert CatchUp(policy=Policy.PARK, window=timedelta(minutes=90), born_late=False).to_json() == {
        "policy": "park",
        "window_hours": 1.5,
        "born_late": False,
    }
    assert CatchUp(window=None).to_json() == {"window_hours": "unlimited"}
    assert CatchUp(window=timedelta(0)).to_json() == {"window_hours": 0.0}


def test_bad_input_81_a_catch_up_window_into_the_future_is_refused() -> None:
    with pytest.raises(ValueError, match="negative: use a duration from zero up, or None for unlimited"):
        CatchUp(window=timedelta(microseconds=-1))


def test_a_definition_has_another_hash_as_soon_as_anything_of_it_differs() -> None:
    begin = Milestone(name="begin", track="work", state="begun")
    base = one_track(begin)
    others = [
        one_track(begin, undated="nothing"),
        one_track(begin, Milestone(name="hint")),
        one_track(Milestone(name="begin", track="work", state="begun", side=Side.CLOSING)),
        one_track(Milestone(name="begin", track="work", state="begun", catch_up=CatchUp(policy=Policy.ALL))),
        one_track(begin, headline=(Headline("going/on"),)),
    ]
    assert one_track(begin).hash == base.hash
    assert len({base.hash, *(other.hash for other in others)}) == 1 + len(others)
    assert len(base.hash) == 32
