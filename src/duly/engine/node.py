"""A node at work: the background loops of one started scheduler, in the engine's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from duly.clock import SECOND, Micros
from duly.engine.loop import Loop, Step
from duly.engine.upkeep import HEARTBEAT_US, UpkeepStep
from duly.errors import WrongState

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from duly.engine.engine_thread import EngineThread
    from duly.engine.turn import Turn

# How long the firing loop sleeps at most: the bound on noticing what another process wrote (DESIGN.md §5).
NAP_SHARED_US: Final[Micros] = SECOND // 5
NAP_ALONE_US: Final[Micros] = 3 * SECOND // 4
STOP_WITHIN: Final = 20.0
# Steps, each with how long its loop naps at most.
Steps = Sequence[tuple[Step, Micros]]


class Node:
    """The loops of a node: firing, upkeep, and those of the `steps` given besides, each under a name of its own.

    They run in the engine's thread; its calls are made from other threads, and awaited in whatever event loop.
    """

    def __init__(self, turn: Turn, engine: EngineThread, steps: Steps = ()) -> None:
        """Set it up; `start` starts it."""
        self.turn = turn
        self._engine = engine
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
        every: Steps = ((turn, nap), (upkeep, HEARTBEAT_US), *steps)
        self._loops = {step.name: Loop(step, firing.clock, nap_us_most=nap) for step, nap in every}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the loops."""
        self._engine.call_soon(self._start)

    def _start(self) -> None:
        self._tasks = [asyncio.create_task(loop.run(), name=f"duly-{name}") for name, loop in self._loops.items()]

    @property
    def troubles(self) -> list[str]:
        """What is wrong with the loops, one sentence each."""
        found = [trouble for loop in self._loops.values() if (trouble := loop.trouble) is not None]
        found += [f"{task.get_name()}: has died" for task in self._tasks if task.done()]
        return found

    def nudge(self, name: str = "firing") -> None:
        """Have a loop look now. From any thread and any event loop."""
        self._engine.call_soon(self._loops[name].nudge)

    async def settled(self, name: str = "firing") -> None:
        """Wait until everything that is due now has been fired (or what else the step of that name does is done)."""
        await self._engine.run(self._loops[name].came_round())

    async def finished(self) -> None:
        """Wait for the loops to end. Raises StoreStopped if that is why they did."""
        await self._while_it_lives(self._finished())
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def _finished(self) -> None:
        # Waited for, not gathered: whoever gives up waiting must not take the loops along.
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)

    async def stop(self) -> None:
        """End the loops; what they are doing gets twenty seconds to finish. May be repeated."""
        await self._while_it_lives(self._stop())
        for task in self._tasks:
            if task.done() and not task.cancelled():
                # Looked at, so that asyncio does not complain of an error that the loop has told already.
                task.exception()

    async def _stop(self) -> None:
        for loop in self._loops.values():
            loop.stop()
        left = [task for task in self._tasks if not task.done()]
        if left:
            _, late = await asyncio.wait(left, timeout=STOP_WITHIN)
            for task in late:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _while_it_lives(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the engine, unless it has ended, or ends meanwhile: its loops have ended with it."""
        try:
            await self._engine.run(work)
        except WrongState:
            if self._engine.is_alive:
                raise  # in a forked child
