"""A command line for tests: commands in this process with a manual clock, or real processes whose lines are read."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duly
from duly.cli import main
from duly.clock import SECOND, ManualClock, SystemClock
from duly.model.dates import to_datetime, to_micros

if TYPE_CHECKING:
    import pytest

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
# How long a process may keep silent before a test gives it up; nothing ever waits so long that goes well.
PATIENCE = 30


class Said(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """Runs commands in a folder of its own. Noon in Berlin, 27 August 2025, until a test moves the clock."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(to_micros(datetime(2025, 8, 27, 10, 0, tzinfo=UTC)))
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Said:
        self._capsys.readouterr()
        code = main(list(arguments), clock=self.clock)
        out, err = self._capsys.readouterr()
        return Said(code, out, err)

    def write(self, name: str, content: object) -> str:
        """Write a file: text as it is, anything else as JSON."""
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / name).write_text(text, encoding="utf-8")
        return name


def environment(**variables: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("DULY_")}
    source = str(Path(duly.__file__).parents[1])
    return {**kept, "PYTHONPATH": source, "PYTHONIOENCODING": "utf-8", **variables}


class Process:
    """A `duly` process of its own."""

    def __init__(self, folder: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self._rest = b""
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "duly", *arguments],
            cwd=folder,
            env=environment(**(variables or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_for(self, text: str) -> str:
        """Read until a line holds a text, and return that line."""
        while (line := self._line()) is not None:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} was never said; there was: {self.lines}")

    def _line(self) -> str | None:
        assert self._popen.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._popen.stdout], [], [], PATIENCE)
            if not ready:
                raise AssertionError(f"silent for {PATIENCE} s after: {self.lines}")
            chunk = os.read(self._popen.stdout.fileno(), 65_536)
            if not chunk:
                return None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def code(self) -> int:
        """Wait for its end, and return its exit code; what it said last is in `lines`."""
        while (line := self._line()) is not None:
            self.lines.append(line)
        return self._popen.wait(PATIENCE)

    def stop_reading(self) -> None:
        """Close the pipe that it writes to, as `head` does."""
        assert self._popen.stdout is not None
        self._popen.stdout.close()

    def wait(self) -> int:
        return self._popen.wait(PATIENCE)

    def end(self) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait(PATIENCE)
        if self._popen.stdout is not None:
            self._popen.stdout.close()


CAMPUS: dict[str, Any] = {
    "zone": "Europe/Berlin",
    "events": [
        {
            "event_id": "ARRCOSTU2025",
            "event_name": "Art course",
            "registration_start_date": "2025-08-27 12:30",
            "registration_end_date": "2025-08-27 14:00",
            "start_datetime": "2025-08-29 10:00",
            "end_datetime": "2025-08-29 18:00",
        },
        {
            "event_id": "HACK26",
            "event_name": "Hackathon",
            "registration_start_date": "2025-08-20 12:00",
            "registration_end_date": "2025-08-26 12:00",
            "start_datetime": "2025-08-27 13:00",
            "end_datetime": "2025-08-27 15:00",
        },
    ],
}


def soon(event_id: str, seconds: float) -> dict[str, str]:
    """Return a record of an event that starts so many seconds from now, and ends much later."""
    start = to_datetime(SystemClock().now() + round(seconds * SECOND))
    return {"event_id": event_id, "event_start": start.isoformat(), "event_end": "2099-01-01T00:00:00Z"}
