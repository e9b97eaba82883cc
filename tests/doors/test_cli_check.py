"""`duly check` and `duly migrate`: a sound store is said to be sound, and a broken one is found out."""

from __future__ import annotations

import apsw
import pytest

from duly.agenda import Agenda
from duly.clock import SystemClock
from duly.stores.sqlite_schema import latest_version
from tests.doors.terminal import CAMPUS, HOUR, MINUTE, Terminal

SCHEMA = latest_version()


@pytest.fixture
def campus(terminal: Terminal) -> Terminal:
    terminal("put", terminal.write("campus.json", CAMPUS))
    terminal.clock.advance(HOUR)
    terminal("catch-up")
    return terminal


def tamper(terminal: Terminal, sql: str) -> None:
    connection = apsw.Connection(str(terminal.folder / "duly.db"))
    connection.execute(sql)
    connection.close()


def test_a_sound_store_is_said_to_be_sound_with_its_versions(campus: Terminal) -> None:
    said = campus("check")
    assert said.code == 0
    assert said.lines[0].startswith(f"sqlite:///duly.db: schema {SCHEMA}, SQLite 3.")
    assert said.lines[1:] == ["2 events checked, with every entry of their history: all is well."]
    facts = campus("check", "--json").json
    assert facts["sqlite"] == apsw.sqlite_lib_version()
    assert (facts["events_checked"], facts["findings"]) == (2, [])


def test_a_falsified_status_is_found_and_repaired(campus: Terminal) -> None:
    tamper(campus, "UPDATE event SET status = 'completed/event_ended', pending = 9 WHERE id = 'HACK26'")
    found = campus("check")
    assert found.code == 1
    assert any("HACK26: its status is 'completed/event_ended'" in line for line in found.lines)
    assert "(--repair sets it right)" in found.out
    repaired = campus("check", "--repair")
    assert repaired.code == 0
    assert any(line.startswith("repaired  HACK26: ") for line in repaired.lines)
    assert repaired.lines[-1].endswith("all is well again.")
    assert campus("check").code == 0
    assert campus("history", "HACK26", "--json").json[-1]["kind"] == "repaired"


def test_a_falsified_history_is_found_and_cannot_be_repaired(campus: Terminal) -> None:
    tamper(campus, "UPDATE history SET at = at + 1 WHERE event_id = 'HACK26' AND seq = 2")
    said = campus("check", "--repair")
    assert said.code == 1
    assert "HACK26: event 'HACK26': entry 2 does not carry the hash that its content gives" in said.out
    finding = campus("check", "--json").json["findings"][0]
    assert (finding["event_id"], finding["repairable"], finding["repaired"]) == ("HACK26", False, False)


def test_an_event_that_is_set_aside_is_a_finding(campus: Terminal) -> None:
    tamper(campus, "UPDATE event SET dates = '{\"event_start\": \"soon\"}' WHERE id = 'HACK26'")
    campus.clock.advance(2 * HOUR)
    caught_up = campus("catch-up")
    assert caught_up.code == 1
    assert any("HACK26  set aside" in line for line in caught_up.lines)
    assert "1 failed" in caught_up.out
    said = campus("check")
    assert said.code == 1
    assert "HACK26" in said.out


def test_overdue_triggers_are_a_finding_only_while_somebody_should_fire_them(campus: Terminal) -> None:
    campus.clock.advance(2 * HOUR)
    assert campus("check").code == 0
    with Agenda("sqlite:///duly.db", clock=campus.clock) as agenda:
        agenda.store.heartbeat("a1", "here", 1, campus.clock.now())
    said = campus("check")
    assert said.code == 1
    assert "though a scheduler is alive" in said.out
    campus.clock.advance(MINUTE)
    assert campus("check").code == 0


def test_migrate_says_from_which_version_to_which(terminal: Terminal) -> None:
    assert terminal("migrate").lines == [f"sqlite:///duly.db: a new store, of schema version {SCHEMA}."]
    assert terminal("migrate").lines == [f"sqlite:///duly.db: nothing to do, its schema is version {SCHEMA}."]
    assert terminal("migrate", "--json").json == {"store": "sqlite:///duly.db", "from": SCHEMA, "to": SCHEMA}


def test_a_check_does_not_depend_on_the_clock_of_the_machine(campus: Terminal) -> None:
    # The store lives in 2025, by the test's clock: a command that read another one would find all of it overdue.
    assert SystemClock().now() > campus.clock.now() + 24 * HOUR
    assert campus("status", "--json").json["events_overdue"] == 0
