"""The engine and its application: neither holds the other up, and neither outlives the other."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from duly import Entry, Scheduler
from duly.clock import Clock, ManualClock, Micros, SystemClock
from duly.engine.life import Life
from duly.engine.recovery import Recovery
from duly.engine.renewal import Renewal
from duly.engine.turn import Turn
from duly.engine.upkeep import HEARTBEAT_US
from duly.errors import WrongState
from duly.stores.verbs import Fired, FireRequest
from tests.builders import DAY, HOUR, SECOND, T0, event
from tests.engine.stage import FailingStore, KeptStore, Stage, in_a_loop

ROOT = Path(__file__).parents[2]
PATIENCE = 20


def engine_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "duly-engine"]


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
        gc.collect()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("duly")] == []


class Observed(KeptStore):
    """A store that says when a firing has been committed."""

    def __init__(self) -> None:
        super().__init__()
        self.committed = threading.Semaphore(0)

    @override
    def fire_due(self, request: FireRequest) -> Fired:
        fired = super().fire_due(request)
        for _ in fired.transitions:
            self.committed.release()
        return fired


def scheduler_on(store: KeptStore | None = None, clock: Clock | None = None) -> Scheduler:
    return Scheduler(store or KeptStore(), clock=clock or ManualClock(T0))


# -- an application that is slow ------------------------------------------------------------------------------


@in_a_loop
async def test_an_application_that_blocks_its_event_loop_delays_no_trigger() -> None:
    clock, store = SystemClock(), Observed()
    async with scheduler_on(store, clock) as scheduler:
        soon = clock.now() + SECOND // 5
        await scheduler.put(event("w1", event_start=soon, event_end=soon + DAY))
        # From here on nothing else runs in this loop, until the transition has been committed.
        assert store.committed.acquire(timeout=PATIENCE)
    [entry] = [entry for entry in store.history("w1") if entry.is_transition]
    assert (entry.due_us, entry.milestone, entry.cause) == (soon, "event_start", "scheduled")


@in_a_loop
async def test_a_listener_that_blocks_delays_no_trigger() -> None:
    clock, store = ManualClock(T0), Observed()
    heard: list[str | None] = []
    async with scheduler_on(store, clock) as scheduler:

        def block(entries: Sequence[Entry]) -> None:
            heard.extend(entry.milestone for entry in entries)
            if heard == ["event_start"]:
                clock.advance(HOUR)
                assert store.committed.acquire(timeout=PATIENCE), "the second fires while the first is being told"

        scheduler.on_commit(block)
        await scheduler.put(event("w1", event_start=T0 + SECOND, event_end=T0 + SECOND + HOUR))
        clock.advance(SECOND)
        await scheduler.settled()
        assert store.committed.acquire(timeout=PATIENCE)
        await scheduler.settled()
        assert heard == ["event_start", "event_end"]


@in_a_loop
async def test_a_listener_that_raises_keeps_no_other_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock(T0)
    heard: list[Entry] = []

    def broken(_: Sequence[Entry]) -> None:
        raise ValueError("mine")

    async with scheduler_on(clock=clock) as scheduler:
        scheduler.on_commit(broken)
        scheduler.on_commit(heard.extend)
        await scheduler.put(event("w1", event_start=T0 + SECOND, event_end=T0 + 2 * SECOND))
        with caplog.at_level(logging.ERROR, logger="duly.engine"):
            for _ in range(2):
                clock.advance(SECOND)
                await scheduler.settled()
    assert [entry.milestone for entry in heard] == ["event_start", "event_end"]
    said = "a listener raised; what it was told of has happened all the same"
    assert [record.getMessage() for record in caplog.records] == [said, said]


@in_a_loop
async def test_listeners_and_progress_are_called_in_the_applications_own_thread_before_the_call_returns() -> None:
    told: list[tuple[str, threading.Thread]] = []
    scheduler = scheduler_on()
    scheduler.on_commit(lambda _: told.append(("commit", threading.current_thread())))
    await scheduler.put(event("w1", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
    await scheduler.start(progress=lambda *_: told.append(("progress", threading.current_thread())))
    here = threading.current_thread()
    assert told == [("commit", here), ("progress", here)]
    await scheduler.stop()


@in_a_loop
async def test_a_progress_that_raises_stops_no_recovery(caplog: pytest.LogCaptureFixture) -> None:
    def broken(done: int, of: int) -> None:
        raise ValueError(f"{done} of {of}")

    scheduler = scheduler_on()
    await scheduler.put(event("w1", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
    with caplog.at_level(logging.ERROR, logger="duly.engine"):
        assert (await scheduler.start(progress=broken)).successful == 1
    assert [record.exc_text is not None and "1 of 1" in record.exc_text for record in caplog.records] == [True]
    await scheduler.stop()


@in_a_loop
async def test_what_nobody_waits_for_in_the_engine_is_told_as_the_application_has_chosen() -> None:
    told: list[str] = []

    def fail() -> None:
        raise ValueError("stray")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _, context: told.append(f"{threading.current_thread().name}: {context['exception']}")
    )
    async with scheduler_on() as scheduler:
        scheduler._life.engine.call_soon(fail)
        await scheduler.settled()
    assert told == [f"{threading.current_thread().name}: stray"]


@in_a_loop
async def test_who_listens_as_soon_as_the_start_returns_misses_nothing() -> None:
    clock = ManualClock(T0)
    for _ in range(20):
        store = Observed()
        scheduler = scheduler_on(store, clock)
        await scheduler.put(event("w1", event_start=clock.now() + SECOND, event_end=clock.now() + DAY))
        await scheduler.start()
        clock.advance(SECOND)
        assert store.committed.acquire(timeout=PATIENCE)  # committed before anybody listens
        heard: list[Entry] = []
        scheduler.on_commit(heard.extend)
        await scheduler.settled()
        assert [entry.milestone for entry in heard] == ["event_start"]
        await scheduler.stop()


# -- an application that ends ---------------------------------------------------------------------------------


@in_a_loop
async def test_a_start_that_fails_or_is_given_up_leaves_no_thread_behind() -> None:
    scheduler = scheduler_on(FailingStore(count_overdue=[OSError("disk")]))
    with pytest.raises(OSError, match="disk"):
        await scheduler.start()
    assert engine_threads() == []
    starting = asyncio.create_task(scheduler.start())
    while not engine_threads() and not starting.done():
        await asyncio.wait([starting], timeout=0)
    starting.cancel()
    await asyncio.wait([starting])
    if starting.cancelled():
        assert engine_threads() == []
    await scheduler.stop()


def test_an_application_that_ends_without_a_stop_takes_the_engine_along() -> None:
    clock, store = ManualClock(T0), Observed()
    scheduler = scheduler_on(store, clock)

    async def forget() -> None:
        await scheduler.put(event("w1", event_start=T0 + SECOND, event_end=T0 + DAY))
        await scheduler.start()
        assert engine_threads() == ["duly-engine"]

    asyncio.run(forget())
    assert engine_threads() == []
    clock.advance(HOUR)
    assert asyncio.run(scheduler.history("w1"))[-1].kind == "created"
    assert set(scheduler.troubles()) >= {"duly-firing: has died", "duly-upkeep: has died"}
    with pytest.raises(WrongState, match="the engine has ended"):
        asyncio.run(scheduler.settled())
    asyncio.run(scheduler.run_forever())
    with pytest.raises(WrongState, match="started already"):
        asyncio.run(scheduler.start())
    asyncio.run(scheduler.stop())
    assert asyncio.run(started_and_stopped(scheduler)) == 1


def test_what_is_being_written_when_the_application_ends_is_finished_first() -> None:
    class Slow(KeptStore):
        reached, gate = threading.Event(), threading.Event()

        @override
        def fire_due(self, request: FireRequest) -> Fired:
            self.reached.set()
            assert self.gate.wait(PATIENCE)
            return super().fire_due(request)

    clock, store = ManualClock(T0), Slow()
    scheduler = scheduler_on(store, clock)

    async def forget() -> None:
        store.gate.set()
        await scheduler.start()
        store.gate.clear()
        store.reached.clear()
        await scheduler.put(event("w1", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
        assert await asyncio.to_thread(store.reached.wait, PATIENCE)
        asyncio.get_running_loop().call_later(0.05, store.gate.set)

    asyncio.run(forget())
    assert [entry.kind for entry in store.history("w1")] == ["created", "fired"]
    asyncio.run(scheduler.stop())


def test_an_event_loop_that_was_closed_without_a_word_takes_the_engine_along_at_the_next_heartbeat() -> None:
    clock = ManualClock(T0)
    scheduler = scheduler_on(clock=clock)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(scheduler.start())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would complain of this test
    loop.close()
    [engine] = [thread for thread in threading.enumerate() if thread.name == "duly-engine"]
    while engine.is_alive():
        clock.advance(HEARTBEAT_US)
        engine.join(0.05)
    asyncio.run(scheduler.stop())
    assert asyncio.run(started_and_stopped(scheduler)) == 0


def test_an_event_loop_that_was_closed_without_a_word_can_be_cleaned_up_after_before_anybody_noticed() -> None:
    scheduler = scheduler_on()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(scheduler.start())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would complain of this test
    loop.close()
    assert engine_threads() == ["duly-engine"]
    asyncio.run(scheduler.stop())
    assert engine_threads() == []


async def started_and_stopped(scheduler: Scheduler) -> int:
    report = await scheduler.start()
    await scheduler.stop()
    return report.successful


@pytest.mark.parametrize(
    "ending",
    [
        "asyncio.run(main())",
        "asyncio.run(main(raises=True))",
        "loop = asyncio.new_event_loop(); loop.run_until_complete(main())",
        "asyncio.run(main()); asyncio.run(scheduler.put(Event('w2')))",
    ],
)
def test_a_program_that_never_stops_it_still_ends_and_quietly(tmp_path: Path, ending: str) -> None:
    script = f"""
        import asyncio, sys
        from duly import Event, Scheduler
        scheduler = Scheduler("sqlite:///{tmp_path}/events.db")
        async def main(raises=False):
            await scheduler.start()
            await scheduler.put(Event("w1", dates={{"event_start": "2020-01-01T00:00Z"}}), known_for=None)
            print("started")
            if raises:
                sys.exit(3)
        {ending}
    """
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert (run.stdout, run.stderr, run.returncode) == ("started\n", "", 3 if "raises" in ending else 0)


# -- what runs besides ----------------------------------------------------------------------------------------


class Errands:
    """A step of somebody else's: counts its rounds."""

    name = "errands"

    def __init__(self) -> None:
        self.rounds = 0
        self.threads: set[str] = set()

    async def run_once(self) -> Micros | None:
        self.rounds += 1
        self.threads.add(threading.current_thread().name)
        return None


