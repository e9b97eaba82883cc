"""What the tests of the command line share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.terminal import Process, Terminal


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    """A command line in an empty folder, with a clock that stands still and no settings from outside."""
    for name in [each for each in os.environ if each.startswith("DULY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Terminal(capsys, tmp_path)


@pytest.fixture
def processes(terminal: Terminal) -> Iterator[list[Process]]:
    """Processes that a test starts; whatever becomes of the test, they do not outlive it."""
    started: list[Process] = []
    yield started
    for process in started:
        process.end()
