"""The commands that look: what they show agrees, on a terminal's lines and as JSON."""

from __future__ import annotations

import json

import pytest

from tests.doors.terminal import CAMPUS, HOUR, MINUTE, Terminal

OPENED = "upcoming/registration_not_started → upcoming/registration_open"


@pytest.fixture
def after_downtime(terminal: Terminal) -> Terminal:
    """Return a store whose scheduler was away from 12:03 to 14:17, Berlin time."""
    terminal("put", terminal.write("campus.json", CAMPUS))
    terminal.clock.advance(3 * MINUTE)
    terminal("catch-up")
    terminal.clock.advance(2 * HOUR + 14 * MINUTE)
    terminal("catch-up")
    return terminal


def facts(out: str) -> dict[str, str]:
    return {line[:12].strip(): line.split("  ", 1)[-1].strip() for line in out.splitlines()}


# -- status ------------------------------------------------------------------------------------------------


def test_status_says_who_fires_what_is_next_and_how_many_have_which_status(after_downtime: Terminal) -> None:
    said = after_downtime("status")
    assert said.code == 0
    assert said.lines == [
        "store        sqlite:///duly.db",
        "fired by     nobody; the last sign of life was now (12:17 UTC)",
        "events       2, 3 triggers to come from 2 of them",
        "next         event_end of HACK26 in 43 min (15:00 Europe/Berlin)",
        "last outage  1: 2 h 14 min (10:03 – 12:17 UTC), 3 missed: 3 successful, 0 failed",
        "",
        "status                        events",
        "ongoing/event_started         1",
        "upcoming/registration_closed  1",
    ]


def test_status_is_right_while_nothing_runs_and_says_what_is_overdue(after_downtime: Terminal) -> None:
    after_downtime.clock.advance(HOUR)
    said = after_downtime("status", "--json").json
    assert said["by_status"] == {"completed/event_ended": 1, "upcoming/registration_closed": 1}
    assert (said["events_overdue"], said["oldest_overdue_at"]) == (1, "2025-08-27T13:00:00Z")
    overdue = facts(after_downtime("status").out)["overdue"]
    assert overdue == "1 event, the oldest 17 min ago (13:00 UTC); 'duly run' or 'duly catch-up' fires them"


def test_a_store_that_does_not_exist_is_not_made_by_looking_at_it(terminal: Terminal) -> None:
    for command in ("status", "events", "upcoming", "history", "outages", "check", "catch-up"):
        said = terminal(command)
        assert said.code == 2
        assert said.err == "duly: store sqlite:///duly.db: there is no such file; 'duly put' or 'duly run' make it\n"
    assert list(terminal.folder.iterdir()) == []


# -- events and show ---------------------------------------------------------------------------------------


def test_events_are_listed_with_their_status_and_what_is_next(after_downtime: Terminal) -> None:
    assert after_downtime("events").lines == [
        "event         name        status                        next",
        "ARRCOSTU2025  Art course  upcoming/registration_closed  event_start in 1 day 19 h (29 Aug 10:00 Europe/Berlin)",
        "HACK26        Hackathon   ongoing/event_started         event_end in 43 min (15:00 Europe/Berlin)",
    ]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["--status", "upcoming"], ["ARRCOSTU2025"]),
        (["--status", "ongoing/event_started"], ["HACK26"]),
        (["--status", "going"], []),
        (["--lifecycle", "campus_event"], ["ARRCOSTU2025", "HACK26"]),
        (["--lifecycle", "conference"], []),
        (["--limit", "1"], ["ARRCOSTU2025"]),
    ],
)
def test_events_are_filtered(after_downtime: Terminal, filters: list[str], ids: list[str]) -> None:
    assert [event["id"] for event in after_downtime("events", *filters, "--json").json] == ids


def test_no_events_are_said_in_words_and_in_json(terminal: Terminal) -> None:
    terminal("put", terminal.write("none.json", []))
    assert terminal("events").lines == ["No events."]
    assert terminal("events", "--json").json == []
    assert terminal("upcoming").lines == ["Nothing is to come."]
    assert terminal("history").lines == ["Nothing has happened yet."]
    assert terminal("outages").lines == ["There was no outage."]


def test_a_long_list_comes_whole_with_its_header_once(terminal: Terminal) -> None:
    many = [{"event_id": f"e{n:04}", "event_start": "2026-01-01T10:00Z"} for n in range(1234)]
    terminal("put", terminal.write("many.json", many))
    lines = terminal("events").lines
    assert len(lines) == 1235
    assert lines[0].startswith("event")
    assert [line.split()[0] for line in lines[1:]] == [event["event_id"] for event in many]
    assert len(terminal("events", "--json").json) == 1234


def test_show_has_every_date_planned_and_fired(after_downtime: Terminal) -> None:
    lines = after_downtime("show", "HACK26").lines
    assert "status     ongoing/event_started" in lines
    assert "tracks     registration: closed, event: started, certificate: unavailable" in lines
    row = next(line for line in lines if line.startswith("event_start"))
    assert row.split("  ")[-1] == "14:17, late 1 h 17 min"
    assert "2025-08-27 13:00" in row
    row = next(line for line in lines if line.startswith("event_end"))
    assert row.endswith("in 43 min")


def test_show_of_an_event_on_hold_or_behind_says_so(after_downtime: Terminal) -> None:
    after_downtime.clock.advance(HOUR)
    lines = after_downtime("show", "HACK26").lines
    assert "status     completed/event_ended" in lines
    assert "announced  ongoing/event_started (what fell due since has not fired yet)" in lines
    assert any(line.endswith("overdue since 17 min") for line in lines)
    after_downtime("hold", "HACK26")
    assert "hold       pending_approval: nothing fires until it is lifted" in after_downtime("show", "HACK26").lines


