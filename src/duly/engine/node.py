"""A node at work: the background tasks of one started scheduler."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from duly.clock import SECOND
from duly.engine.loop import Loop
from duly.engine.upkeep import HEARTBEAT_US, UpkeepStep

if TYPE_CHECKING:
    from duly.clock import Micros
    from duly.engine.turn import Turn

# How long the firing loop sleeps at most: the bound on noticing what another process wrote (DESIGN.md §5).
NAP_SHARED_US: Final[Micros] = SECOND // 5
NAP_ALONE_US: Final[Micros] = 3 * SECOND // 4
STOP_WITHIN: Final = 20.0


class Node:
    """The loops of a node, started when it is made. Needs a running event loop."""

    def __init__(self, turn: Turn) -> None:
        """Start firing, and upkeep."""
        self.turn = turn
        firing = turn.firing
        upkeep = UpkeepStep(
            store=firing.store,
            clock=firing.clock,
            node=firing.node,
            threads=firing.threads,
            audits=lambda: turn.is_owner,
        )
        nap = NAP_SHARED_US if firing.store.shared else NAP_ALONE_US
        self._firing = Loop(turn, firing.clock, nap_us_most=nap)
        self._loops = (self._firing, Loop(upkeep, firing.clock, nap_us_most=HEARTBEAT_US))
        self._tasks = [asyncio.create_task(loop.run(), name=f"duly-{loop.step.name}") for loop in self._loops]

    @property
    def troubles(self) -> list[str]:
        """What is wrong with the loops, one sentence each."""
        found = [loop.trouble for loop in self._loops if loop.trouble is not None]
        found += [f"{task.get_name()}: has died" for task in self._tasks if task.done()]
        return found

    def nudge(self) -> None:
        """Have the firing loop look now."""
        self._firing.nudge()

    async def settled(self) -> None:
        """Wait until everything that is due now has been fired."""
        await self._firing.came_round()

    async def finished(self) -> None:
        """Wait for the loops to end. Raises StoreStopped if that is why they did."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """End the loops; what they are doing gets twenty seconds to finish."""
        for loop in self._loops:
            loop.stop()
        _, late = await asyncio.wait(self._tasks, timeout=STOP_WITHIN)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
