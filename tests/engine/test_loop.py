"""The loop: it naps until it is wanted, wakes when nudged, outlives its errors, and says when it is not well."""

from __future__ import annotations

import asyncio
import logging

import pytest

from duly.clock import SECOND, ManualClock, Micros
from duly.engine.loop import BACKOFF_FIRST_US, BACKOFF_MOST_US, STUCK_US, Loop
from duly.errors import StoreStopped, WrongState
from tests.builders import T0
from tests.engine.stage import in_a_loop

NAP = SECOND


class Rounds:
    """A step that notes when it is called, and does what it is told next: an error, a wish, nothing."""

    name = "rounds"

    def __init__(self, clock: ManualClock, *will: Exception | Micros | None) -> None:
        self.clock = clock
        self.will = list(will)
        self.at: list[Micros] = []
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def run_once(self) -> Micros | None:
        self.at.append(self.clock.now() - T0)
        self.called.set()
        await self.gate.wait()
        next_ = self.will.pop(0) if self.will else None
        if isinstance(next_, Exception):
            raise next_
        return next_

    async def calls(self, count: int) -> None:
        """Wait until it has been called so often."""
        while len(self.at) < count:
            self.called.clear()
            await self.called.wait()


class Set:
    """A loop over such a step, running."""

    def __init__(self, *will: Exception | Micros | None) -> None:
        self.clock = ManualClock(T0)
        self.step = Rounds(self.clock, *will)
        self.loop = Loop(self.step, self.clock, nap_us_most=NAP)
        self.task = asyncio.create_task(self.loop.run())

    async def naps(self) -> None:
        """Wait until the loop has gone to sleep."""
        while not self.clock._naps:
            await turn()

    async def after(self, micros: Micros) -> None:
        await self.naps()
        self.clock.advance(micros)

    async def end(self) -> None:
        self.loop.stop()
        await self.task


