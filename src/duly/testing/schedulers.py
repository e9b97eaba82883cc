"""Schedulers for tests: on a store in memory and a clock that is moved by hand, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from duly.blocking import BlockingScheduler
from duly.errors import WrongState
from duly.scheduler import Scheduler
from duly.testing.memory import MemoryStore
from duly.testing.recorder import Recorder
from duly.testing.walking import WalkingClock, micros_of, soonest
from duly.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from duly.channels.handlers import Handlers
    from duly.clock import Micros
    from duly.engine.life import Life
    from duly.engine.recovery import Report
    from duly.stores.store import Store
    from duly.testing.receiver import Receiver
    from duly.testing.walking import Instant, Span
    from duly.webhooks import Given

PATIENCE: Final = 5.0


class ManualScheduler(BlockingScheduler):
    """A `BlockingScheduler` for tests: on a store in memory and a `WalkingClock`, unless others are given.

    ::

        scheduler = ManualScheduler()
        told = scheduler.record("registration_*")
        scheduler.put(Event("w1", dates={...}))
        scheduler.advance("2 days")
        assert told.told == [("w1", "registration_open")]
        scheduler.close()

    Declare handlers first; the first `advance`, `settle` or `down` starts it. Takes what `Scheduler` takes.
    `patience`: for how many seconds of real time a handler may be busy before time goes on without it, up to its
    timeout.
    """

    def __init__(
        self,
        clock: WalkingClock | None = None,
        *,
        store: str | Store | None = None,
        patience: float = PATIENCE,
        **how: Any,
    ) -> None:
        """Set it up; nothing is started yet."""
        self.clock = clock or WalkingClock()
        self._memory = MemoryStore() if store is None else None
        super().__init__(self._memory or store or "", clock=self.clock, **how)
        self.store = self._scheduler.store
        self._patience = self._life.courier.stop_within = patience
        self._was_started = False
        self._recorders = 0
        self.clock.take_along(self)

    @property
    def _life(self) -> Life:
        return self._scheduler._life  # noqa: SLF001 - its engine, which is driven by hand here

    @property
    def report(self) -> Report | None:
        """The report of the latest start, None before any."""
        return self._scheduler.report

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._scheduler.is_running

    @override
    def start(self, *, progress: Callable[[int, int], None] | None = None) -> Report:
        """Catch up, then fire in the background. Returns the report."""
        self._was_started = True
        return super().start(progress=progress)

    def close(self) -> None:
        """Stop it for good; a store in memory that is its own is forgotten."""
        self.stop()
        self.clock.leave(self)
        if self._memory is not None:
            self._memory.discard()

    # -- time -------------------------------------------------------------------------------------------

    def advance(self, span: Span) -> None:
        """Let time pass, doing whatever falls due on the way: see `WalkingClock.advance`."""
        self.clock.advance(span)

    def advance_to(self, instant: Instant) -> None:
        """The same, until an instant."""
        self.clock.advance_to(instant)

    def down(self, span: Span) -> Report:
        """Stop it, let time pass, and start it again on the same store. Returns the report of what was missed."""
        self.begin()
        self.stop()
        self.clock.advance(span)
        return self.start()

    def begin(self) -> None:
        """Start it, if it was never started."""
        if not self._was_started:
            self.start()

    def settle(self) -> None:
        """Do all that can be done now: fire, tell, tell what a handler brought about. Nothing if it is stopped.

        Raises TimeoutError where it does not come to rest, naming its troubles.
        """
        self.begin()
        if self.is_running:
            self._run(_settled(self._scheduler, self._patience))

    def next_instant(self) -> Micros | None:
        """Return when time next brings something to do, None if nothing, or if it is stopped."""
        return self._run(self._life.next_instant()) if self.is_running else None

    def live_until(self, until_us: Micros) -> None:
        """Take the clock's leap up to there for time that was lived through."""
        self._life.live_until(until_us)

    # -- who is told ------------------------------------------------------------------------------------

    def record(self, *topics: str, name: str | None = None, **how: Any) -> Recorder:
        """Declare a recorder for these topics (none: every milestone), and return it. Takes what `on` takes."""
        self._recorders += 1
        return _record(self._scheduler, topics, name or _recorder_name(self._recorders), how)

    def take_handlers(self, of: Scheduler | BlockingScheduler | Handlers) -> None:
        """Declare the handlers of an application's own scheduler here, too, under their names."""
        _take_handlers(self._scheduler, of)

    def add_webhook(self, receiver: Receiver, *topics: str, name: str = "receiver", **policy: Any) -> Given:
        """Add an endpoint at a receiver for these topics (none: every milestone). Takes what `Webhooks.add` takes."""
        self._run(self._scheduler.open())
        return Webhooks(self._scheduler.agenda).add(
            name, receiver.url, topics or ("*",), allow=[receiver.network], **policy
        )


