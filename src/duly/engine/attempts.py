"""The attempts that are under way, and what becomes of a delivery by the outcome of one."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from duly.channels.channel import Outcome, Verdict
from duly.model.delivery import WAITING_US, Attempt, State
from duly.stores.outbox_verbs import LOST, Result

if TYPE_CHECKING:
    from duly.engine.lines import Held
    from duly.model.dates import Micros
    from duly.model.delivery import Subscriber
    from duly.stores.loan import Loan

MICROSECOND: Final = timedelta(microseconds=1)
# What somebody asks for may be longer than time can be counted: put off it is for so long at most.
DELAY_MOST: Final = timedelta(days=3650)
SAID_MOST: Final = 2000
CODE_MOST: Final = 1 << 31


def bounded(delay: timedelta) -> Micros:
    """Return a delay that somebody asks for, in microseconds, as far as it can be waited for."""
    return min(delay, DELAY_MOST) // MICROSECOND


@dataclass(slots=True)
class Running:
    """One attempt under way, under a ticket of its own. It is given up at `deadline_us`, by the boot clock."""

    ticket: int
    held: Held
    subscriber: Subscriber
    node: str
    started_us: Micros
    deadline_us: Micros
    # Under which it is lent a transaction of the store's, if it is one of its own.
    loan: Loan | None = None

    @property
    def attempt(self) -> int:
        """Its number, from 1: one that was leased behind another was not counted then."""
        return max(1, self.held.lease.attempt)


@dataclass(slots=True)
class Attempts:
    """All attempts under way. To `ended` is appended from any thread.

    `tickets`: never the same twice, over all starts: an attempt of an earlier one may still end.
    """

    tickets: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    ended: deque[tuple[int, Outcome]] = field(default_factory=deque)
    signalled: bool = False
    _running: dict[int, Running] = field(default_factory=dict)
    _deadlines: list[tuple[Micros, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether any is under way."""
        return bool(self._running)

    def __iter__(self) -> Iterator[Running]:
        """Yield them."""
        return iter(list(self._running.values()))

    def clear(self) -> None:
        """Forget them all: what comes of them is no longer waited for."""
        self._running.clear()
        self.ended.clear()

    def get(self, ticket: int) -> Running | None:
        """Return the attempt of a ticket, None once it has ended."""
        return self._running.get(ticket)

    def of(self, held: Held) -> Running | None:
        """Return the attempt at a delivery."""
        return next((running for running in self._running.values() if running.held is held), None)

    def drop(self, running: Running) -> None:
        """Forget one: what comes of it is no longer waited for."""
        self._running.pop(running.ticket, None)

    @property
    def next_deadline(self) -> Micros | None:
        """When the first of them has taken too long, by the boot clock."""
        while self._deadlines and self._deadlines[0][1] not in self._running:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def begin(self, held: Held, subscriber: Subscriber, node: str, now_us: Micros, boot_us: Micros) -> Running:
        """Note that an attempt begins."""
        ticket = next(self.tickets)
        deadline = boot_us + subscriber.timeout // MICROSECOND
        running = self._running[ticket] = Running(ticket, held, subscriber, node, now_us, deadline)
        heapq.heappush(self._deadlines, (deadline, ticket))
        return running

    def collect(self, boot_us: Micros) -> Iterator[tuple[Running, Outcome | None]]:
        """Yield the attempts that have ended, with their outcomes; and with None those that have taken too long."""
        self.signalled = False
        while self.ended:
            ticket, outcome = self.ended.popleft()
            running = self._running.pop(ticket, None)
            if running is not None:  # else it had been given up
                yield running, outcome
        while (deadline := self.next_deadline) is not None and deadline <= boot_us:
            yield self._running.pop(heapq.heappop(self._deadlines)[1]), None


def result_of(running: Running, outcome: Outcome, now_us: Micros, *, alone: bool) -> Result:
    """Return what becomes of a delivery: delivered, dead, or tried again later.

    `alone`: nothing is held behind it, so that whoever waits behind it in the store is to be woken.
    """
    lease = running.held.lease
    said, code = outcome.said, outcome.code
    if said is not None or code is not None:
        said, code = _storable(said, code)
    verdict = str(outcome.verdict)
    attempt = Attempt(lease.number, running.attempt, running.node, running.started_us, now_us, verdict, code, said)
    if outcome.verdict is Verdict.DELIVERED:
        return Result(lease, State.DELIVERED, None, None, attempt, alone)
    delay = running.subscriber.retry.delay_us(running.attempt, lease.number)
    if outcome.verdict is Verdict.REJECTED or delay is None:
        return Result(lease, State.DEAD, None, said, attempt, alone)
    if outcome.retry_after is not None:
        delay = max(delay, bounded(outcome.retry_after))
    return Result(lease, State.PENDING, now_us + min(delay, bounded(DELAY_MOST)), said, attempt)


def _storable(said: object, code: object) -> tuple[str | None, int | None]:
    """Return what a channel says as the store can keep it: one odd word must not keep a whole batch unsettled."""
    text = None if said is None else str(said)[:SAID_MOST].encode(errors="replace").decode()
    return text, code if isinstance(code, int) and abs(code) < CODE_MOST else None


def was_stopped(running: Running, now_us: Micros) -> Result:
    """Return a delivery whose attempt was cut off by a stop: whoever comes next tries again at once."""
    lease = running.held.lease
    said = "the scheduler was stopped during the attempt"
    attempt = Attempt(lease.number, running.attempt, running.node, running.started_us, now_us, LOST, None, said)
    return Result(lease, State.PENDING, now_us, said, attempt)


def put_off(held: Held, wake_us: Micros | None) -> Result:
    """Return a delivery that was not attempted: given back until an instant, or (None) behind the one before it."""
    return Result(held.lease, State.PENDING, WAITING_US if wake_us is None else wake_us, None, None)
