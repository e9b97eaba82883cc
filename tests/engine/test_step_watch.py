"""The clocks, and the watch over them (P13): steps back, steps forward, suspension, and when a clock is believed again."""

from __future__ import annotations

import asyncio

import pytest
from typing_extensions import override

from duly.clock import STEADY_US, STEP_US, ManualClock, StepWatch, SystemClock
from tests.builders import DAY, HOUR, MINUTE, SECOND, T0
from tests.engine.stage import in_a_loop


def watched(*, hold_steps: bool = True) -> tuple[ManualClock, StepWatch]:
    """Return a clock, and a watch that has looked at it once."""
    clock = ManualClock(T0)
    watch = StepWatch(clock, hold_steps=hold_steps)
    assert watch.look() is None
    return clock, watch


def looked_on(clock: ManualClock, watch: StepWatch, micros: int) -> str | None:
    """Let time pass, looking every 200 ms; return what is said in the end."""
    said = watch.look()
    for _ in range(micros // (SECOND // 5)):
        clock.advance(SECOND // 5)
        said = watch.look()
    return said


def test_time_that_passes_is_no_step() -> None:
    clock, watch = watched()
    clock.advance(40 * DAY)
    assert watch.look() is None


def test_a_suspended_host_is_no_step_since_the_boot_clock_went_on() -> None:
    clock, watch = watched()
    clock.advance(40 * MINUTE)
    assert watch.look() is None
    assert watch.reason is None


def test_a_step_forward_of_more_than_five_minutes_holds() -> None:
    clock, watch = watched()
    clock.set(T0 + STEP_US + 1)
    assert watch.look() == "the clock was set forward by 5 min; firing is held until it is steady for 60 s"
    assert watch.reason == watch.look()


def test_a_step_forward_of_five_minutes_is_believed() -> None:
    clock, watch = watched()
    clock.set(T0 + STEP_US)
    assert watch.look() is None


def test_two_hours_forward_and_back_is_over_at_once() -> None:
    clock, watch = watched()
    clock.set(T0 + 2 * HOUR)
    assert watch.look() is not None
    clock.advance(20 * SECOND)
    assert watch.look() is not None
    clock.set(T0 + 20 * SECOND)
    assert watch.look() is None
    assert watch.reason is None


def test_a_step_back_needs_no_hold() -> None:
    clock, watch = watched()
    clock.set(T0 - 2 * HOUR)
    assert watch.look() is None


def test_a_step_back_does_not_move_the_bar_for_the_next_step_forward() -> None:
    clock, watch = watched()
    clock.set(T0 - 2 * HOUR)
    watch.look()
    clock.set(T0 - 2 * HOUR + STEP_US + 1)
    assert watch.look() is not None


def test_the_hold_ends_once_the_clock_has_been_steady_for_a_minute() -> None:
    clock, watch = watched()
    clock.set(T0 + 2 * HOUR)
    watch.look()
    clock.advance(STEADY_US - 1)
    assert watch.look() is not None
    clock.advance(1)
    assert watch.look() is None
    clock.advance(MINUTE)
    assert watch.look() is None


def test_a_clock_that_is_stepped_again_has_not_been_steady() -> None:
    clock, watch = watched()
    clock.set(T0 + 2 * HOUR)
    watch.look()
    assert looked_on(clock, watch, 50 * SECOND) is not None
    clock.set(clock.now() + HOUR)
    assert looked_on(clock, watch, 59 * SECOND) is not None
    assert looked_on(clock, watch, 1 * SECOND) is None


def test_a_clock_that_is_slewed_by_less_than_a_second_is_steady() -> None:
    clock, watch = watched()
    clock.set(T0 + 2 * HOUR)
    watch.look()
    looked_on(clock, watch, 30 * SECOND)
    clock.set(clock.now() + SECOND // 2)
    assert looked_on(clock, watch, 30 * SECOND) is None


def test_many_small_steps_are_believed_one_by_one() -> None:
    clock, watch = watched()
    for _ in range(20):
        clock.set(clock.now() + 4 * MINUTE)
        assert watch.look() is None


def test_a_clock_known_to_be_behind_is_held_from_the_start_until_it_is_steady() -> None:
    clock = ManualClock(T0)
    watch = StepWatch(clock)
    watch.distrust("the clock is 90 s behind the last entry of the history")
    assert watch.look() == (
        "the clock is 90 s behind the last entry of the history; firing is held until the clock is steady for 60 s"
    )
    assert looked_on(clock, watch, 59 * SECOND) is not None
    assert looked_on(clock, watch, 1 * SECOND) is None


@pytest.mark.parametrize("step", [2 * SECOND, 4 * MINUTE, -2 * SECOND, -4 * MINUTE, 2 * HOUR, -2 * HOUR])
def test_a_clock_known_to_be_behind_that_is_then_stepped_must_be_steady_again(step: int) -> None:
    clock = ManualClock(T0)
    watch = StepWatch(clock)
    watch.look()
    watch.distrust("the clock is behind")
    looked_on(clock, watch, 30 * SECOND)
    clock.set(clock.now() + step)
    assert looked_on(clock, watch, 59 * SECOND) is not None
    assert looked_on(clock, watch, 1 * SECOND) is None


def test_distrusting_anew_begins_the_minute_anew() -> None:
    clock, watch = watched()
    clock.set(T0 + 2 * HOUR)
    watch.look()
    clock.advance(50 * SECOND)
    watch.distrust("the clock is behind")
    assert looked_on(clock, watch, 59 * SECOND) is not None
    assert looked_on(clock, watch, 1 * SECOND) is None


def test_with_clock_jump_fire_every_clock_is_believed() -> None:
    clock, watch = watched(hold_steps=False)
    clock.set(T0 + 365 * DAY)
    assert watch.look() is None
    watch.distrust("the clock is behind")
    assert watch.look() is None
    assert watch.reason is None


def test_the_hosts_clocks_run_forward_in_microseconds() -> None:
    clock = SystemClock()
    first, boot = clock.now(), clock.since_boot()
    assert first > T0
    assert clock.now() >= first
    assert clock.since_boot() >= boot


@in_a_loop
async def test_a_nap_of_the_hosts_clock_ends_by_itself_or_by_a_nudge() -> None:
    clock, nudge = SystemClock(), asyncio.Event()
    began = clock.since_boot()
    await clock.nap(0, nudge)
    await clock.nap(-5, nudge)
    assert not nudge.is_set()
    await clock.nap(2000, nudge)
    assert clock.since_boot() - began >= 2000
    nudge.clear()
    nap = asyncio.create_task(clock.nap(3600 * SECOND, nudge))
    nudge.set()
    await nap


@in_a_loop
async def test_a_nap_that_was_nudged_leaves_no_timer_that_nudges_later() -> None:
    clock, nudge, later = SystemClock(), asyncio.Event(), asyncio.Event()
    nap = asyncio.create_task(clock.nap(5000, nudge))
    nudge.set()
    await nap
    nudge.clear()
    await clock.nap(20_000, later)
    assert not nudge.is_set()


@in_a_loop
async def test_naps_on_a_manual_clock_end_in_their_order_and_not_before() -> None:
    clock = ManualClock(T0)
    ended: list[int] = []

    async def nap(micros: int) -> None:
        await clock.nap(micros, asyncio.Event())
        ended.append(micros)

    naps = [asyncio.create_task(nap(micros)) for micros in (300, 100, 200, 0)]
    await naps[3]
    clock.advance(99)
    await asyncio.wait(naps, timeout=0)
    assert ended == [0]
    clock.advance(101)
    await asyncio.gather(naps[1], naps[2])
    assert ended == [0, 100, 200]
    clock.set(T0 + DAY)
    await asyncio.wait(naps, timeout=0)
    assert ended == [0, 100, 200]
    clock.advance(100)
    await naps[0]


@in_a_loop
async def test_a_nap_on_a_manual_clock_that_was_nudged_does_not_nudge_later() -> None:
    clock, nudge = ManualClock(T0), asyncio.Event()
    nap = asyncio.create_task(clock.nap(100, nudge))
    await asyncio.wait([nap], timeout=0)
    nudge.set()
    await nap
    nudge.clear()
    clock.advance(100)
    assert not nudge.is_set()


@in_a_loop
async def test_a_manual_clock_wakes_those_who_nap_in_other_threads_and_no_closed_loop_is_in_its_way() -> None:
    clock = ManualClock(T0)

    def given_up() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(clock.nap(50, asyncio.Event()))
        loop.run_until_complete(asyncio.wait([task], timeout=0.01))
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would complain of this test
        kept.append(task)
        loop.close()

    kept: list[asyncio.Task[None]] = []
    await asyncio.to_thread(given_up)
    others = [asyncio.create_task(asyncio.to_thread(asyncio.run, clock.nap(100, asyncio.Event()))) for _ in range(3)]
    while len(clock._naps) < 4:
        await asyncio.wait(others, timeout=0.001)
    clock.advance(99)
    await asyncio.wait(others, timeout=0.01)
    assert not any(other.done() for other in others)
    clock.advance(1)
    await asyncio.gather(*others)
    assert clock._naps == []


@in_a_loop
async def test_a_nap_counts_from_the_reading_that_it_is_told_of() -> None:
    manual = ManualClock(T0)
    began = manual.since_boot()
    manual.advance(100)
    await manual.nap(100, asyncio.Event(), since_us=began)  # by now it is over
    later = asyncio.create_task(manual.nap(101, asyncio.Event(), since_us=began))
    await asyncio.wait([later], timeout=0.01)
    assert not later.done()
    manual.advance(1)
    await later
    system = SystemClock()
    await system.nap(3600 * SECOND, asyncio.Event(), since_us=system.since_boot() - 3600 * SECOND)


class MovedMeanwhile(ManualClock):
    """A clock that another thread moves between the two readings of a look."""

    by = 0

    @override
    def now(self) -> int:
        by, self.by = self.by, 0
        if by:
            self.advance(by)
        return super().now()


def test_a_host_suspended_between_the_two_readings_of_a_look_is_no_step() -> None:
    clock = MovedMeanwhile(T0)
    watch = StepWatch(clock)
    assert watch.look() is None
    clock.by = HOUR
    assert watch.look() is None
    assert clock.since_boot() == HOUR
