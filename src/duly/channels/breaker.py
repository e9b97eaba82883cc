"""Spares an endpoint that keeps failing: growing pauses, and one probe after each before anything else is sent."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

FAILURES: Final = 5
PAUSE_FIRST: Final = timedelta(seconds=10)
PAUSE_MOST: Final = timedelta(minutes=5)


class Breaker:
    """The memory of one endpoint. Knows no clock: it says how long to pause, and whoever starts attempts keeps to it.

    Closed at first. After five failures in a row it opens: whatever begins from then on waits for the one that
    began first, the probe. If that succeeds, all go ahead; if not, none of them is sent, and the next pause is twice
    as long. Attempts that were under way when it opened change nothing any more: they failed of the same thing.
    """

    def __init__(self) -> None:
        self._failures = 0
        # The latest pause; zero while closed.
        self._pause = timedelta(0)
        # Which stretch of open or closed this is: the result of an attempt counts only for the one it began in.
        self._stretch = 0
        self._probe: asyncio.Event | None = None

    async def admit(self) -> int | None:
        """Return a pass for one attempt, to be given back; None: a probe has just failed, do not send."""
        while self._pause and self._probe is not None:
            stretch = self._stretch
            await self._probe.wait()
            if self._pause and self._stretch != stretch:
                return None
        if self._pause:
            self._probe = asyncio.Event()
        return self._stretch

    def succeeded(self, stretch: int) -> None:
        """Take note that an attempt was answered well."""
        if stretch == self._stretch:
            self._failures = 0
            if self._pause:
                self._pause = timedelta(0)
                self._turn()

    def failed(self, stretch: int) -> timedelta | None:
        """Take note that an attempt failed; return for how long to leave the endpoint alone."""
        if stretch != self._stretch:
            return None
        self._failures += 1
        if self._failures < FAILURES:
            return None
        pause = self._pause = min(PAUSE_MOST, self._pause * 2 or PAUSE_FIRST)
        self._turn()
        return pause

    def abandoned(self, stretch: int) -> None:
        """Take note that an attempt was called off: nothing is known, and another may be the probe."""
        if stretch == self._stretch and self._pause:
            self._wake()

    def _turn(self) -> None:
        self._stretch += 1
        self._wake()

    def _wake(self) -> None:
        if self._probe is not None:
            self._probe.set()
            self._probe = None
