"""What is thrown at the command line: every time one sentence, the right exit code, and nothing changed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from tests.doors.terminal import CAMPUS, PATIENCE, Said, Terminal, environment

ONE_SENTENCE = 1


def refused(said: Said, code: int = 2) -> str:
    assert said.code == code, said
    assert said.out == ""
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) == ONE_SENTENCE
    return said.err.removeprefix("duly: ").rstrip("\n")


def shell(terminal: Terminal, script: str, **variables: str) -> Said:
    """Run a line of sh in which `duly` is a real process."""
    duly = f"duly() {{ '{sys.executable}' -m duly \"$@\"; }}; "
    run = subprocess.run(
        ["bash", "-c", duly + script],
        cwd=terminal.folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return Said(run.returncode, run.stdout.decode(), run.stderr.decode())


@pytest.fixture
def campus(terminal: Terminal) -> Terminal:
    terminal("put", terminal.write("campus.json", CAMPUS))
    return terminal


# -- usage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stauts"], "there is no command 'stauts'; did you mean 'duly status'?; see 'duly --help'"),
        (["frobnicate"], "there is no command 'frobnicate'; see 'duly --help'"),
        (["status", "--jsn"], "'--jsn'"),
        (["show"], "missing argument 'EVENT'; see 'duly show --help'"),
        (["put"], "missing argument"),
        (["hold", "a", "--as", "happy"], "'happy' is not one of"),
        (["outages", "first"], "'first' is not a valid integer"),
        (["a\x1b[2J"], "there is no command 'a\\x1b[2J'; see 'duly --help'"),
    ],
)
def test_wrong_usage_is_one_sentence(terminal: Terminal, arguments: list[str], said: str) -> None:
    assert said in refused(terminal(*arguments))


def test_without_a_command_there_is_the_help(terminal: Terminal) -> None:
    said = terminal()
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Usage: duly")
    assert terminal("--version").lines == ["Duly 0.1.0"]


@pytest.mark.parametrize("window", ["24", "-1h", "1e9d", "soon", ""])
def test_bad_input_81_a_window_that_cannot_be_meant_is_refused(campus: Terminal, window: str) -> None:
    assert refused(campus("catch-up", f"--catch-up-window={window}")).startswith("--catch-up-window ")


def test_bad_input_81_a_window_longer_than_a_day_is_fine(campus: Terminal) -> None:
    assert campus("catch-up", "--catch-up-window", "25h").code == 0


def test_bad_input_84_an_unknown_variable_is_warned_about_and_the_command_goes_on(
    campus: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DULY_STOER", "sqlite:///other.db")
    said = campus("status")
    assert said.code == 0
    assert said.err == "duly: warning: DULY_STOER is not a setting of Duly; did you mean DULY_STORE?\n"


@pytest.mark.parametrize(
    "url", ["postgresql://duly:geheim@db/events", "postgresql://db/events?password=geheim", "sqlite://a:geheim@x"]
)
def test_bad_input_84_a_secret_on_the_command_line_is_refused_and_not_repeated(terminal: Terminal, url: str) -> None:
    said = refused(terminal("status", "--store", url))
    assert "set DULY_STORE" in said
    assert "geheim" not in said


# -- stores ------------------------------------------------------------------------------------------------


def store_url(terminal: Terminal, name: str) -> str:
    return f"sqlite:///{terminal.folder / name}"


def test_bad_input_75_a_store_that_is_a_directory_is_refused(terminal: Terminal) -> None:
    (terminal.folder / "dir").mkdir()
    assert "it is a directory; name a file in it, such as" in refused(
        terminal("status", "--store", store_url(terminal, "dir"))
    )


def test_bad_input_75_a_store_that_is_a_pipe_is_refused_and_not_waited_for(terminal: Terminal) -> None:
    os.mkfifo(terminal.folder / "pipe")
    assert "it is not a regular file" in refused(terminal("status", "--store", store_url(terminal, "pipe")))


def test_bad_input_75_a_store_that_is_a_device_is_refused(terminal: Terminal) -> None:
    assert "it is not a regular file" in refused(
        terminal("put", terminal.write("a.json", []), "--store", "sqlite:////dev/full")
    )


def test_bad_input_75_a_store_in_a_folder_that_is_not_there_is_refused(terminal: Terminal) -> None:
    said = refused(terminal("put", terminal.write("a.json", []), "--store", store_url(terminal, "no/where.db")))
    assert "does not exist; create it first" in said


def test_bad_input_75_what_cannot_be_written_is_refused(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    # Asked of the system as another user would be: the tests may run as root, whom nothing is denied.
    monkeypatch.setattr("duly.stores.files.os.access", lambda _path, mode: not mode & os.W_OK)
    said = refused(terminal("put", terminal.write("a.json", []), "--store", store_url(terminal, "a.db")))
    assert "cannot be written to" in said


def test_bad_input_76_the_database_of_another_application_is_refused(terminal: Terminal) -> None:
    connection = apsw.Connection(str(terminal.folder / "other.db"))
    connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    said = refused(terminal("put", terminal.write("a.json", []), "--store", store_url(terminal, "other.db")))
    assert "it belongs to another application (it has recipes); Duly needs a file of its own" in said


def test_bad_input_76_a_store_of_a_newer_version_is_refused(campus: Terminal) -> None:
    connection = apsw.Connection(str(campus.folder / "duly.db"))
    connection.pragma("user_version", 99)
    connection.close()
    assert "its schema is version 99, this Duly knows 2; upgrade Duly" in refused(campus("status"))
    assert "upgrade Duly" in refused(campus("migrate"))


def test_bad_input_76_a_file_of_no_bytes_is_an_empty_store(terminal: Terminal) -> None:
    (terminal.folder / "duly.db").touch()
    assert terminal("status", "--json").json["events"] == 0


def test_bad_input_76_random_bytes_are_refused(terminal: Terminal) -> None:
    (terminal.folder / "duly.db").write_bytes(bytes(range(1, 256)) * 40)
    assert "it is not a SQLite database (or it is encrypted)" in refused(terminal("status"))


def test_bad_input_76_a_truncated_store_is_refused_by_every_command(campus: Terminal) -> None:
    content = (campus.folder / "duly.db").read_bytes()
    (campus.folder / "duly.db").write_bytes(content[: len(content) // 2])
    for command in (["status"], ["events"], ["check"], ["put", "campus.json"], ["run"]):
        said = campus(*command)
        assert said.code in {1, 2}
        assert "Traceback" not in said.err
        assert said.err.startswith("duly: store ")


@pytest.mark.parametrize("name", ["with space.db", "new\nline.db", "süß.db", "quo'te\".db", "%41.db", "#hash.db"])
def test_bad_input_78_odd_names_of_stores_are_names(terminal: Terminal, name: str) -> None:
    said = terminal("put", terminal.write("campus.json", CAMPUS), "--store", f"sqlite:///{name}")
    assert said.code == 0, said
    assert (terminal.folder / name).is_file()
    assert len(terminal("events", "--json", "--store", f"sqlite:///{name}").json) == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("duly.db", "is not a URL; write sqlite:///duly.db for a file"),
        ("sqlite://duly.db", "write sqlite:///events.db (relative) or"),
        ("sqlite:///", "write sqlite:///events.db (relative) or"),
        ("sqlite:///file:a.db?mode=memory", "write sqlite:///events.db (relative) or"),
        ("mysql://db/events", "in SQLite only"),
        ("sqlite:///:memory:", "it ends with this command; name a file"),
        ("sqlite:///\udcff.db", "its path is not UTF-8"),
        ("sqlite:///a\0b.db", "NUL"),
    ],
)
def test_bad_input_78_what_is_no_store_is_refused(terminal: Terminal, url: str, said: str) -> None:
    assert said in refused(terminal("put", terminal.write("campus.json", CAMPUS), "--store", url))
    assert [path.name for path in terminal.folder.iterdir()] == ["campus.json"]


def test_bad_input_78_a_circle_of_links_is_refused(terminal: Terminal) -> None:
    (terminal.folder / "a.db").symlink_to("b.db")
    (terminal.folder / "b.db").symlink_to("a.db")
    assert "the path leads nowhere" in refused(terminal("status", "--store", "sqlite:///a.db"))


def test_bad_input_79_a_store_on_a_network_file_system_is_refused(
    campus: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duly.stores.files.file_system", lambda *_: "nfs4")
    assert "network or user-space file system (nfs4)" in refused(campus("status"))


# -- the environment ---------------------------------------------------------------------------------------


def test_bad_input_80_who_stops_reading_is_not_complained_to(terminal: Terminal) -> None:
    many = [{"event_id": f"e{n:05}", "event_start": "2026-01-01T10:00Z"} for n in range(3000)]
    terminal("put", terminal.write("many.json", many))
    for command in ("duly events", "duly events --json", "duly status", "duly --help", "duly put many.json --json"):
        said = shell(terminal, f"{command} | head -c 10 >/dev/null; exit ${{PIPESTATUS[0]}}")
        assert (said.code, said.err) == (0, ""), command


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_bad_input_80_output_that_cannot_be_written_is_an_error(campus: Terminal) -> None:
    for command in ("duly status", "duly events --json"):
        said = shell(campus, f"{command} > /dev/full")
        assert (said.code, said.err) == (1, "duly: output cannot be written: No space left on device\n")


def test_bad_input_80_closed_streams_are_no_error_and_no_file_of_ours_takes_their_place(campus: Terminal) -> None:
    assert shell(campus, "duly status >&-") == Said(0, "", "")
    assert shell(campus, "duly status <&- >&- 2>&-") == Said(0, "", "")
    assert shell(campus, "duly status 2>&-").code == 0
    assert shell(campus, "duly show nosuch 2>&-").code == 2
    assert shell(campus, "duly put campus.json --json <&-").code == 0
    assert campus("check").code == 0


@pytest.mark.parametrize(
    "variables",
    [
        {"COLUMNS": "0"},
        {"COLUMNS": "many"},
        {"TZ": "garbage"},
        {"TZ": "/etc/passwd"},
        {"LANG": "C", "LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii"},
        {"TERM": "dumb"},
        {"NO_COLOR": "1"},
    ],
    ids=str,
)
def test_bad_input_80_odd_environments_change_no_result(campus: Terminal, variables: dict[str, str]) -> None:
    said = shell(campus, "duly upcoming --json --limit 1; duly why HACK26 event_end", **variables)
    assert (said.code, said.err) == (0, "")
    assert '"event": "ARRCOSTU2025"' in said.out
    assert "15:00 Europe/Berlin, 27 Aug 2025 (13:00Z)" in said.out
    assert "\x1b" not in said.out


def test_bad_input_80_without_a_home_or_with_few_descriptors_it_works(campus: Terminal) -> None:
    assert shell(campus, "unset HOME; duly status").code == 0
    assert shell(campus, "ulimit -n 20; duly status").code == 0


def test_bad_input_80_a_terminal_without_arrows_gets_escapes(campus: Terminal) -> None:
    campus.clock.advance(2 * 3600 * 1_000_000)
    said = shell(campus, "duly catch-up", PYTHONIOENCODING="latin-1")
    assert said.code == 0
    assert "\\u2714" in said.out


# -- whatever else -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(24, "Too many open files"), 1, "Too many open files"),
        (PermissionError(13, "Permission denied", "x.db"), 1, "x.db: Permission denied"),
        (MemoryError(), 1, "there is not enough memory"),
        (KeyError("x"), 1, "this is a defect of Duly's (KeyError: 'x'); set DULY_TRACEBACK=1 to see where"),
    ],
)
def test_whatever_goes_wrong_is_one_sentence(
    campus: Terminal, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("duly.agenda.Agenda.counts", fail)
    assert said in refused(campus("status"), code)


def test_an_interrupted_command_says_nothing_but_ends_the_line(
    campus: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("duly.agenda.Agenda.counts", interrupt)
    assert campus("status") == Said(130, "", "\n")


def test_a_defect_shows_where_it_is_to_whoever_asks(campus: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("duly.agenda.Agenda.counts", fail)
    monkeypatch.setenv("DULY_TRACEBACK", "1")
    assert "Traceback" in campus("status").err


def test_what_is_logged_is_a_sentence_without_a_traceback(campus: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def log(*_: object) -> None:
        logging.getLogger("duly.engine").error("it failed\nbadly", exc_info=KeyError("x"))
        raise KeyboardInterrupt

    monkeypatch.setattr("duly.agenda.Agenda.counts", log)
    assert campus("status").err == "duly: it failed badly\n\n"
    assert logging.getLogger("duly").handlers == []
