"""The Scheduler: wires store, engine and agenda together. What users hold."""

from __future__ import annotations

import asyncio
import math
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

from duly.agenda import DEFAULT_STORE, Agenda, PutResult
from duly.channels.channel import Channel, LateChannel
from duly.channels.handlers import TIMEOUT, Handlers
from duly.clock import Clock, StepWatch, SystemClock
from duly.deliveries import ANY, Deliveries
from duly.engine.courier import Courier
from duly.engine.delivering import DeliveryStep
from duly.engine.firing import FiringStep, Listener
from duly.engine.life import Life
from duly.engine.recovery import Recovery, Report
from duly.engine.status import Role, SchedulerStatus
from duly.engine.threads import StoreThreads
from duly.engine.turn import Turn
from duly.errors import InvalidSetting, WrongState
from duly.model.lifecycle import CatchUp
from duly.rules.catch_up import DEFAULT_GRACE, effective
from duly.stores.residence import copy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from duly.channels.handlers import F
    from duly.channels.task_queues import TaskQueue
    from duly.deliveries import Account, Parked, Remade, Wanted
    from duly.engine.telling import TellingListener
    from duly.model.delivery import Delivery, Retry, Subscriber
    from duly.model.event import Event, Hold, Trigger
    from duly.model.history import Entry, Outage
    from duly.model.lifecycle import Lifecycle, Policy
    from duly.rules.view import EventView
    from duly.stores.outbox import DeliveryCounts
    from duly.stores.store import Counts, Store

P = ParamSpec("P")
T = TypeVar("T")


