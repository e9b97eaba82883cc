"""The only time in the house: a clock is an argument, so that the same code runs on a simulated one.

`Clock` is the socket; `SystemClock` the host's; `ManualClock` stands still until it is told to move, and lets
whoever naps on it wake in order. Instants are microseconds UTC.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import threading
import time
from dataclasses import dataclass, field
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

    async def nap(self, micros: Micros, nudge: asyncio.Event, *, since_us: Micros | None = None) -> None:
        """Wait for that long, or until `nudge` is set, whichever comes first.

        `since_us`: the reading of `since_boot` from which it is counted (None: now), so that what passed between
        that reading and this call is not slept through once more.
        """


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

    async def nap(self, micros: Micros, nudge: asyncio.Event, *, since_us: Micros | None = None) -> None:
        """Wait on the event loop's timer."""
        if since_us is not None:
            micros -= self.since_boot() - since_us
        if micros <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(micros / SECOND, nudge.set)
        try:
            await nudge.wait()
        finally:
            timer.cancel()


@dataclass(slots=True, order=True)
class _Nap:
    """Somebody who naps on a manual clock, in whatever event loop. Compared by when it ends, then by its number."""

    ends_us: Micros
    number: int
    nudge: asyncio.Event = field(compare=False)
    loop: asyncio.AbstractEventLoop = field(compare=False)
    is_over: bool = field(default=False, compare=False)

    def end(self) -> None:
        """Wake it, from any thread."""
        # A loop that has been closed meanwhile has nobody left to wake.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        # One that was nudged awake before its time must not nudge again when that time comes.
        if not self.is_over:
            self.nudge.set()


class ManualClock:
    """A clock that stands still until `advance` or `set` moves it. For tests, previews and simulations.

    Naps end when the clock has moved past them; nothing ever sleeps. It may be read, moved and napped on from
    different threads.
    """

    def __init__(self, now_us: Micros) -> None:
        """Begin at an instant."""
        # The wall clock and the time since boot, replaced as one: nobody ever sees only one of them moved.
        self._at = (now_us, 0)
        # Under it the clock is moved, and naps begin: none can begin unseen by the move that ends it.
        self._guard = threading.Lock()
        self._naps: list[_Nap] = []
        self._count = itertools.count()

    def now(self) -> Micros:
        """Return the instant that it was set to."""
        return self._at[0]

    def since_boot(self) -> Micros:
        """Return how far it has been advanced; steps made by `set` do not count."""
        return self._at[1]

    def advance(self, micros: Micros) -> None:
        """Let time pass; naps that end meanwhile end."""
        over = []
        with self._guard:
            now, boot = self._at
            self._at = (now + micros, boot + micros)
            while self._naps and self._naps[0].ends_us <= boot + micros:
                over.append(heapq.heappop(self._naps))
        for nap in over:
            nap.end()

    def set(self, now_us: Micros) -> None:
        """Step the wall clock, as an administrator or NTP would; no time passes."""
        with self._guard:
            self._at = (now_us, self._at[1])

    async def nap(self, micros: Micros, nudge: asyncio.Event, *, since_us: Micros | None = None) -> None:
        """Wait until the clock has been advanced that far."""
        with self._guard:
            boot = self._at[1]
            ends = (boot if since_us is None else since_us) + micros
            nap = _Nap(ends, next(self._count), nudge, asyncio.get_running_loop())
            if ends > boot:
                heapq.heappush(self._naps, nap)
        if ends <= boot:
            await asyncio.sleep(0)
            return
        try:
            await nudge.wait()
        finally:
            nap.is_over = True
            with self._guard:
                if nap in self._naps:
                    self._naps.remove(nap)
                    heapq.heapify(self._naps)


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
        offset, boot = self._read()
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
            # There is no better time to return to: only a steady minute ends this.
            self._trusted = None
            self._suspect, self._since = self._read()
            self.reason = f"{why}; firing is held until the clock is steady for 60 s"

    def _read(self) -> tuple[Micros, Micros]:
        """Return the wall clock against the boot-time clock, and the latter."""
        while True:
            boot = self.clock.since_boot()
            now = self.clock.now()
            # Suspended (or a manual clock moved) between the two readings, it would look like a step: read again.
            if self.clock.since_boot() - boot < SECOND:
                return now - boot, boot

    def _look_while_held(self, offset: Micros, boot: Micros) -> None:
        if self._trusted is not None and abs(offset - self._trusted) <= STEP_US:
            self._trusted, self.reason = offset, None
        elif abs(offset - self._suspect) > SECOND:
            self._suspect, self._since = offset, boot
        elif boot - self._since >= STEADY_US:
            self._trusted, self.reason = offset, None
