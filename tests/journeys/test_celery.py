"""Deliveries handed over to Celery, for real: a worker of the example application, and a Redis server that fails."""

from __future__ import annotations

import asyncio
import os
import queue
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from duly.channels.celery_queue import CeleryQueue
from duly.channels.channel import Context, Outcome, Verdict
from duly.channels.task_queues import TaskQueueChannel, task_subscriber
from duly.rules.view import EventView
from tests.brokers import RedisServer, need_celery
from tests.builders import CAMPUS, HOUR, SECOND, T0, Life, event

need_celery()

APP = Path(__file__).resolve().parents[2] / "examples" / "celery_app"
PATIENCE = 60.0
ENDED = re.compile(r"Task (?P<task>[\w.]+)\[(?P<id>[^\]]+)\] succeeded in \S+: '(?P<said>[^']*)'")
ANNOUNCE = task_subscriber("campus.announce", ("registration_open",))


class Worker:
    """A worker of the example application."""

    def __init__(self, broker: RedisServer, folder: Path) -> None:
        self._database = folder / "campus.db"
        alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "celery", "--app", "tasks", "worker", "--pool", "solo", "-l", "INFO", *alone],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(APP),
                "CELERY_BROKER_URL": broker.url,
                "CAMPUS_DB": str(self._database),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self) -> Worker:
        """Wait until it listens."""
        self._until(r" ready\.")
        return self

    def ended(self) -> tuple[str, str, str]:
        """Wait until the next task has been run: (name, id, what it returned)."""
        found = self._until(ENDED.pattern)
        return found["task"], found["id"], found["said"]

    def announced(self) -> list[tuple[str, str]]:
        """What the application has done, as it wrote it."""
        with closing(sqlite3.connect(self._database)) as database:
            return list(database.execute("SELECT delivery, text FROM announcement ORDER BY rowid"))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def _until(self, pattern: str) -> re.Match[str]:
        said = []
        while True:
            try:
                said.append(self._lines.get(timeout=PATIENCE))
            except queue.Empty:
                pytest.fail(f"the worker has not said {pattern!r}: {''.join(said)}")
            if found := re.search(pattern, said[-1]):
                return found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def celery_queue(broker: RedisServer) -> Iterator[CeleryQueue]:
    # Long enough for a busy machine, short enough to be waited for in a test.
    published = CeleryQueue.at(broker.url, timeout=timedelta(seconds=2))
    yield published
    published.close()


@pytest.fixture
def worker(broker: RedisServer, tmp_path: Path) -> Iterator[Worker]:
    running = Worker(broker, tmp_path)
    try:
        yield running.ready()
    finally:
        running.kill()


def attempt(celery_queue: CeleryQueue, delivery_id: str, number: int = 1) -> Outcome:
    """Make one attempt at a delivery, as the engine does."""
    life = Life()
    life.put(T0 - HOUR, event(registration_open=T0, event_start=T0 + HOUR, event_end=T0 + 2 * HOUR))
    life.advance(T0)
    context = Context(
        delivery_id=delivery_id,
        attempt=number,
        topic="registration_open",
        subscriber=replace(ANNOUNCE, timeout=timedelta(seconds=30)),
        event_id="w1",
        due_us=T0,
        now_us=T0 + SECOND,
        transition=life.entries[-1],
        look_up=lambda: EventView(life.now_row, CAMPUS, T0 + SECOND),
    )
    return asyncio.run(TaskQueueChannel({ANNOUNCE.name: celery_queue}).deliver(context))


def test_a_delivery_is_run_by_a_worker_as_a_task_with_its_id(celery_queue: CeleryQueue, worker: Worker) -> None:
    assert attempt(celery_queue, "d1") == Outcome(said="handed over to 'campus.announce'")
    assert worker.ended() == ("campus.announce", "d1", "announced")
    assert worker.announced() == [("d1", "w1: upcoming/registration_open")]


def test_a_delivery_that_is_handed_over_twice_is_announced_once(celery_queue: CeleryQueue, worker: Worker) -> None:
    # A crash between the confirmation and the settling: the next attempt knows nothing of the first.
    for number in (1, 2):
        assert attempt(celery_queue, "d1", number).verdict is Verdict.DELIVERED
    assert [worker.ended() for _ in range(2)] == [
        ("campus.announce", "d1", "announced"),
        ("campus.announce", "d1", "announced before"),
    ]
    assert worker.announced() == [("d1", "w1: upcoming/registration_open")]


def reason(broker: RedisServer, said: str) -> str:
    """The pattern of a failure's reason. Whether Celery masks a password that is not there depends on its version."""
    return rf"ConnectionError: broker redis://(:\*\*@)?127\.0\.0\.1:{broker.port}/0: {said}"


def test_a_delivery_fails_while_the_broker_is_down_and_succeeds_once_it_is_back(
    broker: RedisServer, celery_queue: CeleryQueue, worker: Worker
) -> None:
    assert attempt(celery_queue, "d1").verdict is Verdict.DELIVERED
    assert worker.ended()[1] == "d1"
    broker.kill()
    for number in (1, 2):
        outcome = attempt(celery_queue, "d2", number)
        assert outcome.verdict is Verdict.FAILED
        assert re.fullmatch(reason(broker, "Error 111 .*Connection refused."), outcome.said or "")
    broker.start()
    assert attempt(celery_queue, "d2", 3).verdict is Verdict.DELIVERED
    assert worker.ended() == ("campus.announce", "d2", "announced")
    assert [delivery for delivery, _ in worker.announced()] == ["d1", "d2"]


def test_a_broker_that_answers_nothing_fails_a_delivery_and_is_used_again_once_it_answers(
    broker: RedisServer, celery_queue: CeleryQueue
) -> None:
    assert attempt(celery_queue, "d1").verdict is Verdict.DELIVERED
    broker.stop()
    try:
        outcome = attempt(celery_queue, "d2")
    finally:
        broker.go_on()
    assert outcome.verdict is Verdict.FAILED
    assert re.fullmatch(reason(broker, "Timeout reading from socket"), outcome.said or "")
    assert attempt(celery_queue, "d2", 2).verdict is Verdict.DELIVERED