async def turn() -> None:
    """Let every task that is ready run once."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(done.set_result, None)
    await done


@in_a_loop
async def test_it_is_called_again_at_the_instant_that_the_step_wants() -> None:
    with_wish = Set(T0 + 300, T0 + 700)
    await with_wish.step.calls(1)
    await with_wish.after(299)
    await turn()
    assert with_wish.step.at == [0]
    with_wish.clock.advance(1)
    await with_wish.step.calls(2)
    await with_wish.after(400)
    await with_wish.step.calls(3)
    assert with_wish.step.at == [0, 300, 700]
    await with_wish.end()


@in_a_loop
async def test_it_never_naps_longer_than_it_may() -> None:
    patient = Set(T0 + 100 * NAP, None)
    await patient.step.calls(1)
    await patient.after(NAP)
    await patient.step.calls(2)
    await patient.after(NAP)
    await patient.step.calls(3)
    assert patient.step.at == [0, NAP, 2 * NAP]
    await patient.end()


@in_a_loop
async def test_a_wish_in_the_past_is_answered_at_once() -> None:
    hasty = Set(T0 - 5, T0)
    await hasty.step.calls(3)
    assert hasty.step.at == [0, 0, 0]
    await hasty.end()


@in_a_loop
async def test_a_nudge_wakes_it() -> None:
    nudged = Set()
    await nudged.step.calls(1)
    await nudged.naps()
    nudged.loop.nudge()
    await nudged.step.calls(2)
    assert nudged.step.at == [0, 0]
    await nudged.end()


@in_a_loop
async def test_a_nudge_while_it_works_makes_it_look_once_more_and_only_once() -> None:
    nudged = Set()
    nudged.step.gate.clear()
    await nudged.step.calls(1)
    nudged.loop.nudge()
    nudged.loop.nudge()
    nudged.step.gate.set()
    await nudged.step.calls(2)
    await nudged.naps()
    await turn()
    assert nudged.step.at == [0, 0]
    await nudged.end()


@in_a_loop
async def test_it_rests_longer_after_each_error_and_forgets_them_after_a_success() -> None:
    broken = Set(*(OSError("no disk") for _ in range(9)), None, OSError("no disk"))
    pauses = [min(BACKOFF_MOST_US, BACKOFF_FIRST_US * 2**n) for n in range(9)]
    assert pauses[-1] == BACKOFF_MOST_US
    at = [0]
    for call, pause in enumerate([*pauses, NAP, BACKOFF_FIRST_US], start=1):
        await broken.step.calls(call)
        assert broken.step.at == at
        await broken.after(pause - 1)
        await turn()
        broken.clock.advance(1)
        at.append(at[-1] + pause)
    await broken.step.calls(12)
    await broken.end()


@in_a_loop
async def test_an_error_is_shown_as_trouble_until_the_next_success() -> None:
    broken = Set(OSError("no disk"), None)
    assert broken.loop.trouble is None
    await broken.step.calls(1)
    await broken.naps()
    assert broken.loop.trouble == "rounds: OSError: no disk"
    broken.clock.advance(BACKOFF_FIRST_US)
    await broken.step.calls(2)
    await turn()
    assert broken.loop.trouble is None
    await broken.end()


@in_a_loop
async def test_a_nudge_ends_the_rest_after_an_error() -> None:
    broken = Set(OSError("no disk"), None)
    await broken.step.calls(1)
    await broken.naps()
    broken.loop.nudge()
    await broken.step.calls(2)
    assert broken.step.at == [0, 0]
    await broken.end()


def test_an_error_that_repeats_is_logged_once_and_another_one_anew(caplog: pytest.LogCaptureFixture) -> None:
    @in_a_loop
    async def run() -> None:
        broken = Set(OSError("no disk"), OSError("no disk"), ValueError("what?"))
        for call in range(1, 4):
            await broken.step.calls(call)
            await broken.naps()
            broken.loop.nudge()
        await broken.step.calls(4)
        await broken.end()

    with caplog.at_level(logging.ERROR, logger="duly.engine"):
        run()
    assert [record.getMessage() for record in caplog.records] == [
        "rounds failed and will be tried again: no disk",
        "rounds failed and will be tried again: what?",
    ]


@in_a_loop
async def test_stopping_lets_the_step_finish_and_calls_it_no_more() -> None:
    stopped = Set()
    stopped.step.gate.clear()
    await stopped.step.calls(1)
    stopped.loop.stop()
    await turn()
    assert not stopped.task.done()
    stopped.step.gate.set()
    await stopped.task
    assert stopped.step.at == [0]
    assert stopped.loop.trouble is None


@in_a_loop
async def test_stopping_while_it_rests_after_an_error_ends_it_at_once() -> None:
    broken = Set(OSError("no disk"))
    await broken.step.calls(1)
    await broken.naps()
    await broken.end()
    assert broken.step.at == [0]


@in_a_loop
async def test_stopping_while_a_step_fails_ends_it_without_a_rest() -> None:
    broken = Set(OSError("no disk"))
    broken.step.gate.clear()
    await broken.step.calls(1)
    broken.loop.stop()
    broken.step.gate.set()
    await broken.task
    assert broken.step.at == [0]


@in_a_loop
async def test_a_loop_that_was_stopped_before_it_ran_does_nothing() -> None:
    stopped = Set()
    await stopped.end()
    assert stopped.step.at == []


@in_a_loop
async def test_a_loop_that_does_not_come_round_is_in_trouble_after_five_seconds() -> None:
    stuck = Set()
    stuck.step.gate.clear()
    await stuck.step.calls(1)
    stuck.clock.advance(STUCK_US + NAP)
    assert stuck.loop.trouble is None
    stuck.clock.advance(1)
    assert stuck.loop.trouble == "rounds: has not come round for 5 s"
    stuck.step.gate.set()
    await stuck.naps()
    stuck.loop.nudge()
    await stuck.step.calls(2)
    assert stuck.loop.trouble is None
    await stuck.end()


@in_a_loop
async def test_a_stepped_wall_clock_does_not_make_a_loop_look_stuck() -> None:
    stepped = Set()
    await stepped.step.calls(1)
    stepped.clock.set(T0 + 3600 * SECOND)
    assert stepped.loop.trouble is None
    await stepped.end()


@in_a_loop
async def test_a_store_that_cannot_be_trusted_is_the_one_error_that_ends_it() -> None:
    ended = Set(StoreStopped("the file is gone"))
    with pytest.raises(StoreStopped, match="the file is gone"):
        await ended.task
    assert ended.loop.trouble == "rounds: the file is gone"
    assert ended.step.at == [0]


@in_a_loop
async def test_whoever_waits_for_it_to_come_round_waits_for_a_round_that_began_later() -> None:
    awaited = Set()
    awaited.step.gate.clear()
    await awaited.step.calls(1)
    waiting = asyncio.create_task(awaited.loop.came_round())
    await turn()
    awaited.step.gate.set()
    await waiting
    assert len(awaited.step.at) == 2
    await awaited.end()


@in_a_loop
async def test_whoever_waits_for_it_waits_through_its_errors() -> None:
    broken = Set(OSError("no disk"), None)
    waiting = asyncio.create_task(broken.loop.came_round())
    await broken.step.calls(1)
    await broken.naps()
    assert not waiting.done()
    broken.clock.advance(BACKOFF_FIRST_US)
    await waiting
    assert len(broken.step.at) == 2
    await broken.end()


@in_a_loop
async def test_whoever_gave_up_waiting_for_it_does_not_break_it() -> None:
    awaited = Set()
    awaited.step.gate.clear()
    waiting = asyncio.create_task(awaited.loop.came_round())
    await awaited.step.calls(1)
    waiting.cancel()
    await asyncio.wait([waiting])
    awaited.step.gate.set()
    await awaited.naps()
    assert not awaited.task.done()
    await awaited.end()


@in_a_loop
async def test_nobody_waits_for_ever_for_a_loop_that_ends() -> None:
    stopped = Set()
    stopped.step.gate.clear()
    await stopped.step.calls(1)
    during = asyncio.create_task(stopped.loop.came_round())
    await turn()
    stopped.loop.stop()
    stopped.step.gate.set()
    await stopped.task
    for waiting in (during, stopped.loop.came_round()):
        with pytest.raises(WrongState, match="rounds has ended"):
            await waiting


@in_a_loop
async def test_nobody_waits_for_ever_for_a_loop_that_a_lost_store_has_ended() -> None:
    ended = Set(StoreStopped("the file is gone"))
    ended.step.gate.clear()
    before = asyncio.create_task(ended.loop.came_round())
    await ended.step.calls(1)
    during = asyncio.create_task(ended.loop.came_round())
    given_up = asyncio.create_task(ended.loop.came_round())
    await turn()
    given_up.cancel()
    ended.step.gate.set()
    await asyncio.wait([ended.task, given_up])
    assert isinstance(ended.task.exception(), StoreStopped)
    for waiting in (before, during, ended.loop.came_round()):
        with pytest.raises(WrongState, match="rounds has ended: the file is gone"):
            await waiting


@in_a_loop
async def test_a_cancelled_loop_ends() -> None:
    cancelled = Set()
    await cancelled.step.calls(1)
    await cancelled.naps()
    cancelled.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled.task
