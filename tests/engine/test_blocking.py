"""The Scheduler for programs without an event loop: from any thread, ended from any thread, and never hanging."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from duly import BlockingScheduler, Hold
from duly.clock import ManualClock, SystemClock
from duly.errors import InvalidSetting, UnknownEvent, WrongState
from tests.builders import DAY, HOUR, SECOND, T0, event
from tests.engine.stage import FailingStore, KeptStore

ROOT = Path(__file__).parents[2]
TWO = event("w1", event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)


def scheduler_on(store: Any = None, clock: ManualClock | None = None) -> BlockingScheduler:
    return BlockingScheduler(store or KeptStore(), clock=clock or ManualClock(T0))


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("duly")] == []


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Call in another thread; a call that hangs fails the test."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call).result(seconds)
    finally:
        pool.shutdown(wait=False)


def test_it_does_what_the_scheduler_does() -> None:
    clock = ManualClock(T0)
    heard = threading.Event()
    with scheduler_on(clock=clock) as scheduler:
        scheduler._scheduler.on_commit(lambda _: heard.set())
        assert scheduler.put(TWO).outcomes == {"w1": "created"}
        assert [trigger.milestone for trigger in scheduler.upcoming(1)] == ["event_start"]
        late = event("w2", event_start=T0 - SECOND, event_end=T0 + DAY)
        scheduler.put(late, known_for=None)
        assert heard.wait(10)
        assert [entry.kind for entry in scheduler.history("w2")] == ["created", "fired"]
        assert scheduler.get("w2").status == "ongoing/event_started"
        assert [view.id for view in scheduler.events()] == ["w1", "w2"]
        assert scheduler.set_hold("w1", Hold.POSTPONED).entries[-1].kind == "held"
        scheduler.remove("w1")
        with pytest.raises(UnknownEvent):
            scheduler.get("w1")
        assert scheduler.outages() == []
        assert scheduler.status().healthy
    with pytest.raises(InvalidSetting):
        BlockingScheduler("events.db")


def test_bad_input_94_starting_twice_is_refused_and_does_not_stop_the_first() -> None:
    with scheduler_on() as scheduler:
        with pytest.raises(WrongState, match="started already"):
            scheduler.start()
        assert scheduler.status().role == "owner"


def test_bad_input_94_stopping_twice_or_before_starting_does_nothing() -> None:
    scheduler = scheduler_on()
    scheduler.stop()
    scheduler.start()
    scheduler.stop()
    scheduler.stop()


def test_bad_input_94_stopping_from_many_threads_at_once_ends_once() -> None:
    for _ in range(10):
        scheduler = scheduler_on()
        scheduler.start()
        with ThreadPoolExecutor(6) as pool:
            for stopped in [pool.submit(scheduler.stop) for _ in range(6)]:
                stopped.result(10)


def test_it_can_be_started_again() -> None:
    clock = ManualClock(T0)
    scheduler = scheduler_on(clock=clock)
    with scheduler:
        scheduler.put(TWO)
    clock.advance(90 * 60 * SECOND)
    with scheduler:
        assert scheduler.history("w1")[-1].cause == "caught_up"


def test_a_start_that_fails_ends_the_thread_and_can_be_tried_again() -> None:
    store = FailingStore(fire_due=[OSError("disk")])
    scheduler = scheduler_on(store)
    scheduler.put(event("w1", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
    with pytest.raises(OSError, match="disk"):
        scheduler.start()
    assert [thread.name for thread in threading.enumerate() if thread.name == "duly"] == []
    with scheduler:
        assert len(scheduler.history("w1")) == 2


def test_run_forever_blocks_until_another_thread_stops_it() -> None:
    scheduler = scheduler_on()
    scheduler.start()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(scheduler.run_forever)
        assert not running.done()
        scheduler.stop()
        running.result(10)


def test_calls_that_meet_a_stop_end_one_way_or_the_other_and_never_hang() -> None:
    for _ in range(15):
        scheduler = scheduler_on()
        scheduler.start()
        begun = threading.Barrier(5)

        def call(scheduler: BlockingScheduler = scheduler, begun: threading.Barrier = begun) -> None:
            begun.wait(10)
            for _ in range(20):
                scheduler.events()

        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(call) for _ in range(4)]
            begun.wait(10)
            scheduler.stop()
            for each in calls:
                error = each.exception(10)
                assert error is None or isinstance(error, WrongState)
        scheduler.stop()


def test_a_call_that_outlasts_the_stop_still_gets_its_answer() -> None:
    begun = threading.Event()

    async def slow() -> str:
        begun.set()
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.3, done.set_result, "answered")
        return str(await done)

    scheduler = scheduler_on()
    scheduler.start()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(scheduler._run, slow())
        assert begun.wait(10)
        scheduler.stop()
        assert call.result(10) == "answered"


def test_calling_it_from_its_own_thread_is_refused_instead_of_hanging() -> None:
    refused: list[BaseException] = []
    done = threading.Event()
    with scheduler_on() as scheduler:

        def reenter(_: object) -> None:
            for call in (scheduler.status, scheduler.stop):
                try:
                    call()
                except WrongState as error:
                    refused.append(error)
            done.set()

        scheduler._scheduler.on_commit(reenter)
        scheduler.put(event("w1", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
        assert done.wait(10)
    assert ["from its own thread" in str(error) for error in refused] == [True, True]


def test_an_error_of_a_call_comes_out_of_the_call() -> None:
    with scheduler_on() as scheduler, pytest.raises(UnknownEvent, match="there is no event 'nobody'"):
        scheduler.get("nobody")


def test_a_program_that_never_stops_it_still_ends_and_quietly(tmp_path: Path) -> None:
    script = (
        "from duly import BlockingScheduler\n"
        f"scheduler = BlockingScheduler('sqlite:///{tmp_path}/events.db')\n"
        "scheduler.start()\n"
        "print('started')\n"
    )
    began = SystemClock().since_boot()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert (run.stdout, run.stderr) == ("started\n", "")
    assert SystemClock().since_boot() - began < 30 * SECOND
