"""The courier: begun with its scheduler, and ended with it, whatever is under way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from duly import Context, Scheduler
from duly.clock import ManualClock
from duly.errors import StoreBusy
from duly.model.delivery import State
from duly.stores.sqlite import SqliteStore
from tests.builders import SECOND, T0, event
from tests.engine.stage import KeptStore, in_a_loop

PATIENCE = 20.0


def made(store: SqliteStore, *, within: float = 0.2) -> tuple[Scheduler, ManualClock]:
    clock = ManualClock(T0)
    scheduler = Scheduler(store, clock=clock, node="n1")
    scheduler._life.courier.stop_within = within
    return scheduler, clock


async def due(scheduler: Scheduler, clock: ManualClock, *ids: str) -> None:
    await scheduler.put([event(id_, registration_open=clock.now() + SECOND) for id_ in ids])
    clock.advance(SECOND)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name in {"duly-engine", "duly-renewal"}}


@in_a_loop
async def test_a_stop_waits_for_what_is_under_way() -> None:
    store = KeptStore()
    scheduler, clock = made(store, within=PATIENCE)
    began, go_on = asyncio.Event(), asyncio.Event()

    @scheduler.on("*", name="slow")
    async def slow(_: Context) -> None:
        began.set()
        await go_on.wait()

    await scheduler.start()
    await due(scheduler, clock, "w1")
    await began.wait()
    stopping = asyncio.create_task(scheduler.stop())
    go_on.set()
    await stopping
    assert [d.state for d in store.outbox.deliveries()] == [State.DELIVERED]
    assert threads() == set()


@pytest.mark.parametrize("error", [StoreBusy("busy"), ZeroDivisionError("odd")])
@in_a_loop
async def test_a_stop_ends_whatever_the_store_says_and_the_next_start_goes_on(error: Exception) -> None:
    store = KeptStore()
    scheduler, clock = made(store)
    began = asyncio.Event()
    attempts: list[int] = []

    @scheduler.on("*", name="slow")
    async def slow(context: Context) -> None:
        attempts.append(context.attempt)
        began.set()
        if context.attempt == 1:
            await asyncio.Event().wait()

    await scheduler.start()
    await due(scheduler, clock, "w1")
    await began.wait()
    real = store.outbox.settle
    store.outbox.settle = _raising(error)  # type: ignore[method-assign]
    await scheduler.stop()
    assert not scheduler.is_running
    assert threads() == set()
    store.outbox.settle = real  # type: ignore[method-assign]
    began.clear()
    await scheduler.start()
    await began.wait()  # it is begun without anybody asking
    await scheduler.settled()
    assert attempts == [1, 2]
    assert [d.state for d in store.outbox.deliveries()] == [State.DELIVERED]
    await scheduler.stop()


def _raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> object:
        raise error

    return fail


@in_a_loop
async def test_a_stop_in_the_middle_of_reading_leaves_nothing_leased() -> None:
    store = KeptStore()
    scheduler, clock = made(store)
    reading, let_go = threading.Event(), threading.Event()
    told: list[str] = []

    @scheduler.on("*", name="told")
    async def tell(context: Context) -> None:
        told.append(context.event_id)

    real = store.outbox.told_of

    def slow(*args: object) -> object:
        reading.set()
        assert let_go.wait(PATIENCE)
        return real(*args)  # type: ignore[arg-type]

    store.outbox.told_of = slow  # type: ignore[assignment,method-assign]
    await scheduler.start()
    await due(scheduler, clock, "w1")
    assert await asyncio.to_thread(reading.wait, PATIENCE)
    stopping = asyncio.create_task(scheduler.stop())
    # Longer than the courier is patient: it gives the reading up, and lays back what it was for.
    assert not (await asyncio.wait([stopping], timeout=0.4))[0]
    let_go.set()
    await stopping
    assert told == []
    (delivery,) = store.outbox.deliveries()
    assert (delivery.state, delivery.node, delivery.wake_us) == (State.PENDING, None, clock.now())


@in_a_loop
async def test_attempts_that_were_never_answered_to_are_cancelled_even_if_nothing_can_be_written() -> None:
    store = KeptStore()
    scheduler, clock = made(store)
    began, cancelled = asyncio.Event(), asyncio.Event()

    @scheduler.on("*", name="slow")
    async def slow(_: Context) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await scheduler.start()
    await due(scheduler, clock, "w1")
    await began.wait()
    store._stopped = "the disk is on fire"
    await scheduler.stop()
    await cancelled.wait()
    store._stopped = None
