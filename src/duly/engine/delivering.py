"""Delivering: what was committed is told, in order, as often as it takes; what came of it is settled in batches."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from duly.channels.channel import Context, Desk, Outcome
from duly.clock import SECOND
from duly.engine.attempts import Attempts, Running, put_off, result_of
from duly.engine.lines import Held, Lines, Waiting
from duly.engine.restraint import Restraint
from duly.engine.settling import Settling
from duly.engine.subjects import Rows, Subjects, read_subjects
from duly.engine.telling import DeliveryTotals, TellingListener
from duly.errors import StoreError
from duly.model.delivery import Standing
from duly.rules.audience import closed_as
from duly.stores.births import LeaseTerms
from duly.stores.loan import Loan
from duly.stores.outbox_verbs import Result

if TYPE_CHECKING:
    from duly.clock import Clock, Micros
    from duly.engine.threads import StoreThreads
    from duly.model.delivery import Lease, Subscriber
    from duly.rules.audience import Audience
    from duly.stores.births import Born
    from duly.stores.store import Store

logger = logging.getLogger("duly.engine")

LEASE_US: Final[Micros] = 30 * SECOND
# What this node holds of one subscriber at most: so many times what is under way at once.
HELD_FACTOR: Final = 250
HELD_MOST: Final = 25_000
LOOK_US: Final[Micros] = SECOND // 5
BATCH: Final = 1000
# So many results are written even while there is more to begin; fewer are left until there is not.
SETTLED_AT: Final = 1000


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
    listeners: list[TellingListener] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)
    stopping: bool = False
    # Set whenever something has come of what is under way; cleared by whoever waits for that.
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    wake: Callable[[], None] = lambda: None
    settling: Settling = field(init=False)
    _audience: Audience | None = None
    _tickets: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _attempts: Attempts = field(default_factory=Attempts)
    _restraint: Restraint = field(default_factory=Restraint)
    _more_is_coming: bool = False
    _stood_by: bool = False
    _look_at: Micros = 0  # by the boot clock: whoever sets the other one back must not make us blind
    _suspect: int = 0  # the last delivery that was leased as one
    _renewed_at: Micros = 0
    _impatient: bool = False
    _rows: Rows = field(default_factory=Rows)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.reset()

    def reset(self) -> None:
        """Begin anew, for a new start: what was held before has been given back, or runs out."""
        self.lines, self._attempts = Lines(self._is_chronological), Attempts(self._tickets)
        self._restraint = Restraint(self.rate)
        self.ended = asyncio.Event()
        self.stopping = self._impatient = self._more_is_coming = False
        self._audience = None
        self._look_at = self._renewed_at = 0
        self.settling = Settling(
            store=self.store,
            clock=self.clock,
            threads=self.threads,
            lines=self.lines,
            restraint=self._restraint,
            attempts=self._attempts,
            ended=self.ended,
            cancel=self._cancel,
            look=self._look_now,
            listeners=self.listeners,
        )

    def prepare(self, audience: Audience) -> None:
        """Take note of who listens, before the first look."""
        self._audience = audience

    @property
    def totals(self) -> DeliveryTotals:
        """What has become of deliveries since the start."""
        return self.settling.totals

    def _cancel(self, running: Running) -> None:
        self.desks[running.subscriber.channel].cancel(running.ticket)
        if running.loan is not None:
            # In a thread of its own: it waits until the handler's thread is in no call of the database's.
            threading.Thread(target=running.loan.call_in, name="duly-calling-in", daemon=True).start()

    def _look_now(self) -> None:
        self._look_at = 0

    # -- what the firing hands over ---------------------------------------------------------------------

    def terms(self) -> LeaseTerms | None:
        """Return on which terms deliveries may be born leased to this node just now."""
        if self.stopping or self._audience is None or not self.delivers():
            return None
        rooms = {s.number: room for s in self._audience.active if (room := self._room(s)) > 0}
        return LeaseTerms(self.node, self.clock.now() + LEASE_US, rooms)

    def accept(self, born: Iterable[Born], *, more: bool) -> None:
        """Take over deliveries that were born leased to this node; `more`: another batch is being fired already."""
        # The first to be heard of a node that has become the owner: what it owes from before is to be looked for.
        is_news = (self._more_is_coming and not more) or (self._stood_by and self.delivers())
        self._more_is_coming = more
        boot = self.clock.since_boot()
        for lease, entry in born:
            self.lines.add(Held(lease, entry, boot))
            is_news = True
        if is_news:
            self.wake()

    def look_soon(self) -> None:
        """Have the next round look for what others have committed."""
        self._look_at = 0
        self.wake()

    def _room(self, subscriber: Subscriber) -> int:
        desk = self.desks.get(subscriber.channel)
        if desk is None or not desk.serves(subscriber):
            return 0
        if self._restraint.holds(subscriber.number, self.clock.since_boot()):
            return 0
        # What is not held cannot be put in order.
        most = HELD_MOST if subscriber.is_chronological else min(HELD_MOST, HELD_FACTOR * subscriber.concurrency)
        return most - self.lines.held_by(subscriber.number)

    def _is_chronological(self, number: int) -> bool:
        subscriber = None if self._audience is None else self._audience.by_number.get(number)
        return subscriber is not None and subscriber.is_chronological

    # -- one round --------------------------------------------------------------------------------------

    async def run_once(self) -> Micros | None:
        """Do all that can be done now, for a second at most: a loop that does not come round counts as stuck."""
        self._stood_by = not self.delivers()
        if self._stood_by or self.store.stopped is not None:
            return None
        until = self.clock.since_boot() + SECOND
        while self.clock.since_boot() < until:
            self.settling.collect()
            if len(self.settling.unsettled) >= SETTLED_AT:
                self.settling.begin()
            await self._renew()
            await self._look()
            if await self._begin() or self._attempts.ended:
                continue
            # While more is being fired, what has just been fired is told first, and written down a little later.
            if self._more_is_coming:
                return self._wanted()
            self.settling.begin()
            if not self.settling.is_busy:
                return self._wanted()
            await self.settling.news()
        return self.clock.now()

    @property
    def has_news(self) -> bool:
        """Whether an attempt has ended that was not collected yet."""
        return bool(self._attempts.ended)

    @property
    def is_waiting(self) -> bool:
        """Whether an attempt is under way."""
        return bool(self._attempts)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way, to be settled, or ready: nothing happens until time passes or news come."""
        is_busy = self.settling.is_busy or self._attempts or self._startable()
        return not is_busy and self._look_at > self.clock.since_boot()

    def _wanted(self) -> Micros:
        now, change = self.clock.now(), self.next_change
        look = now + self._look_at - self.clock.since_boot()
        return max(now, look if change is None else min(look, change))

    @property
    def next_change(self) -> Micros | None:
        """When time alone changes something here: an attempt has taken too long, or a pause or a pace is over."""
        now, boot = self.clock.now(), self.clock.since_boot()
        ends = list(self._restraint.ends(boot))
        deadline = self._attempts.next_deadline
        if deadline is not None:
            ends.append(deadline)
        return now + min(ends) - boot if ends else None

    # -- leases -----------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """Extend what is held, well before it ends. Besides this, a thread of its own does so (`renewal.py`)."""
        now = self.clock.now()
        # Also after a clock was stepped in either direction.
        if abs(now - self._renewed_at) < LEASE_US // 3:
            return
        numbers = self.lines.numbers()
        if numbers:
            ours = await self.threads.aside(self.store.outbox.renew, self.node, numbers, now + LEASE_US)
            if len(ours) < len(numbers):
                self.settling.lose([number for number in numbers if number not in ours])
        self._renewed_at = now

    async def _look(self) -> None:
        """Look who is owed something that this node could do now, and lease it."""
        now, boot = self.clock.now(), self.clock.since_boot()
        if boot < self._look_at or self.stopping:
            return
        # Before anything is read: whoever wants another look meanwhile (and sets this to 0) gets it.
        self._look_at = boot + LOOK_US
        outbox = self.store.outbox
        self._audience = await self.threads.aside(outbox.audience)
        wakes = await self.threads.aside(outbox.next_wakes)
        by_number = self._audience.by_number
        # Whoever is told no more has had everything parked: it is not ours any longer.
        self.lines.drop_ready(n for n, subscriber in by_number.items() if subscriber.standing is not Standing.ACTIVE)
        due = {number: room for number, wake in wakes.items() if wake <= now and (room := self._room_of(number)) > 0}
        coming = (boot + wake - now for number, wake in wakes.items() if wake > now and number in by_number)
        self._look_at = min([self._look_at, *coming])
        if due:
            suspects = self._suspect not in self.lines
            leases = await self.threads.aside(
                outbox.claim, self.node, now, now + LEASE_US, _shared(due), suspects=suspects
            )
            self._take_in(leases, boot)

    def _take_in(self, leases: Sequence[Lease], boot: Micros) -> None:
        for lease in leases:
            held = self.lines.get(lease.number)
            self._suspect = lease.number if lease.is_suspect else self._suspect
            if held is None:
                self.lines.add(Held(lease, None, boot))
                continue
            # Our own lease had run out, and nobody else was quicker. What we held behind it went with it.
            held.lease = lease
            self.settling.unsettled += [put_off(each, None) for each in self.lines.drop_behind(held)]
        if leases:
            self._look_at = 0

    def _room_of(self, number: int) -> int:
        subscriber = None if self._audience is None else self._audience.by_number.get(number)
        return 0 if subscriber is None or subscriber.standing is not Standing.ACTIVE else self._room(subscriber)

    # -- beginning --------------------------------------------------------------------------------------

    def _startable(self) -> bool:
        return any(self._places(number, waiting) != (0, 0) for number, waiting in self.lines.ready())

    def _places(self, number: int, waiting: Waiting) -> tuple[int, int]:
        subscriber = None if self._audience is None else self._audience.by_number.get(number)
        if subscriber is None or self.stopping or subscriber.standing is not Standing.ACTIVE:
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
            if late and self.rate is not None:
                self._restraint.began_late(self.clock.since_boot())
                self.lines.served(number)
            for held in chosen:
                held.is_taken = True
                taken.append((held, subscriber))
        return taken

    async def _begin(self) -> bool:
        """Begin what may be begun; return whether anything was."""
        taken = self._take() if self._audience is not None else []
        if not taken:
            return False
        known = {(h.lease.event_id, h.lease.seq): h.entry for h, _ in taken if h.entry is not None}
        try:
            subjects = await self.threads.aside(read_subjects, self.store, [held.lease for held, _ in taken], known)
        except BaseException:
            self.lines.give_back(held for held, _ in taken)
            raise
        now, boot = self.clock.now(), self.clock.since_boot()
        batches: dict[str, list[tuple[int, Context]]] = {}
        for held, subscriber in taken:
            withheld = self._withheld(held, subscriber, subjects, now, boot)
            if withheld is not None:
                self.lines.ended(held)
                self.settling.close(withheld, subscriber)
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
        judged = subjects.judged(lease, subscriber, self._audience, self._rows, now)
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

    def transact(self, ticket: int, work: Callable[[Any], None]) -> bool:
        """Settle the delivery of an attempt as delivered and do some work, in one transaction. From any thread.

        False: the attempt has been given up, or the lease was lost; nothing was done. Raises what the work raises.
        """
        running = self._attempts.get(ticket)
        if running is None:
            return False
        running.loan = loan = Loan(running.subscriber.timeout)
        if self._attempts.get(ticket) is None:
            return False  # given up in between, by somebody who saw no loan to call in
        now = self.clock.now()
        result = result_of(running, Outcome(), now, alone=self.lines.is_alone(running.held))
        return not self.store.outbox.settle_with(result, now, work, loan).stale

    # -- ending -----------------------------------------------------------------------------------------

    async def finish(self, within: float) -> None:
        """Begin nothing more, wait so many seconds for what is under way, and give the leases back."""
        self.stopping = True
        self.settling.give_back(self.lines.all_subscribers(), self.clock.now())
        patience = asyncio.get_running_loop().call_later(within, self._lose_patience)
        while self._attempts and not self._impatient:
            try:
                await self.settling.finish()
            except StoreError as error:
                # Nothing is lost by it: what is still under way may end meanwhile, and all is written at the end.
                logger.warning("what came of deliveries cannot be written just now: %s", error)
            self.ended.clear()
            if self._attempts and not self._attempts.ended:
                await self.ended.wait()
        patience.cancel()
        await self.settling.stop_attempts(self._cancel)

    def _lose_patience(self) -> None:
        self._impatient = True
        self.ended.set()


def _shared(rooms: Mapping[int, int]) -> dict[int, int]:
    """Bound one claim: a transaction of many thousands would hold up the firing."""
    share = max(1, BATCH // len(rooms))
    return {number: min(room, share) for number, room in rooms.items()}