def test_show_as_json_holds_the_whole_history(after_downtime: Terminal) -> None:
    shown = after_downtime("show", "HACK26", "--json").json
    assert shown["history"] == after_downtime("history", "HACK26", "--json").json
    assert shown["dates"]["event_start"]["fired"] is True


def test_an_event_that_never_was_is_wrong_input(after_downtime: Terminal) -> None:
    for command in (
        ["show", "nosuch"],
        ["history", "nosuch"],
        ["why", "nosuch", "event_start"],
        ["remove", "nosuch"],
    ):
        said = after_downtime(*command)
        assert (said.code, said.out, said.err) == (2, "", "duly: there is no event 'nosuch'\n")


# -- upcoming and history ----------------------------------------------------------------------------------


def test_upcoming_has_the_soonest_first(after_downtime: Terminal) -> None:
    assert after_downtime("upcoming").lines == [
        "when           trigger      event         at",
        "in 43 min      event_end    HACK26        15:00 Europe/Berlin",
        "in 1 day 19 h  event_start  ARRCOSTU2025  29 Aug 10:00 Europe/Berlin",
        "in 2 days 3 h  event_end    ARRCOSTU2025  29 Aug 18:00 Europe/Berlin",
    ]
    said = after_downtime("upcoming", "--limit", "1", "--json").json
    assert [(trigger["milestone"], trigger["due_in_seconds"]) for trigger in said] == [("event_end", 43 * 60)]


@pytest.mark.parametrize("limit", ["0", "-1", "1000000000", "many"])
def test_bad_input_47_a_limit_out_of_range_is_refused(after_downtime: Terminal, limit: str) -> None:
    said = after_downtime("upcoming", "--limit", limit)
    assert said.code == 2
    assert "--limit" in said.err
    assert len(said.err.splitlines()) == 1


def test_history_of_all_is_the_latest_and_of_one_the_whole(after_downtime: Terminal) -> None:
    every = after_downtime("history", "--json").json
    assert [entry["milestone"] for entry in every if entry["cause"] == "caught_up"] == [
        "registration_open",
        "event_start",
        "registration_close",
    ]
    assert after_downtime("history", "--limit", "2", "--json").json == every[-2:]
    of_one = after_downtime("history", "HACK26", "--json").json
    assert of_one == [entry for entry in every if entry["event"] == "HACK26"]
    assert after_downtime("history", "HACK26", "--limit", "1", "--json").json == of_one[-1:]
    last = after_downtime("history", "HACK26").lines[-1]
    for part in ("14:17 Europe/Berlin", "late 1 h 17 min", "ongoing/event_started", "caught up, outage 1"):
        assert part in last


# -- outages -----------------------------------------------------------------------------------------------


def test_outages_are_listed_newest_first(after_downtime: Terminal) -> None:
    after_downtime.clock.advance(HOUR)
    after_downtime("catch-up")
    assert after_downtime("outages").lines == [
        "id  when               length      missed  successful  failed  withheld",
        "2   12:17 – 13:17 UTC  1 h         1       1           0       0",
        "1   10:03 – 12:17 UTC  2 h 14 min  3       3           0       0",
    ]
    assert [outage["id"] for outage in after_downtime("outages", "--json").json] == [2, 1]


def test_the_page_of_an_outage_has_all_that_it_delayed_in_order(after_downtime: Terminal) -> None:
    lines = after_downtime("outages", "1").lines
    assert lines[0] == "Outage 1: 2 h 14 min (10:03 – 12:17 UTC), 3 missed: 3 successful, 0 failed, 0 withheld."
    assert [line.split()[:2] for line in lines[2:]] == [
        ["registration_open", "ARRCOSTU2025"],
        ["event_start", "HACK26"],
        ["registration_close", "ARRCOSTU2025"],
    ]
    page = after_downtime("outages", "1", "--json").json
    assert [entry["lateness_seconds"] for entry in page["transitions"]] == [6420, 4620, 1020]


def test_an_outage_that_never_was_is_wrong_input(after_downtime: Terminal) -> None:
    said = after_downtime("outages", "7")
    assert (said.code, said.err) == (2, "duly: there is no outage 7; 'duly outages' lists them\n")


# -- lifecycles --------------------------------------------------------------------------------------------


def test_lifecycles_are_listed_without_a_store_too(terminal: Terminal) -> None:
    names = {line.split()[0] for line in terminal("lifecycles").lines[1:]}
    assert {"campus_event", "conference", "contest"} <= names
    assert not (terminal.folder / "duly.db").exists()


def test_one_lifecycle_is_shown_with_its_policies(terminal: Terminal) -> None:
    lines = terminal("lifecycles", "campus_event").lines
    row = next(line for line in lines if line.startswith("registration_open"))
    assert "registration_start_date" in row
    assert row.endswith("missed by up to 24 h: announce, in order; older: keep as missed")
    assert terminal("lifecycles", "campus_event", "--json").json["name"] == "campus_event"
    said = terminal("lifecycles", "nosuch")
    assert said.code == 2
    assert "known are: campus_event" in said.err


def test_every_command_that_looks_says_the_same_in_json(after_downtime: Terminal) -> None:
    for command in ("status", "events", "upcoming", "history", "outages", "lifecycles", "check", "migrate"):
        said = after_downtime(command, "--json")
        assert said.code == 0
        assert said.err == ""
        json.loads(said.out)