class AsyncManualScheduler(Scheduler):
    """A `Scheduler` for asynchronous tests: what `ManualScheduler` is, with `await`. One of them per clock.

    ::

        async with AsyncManualScheduler() as scheduler:
            await scheduler.put(Event("w1", dates={...}))
            await scheduler.advance("2 days")

    `async with` stops it at the end; its store stays until `close`.
    """

    def __init__(
        self,
        clock: WalkingClock | None = None,
        *,
        store: str | Store | None = None,
        patience: float = PATIENCE,
        **how: Any,
    ) -> None:
        """Set it up; nothing is started yet."""
        self._walking = clock or WalkingClock()
        self._memory = MemoryStore() if store is None else None
        super().__init__(self._memory or store or "", clock=self._walking, **how)
        self._patience = self._life.courier.stop_within = patience
        self._was_started = False
        self._recorders = 0
        self._companion = _Asynchronous(self)
        self._walking.take_along(self._companion)

    @override
    async def start(self, *, progress: Callable[[int, int], None] | None = None) -> Report:
        """Catch up, then fire in the background. Returns the report."""
        self._was_started = True
        return await super().start(progress=progress)

    def close(self) -> None:
        """Stop it for good; a store in memory that is its own is forgotten. Outside of any event loop.

        Raises WrongState if it still runs, in an event loop that has not ended.
        """
        asyncio.run(self.stop())
        self._walking.leave(self._companion)
        if self._memory is not None:
            self._memory.discard()

    async def advance(self, span: Span) -> None:
        """Let time pass, doing whatever falls due on the way, at its very instant and in its order.

        Started, first, if it never was. Raises InvalidInput; TimeoutError where it does not come to rest.
        """
        clock = self._walking
        until = clock.now() + micros_of(span)
        await self.settle()
        while (instant := soonest([await self._next_instant()], until)) > clock.now():
            self._life.live_until(instant)
            clock.leap(instant - clock.now())
            await self.settle()

    async def advance_to(self, instant: Instant) -> None:
        """The same, until an instant."""
        await self.advance(self._walking.micros_to(instant))

    async def down(self, span: Span) -> Report:
        """Stop it, let time pass, and start it again on the same store. Returns the report of what was missed."""
        if not self._was_started:
            await self.start()
        await self.stop()
        self._walking.advance(span)
        return await self.start()

    async def settle(self) -> None:
        """Do all that can be done now. Nothing if it is stopped; started, if it never was."""
        if not self._was_started:
            await self.start()
        if self.is_running:
            await _settled(self, self._patience)

    async def _next_instant(self) -> Micros | None:
        return await self._life.next_instant() if self.is_running else None

    def record(self, *topics: str, name: str | None = None, **how: Any) -> Recorder:
        """Declare a recorder for these topics (none: every milestone), and return it. Takes what `on` takes."""
        self._recorders += 1
        return _record(self, topics, name or _recorder_name(self._recorders), how)

    def take_handlers(self, of: Scheduler | BlockingScheduler | Handlers) -> None:
        """Declare the handlers of an application's own scheduler here, too, under their names."""
        _take_handlers(self, of)

    async def add_webhook(self, receiver: Receiver, *topics: str, name: str = "receiver", **policy: Any) -> Given:
        """Add an endpoint at a receiver for these topics (none: every milestone). Takes what `Webhooks.add` takes."""
        await self.open()
        add = Webhooks(self.agenda).add
        return await asyncio.to_thread(add, name, receiver.url, topics or ("*",), allow=[receiver.network], **policy)


class _Asynchronous:
    """Keeps a clock from being moved by `advance`, which blocks, under a running asynchronous scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def begin(self) -> None:
        if self._scheduler.is_running:
            msg = "an asynchronous scheduler runs on this clock; move it with await scheduler.advance(…)"
            raise WrongState(msg)

    def settle(self) -> None:
        """Do nothing: it is stopped."""

    def next_instant(self) -> None:
        """Wait for nothing: it is stopped."""

    def live_until(self, until_us: Micros) -> None:
        """Do nothing: it is stopped."""


async def _settled(scheduler: Scheduler, patience: float) -> None:
    """Wait until a scheduler has come to rest; no longer than that for what only time can end."""
    try:
        async with asyncio.timeout(patience):
            await scheduler.settled()
    except TimeoutError:
        if scheduler._life.courier.step.is_waiting:  # noqa: SLF001 - see ManualScheduler._life
            return  # a handler, or whoever it asks, takes its time: its timeout is a stop on the way
        troubles = "; ".join(scheduler.troubles()) or "no trouble is known"
        raise TimeoutError(f"the scheduler did not come to rest within {patience:g} s: {troubles}") from None


def _recorder_name(count: int) -> str:
    return "recorder" if count == 1 else f"recorder {count}"


def _record(scheduler: Scheduler, topics: tuple[str, ...], name: str, how: dict[str, Any]) -> Recorder:
    recorder = Recorder()
    scheduler.on(*(topics or ("*",)), name=name, **how)(recorder)
    return recorder


def _take_handlers(scheduler: Scheduler, of: Scheduler | BlockingScheduler | Handlers) -> None:
    if scheduler.is_running:
        raise WrongState("the scheduler has been started; take handlers before that")
    handlers = of.handlers if isinstance(of, Scheduler | BlockingScheduler) else of
    for handler in handlers:
        scheduler.handlers.add(handler.function, handler.subscriber, transactional=handler.transactional)
