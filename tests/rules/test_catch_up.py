"""Which misfires are still told, by whose word, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from duly.errors import InvalidInput
from duly.model.event import EventRow, Hold, Mark
from duly.model.history import Cause, Entry
from duly.model.lifecycle import UNSET, CatchUp, Lifecycle, Milestone, Policy
from duly.rules.catch_up import Effective, Verdict, effective, is_current, judge, withdrawn
from tests.builders import CAMPUS, CONFERENCE, DAY, HOUR, MINUTE, SECOND, T0, Life, event, lamp, seminar

DATES: dict[str, Any] = {
    "registration_open": T0,
    "registration_close": T0 + 2 * HOUR,
    "event_start": T0 + 3 * HOUR,
    "event_end": T0 + 4 * HOUR,
}


def caught_up(now: int = T0 + 5 * HOUR, lifecycle: Lifecycle = CAMPUS, **dates: Any) -> Life:
    """Return an event that was down all along and has been caught up at `now`."""
    life = Life(lifecycle)
    life.put(T0 - DAY, event(lifecycle=lifecycle, **(dates or DATES)))
    life.advance(now, late_before=now)
    return life


def told(life: Life, milestone: str) -> Entry:
    return next(e for e in reversed(life.entries) if e.milestone == milestone and e.is_transition)


def verdict(life: Life, milestone: str, policy: Effective, now: int = T0 + 5 * HOUR) -> Verdict:
    return judge(told(life, milestone), life.now_row, life.lifecycle, policy=policy, now_us=now).verdict


# ------------------------------------------------------------------------------------------- whose word


def test_nobody_says_anything_and_every_misfire_of_a_day_is_told() -> None:
    assert effective([]) == Effective(Policy.ALL, timedelta(hours=24), born_late=False)


def test_each_question_is_answered_by_the_first_level_that_answers_it() -> None:
    subscriber = CatchUp(policy=Policy.LATEST)
    scheduler = CatchUp(policy=Policy.NONE, window=timedelta(hours=1))
    milestone = CatchUp(window=timedelta(hours=2), born_late=True)
    lifecycle = CatchUp(policy=Policy.PARK, window=None, born_late=False)
    assert effective([subscriber, scheduler, milestone, lifecycle]) == Effective(
        Policy.LATEST, timedelta(hours=1), born_late=True
    )


def test_unlimited_and_none_at_all_are_answers_and_not_silence() -> None:
    assert effective([CatchUp(window=None), CatchUp(window=timedelta(1))]).window is None
    assert effective([CatchUp(window=timedelta(0)), CatchUp(window=None)]).window == timedelta(0)
    assert effective([CatchUp(window=UNSET), CatchUp(window=None)]).window is None
    assert effective([CatchUp(born_late=False), CatchUp(born_late=True)]).born_late is False


def test_bad_input_81_a_negative_window_is_refused() -> None:
    with pytest.raises(InvalidInput, match="negative"):
        CatchUp(window=timedelta(microseconds=-1))


# ------------------------------------------------------------------------------------------- grace, window


def test_within_the_grace_it_is_merely_late_and_told_whatever_the_policy() -> None:
    life = caught_up(T0 + MINUTE)
    strict = Effective(Policy.NONE, timedelta(0))
    assert verdict(life, "registration_open", strict, T0 + MINUTE) is Verdict.DELIVER
    assert verdict(life, "registration_open", strict, T0 + MINUTE + 1) is Verdict.MISSED


def test_another_grace_draws_the_line_elsewhere() -> None:
    life = caught_up(T0 + 1)
    judgement = judge(
        told(life, "registration_open"),
        life.now_row,
        CAMPUS,
        policy=Effective(Policy.NONE),
        now_us=T0 + 1,
        grace=timedelta(0),
    )
    assert judgement.verdict is Verdict.SKIP


def test_scenario_02_the_window_includes_its_last_microsecond_and_nothing_beyond() -> None:
    life = caught_up()
    day = Effective()
    assert verdict(life, "registration_open", day, T0 + DAY) is Verdict.DELIVER
    assert verdict(life, "registration_open", day, T0 + DAY + 1) is Verdict.MISSED


def test_a_window_of_zero_tells_no_misfire_and_an_unlimited_one_tells_them_all() -> None:
    life = caught_up()
    assert verdict(life, "event_end", Effective(window=timedelta(0))) is Verdict.MISSED
    assert verdict(life, "registration_open", Effective(window=None), T0 + 9999 * DAY) is Verdict.DELIVER


def test_a_reason_can_be_shown_as_it_is() -> None:
    life = caught_up()
    judgement = judge(
        told(life, "event_end"), life.now_row, CAMPUS, policy=Effective(window=timedelta(0)), now_us=T0 + 5 * HOUR
    )
    assert judgement.reason == "older than the catch-up window of 0:00:00"


# ------------------------------------------------------------------------------------- attempt by attempt


def attempts(policy: Effective, *instants: tuple[int, int | None]) -> list[Verdict]:
    """Return the verdicts on the opening at instants, each with the one for which the attempt was scheduled."""
    life = caught_up(T0 + MINUTE)
    opened = told(life, "registration_open")
    return [
        judge(opened, life.now_row, CAMPUS, policy=policy, now_us=now, ready_us=ready).verdict
        for now, ready in instants
    ]


def test_a_first_attempt_is_bounded_by_the_window_against_what_was_due() -> None:
    hour = Effective(window=timedelta(hours=1))
    assert attempts(hour, (T0 + HOUR, None), (T0 + HOUR + 1, None)) == [Verdict.DELIVER, Verdict.MISSED]


@pytest.mark.parametrize("policy", [Policy.NONE, Policy.PARK])
def test_what_was_begun_in_time_is_no_misfire_when_its_first_attempt_failed(policy: Policy) -> None:
    later = T0 + 2 * MINUTE + HOUR
    assert attempts(Effective(policy=policy), (later, later)) == [Verdict.DELIVER]


def test_what_was_begun_in_time_is_gone_on_with_by_a_schedule_that_is_longer_than_the_window() -> None:
    hour = Effective(window=timedelta(hours=1))
    days = [T0 + n * DAY for n in range(1, 4)]
    assert attempts(hour, *((day, day) for day in days)) == [Verdict.DELIVER] * 3


def test_a_later_attempt_is_bounded_by_the_window_against_its_own_instant() -> None:
    hour = Effective(window=timedelta(hours=1))
    ready = T0 + 3 * DAY
    assert attempts(hour, (ready + HOUR, ready), (ready + HOUR + 1, ready)) == [Verdict.DELIVER, Verdict.MISSED]
    assert attempts(Effective(window=timedelta(0)), (ready, ready), (ready + 1, ready)) == [
        Verdict.DELIVER,
        Verdict.MISSED,
    ]
    assert attempts(Effective(window=None), (ready + 99 * DAY, ready)) == [Verdict.DELIVER]


def test_a_later_attempt_does_not_tell_either_what_holds_no_longer() -> None:
    assert attempts(Effective(Policy.CURRENT), (T0 + HOUR, T0 + HOUR), (T0 + 2 * HOUR, T0 + 2 * HOUR)) == [
        Verdict.DELIVER,
        Verdict.SKIP,
    ]


# ------------------------------------------------------------------------------------------------ true no more


def test_only_what_tells_of_the_hold_or_the_removal_itself_is_told_of_an_event_on_hold_or_removed() -> None:
    life = caught_up(T0 + HOUR)
    opened = told(life, "registration_open")
    assert withdrawn(opened, life.now_row) is None
    life.hold(T0 + HOUR, Hold.POSTPONED)
    assert [withdrawn(entry, life.now_row) for entry in (opened, life.entries[-1])] == [
        "the event is postponed",
        None,
    ]
    life.remove(T0 + HOUR + 1)
    removal = life.entries[-1]
    assert [withdrawn(entry, life.now_row) for entry in (opened, removal)] == ["the event was removed", None]


def test_what_was_revoked_is_withdrawn_and_the_revocation_is_told() -> None:
    life = caught_up(T0 + 2 * HOUR)
    first = told(life, "registration_close")
    life.put(T0 + 2 * HOUR, event(**{**DATES, "registration_close": T0 + 150 * MINUTE}))
    revoked = next(entry for entry in life.entries if entry.kind == "revoked")
    why = "registration_close was revoked, or has no date any more"
    assert [withdrawn(entry, life.now_row) for entry in (first, revoked)] == [why, None]


# ------------------------------------------------------------------------------------------------ policies


@pytest.mark.parametrize(
    ("policy", "verdicts"),
    [
        (Policy.ALL, ["deliver", "deliver", "deliver", "deliver"]),
        (Policy.NONE, ["skip", "skip", "skip", "skip"]),
        (Policy.PARK, ["hold", "hold", "hold", "hold"]),
        (Policy.LATEST, ["skip", "skip", "skip", "deliver"]),
        (Policy.CURRENT, ["skip", "deliver", "skip", "deliver"]),  # closed and ended still hold
    ],
)
def test_scenario_01_what_each_policy_makes_of_the_misfires_of_one_event(policy: Policy, verdicts: list[str]) -> None:
    life = caught_up()
    assert [verdict(life, name, Effective(policy)) for name in DATES] == verdicts


def test_the_latest_of_two_at_one_instant_is_the_later_in_the_lifecycle() -> None:
    life = caught_up(registration_close=T0, event_start=T0, event_end=T0 + DAY)
    latest = Effective(Policy.LATEST)
    assert verdict(life, "registration_close", latest) is Verdict.SKIP
    assert verdict(life, "event_start", latest) is Verdict.DELIVER


def test_it_is_judged_again_as_time_goes_on() -> None:
    life = caught_up(T0 + HOUR)
    current = Effective(Policy.CURRENT)
    assert verdict(life, "registration_open", current, T0 + 2 * HOUR - 1) is Verdict.DELIVER
    assert verdict(life, "registration_open", current, T0 + 2 * HOUR) is Verdict.SKIP


def test_what_was_born_late_is_told_only_if_the_policy_says_so_and_then_like_any_misfire() -> None:
    life = Life()
    life.put(T0 + 5 * HOUR, event(**DATES), known_since=T0 + 5 * HOUR)
    assert told(life, "event_end").cause == Cause.BORN_LATE
    assert verdict(life, "event_end", Effective()) is Verdict.SKIP
    assert verdict(life, "event_end", Effective(born_late=True)) is Verdict.DELIVER
    assert verdict(life, "event_end", Effective(window=timedelta(0), born_late=True)) is Verdict.MISSED


def test_what_was_fired_by_hand_without_a_date_is_as_old_as_its_firing() -> None:
    life = caught_up()
    manual = told(life, "event_end")._replace(due_us=None, cause=Cause.MANUAL.value)
    assert judge(manual, life.now_row, CAMPUS, policy=Effective(Policy.NONE), now_us=manual.at_us).reason == "on time"


# ------------------------------------------------------------------------------------------------- current


def test_an_opening_is_current_while_its_track_is_in_the_state_that_it_entered() -> None:
    life = caught_up()
    opened = told(life, "registration_open")
    instants = (T0, T0 + 2 * HOUR - 1, T0 + 2 * HOUR)
    assert [is_current(opened, life.now_row, CAMPUS, now) for now in instants] == [True, True, False]


def test_a_date_that_was_taken_away_or_an_event_that_was_removed_leaves_nothing_current() -> None:
    life = caught_up(T0 + HOUR)
    opened = told(life, "registration_open")
    without: dict[str, Any] = {name: due for name, due in DATES.items() if name != "registration_open"}
    assert not is_current(opened, replace(life.now_row, dates=without), CAMPUS, T0 + HOUR)
    assert not is_current(opened, replace(life.now_row, removed=True), CAMPUS, T0 + HOUR)


@pytest.mark.parametrize("hold", [Hold.CANCELLED, Hold.POSTPONED, Hold.ARCHIVED])
def test_scenario_16_of_an_event_that_is_called_off_nothing_is_current(hold: Hold) -> None:
    life = caught_up(T0 + HOUR)
    opened = told(life, "registration_open")
    life.put(T0 + HOUR + 1, event(hold=hold, **DATES))
    assert not is_current(opened, life.now_row, CAMPUS, T0 + HOUR + 1)


def test_scenario_05_the_first_generation_of_a_close_is_not_current_once_it_was_revoked() -> None:
    life = caught_up(T0 + 2 * HOUR)
    first = told(life, "registration_close")
    assert is_current(first, life.now_row, CAMPUS, T0 + 2 * HOUR)
    extended: dict[str, Any] = {**DATES, "registration_close": T0 + 150 * MINUTE}
    life.put(T0 + 2 * HOUR, event(**extended))
    assert not is_current(first, life.now_row, CAMPUS, T0 + 2 * HOUR)
    life.advance(T0 + 150 * MINUTE)
    second = told(life, "registration_close")
    now = T0 + 150 * MINUTE
    assert [is_current(entry, life.now_row, CAMPUS, now) for entry in (first, second)] == [False, True]
    latest = Effective(Policy.LATEST, None)
    later = now + 10 * MINUTE
    verdicts = [judge(e, life.now_row, CAMPUS, policy=latest, now_us=later).verdict for e in (first, second)]
    assert verdicts == [Verdict.SKIP, Verdict.DELIVER]


def test_a_reminder_is_current_until_the_milestone_that_it_leads_up_to() -> None:
    life = caught_up(T0 + DAY, CONFERENCE, paper_deadline=T0 + 7 * DAY + HOUR)
    reminder = told(life, "paper_deadline_reminder")
    deadline = T0 + 7 * DAY + HOUR
    assert is_current(reminder, life.now_row, CONFERENCE, deadline - 1)
    assert not is_current(reminder, life.now_row, CONFERENCE, deadline)


def test_a_reminder_of_a_round_is_current_until_that_round() -> None:
    days: dict[str, Any] = {
        "paper_deadline": T0 + 8 * DAY,
        "paper_deadline_2": T0 + 20 * DAY,
        "paper_deadline_reminder_2": T0 + 9 * DAY,
    }
    life = caught_up(T0 + 10 * DAY, CONFERENCE, **days)
    second = told(life, "paper_deadline_reminder#2")
    assert is_current(second, life.now_row, CONFERENCE, T0 + 20 * DAY - 1)
    assert not is_current(second, life.now_row, CONFERENCE, T0 + 20 * DAY)


def test_a_notice_with_an_until_of_its_own_is_current_until_then() -> None:
    lifecycle = seminar()
    life = caught_up(T0 + HOUR, lifecycle, first_talk=T0 + HOUR, last_talk=T0 + 9 * HOUR)
    doors = told(life, "doors")
    assert is_current(doors, life.now_row, lifecycle, T0 + 2 * HOUR)
    assert not is_current(doors, life.now_row, lifecycle, T0 + 9 * HOUR)


def test_a_notice_that_leads_up_to_nothing_stays_current() -> None:
    lonely = replace(lamp(), milestones=(*lamp().milestones, Milestone(name="cleaning")))
    life = caught_up(T0 + HOUR, lonely, cleaning=T0, switch_on=T0)
    assert is_current(told(life, "cleaning"), life.now_row, lonely, T0 + 999 * DAY)
    undated = caught_up(T0 + HOUR, seminar(), first_talk=T0 + HOUR)
    assert is_current(told(undated, "doors"), undated.now_row, seminar(), T0 + 999 * DAY)


def test_between_rounds_a_deadline_is_current_until_the_next_changes_the_track() -> None:
    life = caught_up(T0 + HOUR, CONFERENCE, paper_deadline=T0, paper_deadline_2=T0 + DAY)
    first = told(life, "paper_deadline")
    assert is_current(first, life.now_row, CONFERENCE, T0 + DAY - 1)
    assert not is_current(first, life.now_row, CONFERENCE, T0 + DAY)


def test_a_transition_of_a_milestone_that_the_definition_no_longer_has_is_not_current() -> None:
    row = EventRow(id="w1", dates={}, marks={"gone": Mark(1, T0)})
    life = caught_up(T0 + SECOND)
    gone = told(life, "registration_open")._replace(milestone="gone")
    assert not is_current(gone, row, CAMPUS, T0 + SECOND)
    assert judge(gone, row, CAMPUS, policy=Effective(Policy.LATEST), now_us=T0 + HOUR).verdict is Verdict.SKIP