@in_a_loop
async def test_other_steps_run_in_the_engine_and_can_be_nudged_and_waited_for_by_name() -> None:
    stage, errands = Stage(), Errands()
    life = Life(stage.firing, stage.courier, open_store=lambda: None, close_store=lambda: None)
    turn = Turn(firing=stage.firing, recovery=Recovery(firing=stage.firing, window=None), prepare=lambda: None)
    await life.start(turn, steps=[(errands, SECOND)])
    assert life.node is not None
    await life.node.settled("errands")
    before = errands.rounds
    life.node.nudge("errands")
    await life.node.settled("errands")
    assert before < errands.rounds <= before + 2
    assert errands.threads == {"duly-engine"}
    assert life.troubles == []
    await life.stop()


def test_before_its_first_start_an_engine_has_nobody_to_tell_and_nothing_to_live_through() -> None:
    stage = Stage()
    life = Life(stage.firing, stage.courier, open_store=lambda: None, close_store=lambda: None)
    told: list[object] = []
    life.listeners.append(told.append)
    life.on_settled(told.append)
    stage.put_one("w1", registration_open=T0)
    stage.fire()
    for listener in stage.delivering.listeners:
        listener([])
    life.live_until(T0 + HOUR)
    assert (told, life.turn, life.is_owner) == ([], None, False)


def test_leases_are_extended_again_and_again_until_the_end() -> None:
    stage, rounds, asked = Stage(), [0], threading.Event()

    def held() -> list[int]:
        rounds[0] += 1
        if rounds[0] == 3:
            asked.set()
        return []

    renewal = Renewal(stage.store, stage.clock, "n1", held, lease_us=3000)
    renewal.stop()  # before the start there is nothing to wait for
    renewal = Renewal(stage.store, stage.clock, "n1", held, lease_us=3000)
    renewal.start()
    assert asked.wait(10)
    renewal.stop()
    before = rounds[0]
    assert before >= 3
    assert [thread.name for thread in threading.enumerate() if thread.name == "duly-renewal"] == []
