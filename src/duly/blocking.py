"""The Scheduler for programs without an event loop: the same calls, blocking, from any thread."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from duly.channels.handlers import refuse_inside_handler
from duly.engine.threads import FORKED
from duly.errors import WrongState
from duly.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from duly.agenda import PutResult
    from duly.channels.handlers import F, Handlers
    from duly.channels.task_queues import TaskQueue
    from duly.deliveries import Account, Parked, Remade, Wanted
    from duly.engine.recovery import Report
    from duly.engine.status import SchedulerStatus
    from duly.model.delivery import Delivery, Subscriber
    from duly.model.event import Event, Hold, Trigger
    from duly.model.history import Entry, Outage
    from duly.rules.view import EventView

T = TypeVar("T")


class BlockingScheduler:
    """A `Scheduler` with an event loop of its own in a background thread. Takes what `Scheduler` takes.

    ::

        with BlockingScheduler("sqlite:///events.db") as scheduler:
            scheduler.put(Event("w12", dates={...}))
            scheduler.run_forever()
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Set it up; no thread yet."""
        self._scheduler = Scheduler(*args, **kwargs)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        # Under it the loop is made and ended, so that no call can be handed to a loop that will not run it.
        # Re-entrant, as a signal handler may call `stop` in the middle of any call.
        self._guard = threading.RLock()

    def start(self, *, progress: Callable[[int, int], None] | None = None) -> Report:
        """Catch up, then fire in the background. Returns the report. `progress` is called in that thread."""
        try:
            return self._run(self._scheduler.start(progress=progress))
        except WrongState:
            raise  # it runs already, and goes on
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop firing and end the thread. Stopping twice, before starting, or in a forked child does nothing."""
        if os.getpid() != self._pid:
            return
        self._refuse_own_thread()
        refuse_inside_handler("stop()")
        with self._guard:
            loop, thread = self._loop, self._thread
            if loop is None or thread is None:
                return
            try:
                asyncio.run_coroutine_threadsafe(self._end(), loop).result()
            finally:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(loop.stop)
                    thread.join()
                    loop.close()
                self._loop = self._thread = None

    async def _end(self) -> None:
        await self._scheduler.stop()
        # Calls that were made before the guard was taken end by themselves; they may have opened the store again.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)
            await self._scheduler.stop()

    def run_forever(self) -> None:
        """Block until `stop` is called from another thread (or the main thread is interrupted)."""
        self._run(self._scheduler.run_forever())

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def on(self, *topics: str, **how: Any) -> Callable[[F], F]:
        """Return a decorator that makes a function a handler: see `Scheduler.on`.

        An async one runs in this scheduler's background thread, any other in threads of its own.
        """
        return self._scheduler.on(*topics, **how)

    def hand_over(self, subscriber: Subscriber, queue: TaskQueue) -> None:
        """Have deliveries handed to a task queue."""
        self._scheduler.hand_over(subscriber, queue)

    @property
    def handlers(self) -> Handlers:
        """The handlers that have been declared."""
        return self._scheduler.handlers

    def deliveries(self, wanted: Wanted | None = None, *, most: int = 100) -> list[Delivery]:
        """Return deliveries, newest first. Raises UnknownSubscriber, UnknownEvent."""
        return self._run(self._scheduler.deliveries(wanted, most=most))

    def delivery(self, delivery: int | str) -> Account:
        """Return one delivery with its attempts. Raises UnknownDelivery, InvalidInput."""
        return self._run(self._scheduler.delivery(delivery))

    def replay(self, *deliveries: int | str, to: str | None = None) -> Remade:
        """Make closed deliveries again; `to` another subscriber."""
        return self._run(self._scheduler.replay(*deliveries, to=to))

    def release(self, *deliveries: int | str) -> Remade:
        """Make parked deliveries, as new ones."""
        return self._run(self._scheduler.release(*deliveries))

    def park(self, *deliveries: int | str, reason: str) -> Parked:
        """Close pending deliveries as parked."""
        return self._run(self._scheduler.park(*deliveries, reason=reason))

    def put(self, events: Event | Iterable[Event], **how: Any) -> PutResult:
        """Create or edit events; the same again changes nothing."""
        return self._run(self._scheduler.put(events, **how))

    def set_hold(self, event_id: str, hold: Hold, **why: str | None) -> PutResult:
        """Set or lift a hold. Raises UnknownEvent."""
        return self._run(self._scheduler.set_hold(event_id, hold, **why))

    def fire(self, event_id: str, milestone: str, **why: str | None) -> Sequence[Entry]:
        """Fire a manual milestone now. Raises UnknownEvent, InvalidLifecycle, InvalidEvent."""
        return self._run(self._scheduler.fire(event_id, milestone, **why))

    def remove(self, event_id: str, *, actor: str | None = None, reason: str | None = None) -> None:
        """Remove an event; its history stays. Raises UnknownEvent."""
        self._run(self._scheduler.remove(event_id, actor=actor, reason=reason))

    def get(self, event_id: str) -> EventView:
        """Return an event as it is now. Raises UnknownEvent."""
        return self._run(self._scheduler.get(event_id))

    def events(self) -> list[EventView]:
        """Return all events."""
        return self._run(self._scheduler.events())

    def upcoming(self, most: int = 20) -> list[Trigger]:
        """Return the next triggers of all events, soonest first."""
        return self._run(self._scheduler.upcoming(most))

    def history(self, event_id: str | None = None, *, most: int = 100) -> list[Entry]:
        """Return an event's history, or the latest entries of all. Raises UnknownEvent."""
        return self._run(self._scheduler.history(event_id, most=most))

    def outages(self, *, most: int = 20) -> list[Outage]:
        """Return the outages, newest first."""
        return self._run(self._scheduler.outages(most=most))

    def status(self) -> SchedulerStatus:
        """Return how the scheduler is."""
        return self._run(self._scheduler.status())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            if os.getpid() != self._pid:
                raise WrongState(FORKED)
            self._refuse_own_thread()
        except WrongState:
            work.close()
            raise
        with self._guard:
            running = asyncio.run_coroutine_threadsafe(work, self._live_loop())
        return running.result()

    def _refuse_own_thread(self) -> None:
        if threading.current_thread() is self._thread:
            msg = "a BlockingScheduler cannot be called from its own thread; use Scheduler in asynchronous code"
            raise WrongState(msg)

    def _live_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="duly", daemon=True)
            self._thread.start()
        return self._loop
