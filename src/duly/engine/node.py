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
        self._event_loop = asyncio.get_running_loop()
        firing = turn.firing
        upkeep = UpkeepStep(
            store=firing.store,
            clock=firing.clock,
            node=firing.node,
            threads=firing.threads,
            watch=firing.watch,
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
        """Have the firing loop look now. From any thread and any event loop."""
        if not self._event_loop.is_closed():
            self._event_loop.call_soon_threadsafe(self._firing.nudge)

    async def settled(self) -> None:
        """Wait until everything that is due now has been fired."""
        await self._firing.came_round()

    async def finished(self) -> None:
        """Wait for the loops to end. Raises StoreStopped if that is why they did."""
        # Waited for, not gathered: whoever gives up waiting must not take the loops along.
        ended, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in ended:
            if not task.cancelled():
                task.result()

    async def stop(self) -> None:
        """End the loops; what they are doing gets twenty seconds to finish."""
        for loop in self._loops:
            loop.stop()
        # Those that are done already may belong to an event loop that is closed by now: not to be waited for.
        left = [task for task in self._tasks if not task.done()]
        if left:
            _, late = await asyncio.wait(left, timeout=STOP_WITHIN)
            for task in late:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        for task in self._tasks:
            if task.done() and not task.cancelled():
                # Looked at, so that asyncio does not complain of an error that the loop has told already.
                task.exception()
