"""The example application, for real: a web server is killed, and its own table is right again after a restart."""

from __future__ import annotations

import json
import os
import queue
import re
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import duly
from duly.clock import SECOND, SystemClock
from duly.model.dates import to_datetime
from duly.model.history import iso

pytest.importorskip("fastapi", reason="the example needs fastapi")
pytest.importorskip("uvicorn", reason="the example needs uvicorn")

APP = Path(__file__).resolve().parents[2] / "examples" / "fastapi_app"
PATIENCE = 30.0
SETTINGS = {
    "CAMPUS_DB": "campus.db",
    "DULY_STORE": "sqlite:///duly.db",
    "PYTHONPATH": str(Path(duly.__file__).parents[1]),  # the Duly under test, wherever the server is started
    "PYTHONUNBUFFERED": "1",
}
clock = SystemClock()


class Server:
    """One run of the application, on a port that the system has chosen."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(APP), "--host", "127.0.0.1", "--port", "0"],
            cwd=folder,
            env={**os.environ, **SETTINGS},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self._url()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            self._lines.put(line)

    def _url(self) -> str:
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                self.kill()
                pytest.fail("the application did not start:\n" + "".join(self.said))
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                return found[1]

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        """Ask until the answer is as it should be."""
        deadline = clock.since_boot() + round(PATIENCE * SECOND)
        answer = None
        while clock.since_boot() < deadline:
            _, answer = self.ask("GET", path)
            if holds(answer):
                return answer
        pytest.fail(f"{path} still answers {answer}")


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()


def in_seconds(seconds: float) -> str:
    return iso(to_datetime(clock.now() + round(seconds * SECOND)))


def wait_until(instant: str) -> None:
    """Let real time pass: nothing else brings a killed process its downtime."""
    from datetime import datetime

    left = datetime.fromisoformat(instant) - to_datetime(clock.now())
    threading.Event().wait(max(0.0, left.total_seconds()))


def own_table(folder: Path) -> dict[str, str]:
    connection = sqlite3.connect(folder / "campus.db")
    try:
        return {id_: f"{status}/{sub}" for id_, status, sub in connection.execute(
            "SELECT event_id, status, sub_status FROM events"
        )}  # fmt: skip
    finally:
        connection.close()


def test_a_killed_web_application_finds_its_own_table_brought_up_to_date(tmp_path: Path) -> None:
    race = {"event_id": "RACE", "event_name": "Autonomous Robotics Race", "registration_end_date": in_seconds(7200)}
    opens = in_seconds(2)
    with serving(tmp_path) as server:
        code, row = server.ask("POST", "/events", {**race, "registration_start_date": opens,
                               "start_datetime": in_seconds(9000), "end_datetime": in_seconds(9900)})  # fmt: skip
        assert (code, row["sub_status"]) == (201, "registration_not_started")
        code, row = server.ask("POST", "/events", {"event_id": "RUNNING", "event_name": "Hackathon",
                               "start_datetime": in_seconds(-60), "end_datetime": in_seconds(9900)})  # fmt: skip
        assert (code, row["status"], row["sub_status"]) == (201, "ongoing", "event_started")
    wait_until(opens)
    assert own_table(tmp_path) == {
        "RACE": "upcoming/registration_not_started",
        "RUNNING": "ongoing/event_started",
    }

    with serving(tmp_path) as server:
        row = server.until("/events/RACE", lambda answer: answer["sub_status"] != "registration_not_started")
        assert (row["status"], row["sub_status"]) == ("upcoming", "registration_open")
        found = server.until("/scheduler", lambda answer: answer["missed_successful"] == 1)
        assert (found["running"], found["missed_detected"], found["missed_failed"]) == (True, 1, 0)
        assert any("RACE: registration_open" in line for line in server.said)
        edits_are_answered(server, row)

    with serving(tmp_path) as server:
        _, found = server.ask("GET", "/scheduler")
        assert (found["missed_detected"], found["triggers_queued"]) == (0, 5)
    assert own_table(tmp_path) == {
        "RACE": "upcoming/registration_not_started",
        "RUNNING": "ongoing/event_started",
    }


def edits_are_answered(server: Server, row: dict[str, Any]) -> None:
    code, refused = server.ask("PUT", "/events/RACE", {**row, "registration_end_date": "2026-02-30"})
    assert (code, "registration_end_date" in refused["detail"]) == (422, True)
    assert server.ask("GET", "/events/RACE") == (200, row)
    code, moved = server.ask("PUT", "/events/RACE", {**row, "registration_start_date": in_seconds(3600)})
    assert (code, moved["sub_status"]) == (200, "registration_not_started")
    assert server.ask("POST", "/events", {"event_id": "RACE", "event_name": "again"})[0] == 409
    code, soon = server.ask("POST", "/events", {"event_id": "SOON", "event_name": "On time",
                            "start_datetime": in_seconds(0.3), "end_datetime": in_seconds(9900)})  # fmt: skip
    assert (code, soon["status"]) == (201, "upcoming")
    server.until("/events/SOON", lambda answer: answer["status"] == "ongoing")
    assert server.ask("DELETE", "/events/SOON")[0] == 204
    assert server.ask("GET", "/events/SOON")[0] == 404
    assert {each["event_id"] for each in server.ask("GET", "/events")[1]} == {"RUNNING", "RACE"}
