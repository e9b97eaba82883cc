"""One life of the engine as an application has it: a Scheduler, and the loop that tells of what it does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from duly.clock import SECOND
from duly.dynamic_event_scheduler.telling import Announcing, Tell
from duly.engine.loop import Loop
from duly.model.dates import Micros
from duly.model.history import Entry
from duly.scheduler import Scheduler

# How soon at the latest the application is told of what another process has brought about by an edit.
NAP_US: Final[Micros] = SECOND
STOP_WITHIN: Final = 20.0
SaveStatus = Callable[[str, str, str, Entry], Awaitable[None] | None]


class Life:
    """A scheduler from its opening to its stop, and what it tells `save_status`, `delay` seconds apart.

    `window`: how old a missed trigger may be to be told; asked each time. It is opened, catches up, goes on, stops.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        save_status: SaveStatus | None,
        *,
        delay: float,
        window: Callable[[], timedelta | None],
    ) -> None:
        """Set it up; nothing is opened yet."""
        self.scheduler = scheduler
        self.tells = save_status is not None
        tell = None if save_status is None else telling(save_status)
        self.announcing = Announcing(scheduler, tell, delay_us=round(delay * SECOND), window=window)
        self._loop = Loop(self.announcing, scheduler.clock, nap_us_most=NAP_US)
        self._task: asyncio.Task[None] | None = None
        self.is_owner = False
        scheduler.on_commit(lambda _: self._loop.nudge())

    async def open(self) -> None:
        """Open the store, and try to be the one process that fires and tells."""
        try:
            await self.scheduler.open()
            await self.announcing.prepare()
            self.is_owner = await asyncio.to_thread(self.scheduler.store.own)
        except BaseException:
            await self.scheduler.stop()
            raise

    async def catch_up(self) -> None:
        """Start the engine, whose first turn is the recovery; done already, it does nothing."""
        if not self.scheduler.is_running:
            await self.scheduler.start()
            await self.announcing.begin()

    def go_on(self) -> None:
        """Tell, from here on, in the background."""
        self._task = asyncio.create_task(self._loop.run(), name="duly-announcing")

    def nudge(self) -> None:
        """Look at once whether there is something to tell."""
        self._loop.nudge()

    async def settled(self) -> None:
        """Wait until everything that is due now has been fired, and told as far as it can be."""
        await self.scheduler.settled()
        if self._task is not None:
            await self._loop.came_round()

    async def stop(self) -> None:
        """Stop telling, then firing; what is being told may finish."""
        self._loop.stop()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=STOP_WITHIN)
            for task in late:
                task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.scheduler.stop()


def telling(save_status: SaveStatus) -> Tell:
    """Return how a transition is told: an async function is awaited, any other runs in a thread."""
    is_async = inspect.iscoroutinefunction(save_status) or inspect.iscoroutinefunction(
        getattr(save_status, "__call__", None)  # noqa: B004 - an object whose call is async
    )

    async def tell(entry: Entry) -> None:
        said = (entry.event_id, entry.status.main, entry.status.sub_status, entry)
        result = save_status(*said) if is_async else await asyncio.to_thread(save_status, *said)
        if inspect.isawaitable(result):
            await result

    return tell
