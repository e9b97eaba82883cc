"""The threads in which a store's calls run: what becomes of a call that comes too late, or from the wrong process."""

from __future__ import annotations

import asyncio

import pytest

from duly.engine.threads import StoreThreads
from duly.errors import WrongState
from tests.engine.stage import in_a_loop


@in_a_loop
async def test_calls_of_every_kind_return_what_was_called() -> None:
    threads = StoreThreads()
    assert await threads.fire(lambda: 1) == 1
    assert await threads.call(lambda: 2) == 2
    assert await threads.aside(lambda: 3) == 3
    await threads.ended()


@in_a_loop
async def test_bad_input_92_a_call_in_a_forked_child_is_refused_instead_of_waiting_for_ever() -> None:
    threads = StoreThreads()
    threads._pid -= 1  # as a child of the process that made them would see them
    with pytest.raises(WrongState, match="forked child"):
        await threads.call(lambda: 1)


@in_a_loop
async def test_a_call_after_the_end_is_refused_with_what_to_do() -> None:
    threads = StoreThreads()
    await threads.ended()
    with pytest.raises(WrongState, match="stopped meanwhile"):
        await threads.fire(lambda: 1)


@in_a_loop
async def test_a_call_while_the_program_ends_is_cancelled_quietly() -> None:
    threads = StoreThreads()
    threads._firing.shutdown()  # as the interpreter does at its end, without asking anybody
    with pytest.raises(asyncio.CancelledError):
        await threads.fire(lambda: 1)
