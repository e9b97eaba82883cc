"""`duly why`: the story of one date of one event."""

from __future__ import annotations

import pytest

from tests.doors.terminal import CAMPUS, HOUR, MINUTE, Terminal

POLICY = "policy    missed by up to 24 h: announce, in order; older: keep as missed"


@pytest.fixture
def campus(terminal: Terminal) -> Terminal:
    terminal("put", terminal.write("campus.json", CAMPUS))
    terminal.clock.advance(3 * MINUTE)
    terminal("catch-up")
    return terminal


def test_what_was_missed_names_the_outage_that_covers_it(campus: Terminal) -> None:
    campus.clock.advance(2 * HOUR + 14 * MINUTE)
    campus("catch-up")
    said = campus("why", "ARRCOSTU2025", "registration_open")
    assert said.code == 0
    assert said.lines == [
        "planned   12:30 Europe/Berlin, 27 Aug 2025 (10:30Z)",
        "as given  2025-08-27 12:30",
        "fired     14:17 Europe/Berlin, 1 h 47 min late: no node was alive from 12:03 to 14:17 (outage 1)",
        POLICY,
    ]


def test_what_has_not_fired_says_when_it_will(campus: Terminal) -> None:
    assert campus("why", "HACK26", "event_end").lines[2] == "not fired  due in 2 h 57 min"


def test_what_is_overdue_says_that_nobody_fires_it(campus: Terminal) -> None:
    campus.clock.advance(3 * HOUR)
    assert "overdue since 3 min: nobody is running" in campus("why", "HACK26", "event_end").out


def test_what_had_passed_before_it_was_known_says_that(campus: Terminal) -> None:
    assert (
        "it had passed before the event was known, so it was not announced"
        in campus("why", "HACK26", "registration_open").out
    )


def test_a_milestone_without_a_date_says_so(campus: Terminal) -> None:
    assert campus("why", "HACK26", "certificate_start").lines[0] == "not fired  it has no date"


def test_an_event_on_hold_says_so(campus: Terminal) -> None:
    campus("postpone", "HACK26", "--reason", "storm")
    line = "not fired  the event is on hold (postponed); nothing of it fires until that is lifted"
    assert line in campus("why", "HACK26", "event_end").lines


def test_an_event_that_was_removed_says_so(campus: Terminal) -> None:
    campus("remove", "HACK26")
    said = campus("why", "HACK26", "event_end")
    assert said.code == 0
    assert said.lines[0] == "not fired  the event was removed; nothing of it fires any more"


def test_what_was_revoked_tells_both_of_its_lives(campus: Terminal) -> None:
    campus.clock.advance(2 * HOUR)
    campus("catch-up")
    moved = {**CAMPUS["events"][1], "start_datetime": "2025-08-28 13:00", "end_datetime": "2025-08-28 15:00"}
    campus("put", campus.write("moved.json", {**CAMPUS, "events": [moved]}))
    lines = campus("why", "HACK26", "event_start").lines
    assert lines[0] == "planned    13:00 Europe/Berlin, 28 Aug 2025 (11:00Z)"
    assert lines[2] == "not fired  due in 22 h 57 min"
    assert lines[3] == "before     fired 27 Aug 2025 14:03 Europe/Berlin, 1 h 3 min late"
    assert lines[4].startswith("revoked    27 Aug 2025 14:03 Europe/Berlin")


def test_what_was_withdrawn_says_when(campus: Terminal) -> None:
    without = {key: value for key, value in CAMPUS["events"][0].items() if not key.startswith("registration")}
    campus("put", campus.write("without.json", {**CAMPUS, "events": [without]}))
    lines = campus("why", "ARRCOSTU2025", "registration_open").lines
    assert lines[0] == "not fired  it has no date"
    assert lines[1].startswith("withdrawn  27 Aug 2025 12:03 Europe/Berlin")


def test_rounds_name_each_other(terminal: Terminal) -> None:
    conference = {
        "event_id": "c1",
        "lifecycle": "conference",
        "dates": {"paper_deadline": "2025-09-01", "paper_deadline#2": "2025-10-01"},
    }
    assert terminal("put", terminal.write("c.json", [conference])).code == 0
    first = terminal("why", "c1", "paper_deadline").lines
    assert first[0] == "planned    00:00 AoE, 2 Sep 2025 (12:00Z)"
    assert "rounds     paper_deadline#2 in 36 days" in first
    assert terminal("why", "c1", "paper_deadline#2", "--json").json["rounds"] == ["paper_deadline"]


def test_a_date_that_the_lifecycle_gave_says_so(terminal: Terminal) -> None:
    event = {
        "event_id": "e1",
        "start_datetime": "2025-09-01T10:00Z",
        "end_datetime": "2025-09-01T12:00Z",
        "certificate_end_date": "2025-10-01T12:00Z",
    }
    terminal("put", terminal.write("e.json", [event]))
    assert "as given   not given: the lifecycle dates it" in terminal("why", "e1", "certificate_start").lines


def test_a_manual_milestone_waits_for_a_person_and_tells_who_it_was(terminal: Terminal) -> None:
    contest = {"event_id": "k1", "lifecycle": "contest", "dates": {"contest_start": "2025-08-27T09:00Z"}}
    assert terminal("put", terminal.write("k.json", [contest])).code == 0
    assert terminal("why", "k1", "results_final").lines[0] == "not fired  it has no date: a person fires it"
    said = terminal("fire", "k1", "results_final", "--by", "Ada", "--reason", "appeals closed")
    assert (said.code, said.err) == (0, "")
    assert "fired by hand by Ada: appeals closed" in terminal("why", "k1", "results_final").out


def test_the_configured_window_is_part_of_the_policy(campus: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DULY_CATCH_UP_WINDOW", "unlimited")
    assert campus("why", "HACK26", "event_end").lines[-1] == (
        "policy     missed, however long ago: announce, in order"
    )


def test_a_milestone_that_the_lifecycle_does_not_have_is_wrong_input(campus: Terminal) -> None:
    said = campus("why", "HACK26", "nosuch")
    assert said.code == 2
    assert "has no milestone 'nosuch'; it has: registration_open" in said.err
