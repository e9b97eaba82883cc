"""The Scheduler: wires store, engine and agenda together. What users hold."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn, ParamSpec, Self, TypeVar

from duly.agenda import DEFAULT_STORE, Agenda, PutResult
from duly.clock import Clock, StepWatch, SystemClock
from duly.engine.firing import FiringStep, FiringTotals, Listener
from duly.engine.node import Node
from duly.engine.recovery import Recovery, Report
from duly.engine.threads import StoreThreads
from duly.engine.turn import Turn
from duly.errors import InvalidSetting, StoreError, WrongState
from duly.model.dates import to_datetime
from duly.model.history import iso
from duly.model.lifecycle import CatchUp
from duly.rules.catch_up import DEFAULT_GRACE, effective

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from duly.model.event import Event, Hold, Trigger
    from duly.model.history import Entry, Outage
    from duly.model.lifecycle import Lifecycle
    from duly.rules.view import EventView
    from duly.stores.store import Counts, Store

logger = logging.getLogger("duly")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStatus:
    """How a scheduler is. `role`: `owner` fires, `standby` waits to take over, `stopped` does neither."""

    role: Literal["owner", "standby", "stopped"]
    node: str
    store: str
    counts: Counts
    totals: FiringTotals
    troubles: tuple[str, ...]
    held: str | None
    outage: Outage | None

    @property
    def healthy(self) -> bool:
        """Whether all is as it should be."""
        return not self.troubles and self.held is None

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        counts = self.counts
        due = counts.next_due_us
        return {
            "role": self.role,
            "node": self.node,
            "store": self.store,
            "healthy": self.healthy,
            "troubles": list(self.troubles),
            "held": self.held,
            "events": counts.events,
            "triggers_to_come": counts.pending,
            "events_with_triggers": counts.armed,
            "events_overdue": counts.overdue,
            "events_set_aside": counts.set_aside,
            "next_due_at": None if due is None else iso(to_datetime(due)),
            "by_status": dict(counts.by_status),
            "fired_since_start": self.totals.fired,
            "caught_up_since_start": self.totals.caught_up,
            "last_outage": None if self.outage is None else self.outage.to_json(),
        }


class Scheduler:
    """A durable scheduler of event lifecycles. Asynchronous; `BlockingScheduler` is its synchronous twin.

    From the moment that `start` returns, every status is right and everything missed has been fired, in order.
    Among the processes that share a SQLite file one fires, the others stand by and take over within a second.

    `store`: a URL, `sqlite:///events.db`. `lifecycles`: your own, besides the built-in ones. `time_zone`: for wall
    times that name none. `catch_up`: what is said about misfires (window 24 h by default). `misfire_grace`: up to
    how late a trigger is merely late. `chronology="strict"`: the backlog of different events never overtakes.
    `clock_jump="fire"`: believe a clock that was stepped forward. Raises InvalidSetting.
    """

    def __init__(  # noqa: PLR0913 - settings, all but the first by name
        self,
        store: str | Store = DEFAULT_STORE,
        *,
        lifecycles: Iterable[Lifecycle] = (),
        time_zone: str | None = None,
        catch_up: CatchUp | None = None,
        misfire_grace: timedelta = DEFAULT_GRACE,
        chronology: Literal["event", "strict"] = "event",
        clock_jump: Literal["hold", "fire"] = "hold",
        clock: Clock | None = None,
        node: str | None = None,
    ) -> None:
        """Set it up; nothing is opened or started yet."""
        if misfire_grace < timedelta(0):
            msg = f"misfire_grace {misfire_grace} is negative; use a duration from zero up"
            raise InvalidSetting(msg)
        if chronology not in {"event", "strict"}:
            msg = f"chronology {chronology!r} is neither 'event' nor 'strict'"
            raise InvalidSetting(msg)
        if clock_jump not in {"hold", "fire"}:
            msg = f"clock_jump {clock_jump!r} is neither 'hold' nor 'fire'"
            raise InvalidSetting(msg)
        self.clock = clock or SystemClock()
        self.agenda = Agenda(store, lifecycles=lifecycles, time_zone=time_zone, clock=self.clock)
        self.store = self.agenda.store
        self.node = node or secrets.token_hex(3)
        self.catch_up = catch_up or CatchUp()
        self._turn: Turn | None = None
        self._watch = StepWatch(self.clock, hold_steps=clock_jump == "hold")
        self._threads = StoreThreads()
        self._firing = FiringStep(
            store=self.store,
            clock=self.clock,
            node=self.node,
            grace=misfire_grace,
            strict=chronology == "strict",
            watch=self._watch,
            threads=self._threads,
        )
        self._opened = False
        self._opening = threading.Lock()  # calls run in several threads, and the first of them opens
        self._running: Node | None = None
        self._starting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    # -- life -------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the store without firing anything; for reading, and for putting events that another fires."""
        await self._threads.call(self._open)

    async def start(self, *, progress: Callable[[int, int], None] | None = None) -> Report:
        """Catch up with everything missed, then fire on and on in the background.

        Returns the report of the recovery (empty for a standby: the owner fires). `progress` is called with the
        number of events caught up so far, and of all. Raises WrongState if it has been started, StoreRefused.
        """
        if self._starting or (self._running is not None and not self._firing.stopping):
            self._refuse_to_start()
        self._starting = True
        try:
            async with self._life():
                if self._running is not None:  # a stop was cut off before its end
                    self._refuse_to_start()
                return await self._start(progress)
        except BaseException:
            # Whatever went wrong, or whoever gave up waiting: another process shall be able to fire.
            if self._running is None:
                self.store.disown()
            raise
        finally:
            self._starting = False

    def _refuse_to_start(self) -> NoReturn:
        msg = "the scheduler has been started already"
        raise WrongState(msg)

    async def _start(self, progress: Callable[[int, int], None] | None) -> Report:
        self._loop = asyncio.get_running_loop()
        self._firing.stopping, self._firing.totals = False, FiringTotals()
        await self.open()
        turn = self._turn = Turn(
            firing=self._firing,
            recovery=Recovery(firing=self._firing, window=effective([self.catch_up]).window, progress=progress),
            prepare=partial(self.agenda.take_up, self.node),
        )
        report = await turn.begin()
        if not self._firing.stopping:
            self._running = Node(turn)
        return report

    async def stop(self) -> None:
        """Fire no more, let what is being written finish, let a standby take over, close the store.

        Stopping twice, or before starting, does nothing. Stopping during the start lets the batch that is being
        fired finish; `start` then returns. Raises WrongState in another event loop than that of the start.
        """
        self._check_loop()
        self._firing.stopping = True
        async with self._life():
            self._firing.stopping = True
            if self._running is not None:
                await self._running.stop()
                await self._say_goodbye()
                self._running = None
            # Nothing is closed under what is still under way: another's call, or a transaction of a start that
            # was cancelled. From here on calls are refused, until they find new threads.
            await self._threads.ended()
            self._close()

    async def _say_goodbye(self) -> None:
        try:
            if self.store.stopped is None:
                await self._threads.call(self.store.stop_node, self.node, self.clock.now())
        except StoreError as error:
            # Courtesy only: the next start takes the last heartbeat for the last sign of life.
            logger.warning("node %s could not say that it ends: %s", self.node, error)

    def _life(self) -> asyncio.Lock:
        """Return the lock that lets one start or stop be under way at a time: one for each event loop."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = (loop, asyncio.Lock())
        return self._lock[1]

    def _check_loop(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed() and loop is not asyncio.get_running_loop():
            msg = "the scheduler was started in another event loop; await this there"
            raise WrongState(msg)

    async def settled(self) -> None:
        """Wait until everything that is due now has been fired. For tests and simulations on a manual clock."""
        if self._running is None:
            msg = "the scheduler has not been started, so nothing settles"
            raise WrongState(msg)
        self._check_loop()
        await self._running.settled()

    async def run_forever(self) -> None:
        """Wait until the scheduler is stopped (or this call is cancelled). Raises StoreStopped on a fail-stop."""
        if self._running is None:
            msg = "the scheduler has not been started; use 'async with scheduler:' or await scheduler.start()"
            raise WrongState(msg)
        self._check_loop()
        await self._running.finished()

    async def __aenter__(self) -> Self:
        """Start."""
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    @property
    def report(self) -> Report | None:
        """The report of the latest recovery, None before any; a standby that took over has one too."""
        return None if self._turn is None else self._turn.report

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._running is not None

    @property
    def is_owner(self) -> bool:
        """Whether it is this scheduler that fires (and not one in another process of the same file)."""
        return self._running is not None and self._running.turn.is_owner

    def on_commit(self, listener: Listener) -> None:
        """Have a function called with the new entries after each firing of the loop. In-process, best effort.

        What an edit brings about at once is in the result of the `put`.
        """
        self._firing.listeners.append(listener)

    # -- events -----------------------------------------------------------------------------------------

    async def put(self, events: Event | Iterable[Event], **how: Any) -> PutResult:
        """Create or edit events; the same again changes nothing. Takes what `Agenda.put` takes."""
        result = await self._call(self.agenda.put, events, node=self.node, **how)
        self._nudge()
        return result

    async def set_hold(self, event_id: str, hold: Hold, **why: str | None) -> PutResult:
        """Set or lift a hold. Raises UnknownEvent."""
        result = await self._call(self.agenda.set_hold, event_id, hold, **why)
        self._nudge()
        return result

    async def fire(self, event_id: str, milestone: str, **why: str | None) -> Sequence[Entry]:
        """Fire a manual milestone now. Raises UnknownEvent, InvalidLifecycle, InvalidEvent."""
        return await self._call(self.agenda.fire, event_id, milestone, node=self.node, **why)

    async def remove(self, event_id: str, *, actor: str | None = None, reason: str | None = None) -> None:
        """Remove an event; its history stays. Raises UnknownEvent."""
        await self._call(self.agenda.remove, event_id, actor=actor, reason=reason, node=self.node)

    async def get(self, event_id: str) -> EventView:
        """Return an event as it is now, its status derived. Raises UnknownEvent."""
        return await self._read(self.agenda.get, event_id)

    async def events(self) -> list[EventView]:
        """Return all events, in the order of their ids."""
        return await self._read(lambda: list(self.agenda.events()))

    async def upcoming(self, most: int = 20) -> list[Trigger]:
        """Return the next triggers of all events, soonest first."""
        return await self._read(self.agenda.upcoming, most)

    async def history(self, event_id: str | None = None, *, most: int = 100) -> list[Entry]:
        """Return an event's whole history, or the latest entries of all. Raises UnknownEvent."""
        return await self._read(self.agenda.history, event_id, most=most)

    async def outages(self, *, most: int = 20) -> list[Outage]:
        """Return the outages, newest first."""
        return await self._read(self.agenda.outages, most=most)

    async def status(self) -> SchedulerStatus:
        """Return how the scheduler is, and how much there is to do."""
        counts = await self._read(self.agenda.counts)
        outages = await self._read(self.agenda.outages, most=1)
        running = self._running
        role: Literal["owner", "standby", "stopped"] = "stopped"
        if running is not None:
            role = "owner" if running.turn.is_owner else "standby"
        return SchedulerStatus(
            role=role,
            node=self.node,
            store=self.store.url,
            counts=counts,
            totals=replace(self._firing.totals),
            troubles=self.troubles(counts.set_aside),
            held=self._watch.reason if role == "owner" else None,
            outage=outages[0] if outages else None,
        )

    def troubles(self, set_aside: int = 0) -> tuple[str, ...]:
        """Return what is wrong, one sentence each."""
        found = [] if self.store.stopped is None else [f"store: {self.store.stopped}"]
        if set_aside:
            found.append(f"{set_aside} events are set aside: see 'duly check'")
        if self._running is not None:
            found += self._running.troubles
        return tuple(found)

    async def _call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._threads.call(self._opened_first(partial(call, *args, **kwargs)))

    async def _read(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._threads.aside(self._opened_first(partial(call, *args, **kwargs)))

    def _opened_first(self, call: Callable[[], T]) -> Callable[[], T]:
        def opened() -> T:
            self._open()
            return call()

        return opened

    def _open(self) -> None:
        with self._opening:
            if not self._opened:
                self.agenda.open()
                self._opened = True

    def _close(self) -> None:
        self._opened, self._loop = False, None
        self._threads = self._firing.threads = StoreThreads()
        self.agenda.close()

    def _nudge(self) -> None:
        if self._running is not None:
            self._running.nudge()
