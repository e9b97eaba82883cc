"""`duly demo`: it shows what it says, ends by itself, and would say so if it were not true."""

from __future__ import annotations

import signal

import pytest

from duly.cli.demo import _Demo
from duly.cli.output import Output
from duly.clock import SECOND, ManualClock
from tests.doors.terminal import Process, Terminal


@pytest.mark.torture
def test_the_demo_kills_a_scheduler_and_shows_that_nothing_is_lost_doubled_or_out_of_order(
    terminal: Terminal, processes: list[Process]
) -> None:
    demo = Process(terminal.folder, "demo")
    processes.append(demo)
    assert demo.code() == 0
    lines = demo.lines
    assert sum(line.startswith("$ duly run") for line in lines) == 2
    assert any(line.startswith("$ kill -9 ") for line in lines)
    missed = [line.split()[-2:] for line in lines if line.startswith("  ○ ")]
    report = next(line for line in lines if "triggers were missed" in line)
    assert f"{len(missed)} triggers were missed" in report
    caught_up = [line.split("✔")[1].split()[:2] for line in lines if line.startswith("  │   ✔ ")]
    assert caught_up == missed
    assert "  ✔ 11 of 11 triggers have fired" in lines
    assert "  ✔ none fired twice" in lines
    assert not any("✘" in line or "\x1b" in line for line in lines)
    assert list(terminal.folder.iterdir()) == []


def test_a_demo_that_is_told_to_end_takes_its_scheduler_with_it(terminal: Terminal, processes: list[Process]) -> None:
    demo = Process(terminal.folder, "demo")
    processes.append(demo)
    demo.wait_for("to come from")
    demo.signal(signal.SIGTERM)
    # The scheduler holds the other end of nothing of ours: that the demo ends at all says that it has waited for it.
    assert demo.code() == 130


def test_the_demo_says_so_if_a_trigger_was_lost(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    showing = _Demo(terminal.folder, Output(), terminal.clock)
    began = terminal.clock.now()
    showing._put(began)
    assert showing._judge(began, 0) == 1
    said = capsys.readouterr().out
    assert "  ✘ 0 of 11 triggers have fired" in said
    assert "That is not as it should be" in said


def test_the_demo_says_so_if_the_scheduler_failed_or_nothing_was_missed(terminal: Terminal) -> None:
    clock = ManualClock(terminal.clock.now())
    began = clock.now()
    _Demo(terminal.folder, Output(), clock)._put(began)
    terminal("catch-up", "--store", "sqlite:///demo.db")
    terminal.clock.advance(15 * SECOND)
    terminal("catch-up", "--store", "sqlite:///demo.db")
    showing = _Demo(terminal.folder, Output(as_json=True), terminal.clock)
    assert showing._judge(began, 0) == 0
    assert showing._judge(began, 1) == 1
    # A trigger that had been planned for later than it fired would have fired before its time.
    assert showing._judge(began + 20 * SECOND, 0) == 1
