"""Any life of two delivering nodes over one store, of which none can be relied upon: they fail, freeze and die.

After each step I8, I9 and I12 hold, no line is stuck, and transactions are made once; in the end (L2) every delivery
is final. DULY_TORTURE=full runs ten times as many lives.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, ParamSpec, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from typing_extensions import override

from duly.agenda import Agenda
from duly.channels.channel import DELIVERED, Context, Done, Outcome, Verdict
from duly.clock import ManualClock
from duly.engine.delivering import DeliveryStep
from duly.errors import StoreBusy, StoreError
from duly.model.delivery import Delivery, Retry, Standing, State, Subscriber
from duly.model.event import Hold
from duly.model.lifecycle import CatchUp, Policy
from duly.rules.audience import DEAD
from tests.builders import HOUR, SECOND, T0, event
from tests.contract.deeds import request
from tests.contract.telling import ONCE_AGAIN, assert_lines_move, listener
from tests.engine.desk import HandDesk
from tests.engine.stage import InlineThreads, KeptStore

P = ParamSpec("P")
T = TypeVar("T")

FULL: Final = os.environ.get("DULY_TORTURE") == "full"
IDS: Final = ("a", "b", "c")
NODES: Final = (0, 1)
MILESTONES: Final = ("registration_open", "registration_close", "event_start", "event_end")
OFTEN: Final = Retry((timedelta(seconds=1),) * 5, 0.0)
BRIEF: Final = timedelta(seconds=10)
TRANSACTIONAL: Final = "transactional"
EVERYBODY: Final = (
    listener("plain", "*", "cancelled", concurrency=2, timeout=BRIEF, retry=ONCE_AGAIN),
    listener("latest", "*", "revoked", concurrency=1, timeout=BRIEF, retry=OFTEN, catch_up=CatchUp(Policy.LATEST)),
    listener(TRANSACTIONAL, "*", concurrency=2, timeout=BRIEF, retry=OFTEN),
    listener("nurse", DEAD, "event_*", concurrency=1, retry=OFTEN),
)
FAILED: Final = Outcome(verdict=Verdict.FAILED, said="no")
ENDS: Final = (
    FAILED,
    DELIVERED,
    Outcome(verdict=Verdict.REJECTED, said="never"),
    replace(FAILED, retry_after=timedelta(minutes=1)),
    replace(FAILED, pause=timedelta(seconds=20)),
    Outcome(verdict=Verdict.REJECTED, disable="410"),
)
OUTCOMES: Final = st.lists(st.sampled_from(ENDS[:2]) | st.sampled_from(ENDS), max_size=6)


async def _nothing() -> None:
    pass


class Shaky(InlineThreads):
    """Threads in which some of the next calls fail."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = 0

    @override
    async def aside(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.fails > 0:
            self.fails -= 1
            raise StoreBusy("busy")
        return call(*args, **kwargs)


class WatchedDesk(HandDesk):
    """A desk that has each attempt looked at as it begins."""

    def __init__(self, watch: Callable[[Context], None]) -> None:
        super().__init__()
        self._watch = watch

    @override
    def begin(self, batch: Sequence[tuple[int, Context]], done: Done) -> None:
        for _, context in batch:
            self._watch(context)
        super().begin(batch, done)


class Deliveries(RuleBasedStateMachine):
    """Three events, four subscribers, two nodes, one store, one clock."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock(T0)
        self.store = KeptStore()
        self.agenda = Agenda(self.store, clock=self.clock)
        self.agenda.open()
        assert self.store._writer is not None
        self.store._writer.execute("CREATE TABLE mine (delivery TEXT)")
        for subscriber in EVERYBODY:
            self.store.outbox.put_subscriber(subscriber, T0)
        self.closed: dict[int, Delivery] = {}
        self.holders: dict[int, str | None] = {}
        self.begun: set[str] = set()
        self.born = 0
        self.nodes = [self._node() for _ in NODES]
        for id_ in IDS:
            self.put(id_, [1, 2, 3, 4])

    def _node(self) -> tuple[DeliveryStep, WatchedDesk, Shaky]:
        self.born += 1
        threads = Shaky()
        desk = WatchedDesk(self._look_at)
        step = DeliveryStep(
            store=self.store,
            clock=self.clock,
            node=f"n{self.born}",
            threads=threads,
            desks={"handler": desk},
            delivers=lambda: True,
        )
        step.prepare(self.store.outbox.audience())
        return step, desk, threads

    def _look_at(self, context: Context) -> None:
        """Hold I12 as an attempt begins: the first attempt at a delivery only once all before it are closed."""
        if context.delivery_id not in self.begun:
            self.begun.add(context.delivery_id)
            number = int(context.delivery_id.rpartition("-")[2])
            before = [
                each
                for each in self.store.outbox.of_event(context.event_id)
                if each.subscriber == context.subscriber.name and each.number < number and each.is_open
            ]
            assert before == [], f"I12: {context.delivery_id} begins before {before}"

    @override
    def teardown(self) -> None:
        """Whatever has happened, nodes that go on honestly bring everything to its end."""
        if not hasattr(self, "loop"):
            return
        try:
            self._come_to_an_end()
        finally:
            # What crashed nodes were writing is over by then: it is a matter of one turn of the loop.
            self.loop.run_until_complete(
                asyncio.wait([self.loop.create_task(_nothing()), *asyncio.all_tasks(self.loop)])
            )
            self.loop.close()
            self.store._writer = None

    def _come_to_an_end(self) -> None:
        for subscriber in EVERYBODY:
            self.store.outbox.put_subscriber(subscriber, self.clock.now())
        for _, _, threads in self.nodes:
            threads.fails = 0
        round_ = 0
        while self.store.outbox.next_wakes() or any(step.is_waiting for step, _, _ in self.nodes):
            self._go_round()
            # What was put off before the clock was set back waits until it is there again.
            self.clock.advance(SECOND if round_ < 100 else HOUR)
            round_ += 1
            assert round_ < 200, "L2: something is open for ever"
        self._go_round()
        assert not [each for each in self._all() if each.is_open]
        for step, _, _ in self.nodes:
            assert (len(step.lines), step.is_waiting) == (0, False)

    def _go_round(self) -> None:
        """Have everybody make his round, and every attempt succeed."""
        for step, desk, _ in self.nodes:
            self.loop.run_until_complete(step.run_once())
            self.everything_holds()
            for ticket in sorted(desk.open):
                self._end(step, desk, ticket, DELIVERED)
            self.everything_holds()

    # -- what happens to events -------------------------------------------------------------------------

    @rule(ids=st.sets(st.sampled_from(IDS), min_size=1), seconds=st.lists(st.integers(-4, 8), min_size=4, max_size=4))
    def put(self, ids: set[str], seconds: list[int]) -> None:
        now = self.clock.now()
        dates: dict[str, Any] = {
            name: now + each * SECOND for name, each in zip(MILESTONES, sorted(seconds), strict=True)
        }
        self.agenda.put([event(id_, **dates) for id_ in sorted(ids)], known_for=timedelta(hours=1))

    def _fire(self, step: DeliveryStep, *, heard: bool) -> None:
        now = self.clock.now()
        fired = self.store.fire_due(replace(request(now, fresh_from=now - 60 * SECOND), lease=step.terms()))
        if heard:
            step.accept(fired.born, more=False)

    @rule(
        seconds=st.sampled_from((0, 0.2, 1, 1, 2, 5, 5, 11, 21, 31)),
        firing=st.sampled_from((0, 1, None)),
        running=st.sets(st.sampled_from(NODES)),
    )
    def go_on(self, seconds: float, firing: int | None, running: set[int]) -> None:
        """Time passes; perhaps one of them fires what is due; those that are not frozen make their round."""
        self.clock.advance(round(seconds * SECOND))
        if firing is not None:
            self._fire(self.nodes[firing][0], heard=True)
        for node in running:
            self._run(*self.nodes[node])

    @rule(outcomes=OUTCOMES, seconds=st.sampled_from((0.2, 1, 5)))
    def go_on_well(self, outcomes: list[Outcome], seconds: float) -> None:
        """Attempts end, time passes, what is due fires, everybody makes his round."""
        self.end(outcomes, late=False)
        self.go_on(seconds, 0, set(NODES))

    def _run(self, step: DeliveryStep, desk: HandDesk, threads: Shaky) -> None:
        try:
            self.loop.run_until_complete(step.run_once())
        except StoreError:
            assert threads.fails >= 0
        for subscriber in EVERYBODY:
            # A desk does not know of what was given up; the step does.
            running = [r for r in step._attempts if r.subscriber.name == subscriber.name]
            assert len(running) <= subscriber.concurrency
        assert {r.ticket for r in step._attempts} <= set(desk.open)

    @rule(outcomes=OUTCOMES, late=st.booleans())
    def end(self, outcomes: list[Outcome], late: bool) -> None:
        """Attempts end, the latest or the oldest first: in time, or long after they were given up."""
        open_ = [
            (step, desk, ticket) for step, desk, _ in self.nodes for ticket in sorted(desk.open, reverse=not late)
        ]
        for (step, desk, ticket), outcome in zip(open_, outcomes, strict=False):
            self._end(step, desk, ticket, outcome)

    def _end(self, step: DeliveryStep, desk: HandDesk, ticket: int, outcome: Outcome) -> None:
        context = desk.open[ticket]
        if context.subscriber.name == TRANSACTIONAL:
            outcome = self._transact(step, ticket, context, outcome)
        desk.end_of(ticket, outcome)

    def _transact(self, step: DeliveryStep, ticket: int, context: Context, outcome: Outcome) -> Outcome:
        def work(connection: Any) -> None:
            connection.execute("INSERT INTO mine VALUES (?)", (context.delivery_id,))
            if outcome is not DELIVERED:
                raise ZeroDivisionError

        try:
            made = step.transact(ticket, work)
        except ZeroDivisionError:
            return outcome
        return Outcome(verdict=Verdict.DELIVERED if made else Verdict.FAILED, settled=True)

    # -- what goes wrong --------------------------------------------------------------------------------

    @rule(what=st.sampled_from(("crash", "fire and die", "stop", "fail")), node=st.sampled_from(NODES))
    def go_wrong(self, what: str, node: int) -> None:
        if what == "stop":
            self._stop(node)
        elif what == "fail":
            self.nodes[node][2].fails = 2
        else:
            if what == "fire and die":  # before it hears what was born leased to it
                self._fire(self.nodes[node][0], heard=False)
            self._crash(node)

    @rule(what=st.sampled_from(("suspend", "set back", "switch", "replay", "hold")), some=st.integers(0, 3))
    def meddle(self, what: str, some: int) -> None:
        match what:
            case "suspend":
                self.clock.advance((1, 20, 31, 30 * 3600)[some] * SECOND)
            case "set back":
                self.clock.set(self.clock.now() - (1, 20, 40, 7200)[some] * SECOND)
            case "switch":
                self._switch(EVERYBODY[some])
            case "replay":
                closed = [each.number for each in self._all() if not each.is_open]
                self.store.outbox.replay(closed[: 1 + some], self.clock.now())
            case _:
                id_ = IDS[some % 3]
                hold = Hold.CANCELLED if self.agenda.get(id_).hold == Hold.ACTIVE else Hold.ACTIVE
                self.agenda.set_hold(id_, hold)

    def _crash(self, node: int) -> None:
        """It dies as it is; another one comes in its place."""
        self.nodes[node] = self._node()

    def _stop(self, node: int) -> None:
        """It stops, has no time to wait for anybody, and starts again."""
        step, _, _ = self.nodes[node]
        try:
            self.loop.run_until_complete(step.finish(0))
        except StoreError:
            self._crash(node)
            return
        mine = [each for each in self._all() if each.is_open and each.node == step.node]
        assert mine == [], f"P16: {mine} are not given back"
        step.reset()
        step.prepare(self.store.outbox.audience())

    def _switch(self, who: Subscriber) -> None:
        now = self.store.outbox.subscriber(who.name).standing
        then = Standing.DISABLED if now is Standing.ACTIVE else Standing.ACTIVE
        self.store.outbox.put_subscriber(replace(who, standing=then, reason="a person"), self.clock.now())

    # -- what always holds ------------------------------------------------------------------------------

    def _all(self) -> list[Delivery]:
        return self.store.outbox.deliveries(most=100_000)

    @invariant()
    def everything_holds(self) -> None:
        if not hasattr(self, "loop"):
            return
        assert_lines_move(self.store)
        found = self._all()
        self._closed_states_are_final(found)
        told = Counter((d.subscriber, d.event_id, d.topic, d.seq) for d in found if d.replay_of == 0)
        assert [each for each, times in told.items() if times > 1] == [], "I7: born twice"
        assert self.store._writer is not None
        made: dict[Any, Any] = dict(
            self.store._writer.execute("SELECT delivery, count(*) FROM mine GROUP BY delivery").fetchall()  # type: ignore[arg-type]
        )
        delivered = {d.id for d in found if d.subscriber == TRANSACTIONAL and d.state is State.DELIVERED}
        assert made == dict.fromkeys(delivered, 1), "P11: a transaction was made otherwise than once"

    def _closed_states_are_final(self, found: Sequence[Delivery]) -> None:
        closed = {each.number: each for each in found if not each.is_open}
        for number, before in self.closed.items():
            assert closed.get(number) == before, f"I9: {before} became {closed.get(number)}"
        for number in closed.keys() - self.closed.keys():
            attempts = self.store.outbox.attempts([number])[number]
            by = [attempt.node for attempt in attempts if attempt.outcome == "delivered"]
            # No attempt begins and ends within one step of this machine: whoever delivered it held it before.
            wanted = [self.holders.get(number)] if closed[number].state is State.DELIVERED else []
            assert by == wanted, f"I8: {closed[number]} was delivered by {by}, and held by {wanted}"
        self.closed = closed
        self.holders = {each.number: each.node for each in found if each.is_open}


Deliveries.TestCase.settings = settings(
    max_examples=600 if FULL else 60,
    stateful_step_count=60 if FULL else 40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestDeliveries = Deliveries.TestCase
