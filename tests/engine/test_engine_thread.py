"""The engine's thread: what is handed to it is done there and answered here, and nobody waits for ever when it ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from duly.engine.engine_thread import EngineThread
from duly.errors import WrongState
from tests.engine.stage import in_a_loop


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "duly-engine"]


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    yield
    gc.collect()  # a loop that was left open would warn, which is an error
    assert engine_threads() == []


@asynccontextmanager
async def started(**how: Any) -> AsyncIterator[EngineThread]:
    engine = EngineThread(**how)
    engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def where() -> str:
    return threading.current_thread().name


@in_a_loop
async def test_a_coroutine_runs_in_the_engines_thread_and_its_result_comes_back() -> None:
    async with started() as engine:
        assert engine.is_alive
        assert await engine.run(where()) == "duly-engine"
        assert [thread.daemon for thread in engine_threads()] == [True]


@in_a_loop
async def test_an_error_comes_back_to_whoever_asked() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    async with started() as engine:
        with pytest.raises(ValueError, match="mine"):
            await engine.run(fail())


@in_a_loop
async def test_what_is_handed_over_is_done_in_its_order() -> None:
    done: list[int] = []

    async def note(number: int) -> None:
        done.append(number)

    async with started() as engine:
        for number in range(0, 100, 2):
            engine.call_soon(done.append, number)
            await engine.run(note(number + 1))
    assert done == list(range(100))


@in_a_loop
async def test_several_loops_may_ask_at_once_and_each_is_answered_in_its_own() -> None:
    async def ask(engine: EngineThread) -> tuple[str, str]:
        return await engine.run(where()), threading.current_thread().name

    async with started() as engine:
        asked = [asyncio.to_thread(lambda: asyncio.run(ask(engine))) for _ in range(3)]
        for there, here in await asyncio.gather(*asked):
            assert (there, here.startswith("asyncio")) == ("duly-engine", True)


@in_a_loop
async def test_whoever_gives_up_has_ended_what_was_asked_for() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with started() as engine:
        asking = asyncio.create_task(engine.run(work()))
        assert await asyncio.to_thread(begun.wait, 20)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert ended.is_set()
        assert engine.is_alive


@in_a_loop
async def test_whoever_waits_when_it_ends_is_told_so() -> None:
    begun, closed = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()

    engine = EngineThread()
    engine.start()
    asking = asyncio.create_task(engine.run(work()))
    assert await asyncio.to_thread(begun.wait, 20)
    await engine.stop()
    assert closed.is_set()
    assert not engine.is_alive
    with pytest.raises(WrongState, match="the engine has ended; stop the scheduler, then start it anew"):
        await asking


@in_a_loop
async def test_whatever_is_asked_while_it_ends_is_answered_one_way_or_the_other() -> None:
    for _ in range(50):
        engine = EngineThread()
        engine.start()
        before = [asyncio.create_task(engine.run(where())) for _ in range(5)]
        await asyncio.wait(before, timeout=0)
        engine.end()
        after = [asyncio.create_task(engine.run(where())) for _ in range(5)]
        for answer in await asyncio.gather(*before, *after, return_exceptions=True):
            assert answer == "duly-engine" or isinstance(answer, WrongState)
        await engine.stop()


@in_a_loop
async def test_before_its_start_and_after_its_end_it_refuses_and_a_call_does_nothing() -> None:
    called: list[int] = []
    engine = EngineThread()
    await engine.stop()
    for _ in range(2):
        with pytest.raises(WrongState, match="has ended"):
            await engine.run(where())
        engine.call_soon(called.append, 1)
        engine.start()
        await engine.stop()
        await engine.stop()
    assert called == []


@in_a_loop
async def test_bad_input_92_in_a_forked_child_everything_is_refused_instead_of_waiting_for_ever() -> None:
    async with started() as engine:
        engine._pid -= 1  # as a child of the process that started it would see it
        calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [lambda: engine.run(where()), engine.stop]
        for call in calls:
            with pytest.raises(WrongState, match="forked child"):
                await call()
        with pytest.raises(WrongState, match="forked child"):
            engine.call_soon(print)
        engine._pid += 1


@in_a_loop
async def test_an_error_that_nobody_waits_for_is_told_to_whoever_wants_to_hear_of_it() -> None:
    told: list[dict[str, Any]] = []

    def fail() -> None:
        raise ValueError("stray")

    async with started(stray=told.append) as engine:
        engine.call_soon(fail)
        await engine.run(where())
    assert [str(context["exception"]) for context in told] == ["stray"]


def test_a_caller_whose_loop_was_closed_is_not_missed() -> None:
    engine = EngineThread()
    engine.start()
    gate, begun = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.to_thread(gate.wait, 20)

    async def ask() -> None:
        asking = asyncio.create_task(engine.run(work()))
        assert await asyncio.to_thread(begun.wait, 20)
        asking.cancel()  # gives up, and is given up itself before it has heard that the work has ended

    loop = asyncio.new_event_loop()
    loop.run_until_complete(ask())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would complain of this test
    loop.close()
    gate.set()
    asyncio.run(engine.stop())
