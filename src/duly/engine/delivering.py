"""Delivering: what was committed is told, in order, as often as it takes; what came of it is settled in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from duly.channels.channel import Context, Desk, Outcome, Verdict
from duly.clock import SECOND
from duly.engine.attempts import MICROSECOND, Attempts, Running, put_off, result_of, was_stopped
from duly.engine.lines import Held, Lines, Waiting
from duly.engine.restraint import Restraint
from duly.engine.subjects import Subjects, read_subjects
from duly.engine.telling import DeliveryTotals, Telling, TellingListener
from duly.model.delivery import WAITING_US, Standing
from duly.rules.audience import closed_as
from duly.stores.births import LeaseTerms
from duly.stores.outbox_verbs import Result

if TYPE_CHECKING:
    from duly.clock import Clock, Micros
    from duly.engine.threads import StoreThreads
    from duly.model.delivery import Subscriber
    from duly.rules.audience import Audience
    from duly.stores.births import Born
    from duly.stores.store import Store

logger = logging.getLogger("duly.engine")

LEASE_US: Final[Micros] = 30 * SECOND
# What this node holds of one subscriber at most: so many times what is under way at once.
HELD_FACTOR: Final = 100
HELD_MOST: Final = 10_000
LOOK_US: Final[Micros] = SECOND // 5
BATCH: Final = 1000


@dataclass(slots=True, kw_only=True)
class DeliveryStep:
    """Makes every attempt that can be made, settles what came of it, and wants to be called when more is to be done.

    Runs in the engine's event loop. `desks`: where attempts are made, by the subscriber's channel. `rate`: of the
    backlog, no more attempts a second than this; None: as fast as it goes. `delivers`: whether this node does (it is
    the owner).
    """

    name: str = "delivering"
    store: Store
    clock: Clock
    node: str
    threads: StoreThreads
    desks: Mapping[str, Desk]
    delivers: Callable[[], bool]
    rate: float | None = None
    totals: DeliveryTotals = field(default_factory=DeliveryTotals)
    listeners: list[TellingListener] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)
    stopping: bool = False
    rounds: int = 0  # how often something was settled
    # Set whenever an attempt has ended; cleared by whoever waits for that.
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    wake: Callable[[], None] = lambda: None
    _audience: Audience | None = None
    _attempts: Attempts = field(default_factory=Attempts)
    _unsettled: list[Result] = field(default_factory=list)
    _restraint: Restraint = field(default_factory=Restraint)
    _look_at: Micros = 0
    _renewed_at: Micros = 0
    _impatient: bool = False

    def reset(self) -> None:
        """Begin anew, for a new start: what was held before has been given back, or runs out."""
        self.lines, self._attempts, self.totals = Lines(), Attempts(), DeliveryTotals()
        self.ended = asyncio.Event()
        self.stopping = self._impatient = False
        self._audience = None
        self._look_at = self._renewed_at = 0
        self._unsettled.clear()
        self._restraint = Restraint(self.rate)

    def prepare(self, audience: Audience) -> None:
        """Take note of who listens, before the first look."""
        self._audience = audience

    # -- what the firing hands over ---------------------------------------------------------------------

    def terms(self) -> LeaseTerms | None:
        """Return on which terms deliveries may be born leased to this node just now."""
        if self.stopping or self._audience is None or not self.delivers():
            return None
        rooms = {s.number: room for s in self._audience.active if (room := self._room(s)) > 0}
        return LeaseTerms(self.node, self.clock.now() + LEASE_US, rooms)

    def accept(self, born: Iterable[Born]) -> None:
        """Take over deliveries that were born leased to this node."""
        boot = self.clock.since_boot()
        for lease, entry in born:
            self.lines.add(Held(lease, entry, boot))
        self.wake()

    def look_soon(self) -> None:
        """Have the next round look for what others have committed."""
        self._look_at = 0
        self.wake()

    def _room(self, subscriber: Subscriber) -> int:
        desk = self.desks.get(subscriber.channel)
        if (
            desk is None
            or not desk.serves(subscriber)
            or self._restraint.holds(subscriber.number, self.clock.since_boot())
        ):
            return 0
        return min(HELD_MOST, HELD_FACTOR * subscriber.concurrency) - self.lines.held_by(subscriber.number)

    # -- one round --------------------------------------------------------------------------------------

    async def run_once(self) -> Micros | None:
        """Do all that can be done now."""
        if not self.delivers() or self.store.stopped is not None:
            return None
        busy = True
        while busy:
            await self._settle()
            await self._renew()
            await self._look()
            busy = await self._begin() or bool(self._unsettled or self._attempts.ended)
        return self._wanted()

    @property
    def has_news(self) -> bool:
        """Whether an attempt has ended that was not collected yet."""
        return bool(self._attempts.ended)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way, to be settled, or ready: nothing happens until time passes or news come."""
        return not (self._unsettled or self._attempts or self._startable() or self._look_at <= self.clock.now())

    def _wanted(self) -> Micros:
        now, boot = self.clock.now(), self.clock.since_boot()
        wishes = [self._look_at - now]
        deadline = self._attempts.next_deadline
        if deadline is not None:
            wishes.append(deadline - boot)
        wishes += [end - boot for end in self._restraint.ends(boot)]
        return now + max(0, min(wishes))

    # -- settling ---------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Write what came of the attempts that have ended. An error leaves it to the next round: nothing is lost."""
        self._collect()
        results = list(self._unsettled)
        if not results:
            return
        settled = await self.threads.aside(self.store.outbox.settle, results, self.clock.now())
        self.rounds += 1
        del self._unsettled[: len(results)]
        self._let_go(results, settled.stale)
        if self.listeners:
            self._tell(results, settled.stale)
        await self._disable()

    def _tell(self, results: Sequence[Result], stale: frozenset[int]) -> None:
        assert self._audience is not None  # noqa: S101 - nothing is settled before a look
        outbox, names = self.store.outbox, self._audience.by_number
        told = [
            Telling.of(result, outbox.delivery_id(result.lease.number), names[result.lease.subscriber].name)
            for result in results
            if result.lease.number not in stale and result.wake_us != WAITING_US
        ]
        for listener in tuple(self.listeners):
            listener(told)

    def _collect(self) -> None:
        """Turn what has ended, or taken too long, into results."""
        now, boot = self.clock.now(), self.clock.since_boot()
        for running, ended in self._attempts.collect(boot):
            outcome = self._given_up(running) if ended is None else ended
            self._heed(running, outcome)
            if outcome.settled:
                # Its own transaction has settled it, and woken the one behind it.
                self.totals.delivered += outcome.verdict is Verdict.DELIVERED
                self.lines.done(running.held)
                self._look_at = 0
                continue
            result = result_of(running, outcome, now, alone=self.lines.is_alone(running.held))
            self._unsettled.append(result)
            if result.wake_us is not None:
                # The first goes back, and all behind it with it: the line waits until its time has come.
                self._unsettled += [put_off(held, None) for held in self.lines.drop_behind(running.held)]

    def _given_up(self, running: Running) -> Outcome:
        self.desks[running.subscriber.channel].cancel(running.ticket)
        seconds = running.subscriber.timeout.total_seconds()
        return Outcome(verdict=Verdict.FAILED, said=f"no answer within {seconds:g} s")

    def _heed(self, running: Running, outcome: Outcome) -> None:
        """Do what an outcome says of the subscriber as a whole."""
        number = running.subscriber.number
        if outcome.verdict is Verdict.DELIVERED:
            self._restraint.succeeded(number)
        if outcome.disable is not None:
            self._restraint.disabled[number] = outcome.disable
        elif outcome.pause is not None:
            pause_us = outcome.pause // MICROSECOND
            self._restraint.pause(number, self.clock.since_boot() + pause_us)
            self._give_back([number], self.clock.now() + pause_us)

    def _give_back(self, subscribers: Iterable[int], wake_us: Micros) -> None:
        """Give up the leases of what has not been begun."""
        firsts = set()
        for held in self.lines.drop_ready(subscribers):
            is_first = held.line not in firsts
            firsts.add(held.line)
            self._unsettled.append(put_off(held, wake_us if is_first else None))

    def _let_go(self, results: Sequence[Result], stale: frozenset[int]) -> None:
        for result in results:
            number = result.lease.number
            held = self.lines.get(number)
            if number in stale:
                self.totals.stale += 1
                logger.warning("delivery %d is somebody else's by now; what came of it here is not written", number)
                # Those behind it must not overtake it: they are given back with it.
                self._unsettled += [put_off(each, None) for each in self.lines.drop_behind(held)] if held else []
            else:
                self.totals.count(result)
            if held is not None:
                self.lines.done(held)
        # Something may have been woken, or put off to an instant that is sooner than the next look.
        self._look_at = 0

    async def _disable(self) -> None:
        """Write down who wants nothing more; what they are owed is parked."""
        for number, reason in list(self._restraint.disabled.items()):
            subscriber = None if self._audience is None else self._audience.by_number.get(number)
            if subscriber is not None:
                logger.error("subscriber '%s' is disabled: %s", subscriber.name, reason)
                disabled = replace(subscriber, standing=Standing.DISABLED, reason=reason)
                await self.threads.aside(self.store.outbox.put_subscriber, disabled, self.clock.now())
            self.lines.drop_ready([number])
            del self._restraint.disabled[number]
            self._look_at = 0

    # -- leases -----------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """Extend what is held, well before it ends. Besides this, a thread of its own does so (`renewal.py`)."""
        now = self.clock.now()
        if now - self._renewed_at < LEASE_US // 3:
            return
        self._renewed_at = now
        numbers = self.lines.numbers()
        if numbers:
            await self.threads.aside(self.store.outbox.renew, self.node, numbers, now + LEASE_US)

    async def _look(self) -> None:
        """Look who is owed something that this node could do now, and lease it."""
        now = self.clock.now()
        if now < self._look_at or self.stopping:
            return
        outbox = self.store.outbox
        self._audience = await self.threads.aside(outbox.audience)
        wakes = await self.threads.aside(outbox.next_wakes)
        by_number = self._audience.by_number
        due = {number: room for number, wake in wakes.items() if wake <= now and (room := self._room_of(number)) > 0}
        self._look_at = min(
            [now + LOOK_US, *(wake for number, wake in wakes.items() if wake > now and number in by_number)]
        )
        if not due:
            return
        leases = await self.threads.aside(outbox.claim, self.node, now, now + LEASE_US, _shared(due))
        boot = self.clock.since_boot()
        for lease in leases:
            held = self.lines.get(lease.number)
            if held is not None:
                # Our own lease had run out, and nobody else was quicker.
                held.lease = lease
            else:
                self.lines.add(Held(lease, None, boot))
        if leases:
            self._look_at = now

    def _room_of(self, number: int) -> int:
        subscriber = None if self._audience is None else self._audience.by_number.get(number)
        return 0 if subscriber is None or subscriber.standing is not Standing.ACTIVE else self._room(subscriber)

    # -- beginning --------------------------------------------------------------------------------------

    def _startable(self) -> bool:
        return any(self._places(number, waiting) != (0, 0) for number, waiting in self.lines.ready())

    def _places(self, number: int, waiting: Waiting) -> tuple[int, int]:
        subscriber = None if self._audience is None else self._audience.by_number.get(number)
        if subscriber is None or self.stopping:
            return 0, 0
        return self._restraint.places(subscriber, waiting, self.clock.since_boot())

    def _take(self) -> list[tuple[Held, Subscriber]]:
        assert self._audience is not None  # noqa: S101 - nothing is ready before a look
        taken: list[tuple[Held, Subscriber]] = []
        for number, waiting in self.lines.ready():
            subscriber = self._audience.by_number[number]
            fresh, late = self._places(number, waiting)
            chosen = [waiting.fresh.popleft() for _ in range(fresh)] + [waiting.late.popleft() for _ in range(late)]
            waiting.running += len(chosen)
            if late:
                self._restraint.began_late(self.clock.since_boot())
            taken += [(held, subscriber) for held in chosen]
        return taken

    async def _begin(self) -> bool:
        """Begin what may be begun; return whether anything was."""
        taken = self._take() if self._audience is not None else []
        if not taken:
            return False
        known = {(h.lease.event_id, h.lease.seq): h.entry for h, _ in taken if h.entry is not None}
        subjects = await self.threads.aside(read_subjects, self.store, [held.lease for held, _ in taken], known)
        now, boot = self.clock.now(), self.clock.since_boot()
        batches: dict[str, list[tuple[int, Context]]] = {}
        for held, subscriber in taken:
            withheld = self._withheld(held, subscriber, subjects, now, boot)
            if withheld is not None:
                self._unsettled.append(withheld)
                continue
            running = self._attempts.begin(held, subscriber, self.node, now, boot)
            context = subjects.context(running, now)
            batches.setdefault(subscriber.channel, []).append((running.ticket, context))
        for channel, batch in batches.items():
            self.desks[channel].begin(batch, self._done)
        return True

    def _withheld(
        self, held: Held, subscriber: Subscriber, subjects: Subjects, now: Micros, boot: Micros
    ) -> Result | None:
        """Judge once more what has waited; return how it is closed if it is not to be told any more."""
        lease = held.lease
        if lease.replay_of or lease.seq < 0:
            return None
        if lease.attempt <= 1 and boot - held.since_us <= SECOND and held.entry is not None:
            return None
        assert self._audience is not None  # noqa: S101 - nothing is taken before a look
        judged = subjects.judged(lease, subscriber, self._audience, now)
        state = closed_as(judged.verdict)
        if state is None:
            return None
        return Result(lease, state, None, judged.reason, None, self.lines.is_alone(held))

    def _done(self, ticket: int, outcome: Outcome) -> None:
        """Note that an attempt has ended. From any thread."""
        self._attempts.ended.append((ticket, outcome))
        # One wake for all that end before the next round collects them. Cleared there before it looks, so that
        # nothing which is added behind its back stays unseen.
        if not self._attempts.signalled:
            self._attempts.signalled = True
            self.wake()

    def transact(self, ticket: int, work: Callable[[object], None]) -> bool:
        """Settle the delivery of an attempt as delivered and do some work, in one transaction. From any thread.

        False: the attempt has been given up, or the lease was lost; nothing was done. Raises what the work raises.
        """
        running = self._attempts.get(ticket)
        if running is None:
            return False
        now = self.clock.now()
        result = result_of(running, Outcome(), now, alone=self.lines.is_alone(running.held))
        return not self.store.outbox.settle_with(result, now, work).stale

    # -- ending -----------------------------------------------------------------------------------------

    async def finish(self, within: float) -> None:
        """Begin nothing more, wait so many seconds for what is under way, and give the leases back."""
        self.stopping = True
        self._give_back(self.lines.all_subscribers(), self.clock.now())
        await self._settle()
        patience = asyncio.get_running_loop().call_later(within, self._lose_patience)
        while self._attempts and not self._impatient:
            self.ended.clear()
            if not self._attempts.ended:
                await self.ended.wait()
            await self._settle()
        patience.cancel()
        now = self.clock.now()
        for running in self._attempts:
            self.desks[running.subscriber.channel].cancel(running.ticket)
            self._unsettled.append(was_stopped(running, now))
        self._attempts.clear()
        await self._settle()

    def _lose_patience(self) -> None:
        self._impatient = True
        self.ended.set()


def _shared(rooms: Mapping[int, int]) -> dict[int, int]:
    """Bound one claim: a transaction of many thousands would hold up the firing."""
    share = max(1, BATCH // len(rooms))
    return {number: min(room, share) for number, room in rooms.items()}
