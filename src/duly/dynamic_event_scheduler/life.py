"""One life of the engine as an application has it: a Scheduler whose subscriber is `save_status`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from duly.channels.channel import Context
from duly.clock import SECOND
from duly.dynamic_event_scheduler.recoveries import Recoveries, has_untried, log_executing
from duly.dynamic_event_scheduler.standing import NAME, SUBSCRIBER, subscribe, take_over
from duly.engine.loop import Loop
from duly.model.delivery import State
from duly.model.history import Entry
from duly.rules.catch_up import effective
from duly.scheduler import Scheduler

if TYPE_CHECKING:
    from duly.clock import Micros
    from duly.engine.telling import Telling
    from duly.model.lifecycle import CatchUp

logger = logging.getLogger("duly.dynamic_event_scheduler")

NAP_US: Final[Micros] = SECOND
SaveStatus = Callable[[str, str, str, Entry], Awaitable[None] | None]


class AppScheduler(Scheduler):
    """A Scheduler that takes up, before it fires, what an earlier version of the drop-in had left to be told."""

    tells = False

    @override
    def _prepare(self) -> None:
        take_over(self.store, self.catch_up, self.clock.now(), tells=self.tells)
        super()._prepare()

    def tell(self, handler: Callable[[Context], Any]) -> None:
        """Tell, from here on, the subscriber. What is for a handler that is not declared here waits in the store."""
        self.handlers.add(handler, SUBSCRIBER)
        self._life.nudge()

    def change_catch_up(self, catch_up: CatchUp) -> None:
        """Say anew what is said of misfires; at once, whoever fires. Waits for one small transaction."""
        self.catch_up = catch_up
        if self._life.turn is not None:
            self._life.turn.recovery.window = effective([catch_up]).window
        if self.is_running:
            self.store.outbox.put_policy(catch_up, self._firing.grace)


class Life:
    """A scheduler from its opening to its stop: it is opened, catches up, goes on, stops.

    `save_status` is told of nothing before it goes on, or drains.
    """

    def __init__(self, scheduler: AppScheduler, save_status: SaveStatus | None, *, delay: float) -> None:
        """Set it up; nothing is opened yet. `delay`: seconds between two calls for missed triggers."""
        self.scheduler = scheduler
        self.tells = scheduler.tells = save_status is not None
        self.is_owner = False
        self._save_status = save_status
        self._delay_us = round(delay * SECOND)
        self._recoveries = Recoveries(scheduler, NAME if self.tells else None)
        self._loop = Loop(self._recoveries, scheduler.clock, nap_us_most=NAP_US)
        self._task: asyncio.Task[None] | None = None
        scheduler.on_commit(self._recoveries.fired)
        scheduler.on_settled(self._settled)

    async def open(self) -> None:
        """Open the store, and try to be the one process that fires and tells."""
        store = self.scheduler.store
        try:
            await self.scheduler.open()
            if self.tells:
                await asyncio.to_thread(subscribe, store, self.scheduler.clock.now())
            self.is_owner = await asyncio.to_thread(store.own)
        except BaseException:
            await self.scheduler.stop()
            raise

    async def catch_up(self) -> None:
        """Start the engine, whose first turn is the recovery; done already, it does nothing."""
        if not self.scheduler.is_running:
            await self.scheduler.start()
            await self._recoveries.begin()

    def go_on(self) -> None:
        """Tell, from here on, in the background."""
        self._release()
        self._task = asyncio.create_task(self._loop.run(), name="duly-recoveries")

    async def drain(self) -> None:
        """Tell all there is now, at the pace that is set. What the application does not take stays owed."""
        self._release()
        scheduler = self.scheduler
        while self.tells and scheduler.is_owner:
            await scheduler.settled()
            if not await asyncio.to_thread(lambda: scheduler.store.read(has_untried(NAME))):
                break
            await scheduler.clock.nap(max(self._delay_us, SECOND // 10), asyncio.Event())
        await self._recoveries.run_once()

    def _release(self) -> None:
        # Only now: the engine is to have caught up, and to have said so, before the application is told of anything.
        if self._save_status is not None:
            self.scheduler.tell(telling(self._save_status, asyncio.get_running_loop()))
        elif self.scheduler.report is not None:
            self._recoveries.execute(self.scheduler.report.transitions)

    def _settled(self, told: Sequence[Telling]) -> None:
        for each in told:
            if each.subscriber == NAME and each.attempt:
                _log(each)
        if not self._recoveries.is_told:
            self._loop.nudge()

    async def settled(self) -> None:
        """Wait until everything that is due now has been fired, and told as far as it can be."""
        await self.scheduler.settled()
        if self._task is not None:
            await self._loop.came_round()

    async def stop(self) -> None:
        """Stop firing and telling; what is being told may finish."""
        self._loop.stop()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self.scheduler.stop()


def _log(told: Telling) -> None:
    if told.state is State.PENDING:
        pause = (SUBSCRIBER.retry.delay_us(told.attempt, 0) or 0) // SECOND
        logger.error(
            "save_status failed for %s of %s (%s); it is tried again in %d s",
            told.topic, told.event_id, told.said, pause,
        )  # fmt: skip
    elif told.state is State.DELIVERED and told.attempt > 1:
        logger.info("save_status took %s of %s at last", told.topic, told.event_id)


def telling(save_status: SaveStatus, loop: asyncio.AbstractEventLoop) -> Callable[[Context], Any]:
    """Return the handler: an async function is awaited in the application's loop, any other runs in a thread.

    What that one returns to be awaited is awaited in `loop`.
    """

    def call(context: Context) -> Awaitable[None] | None:
        entry = context.transition
        assert entry is not None  # noqa: S101 - only transitions are subscribed to
        if entry.outage is not None and context.attempt == 1:
            log_executing(entry)
        return save_status(entry.event_id, entry.status.main, entry.status.sub_status, entry)

    async def tell(context: Context) -> None:
        await _awaited(call(context))

    def tell_in_thread(context: Context) -> None:
        result = call(context)
        if result is not None:
            asyncio.run_coroutine_threadsafe(_awaited(result), loop).result(SUBSCRIBER.timeout.total_seconds())

    # An object may be called asynchronously, too.
    is_async = any(map(inspect.iscoroutinefunction, (save_status, getattr(save_status, "__call__", None))))  # noqa: B004
    return tell if is_async else tell_in_thread


async def _awaited(result: object) -> None:
    if inspect.isawaitable(result):
        await result
