"""What differs on a terminal: colours, folded tables, and a bar for what takes long."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

import pytest

from duly.cli.output import terminal_width
from tests.doors.terminal import CAMPUS, HOUR, PATIENCE, Terminal, environment


def on_a_terminal(terminal: Terminal, *arguments: str, **variables: str) -> str:
    """Run a command on a pseudo-terminal, and return all that it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "duly", *arguments],
        cwd=terminal.folder,
        env=environment(**{"TERM": "xterm", **variables}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while select.select([ours], [], [], PATIENCE)[0]:
            chunk = os.read(ours, 65_536)
            if not chunk:
                break
            said += chunk
    except OSError:
        pass  # how Linux says that the other end has closed
    finally:
        os.close(ours)
        process.kill()
        process.wait(PATIENCE)
    return said.decode()


@pytest.fixture
def campus(terminal: Terminal) -> Terminal:
    terminal("put", terminal.write("campus.json", CAMPUS))
    return terminal


def test_a_terminal_has_colours_unless_they_are_not_wanted(campus: Terminal) -> None:
    assert "\x1b[32m✔\x1b[0m" in on_a_terminal(campus, "catch-up")
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b[3" not in on_a_terminal(campus, "status", **variables)
        assert "\x1b[3" not in on_a_terminal(campus, "events", **variables)


@pytest.mark.parametrize("columns", ["0", "50", "many"])
def test_bad_input_80_a_table_is_folded_to_any_width_and_loses_nothing(campus: Terminal, columns: str) -> None:
    said = on_a_terminal(campus, "events", COLUMNS=columns, NO_COLOR="1")
    joined = "".join(said.split())
    assert "ARRCOSTU2025" in joined
    assert "HACK26" in joined
    assert "…" not in said
    if columns == "50":
        assert max(len(line) for line in said.splitlines()) <= 50


def test_the_width_is_never_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "3")
    assert terminal_width() == 40


def test_a_long_recovery_and_a_long_check_show_a_bar(terminal: Terminal) -> None:
    many = [{"event_id": f"e{n:05}", "event_start": "2025-08-27T11:00Z"} for n in range(2500)]
    terminal("put", terminal.write("many.json", many))
    terminal.clock.advance(HOUR)
    assert "catching up" in on_a_terminal(terminal, "catch-up")
    assert "checking" in on_a_terminal(terminal, "check")
    few = terminal.write("campus.json", CAMPUS)
    terminal("put", few, "--store", "sqlite:///few.db")
    assert "catching up" not in on_a_terminal(terminal, "catch-up", "--store", "sqlite:///few.db")
