"""A desk at which the test says what comes of each attempt, and nodes over one store that deliver by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from duly.channels.channel import DELIVERED, Context, Done, Outcome, Verdict
from duly.clock import Micros
from duly.engine.delivering import DeliveryStep
from duly.engine.telling import Telling
from duly.errors import StoreError
from duly.model.delivery import Delivery, State, Subscriber
from duly.stores.sqlite import SqliteStore
from tests.builders import MINUTE, SECOND, T0
from tests.contract.telling import listener
from tests.engine.stage import InlineThreads, KeptStore, Stage

__all__ = ["FAILED", "HandDesk", "Office", "listener"]

FAILED = Outcome(verdict=Verdict.FAILED, said="it is down")
FOUR = ("registration_open", "registration_close", "event_start", "event_end")
# An answer to an attempt: what comes of it, None: nothing yet.
Answer = Callable[[Context], Outcome | None]
T = TypeVar("T")


class HandDesk:
    """Begins attempts and leaves them open, unless its `answer` says at once what comes of them."""

    def __init__(self, answer: Answer = lambda _: None) -> None:
        self.answer = answer
        self.begun: list[Context] = []
        self.open: dict[int, Context] = {}
        self.cancelled: list[Context] = []
        self.unserved: set[str] = set()
        self.most = 0
        self._done: Done = lambda *_: None
        self._all: dict[int, Context] = {}

    def serves(self, subscriber: Subscriber) -> bool:
        return subscriber.name not in self.unserved

    def begin(self, batch: Sequence[tuple[int, Context]], done: Done) -> None:
        self._done = done
        for ticket, context in batch:
            self.begun.append(context)
            self.open[ticket] = self._all[ticket] = context
            self.most = max(self.most, len(self.open))
            outcome = self.answer(context)
            if outcome is not None:
                self.end_of(ticket, outcome)

    def cancel(self, ticket: int) -> None:
        self.cancelled.append(self._all[ticket])

    def end(self) -> None:
        self.open.clear()

    def end_of(self, ticket: int, outcome: Outcome = DELIVERED) -> None:
        """Have one attempt end, in time or not."""
        self.open.pop(ticket, None)
        self._done(ticket, outcome)

    def say(self, outcome: Outcome = DELIVERED, *, event_id: str | None = None, of: str | None = None) -> int:
        """Have the open attempts about an event, or of a subscriber, end. Returns how many."""
        ended = [
            ticket
            for ticket, context in self.open.items()
            if event_id in {None, context.event_id} and of in {None, context.subscriber.name}
        ]
        for ticket in ended:
            self.end_of(ticket, outcome)
        return len(ended)

    @property
    def told(self) -> list[tuple[str, str, int]]:
        """What was begun: event, topic, attempt."""
        return [(context.event_id, context.topic, context.attempt) for context in self.begun]

    @property
    def now_open(self) -> list[tuple[str, str, int]]:
        """What is open: event, topic, attempt."""
        return [(context.event_id, context.topic, context.attempt) for context in self.open.values()]


class Office:
    """A stage whose firing hands its deliveries to the node `n1`, and further nodes over the same store."""

    def __init__(
        self, *subscribers: Subscriber, store: SqliteStore | None = None, rate: float | None = None, born: bool = True
    ) -> None:
        self.stage = Stage(store=store or KeptStore())
        self.store, self.clock = self.stage.store, self.stage.clock
        self.desk = HandDesk()
        self.declare(*(subscribers or (listener(),)))
        self.step = self.node("n1", self.desk, self.stage.delivering, rate=rate)
        self.settled: list[Telling] = []
        self.step.listeners.append(self.settled.extend)
        if born:
            self.stage.firing.outgoing = self.step

    def node(
        self, name: str, desk: HandDesk, step: DeliveryStep | None = None, *, rate: float | None = None
    ) -> DeliveryStep:
        """Return a node that delivers at a desk."""
        if step is None:
            step = DeliveryStep(
                store=self.store,
                clock=self.clock,
                node=name,
                threads=InlineThreads(),
                desks={},
                delivers=lambda: True,
            )
        step.rate = rate
        step.reset()
        step.desks = {"handler": desk, "webhook": desk}
        step.prepare(self.store.outbox.audience())
        return step

    def declare(self, *subscribers: Subscriber) -> None:
        for subscriber in subscribers:
            self.store.outbox.put_subscriber(subscriber, self.clock.now())

    def put(self, *ids: str, first: Micros = T0 + SECOND, apart: Micros = SECOND, most: int = 4) -> None:
        """Put events with up to four milestones, one after the other."""
        for id_ in ids:
            self.stage.put_one(id_, **{name: first + k * apart for k, name in enumerate(FOUR[:most])})

    async def fire(self, micros: Micros = 0) -> None:
        """Let time pass, and fire what is due then."""
        self.clock.advance(micros)
        await self.stage.firing.run_once()

    async def due(self, *ids: str, most: int = 4, late: bool = False) -> None:
        """Put events, and fire up to four milestones of each: fresh ones, or a backlog an hour old."""
        self.put(*ids, most=most, first=self.clock.now() + SECOND)
        await self.fire((60 * MINUTE if late else 0) + 5 * SECOND)

    async def run(self, *steps: DeliveryStep) -> Micros | None:
        """Run the node's step, or those named, once; again where the store failed."""
        wanted = None
        for step in steps or (self.step,):
            wanted = await step.run_once()
        return wanted

    async def run_for(self, micros: Micros, *, stride: Micros = SECOND) -> None:
        """Let time pass under the node."""
        while micros > 0:
            self.clock.advance(min(stride, micros))
            micros -= stride
            await self.run()

    async def run_until_it_settles(self) -> list[StoreError]:
        """Run the step as its loop does, again and again while the store fails. Returns the errors."""
        errors: list[StoreError] = []
        for _ in range(20):
            try:
                await self.run()
                return errors
            except StoreError as error:
                errors.append(error)
                self.clock.advance(SECOND)
        raise AssertionError(errors)

    def deliveries(self) -> list[Delivery]:
        """Return all, oldest first."""
        return self.store.outbox.deliveries(most=100_000)[::-1]

    def states(self, subscriber: str | None = None) -> list[State]:
        return [d.state for d in self.deliveries() if subscriber in {None, d.subscriber}]

    def outcomes(self, number: int) -> list[tuple[int, str]]:
        return [(a.number, a.outcome) for a in self.store.outbox.attempts([number])[number]]

    def all_delivered(self) -> bool:
        return set(self.states()) == {State.DELIVERED}


def at_once(outcomes: Iterable[Outcome] = ()) -> Answer:
    """Answer with these outcomes in turn, and then with success."""
    left = iter(list(outcomes))
    return lambda _: next(left, DELIVERED)


async def soon(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin something, and let it go as far as it can."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    for _ in range(50):
        passed = loop.create_future()
        loop.call_soon(passed.set_result, None)
        await passed
    return task


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)
