"""The only time in the house: a clock is an argument, so that the same code runs on a simulated one.

`Clock` is the socket; `SystemClock` the host's; `ManualClock` stands still until it is told to move, and lets
whoever naps on it wake in order. Instants are microseconds UTC.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from dataclasses import dataclass
from typing import Final, Protocol

Micros = int
SECOND: Final = 1_000_000
# A forward step of the wall clock, against the clock that runs since boot, that is not believed at once (P13).
STEP_US: Final = 5 * 60 * SECOND
STEADY_US: Final = 60 * SECOND


class Clock(Protocol):
    """What the engine asks of a clock."""

    def now(self) -> Micros:
        """Return the wall clock: microseconds since 1970-01-01T00:00Z. May be stepped."""

    def since_boot(self) -> Micros:
        """Return a clock that only runs forward, at the pace of time, also while the host is suspended."""

    async def nap(self, micros: Micros, nudge: asyncio.Event) -> None:
        """Wait for that long, or until `nudge` is set, whichever comes first."""


def pause(micros: Micros) -> None:
    """Hold the calling thread up for that long of real time. For threads that wait for another process."""
    time.sleep(micros / SECOND)


class SystemClock:
    """The host's clocks."""

    def now(self) -> Micros:
        """Return the host's UTC clock."""
        return time.time_ns() // 1000

    def since_boot(self) -> Micros:
        """Return the host's boot-time clock, which counts suspended time too (Linux; else the monotonic one)."""
        return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000

    async def nap(self, micros: Micros, nudge: asyncio.Event) -> None:
        """Wait on the event loop's timer."""
        if micros <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(micros / SECOND, nudge.set)
        try:
            await nudge.wait()
        finally:
            timer.cancel()


class ManualClock:
    """A clock that stands still until `advance` or `set` moves it. For tests, previews and simulations.

    Naps end when the clock has moved past them; nothing ever sleeps.
    """

    def __init__(self, now_us: Micros) -> None:
        """Begin at an instant."""
        self._now = now_us
        self._boot = 0
        self._naps: list[tuple[Micros, int, asyncio.Event]] = []
        self._count = itertools.count()

    def now(self) -> Micros:
        """Return the instant that it was set to."""
        return self._now

    def since_boot(self) -> Micros:
        """Return how far it has been advanced; steps made by `set` do not count."""
        return self._boot

    def advance(self, micros: Micros) -> None:
        """Let time pass; naps that end meanwhile end."""
        self._now += micros
        self._boot += micros
        self._wake()

    def set(self, now_us: Micros) -> None:
        """Step the wall clock, as an administrator or NTP would; no time passes."""
        self._now = now_us
        self._wake()

    async def nap(self, micros: Micros, nudge: asyncio.Event) -> None:
        """Wait until the clock has been advanced that far."""
        if micros <= 0:
            await asyncio.sleep(0)
            return
        nap = (self._boot + micros, next(self._count), nudge)
        heapq.heappush(self._naps, nap)
        try:
            await nudge.wait()
        finally:
            # One that was nudged awake before its time must not nudge again when that time comes.
            if nap in self._naps:
                self._naps.remove(nap)
                heapq.heapify(self._naps)

    def _wake(self) -> None:
        while self._naps and self._naps[0][0] <= self._boot:
            heapq.heappop(self._naps)[2].set()


@dataclass(slots=True)
class StepWatch:
    """Notices that the wall clock was stepped, and says for how long it is not to be believed.

    A forward step of more than five minutes against the boot-time clock holds firing until the clock has been
    steady for a minute: fired triggers cannot be called back. A step back needs no hold, since what has fired
    has fired. Suspension is no step: the boot-time clock counts it.
    """

    clock: Clock
    hold_steps: bool = True
    reason: str | None = None
    # Wall clock minus boot clock: as it was when last believed (None: never yet), and as it is while held.
    _trusted: Micros | None = None
    _suspect: Micros = 0
    _since: Micros = 0

    def look(self) -> str | None:
        """Return why firing is held just now, None if it is not."""
        boot = self.clock.since_boot()
        offset = self.clock.now() - boot
        if self.reason is not None:
            self._look_while_held(offset, boot)
        elif self.hold_steps and self._trusted is not None and offset - self._trusted > STEP_US:
            minutes = (offset - self._trusted) // (60 * SECOND)
            self._suspect, self._since = offset, boot
            self.reason = f"the clock was set forward by {minutes} min; firing is held until it is steady for 60 s"
        else:
            self._trusted = offset
        return self.reason

    def distrust(self, why: str) -> None:
        """Hold from the start: the clock is known to be wrong (behind the last history entry)."""
        if self.hold_steps:
            self._since = self.clock.since_boot()
            # There is no better time to return to: only a steady minute ends this.
            self._trusted, self._suspect = None, self.clock.now() - self._since
            self.reason = f"{why}; firing is held until the clock is steady for 60 s"

    def _look_while_held(self, offset: Micros, boot: Micros) -> None:
        if self._trusted is not None and abs(offset - self._trusted) <= STEP_US:
            self._trusted, self.reason = offset, None
        elif abs(offset - self._suspect) > SECOND:
            self._suspect, self._since = offset, boot
        elif boot - self._since >= STEADY_US:
            self._trusted, self.reason = offset, None
