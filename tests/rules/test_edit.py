"""An edit after triggers fired, or before: every line of the table in DESIGN.md, section 3.3."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from duly.errors import RevisionConflict
from duly.model.dates import Micros
from duly.model.event import Event, EventRow, Hold, Mark, Status
from duly.model.history import Cause, Entry, Kind
from duly.model.lifecycle import Lifecycle, Milestone
from duly.rules.edit import Edited, Outcome, consequences, redefinition
from tests.builders import (
    CAMPUS,
    CONTEST,
    DAY,
    HOUR,
    MINUTE,
    T0,
    Life,
    assert_quiet,
    assert_sound,
    editing,
    event,
    lamp,
    planned,
)

DATES: dict[str, Any] = {
    "registration_open": T0 + HOUR,
    "registration_close": T0 + 5 * HOUR,
    "event_start": T0 + 10 * HOUR,
    "event_end": T0 + 12 * HOUR,
}


def born(now: Micros = T0, known_since: Micros = T0, **changes: Any) -> Life:
    """Return an event with four dates, all of them ahead of T0, put at `now`."""
    life = Life()
    life.put(now, event(**{**DATES, **changes}), known_since=known_since)
    return life


def edited(life: Life, now: Micros, *, without: str = "", hold: Hold = Hold.ACTIVE, **changes: Any) -> list[Entry]:
    """Put the event again with some dates changed; return what that wrote."""
    dates = {name: due for name, due in {**DATES, **changes}.items() if name != without}
    return life.put(now, event(hold=hold, **dates), known_since=now).entries


def short(entries: list[Entry]) -> list[str]:
    return [entry.kind if entry.milestone is None else f"{entry.kind} {entry.milestone}" for entry in entries]


# ------------------------------------------------------------------------------------------------ creation


def test_an_event_whose_dates_lie_ahead_is_created_and_armed() -> None:
    life = born()
    assert life.told() == [("created", None, None, "upcoming/registration_not_started")]
    assert life.entries[0].from_status == ""
    assert (life.now_row.next_due_us, life.now_row.pending, life.now_row.revision) == (T0 + HOUR, 4, 1)
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_scenario_14_created_late_it_jumps_to_the_truth_and_what_passed_was_born_late() -> None:
    life = born(T0 + 11 * HOUR, T0 + 11 * HOUR)
    assert short(life.entries) == [
        "created",
        "fired registration_open",
        "fired registration_close",
        "fired event_start",
    ]
    assert {entry.cause for entry in life.entries[1:]} == {Cause.BORN_LATE}
    assert (life.status, life.now_row.next_due_us) == ("ongoing/event_started", T0 + 12 * HOUR)
    assert_sound(life.now_row, life.entries, CAMPUS)
    assert_quiet(life.now_row, CAMPUS, T0 + 11 * HOUR)


def test_what_passed_since_the_event_was_known_is_left_to_the_loop_as_a_misfire() -> None:
    life = born(T0 + 11 * HOUR, known_since=T0 + 2 * HOUR)
    assert short(life.entries) == ["created", "fired registration_open"]
    assert life.now_row.next_due_us == T0 + 5 * HOUR
    fired = life.advance(T0 + 11 * HOUR, late_before=T0 + 11 * HOUR)
    assert [(entry.milestone, entry.cause) for entry in fired] == [
        ("registration_close", "caught_up"),
        ("event_start", "caught_up"),
    ]


def test_bad_input_24_what_is_due_at_the_very_instant_of_its_creation_is_no_more_late_than_any_other() -> None:
    life = born(T0 + HOUR, T0 + HOUR)
    assert short(life.entries) == ["created"]
    assert [entry.cause for entry in life.advance(T0 + HOUR)] == [Cause.SCHEDULED]


def test_bad_input_24_a_microsecond_earlier_it_is_born_late() -> None:
    life = born(T0 + HOUR + 1, T0 + HOUR + 1)
    assert short(life.entries) == ["created", "fired registration_open"]


def test_the_actor_and_the_reason_stand_on_every_entry_of_an_edit() -> None:
    plan = planned(event(**DATES))
    made = consequences(None, plan, editing(T0 + 11 * HOUR, known_since=T0 + 11 * HOUR, actor="ada", reason="late"))
    assert {(entry.actor, entry.reason) for entry in made.entries} == {("ada", "late")}


# ------------------------------------------------------------------------------------------ the same again


def test_putting_the_same_again_changes_nothing() -> None:
    life = born()
    before = life.now_row
    again = life.put(T0 + MINUTE, event(**DATES))
    assert (again.outcome, again.entries, again.row) == (Outcome.UNCHANGED, [], before)


def test_putting_the_same_again_after_everything_fired_changes_nothing() -> None:
    life = born()
    life.advance(T0 + DAY)
    again = life.put(T0 + 2 * DAY, event(**DATES))
    assert (again.outcome, again.entries) == (Outcome.UNCHANGED, [])


def test_scenario_21_edited_and_edited_back_there_are_revisions_and_one_firing() -> None:
    life = born()
    edited(life, T0 + 1, registration_open=T0 + 2 * HOUR)
    edited(life, T0 + 2, registration_open=T0 + 3 * HOUR)
    edited(life, T0 + 3)
    assert life.now_row.revision == 4
    assert [entry.milestone for entry in life.advance(T0 + HOUR)] == ["registration_open"]
    assert life.advance(T0 + 4 * HOUR) == []
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_only_a_new_name_or_new_data_is_an_edit_that_fires_nothing() -> None:
    life = born()
    renamed = life.put(T0 + 1, replace(event(**DATES), name="Robots", data={"room": "7"}))
    (entry,) = renamed.entries
    assert (renamed.outcome, entry.kind) == (Outcome.CHANGED, Kind.EDITED)
    assert entry.details == {"name": ["", "Robots"], "data": ["room"]}
    assert renamed.row.next_due_us == T0 + HOUR


# ---------------------------------------------------------------------------------------------- revisions


@pytest.mark.parametrize("revision", [0, 2, 99])
def test_an_edit_for_another_revision_is_refused_naming_both(revision: int) -> None:
    life = born()
    with pytest.raises(RevisionConflict, match=rf"event 'w1': .*revision {revision}, but it is at revision 1; read"):
        life.put(T0, replace(event(**DATES), name="x", revision=revision))


def test_an_edit_for_the_stored_revision_is_made() -> None:
    life = born()
    assert life.put(T0, replace(event(**DATES), name="x", revision=1)).row.revision == 2


def test_revision_zero_means_that_the_event_must_not_exist_yet() -> None:
    Life().put(T0, replace(event(**DATES), revision=0))
    with pytest.raises(RevisionConflict, match="it does not exist"):
        Life().put(T0, replace(event(**DATES), revision=1))


def test_a_stale_revision_is_refused_even_where_the_edit_would_change_nothing() -> None:
    life = born()
    with pytest.raises(RevisionConflict):
        life.put(T0, replace(event(**DATES), revision=7))


# ------------------------------------------------------------------------------------- moved, not fired yet


def test_moved_and_not_fired_yet_it_is_armed_anew_at_the_new_instant() -> None:
    life = born()
    (entry,) = edited(life, T0, registration_open=T0 + 2 * HOUR)
    assert (entry.kind, entry.from_status) == (Kind.EDITED, entry.to_status)
    assert json.loads(entry.detail or "") == {"dates": {"registration_open": [T0 + HOUR, T0 + 2 * HOUR]}}
    assert life.now_row.next_due_us == T0 + 2 * HOUR
    assert life.advance(T0 + 2 * HOUR - 1) == []


def test_scenario_06_moved_into_the_past_it_fires_at_once_because_it_was_edited() -> None:
    life = born(known_since=T0 - DAY)
    life.advance(T0 + HOUR)
    entries = edited(life, T0 + 4 * HOUR, registration_close=T0 + 2 * HOUR)
    assert short(entries) == ["edited", "fired registration_close"]
    assert (entries[1].cause, entries[1].due_us, entries[1].at_us) == ("edited", T0 + 2 * HOUR, T0 + 4 * HOUR)
    assert_quiet(life.now_row, CAMPUS, T0 + 4 * HOUR)
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_scenario_06_also_where_the_new_instant_lies_before_the_event_was_known() -> None:
    life = Life()
    dates: dict[str, Any] = {"event_start": T0 + DAY, "event_end": T0 + 2 * DAY}
    life.put(T0, event(registration_close=T0 + 9 * HOUR, **dates), known_since=T0)
    entries = life.put(T0 + MINUTE, event(registration_close=T0 - 7 * HOUR, **dates)).entries
    assert [(e.kind, e.cause) for e in entries] == [("edited", None), ("fired", "edited")]
    assert life.status == "upcoming/registration_closed"


def test_moved_to_this_very_instant_it_fires_at_once() -> None:
    life = born()
    life.advance(T0 + HOUR)
    entries = edited(life, T0 + 2 * HOUR, registration_close=T0 + 2 * HOUR)
    assert short(entries) == ["edited", "fired registration_close"]


def test_what_is_merely_late_and_stands_in_front_fires_first() -> None:
    life = born()
    entries = edited(life, T0 + 6 * HOUR, event_start=T0 + 5 * HOUR + 1)
    assert [(e.milestone, e.cause) for e in entries[1:]] == [
        ("registration_open", "caught_up"),
        ("registration_close", "caught_up"),
        ("event_start", "edited"),
    ]


def test_what_is_late_and_stands_behind_is_left_to_the_loop() -> None:
    life = born()
    entries = edited(life, T0 + 6 * HOUR, registration_open=T0)
    assert short(entries) == ["edited", "fired registration_open"]
    assert life.now_row.next_due_us == T0 + 5 * HOUR


# --------------------------------------------------------------------------------------------- fired before


def test_scenario_05_fired_and_moved_ahead_it_is_revoked_and_fires_again_once() -> None:
    life = born()
    life.advance(T0 + 5 * HOUR)
    entries = edited(life, T0 + 8 * HOUR, registration_close=T0 + 9 * HOUR)
    assert [(e.kind, e.milestone, e.generation, e.due_us, e.from_status, e.to_status) for e in entries] == [
        ("edited", None, None, None, "upcoming/registration_closed", "upcoming/registration_closed"),
        (
            "revoked",
            "registration_close",
            1,
            T0 + 5 * HOUR,
            "upcoming/registration_closed",
            "upcoming/registration_open",
        ),
    ]
    assert life.now_row.marks["registration_close"] == Mark(2, None)
    (fired,) = life.advance(T0 + 9 * HOUR)
    assert (fired.milestone, fired.generation, fired.to_status) == (
        "registration_close",
        2,
        "upcoming/registration_closed",
    )
    assert life.advance(T0 + 9 * HOUR + MINUTE) == []
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_fired_and_moved_within_the_past_it_is_corrected_and_not_told_again() -> None:
    life = born()
    life.advance(T0 + 5 * HOUR)
    entries = edited(life, T0 + 8 * HOUR, registration_close=T0 + 4 * HOUR)
    assert short(entries) == ["edited", "corrected registration_close"]
    assert life.now_row.marks["registration_close"] == Mark(1, T0 + 4 * HOUR)
    assert life.advance(T0 + 9 * HOUR) == []
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_fired_and_moved_to_this_very_instant_it_is_corrected_since_that_instant_has_come() -> None:
    life = born()
    life.advance(T0 + 5 * HOUR)
    assert short(edited(life, T0 + 8 * HOUR, registration_close=T0 + 8 * HOUR)) == [
        "edited",
        "corrected registration_close",
    ]
    assert_quiet(life.now_row, CAMPUS, T0 + 8 * HOUR)


def test_scenario_07_four_of_five_dates_moved_together_move_in_one_edit() -> None:
    life = born()
    life.advance(T0 + 10 * HOUR)
    moved: dict[str, Any] = {name: due + DAY for name, due in DATES.items()}
    entries = edited(life, T0 + 11 * HOUR, **moved)
    assert short(entries) == [
        "edited",
        "revoked registration_open",
        "revoked registration_close",
        "revoked event_start",
    ]
    assert life.status == "upcoming/registration_not_started"
    assert_quiet(life.now_row, CAMPUS, T0 + 11 * HOUR)
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_scenario_17_six_postponements_leave_a_chain_of_dates_and_two_generations() -> None:
    life = born()
    starts = [DATES["event_start"] + days * DAY for days in range(7)]
    now = T0
    for postponed in starts[1:5]:
        edited(life, now, event_start=postponed, event_end=postponed + HOUR)
        now += HOUR
    life.advance(starts[4])
    edited(life, starts[4] + 109 * MINUTE, event_start=starts[5], event_end=starts[5] + HOUR)
    edited(life, starts[5] - 11 * MINUTE, event_start=starts[6], event_end=starts[6] + HOUR)
    life.advance(starts[6])
    changes = [entry.details["dates"] for entry in life.entries if entry.kind == Kind.EDITED]
    chain = [moves["event_start"] for moves in changes if isinstance(moves, dict)]
    assert chain == [list(pair) for pair in pairwise(starts)]
    fired = [(e.generation, e.due_us) for e in life.entries if e.kind == Kind.FIRED and e.milestone == "event_start"]
    assert fired == [(1, starts[4]), (2, starts[6])]
    assert_sound(life.now_row, life.entries, CAMPUS)


# -------------------------------------------------------------------------------------------- removed dates


def test_a_date_that_is_taken_away_before_it_fired_is_withdrawn() -> None:
    life = born()
    entries = edited(life, T0, without="registration_close")
    assert [(e.kind, e.milestone, e.generation, e.due_us) for e in entries[1:]] == [
        ("withdrawn", "registration_close", 1, T0 + 5 * HOUR)
    ]
    assert life.now_row.pending == 3


def test_a_date_that_is_taken_away_after_it_fired_stays_in_the_history_and_leaves_the_status() -> None:
    life = born()
    life.advance(T0 + 5 * HOUR)
    entries = edited(life, T0 + 6 * HOUR, without="registration_close")
    assert short(entries) == ["edited"]
    assert life.status == "upcoming/registration_open"
    assert_quiet(life.now_row, CAMPUS, T0 + 6 * HOUR)
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_a_fired_date_that_is_taken_away_and_given_back_does_not_fire_again() -> None:
    life = born()
    life.advance(T0 + 5 * HOUR)
    edited(life, T0 + 6 * HOUR, without="registration_close")
    assert short(edited(life, T0 + 7 * HOUR)) == ["edited"]
    assert life.status == "upcoming/registration_closed"
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_a_fired_date_that_is_given_back_for_later_fires_in_a_second_generation() -> None:
    life = born()
    life.advance(T0 + 5 * HOUR)
    edited(life, T0 + 6 * HOUR, without="registration_close")
    assert short(edited(life, T0 + 7 * HOUR, registration_close=T0 + 8 * HOUR)) == [
        "edited",
        "revoked registration_close",
    ]
    assert [(e.milestone, e.generation) for e in life.advance(T0 + 8 * HOUR)] == [("registration_close", 2)]
    assert_sound(life.now_row, life.entries, CAMPUS)


# ---------------------------------------------------------------------------------------------------- holds


@pytest.mark.parametrize("hold", [hold for hold in Hold if hold is not Hold.ACTIVE])
def test_a_hold_clears_the_alarm_keeps_the_dates_and_is_one_entry(hold: Hold) -> None:
    life = born()
    life.advance(T0 + HOUR)
    (entry,) = edited(life, T0 + 2 * HOUR, hold=hold)
    assert (entry.kind, entry.milestone, entry.to_status) == (Kind.HELD, None, f"{hold}/{hold}")
    assert entry.details == {"hold": ["active", hold.value]}
    row = life.now_row
    assert (row.next_due_us, row.pending, len(row.dates)) == (None, 0, 4)
    assert_sound(row, life.entries, CAMPUS)


def test_scenario_15_pending_over_the_opening_nothing_fires_and_approval_is_the_truth_at_once() -> None:
    life = Life()
    life.put(T0, event(hold=Hold.PENDING_APPROVAL, **DATES), known_since=T0)
    assert life.advance(T0 + 2 * HOUR) == []
    assert life.advance(T0 + 3 * HOUR) == []
    assert life.status == "pending_approval/pending_approval"
    entries = edited(life, T0 + 4 * HOUR)
    assert [(e.kind, e.milestone, e.cause) for e in entries] == [
        ("held", None, None),
        ("fired", "registration_open", "born_late"),
    ]
    assert (life.status, life.now_row.next_due_us) == ("upcoming/registration_open", T0 + 5 * HOUR)
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_scenario_15_also_where_the_event_had_been_known_for_long() -> None:
    life = Life()
    life.put(T0, event(hold=Hold.PENDING_APPROVAL, **DATES))
    assert edited(life, T0 + 4 * HOUR)[-1].cause == Cause.BORN_LATE


def test_scenario_16_what_fell_due_before_the_cancel_and_had_not_fired_never_does() -> None:
    life = born()
    edited(life, T0 + 11 * HOUR, hold=Hold.CANCELLED)
    assert life.advance(T0 + DAY) == []
    assert life.kinds() == ["created", "held"]


def test_from_one_hold_to_another_there_is_one_entry_and_nothing_fires() -> None:
    life = born()
    edited(life, T0, hold=Hold.POSTPONED)
    (entry,) = edited(life, T0 + DAY, hold=Hold.CANCELLED)
    assert (entry.kind, entry.from_status, entry.to_status) == ("held", "postponed/postponed", "cancelled/cancelled")


def test_fired_and_moved_ahead_while_on_hold_it_is_revoked_and_fires_when_the_hold_is_lifted() -> None:
    life = born()
    life.advance(T0 + 10 * HOUR)
    later: dict[str, Any] = {"event_start": T0 + 2 * DAY, "event_end": T0 + 3 * DAY}
    entries = edited(life, T0 + 11 * HOUR, hold=Hold.POSTPONED, **later)
    assert short(entries) == ["held", "revoked event_start"]
    assert life.status == "postponed/postponed"
    edited(life, T0 + DAY, **later)
    assert life.status == "upcoming/registration_closed"
    assert [(e.milestone, e.generation) for e in life.advance(T0 + 2 * DAY)] == [("event_start", 2)]
    assert_sound(life.now_row, life.entries, CAMPUS)


# ----------------------------------------------------------------------------------- removed and put again


def test_a_tombstone_keeps_chain_and_generations_and_nothing_else() -> None:
    life = born()
    life.advance(T0 + HOUR)
    gone = life.remove(T0 + 2 * HOUR).row
    assert (gone.removed, gone.dates, gone.next_due_us, gone.pending) == (True, {}, None, 0)
    assert gone.marks == {"registration_open": Mark(1, T0 + HOUR)}
    assert life.told()[-1] == ("removed", None, None, "removed/removed")
    assert_sound(gone, life.entries, CAMPUS)


def test_scenario_31_removed_and_put_again_generations_go_on_and_nothing_fires_twice() -> None:
    life = born()
    life.advance(T0 + 5 * HOUR)
    edited(life, T0 + 6 * HOUR, registration_close=T0 + 7 * HOUR)
    life.remove(T0 + 6 * HOUR)
    again = life.put(T0 + 6 * HOUR, event(**{**DATES, "registration_close": T0 + 7 * HOUR}))
    assert again.outcome == Outcome.RESTORED
    assert short(again.entries) == ["restored"]
    assert life.status == "upcoming/registration_open"
    assert [(e.milestone, e.generation) for e in life.advance(T0 + 7 * HOUR)] == [("registration_close", 2)]
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_scenario_31_what_fell_due_while_it_was_away_fires_once_when_it_is_back() -> None:
    life = born()
    life.remove(T0)
    edited(life, T0 + 2 * HOUR)
    life.advance(T0 + 2 * HOUR)
    fired = [entry for entry in life.entries if entry.kind == Kind.FIRED]
    told = [(entry.milestone, entry.at_us, entry.cause) for entry in fired]
    assert told == [("registration_open", T0 + 2 * HOUR, Cause.BORN_LATE)]
    assert_quiet(life.now_row, CAMPUS, T0 + 2 * HOUR)
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_a_removed_event_counts_as_not_existing_for_a_revision() -> None:
    life = born()
    life.remove(T0)
    with pytest.raises(RevisionConflict, match="it does not exist"):
        life.put(T0, replace(event(**DATES), revision=1))
    assert life.put(T0, replace(event(**DATES), revision=0)).outcome == Outcome.RESTORED


def test_the_same_event_put_again_after_its_removal_is_no_idle_put() -> None:
    life = born()
    life.remove(T0)
    assert life.put(T0, event(**DATES)).outcome == Outcome.RESTORED


# ------------------------------------------------------------------------------------------- what was false


def test_an_edit_repairs_a_falsified_status_before_it_writes_itself() -> None:
    life = born()
    life.row = replace(life.now_row, status=Status("completed/event_ended"))
    entries = edited(life, T0, registration_open=T0 + 2 * HOUR)
    assert short(entries) == ["repaired", "edited"]
    assert_sound(life.now_row, life.entries, CAMPUS)


def test_putting_an_event_that_was_set_aside_takes_it_back_even_unchanged() -> None:
    life = born()
    life.row = replace(life.now_row, error="boom", next_due_us=T0 + 9 * DAY)
    again = life.put(T0, event(**DATES))
    assert (again.outcome, again.row.error, again.row.next_due_us) == (Outcome.CHANGED, None, T0 + HOUR)


# -------------------------------------------------------------------------------------- another lifecycle


def test_an_event_that_changes_its_kind_keeps_what_both_kinds_know() -> None:
    life = born()
    life.advance(T0 + 10 * HOUR)
    life.lifecycle = CONTEST
    dates: dict[str, Any] = {
        "registration_close": T0 + 5 * HOUR,
        "contest_start": T0 + DAY,
        "contest_end": T0 + 2 * DAY,
    }
    edited_ = life.put(T0 + 11 * HOUR, event(lifecycle=CONTEST, **dates))
    assert edited_.row.marks["registration_close"] == Mark(1, T0 + 5 * HOUR)
    assert life.status == "upcoming/registration_closed"
    assert_quiet(life.now_row, CONTEST, T0 + 11 * HOUR)
    assert_sound(life.now_row, life.entries, CONTEST)


# ------------------------------------------------------------------------------------------- redefinitions


def redefined(life: Life, lifecycle: Lifecycle, now: Micros, event_: Event) -> Edited:
    """Bring the event under a changed definition, as the store does."""
    life.lifecycle = lifecycle
    found = redefinition(life.now_row, planned(event_, lifecycle), editing(now))
    life.row = found.row
    life.entries += found.entries
    return found


def lamp_event(*names: str) -> Event:
    dates: dict[str, Any] = {"switch_on": T0 + HOUR, "dim": T0 + 2 * HOUR, "switch_off": T0 + 3 * HOUR}
    return event(lifecycle=lamp(), **{name: due for name, due in dates.items() if name in names})


def lamp_with(*more: Milestone, without: str = "") -> Lifecycle:
    plain = lamp()
    kept = tuple(milestone for milestone in plain.milestones if milestone.name != without)
    return replace(plain, milestones=(*kept[:1], *more, *kept[1:]))


def lamp_life(now: Micros) -> Life:
    life = Life(lamp())
    life.put(T0, lamp_event("switch_on", "switch_off"))
    life.advance(now)
    return life


def test_scenario_33_a_changed_definition_derives_the_status_anew_and_announces_nothing() -> None:
    life = lamp_life(T0 + HOUR)
    brighter = replace(lamp(), milestones=(replace(lamp().milestones[0], state="bright"), lamp().milestones[1]))
    (entry,) = redefined(life, brighter, T0 + HOUR, lamp_event("switch_on", "switch_off")).entries
    assert (entry.kind, entry.from_status, entry.to_status) == ("redefined", "lit/lit", "bright/bright")
    assert entry.details == {"lifecycle": "lamp", "hash": brighter.hash}
    assert life.now_row.revision == 1
    assert_sound(life.now_row, life.entries, brighter)
    assert [e.milestone for e in life.advance(T0 + 3 * HOUR)] == ["switch_off"]


def test_scenario_33_a_milestone_that_is_new_and_has_passed_is_born_late() -> None:
    life = lamp_life(T0 + 2 * HOUR)
    dimmed = lamp_with(Milestone(name="dim", track="light", state="dim", default="switch_on + 1 hour"))
    entries = redefined(life, dimmed, T0 + 2 * HOUR, lamp_event("switch_on", "switch_off")).entries
    assert [(e.kind, e.milestone, e.cause) for e in entries] == [
        ("redefined", None, None),
        ("fired", "dim", "born_late"),
    ]
    assert_quiet(life.now_row, dimmed, T0 + 2 * HOUR)
    assert_sound(life.now_row, life.entries, dimmed)


def test_scenario_33_a_milestone_that_goes_and_comes_back_does_not_fire_a_second_time() -> None:
    full = lamp_with(Milestone(name="dim", track="light", state="dim"))
    life = Life(full)
    life.put(T0, lamp_event("switch_on", "dim", "switch_off"))
    life.advance(T0 + 2 * HOUR)
    redefined(life, lamp(), T0 + 2 * HOUR, lamp_event("switch_on", "switch_off"))
    assert life.status == "lit/lit"
    assert_sound(life.now_row, life.entries, lamp())
    redefined(life, full, T0 + 2 * HOUR, lamp_event("switch_on", "dim", "switch_off"))
    life.advance(T0 + 2 * HOUR)
    assert_sound(life.now_row, life.entries, full)
    assert_quiet(life.now_row, full, T0 + 2 * HOUR)


def test_a_fired_milestone_that_a_new_definition_dates_ahead_is_revoked() -> None:
    first = lamp_with(Milestone(name="dim", track="light", state="dim", default="switch_on + 1 hour"))
    second = lamp_with(Milestone(name="dim", track="light", state="dim", default="switch_off - 1 minute"))
    life = Life(first)
    life.put(T0, lamp_event("switch_on", "switch_off"))
    life.advance(T0 + 2 * HOUR)
    entries = redefined(life, second, T0 + 2 * HOUR, lamp_event("switch_on", "switch_off")).entries
    assert short(entries) == ["redefined", "revoked dim"]
    assert_quiet(life.now_row, second, T0 + 2 * HOUR)
    assert [(e.milestone, e.generation) for e in life.advance(T0 + 3 * HOUR)] == [("dim", 2), ("switch_off", 1)]
    assert_sound(life.now_row, life.entries, second)


def test_a_fired_milestone_that_a_new_definition_dates_elsewhere_in_the_past_is_corrected() -> None:
    first = lamp_with(Milestone(name="dim", track="light", state="dim", default="switch_on + 1 hour"))
    second = lamp_with(Milestone(name="dim", track="light", state="dim", default="switch_on + 1 minute"))
    life = Life(first)
    life.put(T0, lamp_event("switch_on", "switch_off"))
    life.advance(T0 + 2 * HOUR)
    entries = redefined(life, second, T0 + 2 * HOUR, lamp_event("switch_on", "switch_off")).entries
    assert short(entries) == ["redefined", "corrected dim"]
    assert_sound(life.now_row, life.entries, second)


def test_an_unfired_milestone_that_a_new_definition_dates_in_the_past_is_born_late() -> None:
    first = lamp_with(Milestone(name="dim", track="light", state="dim", default="switch_off - 1 minute"))
    second = lamp_with(Milestone(name="dim", track="light", state="dim", default="switch_on + 1 minute"))
    life = Life(first)
    life.put(T0, lamp_event("switch_on", "switch_off"))
    life.advance(T0 + 2 * HOUR)
    entries = redefined(life, second, T0 + 2 * HOUR, lamp_event("switch_on", "switch_off")).entries
    assert [(e.kind, e.milestone, e.cause) for e in entries[1:]] == [("fired", "dim", "born_late")]
    assert_sound(life.now_row, life.entries, second)


def test_an_unfired_milestone_that_a_new_definition_leaves_out_is_withdrawn() -> None:
    life = Life(lamp_with(Milestone(name="dim", track="light", state="dim", default="switch_off - 1 minute")))
    life.put(T0, lamp_event("switch_on", "switch_off"))
    entries = redefined(life, lamp(), T0, lamp_event("switch_on", "switch_off")).entries
    assert short(entries) == ["redefined", "withdrawn dim"]
    assert_sound(life.now_row, life.entries, lamp())


def test_what_was_overdue_before_its_definition_changed_is_still_a_misfire_of_the_loop() -> None:
    life = lamp_life(T0)
    brighter = replace(lamp(), milestones=(replace(lamp().milestones[0], state="bright"), lamp().milestones[1]))
    entries = redefined(life, brighter, T0 + HOUR, lamp_event("switch_on", "switch_off")).entries
    assert short(entries) == ["redefined"]
    assert life.now_row.next_due_us == T0 + HOUR


def test_an_event_on_hold_stays_there_under_a_new_definition() -> None:
    life = Life(lamp())
    held = replace(lamp_event("switch_on", "switch_off"), hold=Hold.CANCELLED)
    life.put(T0, held)
    brighter = replace(lamp(), milestones=(replace(lamp().milestones[0], state="bright"), lamp().milestones[1]))
    redefined(life, brighter, T0 + DAY, held)
    assert (life.status, life.now_row.next_due_us) == ("cancelled/cancelled", None)


def test_a_row_is_never_changed_in_place() -> None:
    life = born()
    life.advance(T0 + 5 * HOUR)
    before: EventRow = life.now_row
    kept = dict(before.marks)
    edited(life, T0 + 6 * HOUR, registration_close=T0 + 7 * HOUR)
    assert dict(before.marks) == kept
