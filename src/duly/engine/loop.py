"""One loop shape for all background work: a step does what there is, and says when it wants to be called again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from duly.clock import SECOND
from duly.errors import StoreStopped, WrongState

if TYPE_CHECKING:
    from duly.clock import Clock, Micros

logger = logging.getLogger("duly.engine")

BACKOFF_FIRST_US: Final[Micros] = SECOND // 4
BACKOFF_MOST_US: Final[Micros] = 30 * SECOND
# A loop that has not come round for this long is stuck (P17).
STUCK_US: Final[Micros] = 5 * SECOND


class Step(Protocol):
    """All the work there is, done once. Tests call steps; only loops wait."""

    name: str

    async def run_once(self) -> Micros | None:
        """Do it, and return the instant at which to be called again (None: no wish)."""


class Loop:
    """Runs a step, naps until it wants to be called again, can be nudged awake, and outlives its errors but one.

    It naps `nap_us_most` at most, so that another process's write, a stepped clock or a suspended host is noticed.
    An error is logged and shown in the health report; the step is tried again after a growing pause.
    """

    def __init__(self, step: Step, clock: Clock, *, nap_us_most: Micros) -> None:
        """Wrap a step; `run` starts it."""
        self.step = step
        self.error: str | None = None
        self._clock = clock
        self._nap_us_most = nap_us_most
        self._nudge = asyncio.Event()
        self._stopping = False
        self._failures = 0
        self._round_us: Micros | None = None
        self._awaited: list[asyncio.Future[None]] = []
        self._ended = ""

    async def came_round(self) -> None:
        """Nudge the loop, and wait until it has been once through a step that began after this call.

        Raises WrongState if the loop has ended, or ends before that.
        """
        if self._ended:
            raise WrongState(self._ended)
        done = asyncio.get_running_loop().create_future()
        self._awaited.append(done)
        self.nudge()
        await done

    def nudge(self) -> None:
        """Wake it now. In the event loop's own thread: from others through `call_soon_threadsafe`."""
        self._nudge.set()

    def stop(self) -> None:
        """Let the step that is running finish, and end."""
        self._stopping = True
        self._nudge.set()

    @property
    def trouble(self) -> str | None:
        """Why the loop is not healthy, None if it is."""
        if self.error is not None:
            return f"{self.step.name}: {self.error}"
        began_us = self._round_us  # read once: whoever asks may be in another thread
        if began_us is not None and self._clock.since_boot() - began_us > STUCK_US + self._nap_us_most:
            return f"{self.step.name}: has not come round for {STUCK_US // SECOND} s"
        return None

    async def run(self) -> None:
        """Run until stopped. Raises StoreStopped, as nothing can be done any more; no other error gets out."""
        try:
            while not self._stopping:
                await self._round()
            self._round_us = None
        finally:
            self._end()

    async def _round(self) -> None:
        self._round_us = self._clock.since_boot()
        # Cleared before the step looks: a nudge that arrives while it works makes it look once more.
        self._nudge.clear()
        awaited = len(self._awaited)
        try:
            wanted = await self.step.run_once()
        except StoreStopped as error:
            # The one error that is not outlived: the store can no longer be trusted (P15).
            self.error = str(error)
            logger.critical("%s ends: %s", self.step.name, error)
            raise
        except Exception as error:  # noqa: BLE001 - a loop that dies would miss triggers in silence (P17)
            await self._rest_after(error)
            return
        self.error, self._failures = None, 0
        answered, self._awaited = self._awaited[:awaited], self._awaited[awaited:]
        for done in answered:
            if not done.done():
                done.set_result(None)
        if not self._stopping:
            # Read before the pause is worked out: what passes in between shortens the nap, and never prolongs it.
            since = self._clock.since_boot()
            await self._clock.nap(self._pause(wanted), self._nudge, since_us=since)

    def _end(self) -> None:
        """Leave nobody waiting for a round that will not come."""
        self._ended = f"{self.step.name} has ended" + ("" if self.error is None else f": {self.error}")
        for done in self._awaited:
            if not done.done():
                done.set_exception(WrongState(self._ended))

    def _pause(self, wanted: Micros | None) -> Micros:
        if wanted is None:
            return self._nap_us_most
        return max(0, min(wanted - self._clock.now(), self._nap_us_most))

    async def _rest_after(self, error: Exception) -> None:
        since = self._clock.since_boot()
        self._failures += 1
        said = f"{type(error).__name__}: {error}"
        if said != self.error:
            logger.error("%s failed and will be tried again: %s", self.step.name, error, exc_info=error)
        self.error = said
        pause = min(BACKOFF_MOST_US, BACKOFF_FIRST_US * 2 ** min(self._failures - 1, 10))
        if not self._stopping:
            await self._clock.nap(pause, self._nudge, since_us=since)
