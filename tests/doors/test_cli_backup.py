"""`duly backup`, and what the command line does with a store that is a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest

from duly.agenda import Agenda
from duly.model.delivery import Subscriber
from tests.doors.terminal import CAMPUS, HOUR, Process, Terminal, soon

BACKUP = "sqlite:///backup.db"


@pytest.fixture
def campus(terminal: Terminal) -> Terminal:
    """A store with two events of the campus, an hour of their history, and an endpoint that was never reached."""
    terminal("put", terminal.write("campus.json", CAMPUS))
    with Agenda("sqlite:///duly.db", clock=terminal.clock) as agenda:
        crm = Subscriber(name="webhook:crm", channel="webhook", topics=("*",))
        agenda.store.outbox.put_subscriber(crm, terminal.clock.now())
    return terminal


def owe(terminal: Terminal, store: str = "sqlite:///duly.db") -> None:
    """Have a delivery written that nobody makes: that of a hold, set by hand."""
    with Agenda(store, clock=terminal.clock) as agenda:
        crm = agenda.store.outbox.subscriber("webhook:crm")
        agenda.store.outbox.announce("HACK26", 1, crm.name, terminal.clock.now())


def test_a_backup_says_what_it_holds_and_can_be_read_and_written_like_any_store(campus: Terminal) -> None:
    said = campus("backup", "backup.db")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"{campus.folder / 'backup.db'}: 2 events, ")
    assert said.out.endswith(" bytes; verified.\n")
    assert campus("events", "--store", BACKUP).out == campus("events").out
    assert campus("show", "HACK26", "--json", "--store", BACKUP).json == campus("show", "HACK26", "--json").json
    changed = {**CAMPUS, "events": CAMPUS["events"][:1]}
    assert campus("put", campus.write("more.json", changed), "--store", BACKUP).code == 0
    assert campus("cancel", "HACK26", "--reason", "rain", "--store", BACKUP).code == 0


def test_a_backup_as_json(campus: Terminal) -> None:
    said = campus("backup", "backup.db", "--json").json
    assert (said["store"], said["file"]) == ("sqlite:///duly.db", str(campus.folder / "backup.db"))
    assert (said["made_at"], said["events"], said["deliveries"]) == ("2025-08-27T10:00:00Z", 2, 0)
    assert said["size_bytes"] == Path("backup.db").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["duly.db"], "it is the store itself; name another file"),
        (["there/is/none.db"], "does not exist; create it first"),
        (["campus.json"], "there is such a file already; name another, or write over it with --force"),
        (["."], "it is a directory"),
        (["b.db", "--store", "sqlite:///:memory:"], "name a file, such as sqlite:///events.db"),
        (["b.db", "--store", "sqlite:///none.db"], "there is no such file"),
        ([], "missing argument 'FILE'"),
    ],
)
def test_a_backup_that_cannot_be_made_is_refused_in_a_sentence(
    campus: Terminal, arguments: list[str], said: str
) -> None:
    before = sorted(campus.folder.iterdir())
    refusal = campus("backup", *arguments)
    assert (refusal.code, refusal.out) == (2, "")
    assert said in refusal.err
    assert len(refusal.err.splitlines()) == 1
    assert sorted(campus.folder.iterdir()) == before


def test_force_writes_over_the_backup_of_yesterday(campus: Terminal) -> None:
    campus("backup", "backup.db")
    campus("cancel", "HACK26", "--reason", "rain")
    assert campus("backup", "backup.db").code == 2
    assert campus("backup", "backup.db", "--force").code == 0
    assert "cancelled" in campus("show", "HACK26", "--store", BACKUP).out


def test_a_backup_is_made_beside_a_scheduler_that_goes_on_firing(
    terminal: Terminal, processes: list[Process]
) -> None:
    terminal.write("soon.json", {"events": [soon("w1", 0.2), soon("w2", 1.5)]})
    process = Process(terminal.folder, "run", "soon.json")
    processes.append(process)
    process.wait_for("w1")
    backup = Process(terminal.folder, "backup", "backup.db", "--json")
    processes.append(backup)
    assert backup.code() == 0
    process.wait_for("w2")


# -- a store that is a copy ------------------------------------------------------------------------------


def test_a_copy_is_told_by_status_and_check_before_any_scheduler_has_seen_it(campus: Terminal) -> None:
    campus("catch-up")
    owe(campus)
    shutil.copy("duly.db", "copy.db")
    assert campus("check").code == 0
    assert campus("check", "--json").json["copy"] is None
    assert campus("status", "--json").json["copy"] is None
    said = campus("check", "--store", "sqlite:///copy.db")
    assert said.code == 1
    assert "its file is not the one that it lived in); its deliveries will be parked until" in said.out
    assert "It would send 1 delivery: 1 to webhook:crm." in said.out
    found = campus("check", "--json", "--store", "sqlite:///copy.db").json["copy"]
    assert (found["noticed"], found["adopted_as"], len(found["would_send"])) == (False, None, 1)
    assert "see 'duly check'" in campus("status", "--store", "sqlite:///copy.db").out


def test_a_scheduler_says_on_standard_error_that_its_store_is_a_copy(campus: Terminal) -> None:
    campus("catch-up")
    shutil.copy("duly.db", "copy.db")
    said = campus("catch-up", "--store", "sqlite:///copy.db")
    assert said.code == 0
    assert "this store is a copy of" in said.err
    assert "nothing is sent" in said.err


def test_adopting_lists_what_is_not_sent_with_the_command_that_releases_it(campus: Terminal) -> None:
    campus("catch-up")
    owe(campus)
    campus("backup", "backup.db")
    said = campus("check", "--adopt", "--store", BACKUP)
    assert said.code == 0
    assert "Not sent: 1 delivery: 1 to webhook:crm." in said.out
    assert said.lines[-1].endswith("What is parked stays so, until: duly release --all --yes")
    assert campus("deliveries", "--parked", "--json", "--store", BACKUP).json[0]["state"] == "parked"
    assert campus("check", "--store", BACKUP).code == 0
    assert campus("release", "--all", "--yes", "--store", BACKUP).code == 0
    assert len(campus("deliveries", "--pending", "--json", "--store", BACKUP).json) == 1


def test_adopting_as_json_and_what_is_no_copy(campus: Terminal) -> None:
    campus("backup", "backup.db")
    found = campus("check", "--adopt", "--json", "--store", BACKUP).json["copy"]
    assert found["adopted_as"] != found["of"]
    again = campus("check", "--adopt", "--json", "--store", BACKUP)
    assert (again.code, again.json["copy"]) == (0, None)


def test_of_many_deliveries_of_a_copy_the_newest_are_shown_and_all_are_in_the_json(campus: Terminal) -> None:
    records = [
        {"event_id": f"w{n:02}", "start_datetime": "2025-08-27T11:00:00Z", "end_datetime": "2099-01-01T00:00:00Z"}
        for n in range(30)
    ]
    campus("put", campus.write("many.json", records))
    campus("backup", "backup.db")
    campus.clock.advance(2 * HOUR)
    campus("catch-up", "--store", BACKUP)
    said = campus("check", "--store", BACKUP)
    assert "; the newest 20:" in said.out
    assert sum(" parked " in line for line in said.lines[3:]) == 20
    assert len(campus("check", "--json", "--store", BACKUP).json["copy"]["would_send"]) >= 30


def test_the_environment_is_named_in_the_file_of_settings_or_by_the_variable(
    campus: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    campus.write("duly.toml", 'environment = "production"\n')
    assert campus("catch-up").err == ""
    assert campus("check").code == 0
    monkeypatch.setenv("DULY_ENVIRONMENT", "staging")
    said = campus("check")
    assert said.code == 1
    assert "it lived in the environment 'production', and this one is 'staging'" in said.out
    assert "this store is a copy of" in campus("catch-up").err
    monkeypatch.delenv("DULY_ENVIRONMENT")
    assert campus("check").code == 1, "once it has been noticed, a person has to confirm it"
    assert campus("check", "--adopt").code == 0
    assert campus("catch-up").err == ""


def test_a_store_is_not_adopted_away_from_the_scheduler_that_lives_in_it(
    terminal: Terminal, processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.write("soon.json", {"events": [soon("w1", 0.1)]})
    process = Process(terminal.folder, "run", "soon.json", variables={"DULY_ENVIRONMENT": "production"})
    processes.append(process)
    process.wait_for("Next: ")
    monkeypatch.setenv("DULY_ENVIRONMENT", "staging")
    said = terminal("check", "--adopt")
    assert said.code == 1
    assert (
        "a scheduler that does not take it for a copy fires on it; stop that first, or set DULY_ENVIRONMENT"
        in said.err
    )


def test_a_file_with_a_damaged_page_is_found_by_check(campus: Terminal) -> None:
    with apsw.Connection("duly.db") as connection:
        # An index that knows nothing of the rows that are there.
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'event_lifecycle'").get
        page = connection.pragma("page_size")
    connection.close()
    with Path("duly.db").open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\x0a" + bytes(4) + page.to_bytes(2, "big") + bytes(page - 7))
    said = campus("check")
    assert said.code == 1
    assert "wrong  the file: wrong # of entries in index event_lifecycle" in said.out
    assert campus("check", "--json").json["findings"][0]["event_id"] == ""
