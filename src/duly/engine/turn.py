"""The firing loop's step: stand by until the store is ours; recover whenever nobody was there; fire."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duly.clock import SECOND
from duly.engine.recovery import SILENCE_US, Recovery, Report
from duly.engine.upkeep import beat
from duly.errors import StoreStopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from duly.clock import Micros
    from duly.engine.firing import FiringStep

logger = logging.getLogger("duly.engine")


@dataclass(slots=True, kw_only=True)
class Turn:
    """One node's part in a store that several may share. Only the owner fires; the others stand by.

    `prepare` is called in the store's thread when the node becomes the owner, before anything fires.
    """

    name: str = "firing"
    firing: FiringStep
    recovery: Recovery
    prepare: Callable[[], object]
    is_owner: bool = False
    report: Report | None = None
    _alive_us: Micros | None = None
    _lived_us: Micros = 0
    _caught_up: bool = False
    _starting: bool = False
    _held: str | None = None

    async def begin(self) -> Report:
        """Take the ownership if it is free, and recover; else stand by, with an empty report."""
        firing = self.firing
        if not await self._take_over():
            logger.info("another process fires on %s; standing by", firing.store.url)
            self.report = Report()
            return self.report
        self._starting = True
        return await self._recover()

    async def run_once(self) -> Micros | None:
        """Fire what is due; first recover, if nobody was there to do it in time."""
        firing = self.firing
        if not self.is_owner and not await self._take_over():
            return None
        if not await firing.threads.fire(firing.store.own):
            # The lock, or the file, is not what it was: another process may be firing.
            msg = f"{firing.store.url}: nothing is fired since {firing.store.stopped}"
            raise StoreStopped(msg)
        self._say(firing.watch.look())
        alive = self._alive_us
        silent = alive is not None and firing.clock.now() - max(alive, self._lived_us) > SILENCE_US
        if self._held is None and (silent or not self._caught_up):
            await self._recover()
        wanted = await firing.run_once()
        if self._caught_up:
            self._alive_us = firing.clock.now()
        return wanted

    def live_until(self, until_us: Micros) -> None:
        """Take a leap of a manual clock up to an instant for time that was lived through, and for no outage."""
        self._lived_us = until_us

    async def _take_over(self) -> bool:
        """Become the owner, if the store is free; then see to what must be right before anything fires."""
        threads, store = self.firing.threads, self.firing.store
        if await threads.fire(store.own):
            await self._distrust_clock()
            # Asked before the first heartbeat of our own, which may go by the same name.
            self._alive_us = await threads.fire(store.last_alive_us)
            await threads.fire(self.prepare)
            # Only now: where the preparation fails, the next turn begins it anew.
            self.is_owner = True
        return self.is_owner

    def _say(self, held: str | None) -> None:
        """Tell once that firing is held, and once that it goes on."""
        if held is not None and held != self._held:
            logger.warning("%s", held)
        if held is None and self._held is not None:
            logger.info("the clock is believed again; firing goes on")
        self._held = held

    async def _distrust_clock(self) -> None:
        end = await self.firing.threads.fire(self.firing.store.history_end)
        behind = 0 if end is None else end[1] - self.firing.clock.now()
        if behind > SECOND:
            seconds = behind // SECOND
            self.firing.watch.distrust(f"the clock is {seconds} s behind the last entry of the history")

    async def _recover(self) -> Report:
        report = self.report = await self.recovery.run(self._alive_us, starting=self._starting)
        self.recovery.progress = None
        self._caught_up = report.held is None and not self.firing.stopping
        if self._caught_up:
            # Only now: a recovery that was held back or cut off is still that of the start.
            self._starting, self._alive_us = False, self.firing.clock.now()
            # From here the next outage is counted. Being a write, it also makes durable whatever a killed process
            # had committed but not flushed, before anybody is told of it.
            await self.firing.threads.fire(beat, self.firing.store, self.firing.node, self._alive_us, owner=True)
        self._say(report.held)
        return report
