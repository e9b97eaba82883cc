"""`hold`, `cancel`, `postpone`, `approve`, `fire` and `remove`: one call each, with a reason in the history."""

from __future__ import annotations

import pytest

from tests.doors.terminal import CAMPUS, Terminal


@pytest.fixture
def campus(terminal: Terminal) -> Terminal:
    terminal("put", terminal.write("campus.json", CAMPUS))
    return terminal


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["hold", "HACK26"], "pending_approval/pending_approval", "HACK26 waits for approval."),
        (["hold", "HACK26", "--as", "archived"], "archived/archived", "HACK26 is archived."),
        (["cancel", "HACK26", "--reason", "flood"], "cancelled/cancelled", "HACK26 is cancelled."),
        (["postpone", "HACK26"], "postponed/postponed", "HACK26 is postponed."),
    ],
)
def test_a_hold_stops_an_event_and_approving_it_brings_it_back(
    campus: Terminal, command: list[str], status: str, said: str
) -> None:
    done = campus(*command)
    assert (done.code, done.lines) == (0, [f"{said} Its status is {status}."])
    assert all(trigger["event"] != "HACK26" for trigger in campus("upcoming", "--json").json)
    approved = campus("approve", "HACK26")
    assert approved.lines == ["HACK26 is active. Its status is upcoming/registration_closed."]
    assert any(trigger["event"] == "HACK26" for trigger in campus("upcoming", "--json").json)


def test_who_did_it_and_why_is_kept(campus: Terminal) -> None:
    campus("cancel", "HACK26", "--reason", "the venue is flooded", "--by", "Ada")
    entry = campus("history", "HACK26", "--json").json[-1]
    assert (entry["kind"], entry["actor"], entry["reason"]) == ("held", "Ada", "the venue is flooded")
    assert "by Ada, the venue is flooded" in campus("history", "HACK26").out


@pytest.mark.parametrize("reason", [[], ["--reason", ""], ["--reason", "  "]])
def test_a_cancellation_without_a_reason_is_wrong_usage(campus: Terminal, reason: list[str]) -> None:
    said = campus("cancel", "HACK26", *reason)
    assert (said.code, said.err) == (2, "duly: a cancellation needs a --reason; see 'duly cancel --help'\n")
    assert campus("show", "HACK26", "--json").json["hold"] == "active"


def test_the_same_again_changes_nothing_and_says_so(campus: Terminal) -> None:
    campus("postpone", "HACK26")
    before = campus("history", "--json").out
    assert campus("postpone", "HACK26").out.startswith("HACK26 is postponed already; nothing changed.")
    assert campus("history", "--json").out == before


def test_removing_an_event_keeps_its_history(campus: Terminal) -> None:
    said = campus("remove", "HACK26", "--reason", "entered twice")
    assert said.lines == ["HACK26 is removed. Its history stays: duly history HACK26"]
    assert [event["id"] for event in campus("events", "--json").json] == ["ARRCOSTU2025"]
    assert campus("history", "HACK26", "--json").json[-1]["reason"] == "entered twice"
    assert campus("remove", "HACK26").code == 2


def test_bad_input_60_a_reason_cannot_forge_a_line_of_the_history(campus: Terminal) -> None:
    said = campus("cancel", "HACK26", "--reason", "fine\n2025-08-27 approved\x1b[2J")
    assert said.code == 2
    assert "--reason" in said.err
    assert "\x1b" not in said.err
    assert campus("show", "HACK26", "--json").json["hold"] == "active"


def test_only_manual_milestones_are_fired_by_hand(campus: Terminal) -> None:
    said = campus("fire", "HACK26", "event_start")
    assert said.code == 2
    assert "event_start" in said.err
    contest = {"event_id": "k1", "lifecycle": "contest", "dates": {"contest_start": "2025-08-27T09:00Z"}}
    campus("put", campus.write("k.json", [contest]))
    assert campus("fire", "k1", "results_final").lines[0].startswith("results_final of k1 has fired.")
    fired = campus("history", "k1", "--json").json[-1]
    assert (fired["milestone"], fired["cause"], fired["actor"]) == ("results_final", "manual", "cli")


def test_edits_as_json_are_one_document(campus: Terminal) -> None:
    assert campus("postpone", "HACK26", "--json").json == {
        "event": "HACK26",
        "outcome": "changed",
        "hold": "postponed",
        "status": "postponed/postponed",
    }
    assert campus("remove", "HACK26", "--json").json == {"event": "HACK26", "outcome": "removed"}