class Scheduler:
    """A durable scheduler of event lifecycles. Asynchronous; `BlockingScheduler` is its synchronous twin.

    From the moment that `start` returns, every status is right and everything missed has been fired, in order.
    Among the processes that share a SQLite file one fires, the others stand by and take over within a second.
    It fires in a thread of its own: an application that blocks its event loop delays nothing.

    `store`: a URL, `sqlite:///events.db`. `lifecycles`: your own, besides the built-in ones. `time_zone`: for wall
    times that name none. `catch_up`: what is said about misfires (window 24 h by default). `misfire_grace`: up to
    how late a trigger is merely late. `chronology="strict"`: the backlog of different events never overtakes.
    `clock_jump="fire"`: believe a clock that was stepped forward. `recovery_rate`: of what was missed, no more is
    told than so many a second (default: no limit). `environment`: the name of this one (default: DULY_ENVIRONMENT);
    a store that has lived in another is a copy, and tells nobody anything. Raises InvalidSetting.
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
        recovery_rate: float | None = None,
        environment: str | None = None,
        clock: Clock | None = None,
        node: str | None = None,
    ) -> None:
        """Set it up; nothing is opened or started yet."""
        _check(misfire_grace, chronology, clock_jump, recovery_rate)
        self.clock = clock or SystemClock()
        self.agenda = Agenda(
            store, lifecycles=lifecycles, time_zone=time_zone, clock=self.clock, environment=environment
        )
        self.store = self.agenda.store
        self.node = node or secrets.token_hex(3)
        self.catch_up = catch_up or CatchUp()
        self._watch = StepWatch(self.clock, hold_steps=clock_jump == "hold")
        self._firing = FiringStep(
            store=self.store,
            clock=self.clock,
            node=self.node,
            grace=misfire_grace,
            strict=chronology == "strict",
            watch=self._watch,
            threads=StoreThreads(),
        )
        self._deliveries = Deliveries(self.agenda)
        self.handlers = Handlers()
        self._queues: dict[str, TaskQueue] = {}
        self._task_subscribers: list[Subscriber] = []
        self._life = Life(
            self._firing,
            self._courier(recovery_rate),
            open_store=self.agenda.open,
            close_store=self.agenda.close,
        )

    def _courier(self, rate: float | None) -> Courier:
        step = DeliveryStep(
            store=self.store,
            clock=self.clock,
            node=self.node,
            threads=self._firing.threads,
            desks={},
            delivers=lambda: self._life.turn is not None and self._life.turn.is_owner,
            rate=rate,
        )
        self._firing.outgoing = step
        return Courier(step, self.handlers, self._channels)

    # -- life -------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the store without firing anything; for reading, and for putting events that another fires."""
        await self._life.open()

    async def start(self, *, progress: Callable[[int, int], None] | None = None) -> Report:
        """Catch up with everything missed, then fire on and on in the background.

        Returns the report of the recovery (empty for a standby: the owner fires). `progress` is called with the
        number of events caught up so far, and of all. Raises WrongState if it has been started, StoreRefused.
        """
        turn = Turn(
            firing=self._firing,
            recovery=Recovery(firing=self._firing, window=effective([self.catch_up]).window),
            prepare=self._prepare,
        )
        return await self._life.start(turn, progress=progress)

    def _prepare(self) -> None:
        """Do what a new owner does before it fires. In the store's thread."""
        now = self.clock.now()
        self.agenda.take_up(self.node)
        outbox = self.store.outbox
        # Whoever held them has ended, or this node would not own the store.
        outbox.expire_leases(now)
        outbox.put_policy(self.catch_up, self._firing.grace)
        outbox.declare([*self.handlers.subscribers, *self._task_subscribers], now)
        self.handlers.warn_of_unheard(self.agenda.lifecycles)
        self._life.courier.prepare(outbox.audience())

    def _channels(self) -> dict[str, Channel]:
        """Return the channels, in the engine's event loop; what they need is imported only where it is used."""
        found: dict[str, Channel] = {}
        kinds = {subscriber.channel for subscriber in self._task_subscribers}
        if self._queues or "task_queue" in kinds:
            from duly.channels.task_queues import TaskQueueChannel

            found["task_queue"] = TaskQueueChannel(self._queues)
        found["webhook"] = LateChannel(self._webhooks)
        return found

    def _webhooks(self) -> Channel:
        from duly.channels.webhooks import WebhookChannel

        return WebhookChannel(self.clock)

    async def stop(self) -> None:
        """Fire no more, let what is being written finish, let a standby take over, close the store.

        Stopping twice, or before starting, does nothing. Stopping during the start lets the batch that is being
        fired finish; `start` then returns. Raises WrongState in another event loop than that of the start.
        """
        await self._life.stop()
        for queue in self._queues.values():
            # The connections that it keeps; whoever publishes after another start opens new ones.
            close = getattr(queue, "close", None)
            if close is not None:
                await asyncio.to_thread(close)

    async def settled(self) -> None:
        """Wait until all that is due now has been fired, and told as far as it can be now.

        What waits for time to pass (a retry, a pace) stays waiting. For tests and simulations on a manual clock.
        Raises WrongState in a handler, for which it would wait.
        """
        await self._life.settled()

    async def run_forever(self) -> None:
        """Wait until the scheduler is stopped (or this call is cancelled). Raises StoreStopped on a fail-stop."""
        await self._life.finished()

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
        return None if self._life.turn is None else self._life.turn.report

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._life.node is not None

    @property
    def is_owner(self) -> bool:
        """Whether it is this scheduler that fires (and not one in another process of the same file)."""
        return self._life.is_owner

    def on_commit(self, listener: Listener) -> None:
        """Have a function called with the new entries after each firing of the loop. In-process, best effort.

        It is called in the event loop in which the scheduler was started, in the order of the commits; firing
        never waits for it. What an edit brings about at once is in the result of the `put`.
        """
        self._life.listeners.append(listener)

    # -- telling ----------------------------------------------------------------------------------------

    def on(
        self,
        *topics: str,
        lifecycle: str | Sequence[str] = (),
        tags: str | Sequence[str] = (),
        name: str | None = None,
        timeout: timedelta = TIMEOUT,
        retry: Retry | None = None,
        catch_up: CatchUp | Policy | str | None = None,
        concurrency: int | None = None,
        transactional: bool = False,
    ) -> Callable[[F], F]:
        """Return a decorator that makes a function a handler: it is called with a `Context` for each delivery.

        `topics`: milestones, with wildcards (`registration_*`, `*` for all); and what else happens, by its own name:
        `revoked`, `cancelled`, `postponed`, `removed`, `outage`, `dead`, `set_aside`… `lifecycle`, `tags`: only of
        such events. `name`: by which the store knows it (default: `module:function`); renaming it parks what it was
        owed. `timeout` of one attempt; `retry`: when failed ones are made again (ten over three days). `catch_up`: a
        policy, or a `CatchUp`, for what was missed. `concurrency`: how many run at once (async 100, in threads 8,
        transactional 1); of one event never two.
        Async functions run in the event loop in which the scheduler is started, others in threads.
        `transactional`: a plain function, called with the context and the store's connection inside the transaction
        that settles the delivery: exactly once. Raises InvalidInput; WrongState once it has been started.
        """
        if self.is_running:
            raise WrongState("the scheduler has been started; declare handlers before that")
        return self.handlers.on(
            *topics,
            lifecycle=lifecycle,
            tags=tags,
            name=name,
            timeout=timeout,
            retry=retry,
            catch_up=catch_up,
            concurrency=concurrency,
            transactional=transactional,
        )

    def hand_over(self, subscriber: Subscriber, queue: TaskQueue) -> None:
        """Have deliveries handed to a task queue: see `duly.channels.task_queues`. Raises WrongState once started."""
        if self.is_running:
            raise WrongState("the scheduler has been started; declare task queues before that")
        self._task_subscribers.append(subscriber)
        self._queues[subscriber.name] = queue

    def on_settled(self, listener: TellingListener) -> None:
        """Have a function called with what has come of deliveries, as it is settled. In-process, best effort.

        It is called in the event loop in which the scheduler was started; delivering never waits for it.
        """
        self._life.on_settled(listener)

    async def deliveries(self, wanted: Wanted | None = None, *, most: int = 100) -> list[Delivery]:
        """Return deliveries, newest first: those that are `wanted`. Raises UnknownSubscriber, UnknownEvent."""
        return await self._life.aside(lambda: list(self._deliveries.find(wanted or ANY, most=most)))

    async def delivery(self, delivery: int | str) -> Account:
        """Return one delivery, by number or id, with its attempts. Raises UnknownDelivery, InvalidInput."""
        return await self._life.aside(self._deliveries.get, delivery)

    async def replay(self, *deliveries: int | str, to: str | None = None) -> Remade:
        """Make closed deliveries again, as new ones that no policy withholds; `to` another subscriber."""
        return await self._told(self._deliveries.replay, deliveries, to=to)

    async def release(self, *deliveries: int | str) -> Remade:
        """Make parked deliveries, as new ones."""
        return await self._told(self._deliveries.release, deliveries)

    async def park(self, *deliveries: int | str, reason: str) -> Parked:
        """Close pending deliveries as parked: a person decides what becomes of them."""
        return await self._told(self._deliveries.park, deliveries, reason=reason)

    async def _told(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        result = await self._life.call(call, *args, **kwargs)
        self._life.nudge()
        return result

    # -- events -----------------------------------------------------------------------------------------

    async def put(self, events: Event | Iterable[Event], **how: Any) -> PutResult:
        """Create or edit events; the same again changes nothing. Takes what `Agenda.put` takes."""
        return await self._told(self.agenda.put, events, node=self.node, **how)

    async def set_hold(self, event_id: str, hold: Hold, **why: str | None) -> PutResult:
        """Set or lift a hold. Raises UnknownEvent."""
        return await self._told(self.agenda.set_hold, event_id, hold, **why)

    async def fire(self, event_id: str, milestone: str, **why: str | None) -> Sequence[Entry]:
        """Fire a manual milestone now. Raises UnknownEvent, InvalidLifecycle, InvalidEvent."""
        return await self._told(self.agenda.fire, event_id, milestone, node=self.node, **why)

    async def remove(self, event_id: str, *, actor: str | None = None, reason: str | None = None) -> None:
        """Remove an event; its history stays. Raises UnknownEvent."""
        await self._told(self.agenda.remove, event_id, actor=actor, reason=reason, node=self.node)

    async def get(self, event_id: str) -> EventView:
        """Return an event as it is now, its status derived. Raises UnknownEvent."""
        return await self._life.aside(self.agenda.get, event_id)

    async def events(self) -> list[EventView]:
        """Return all events, in the order of their ids."""
        return await self._life.aside(lambda: list(self.agenda.events()))

    async def upcoming(self, most: int = 20) -> list[Trigger]:
        """Return the next triggers of all events, soonest first."""
        return await self._life.aside(self.agenda.upcoming, most)

    async def history(self, event_id: str | None = None, *, most: int = 100) -> list[Entry]:
        """Return an event's whole history, or the latest entries of all. Raises UnknownEvent."""
        return await self._life.aside(self.agenda.history, event_id, most=most)

    async def outages(self, *, most: int = 20) -> list[Outage]:
        """Return the outages, newest first."""
        return await self._life.aside(self.agenda.outages, most=most)

    async def status(self) -> SchedulerStatus:
        """Return how the scheduler is, and how much there is to do."""
        counts, outages, deliveries, copy = await self._life.aside(self._standing)
        role: Role = "stopped"
        if self.is_running:
            role = "owner" if self.is_owner else "standby"
        return SchedulerStatus(
            role=role,
            node=self.node,
            store=self.store.url,
            counts=counts,
            totals=replace(self._firing.totals),
            deliveries=deliveries,
            told=replace(self._life.courier.step.totals),
            troubles=(*self.troubles(counts.set_aside, deliveries.dead), *([] if copy is None else [copy])),
            held=self._watch.reason if role == "owner" else None,
            outage=outages[0] if outages else None,
        )

    def _standing(self) -> tuple[Counts, list[Outage], DeliveryCounts, str | None]:
        outages = self.agenda.outages(most=1)
        return self.agenda.counts(), outages, self.store.outbox.counts(), copy_of(self.store)

    def troubles(self, set_aside: int = 0, dead: int = 0) -> tuple[str, ...]:
        """Return what is wrong, one sentence each."""
        found = [] if self.store.stopped is None else [f"store: {self.store.stopped}"]
        if set_aside:
            found.append(f"{set_aside} event{' is' if set_aside == 1 else 's are'} set aside: see 'duly check'")
        if dead:
            dead_ones = "1 delivery is" if dead == 1 else f"{dead} deliveries are"
            found.append(f"{dead_ones} dead: see 'duly deliveries --dead', and replay them")
        return (*found, *self._life.troubles)


def _check(misfire_grace: timedelta, chronology: str, clock_jump: str, recovery_rate: float | None) -> None:
    """Refuse settings that mean nothing. Raises InvalidSetting."""
    if misfire_grace < timedelta(0):
        raise InvalidSetting(f"misfire_grace {misfire_grace} is negative; use a duration from zero up")
    if chronology not in {"event", "strict"}:
        raise InvalidSetting(f"chronology {chronology!r} is neither 'event' nor 'strict'")
    if clock_jump not in {"hold", "fire"}:
        raise InvalidSetting(f"clock_jump {clock_jump!r} is neither 'hold' nor 'fire'")
    if recovery_rate is not None and not 0 < recovery_rate < math.inf:
        raise InvalidSetting(
            f"recovery_rate {recovery_rate!r} must be a number of deliveries a second above zero, or None"
        )
