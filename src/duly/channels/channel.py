"""What every way out has in common: it is handed a context, makes one attempt, and says what came of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from duly.errors import DulyError
from duly.model.dates import Micros, to_datetime
from duly.model.delivery import Delivery, Subscriber
from duly.model.event import Status
from duly.model.history import Cause, Entry, Outage
from duly.rules.view import EventView


class Verdict(StrEnum):
    """What came of one attempt. `failed` is tried again; `rejected` is not: trying again would not help."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one attempt, in the words of its channel.

    `said`: the error or the answer, one line. `code`: an HTTP status. `retry_after`: no attempt before so long.
    `pause`: nothing at all for this subscriber for so long (a breaker, a rate limit). `disable`: why this subscriber
    wants nothing more, ever (410 Gone). `settled`: the attempt was its own transaction, which has settled it.
    """

    verdict: Verdict = Verdict.DELIVERED
    said: str | None = None
    code: int | None = None
    retry_after: timedelta | None = None
    pause: timedelta | None = None
    disable: str | None = None
    settled: bool = False


DELIVERED = Outcome()


@dataclass(slots=True, kw_only=True)
class Context:
    """What a subscriber is told: the thing that happened, and this attempt at telling it.

    `delivery_id` is the same over all attempts: an idempotency key. `attempt` counts from 1. `topic`: the milestone
    that fired, or `revoked`, `cancelled`, `outage`, `dead`… `transition`: the history entry (None for `outage` and
    `dead`). `outage`, `dead`: what those two are about.
    """

    delivery_id: str
    attempt: int
    topic: str
    subscriber: Subscriber
    event_id: str
    due_us: Micros
    now_us: Micros
    transition: Entry | None = None
    outage: Outage | None = None
    dead: Delivery | None = None
    look_up: Callable[[], EventView] | None = None

    @property
    def event(self) -> EventView:
        """The event as it is now. Raises LookupError where there is none (an outage), UnknownLifecycle."""
        if self.look_up is None:
            raise LookupError(f"'{self.topic}' is about no event that is known")
        return self.look_up()

    @property
    def milestone(self) -> str | None:
        """The milestone that it is about, rounds as `name#2`; None where it is about none."""
        return None if self.transition is None else self.transition.milestone

    @property
    def status(self) -> Status | None:
        """The status that the transition led to."""
        return None if self.transition is None else self.transition.status

    @property
    def due_at(self) -> datetime:
        """When it was due, aware, UTC."""
        return to_datetime(self.due_us)

    @property
    def fired_at(self) -> datetime | None:
        """When it happened, aware, UTC."""
        return None if self.transition is None else self.transition.at

    @property
    def lateness(self) -> timedelta:
        """How long after the due instant this attempt is made."""
        return timedelta(microseconds=max(0, self.now_us - self.due_us))

    @property
    def caught_up(self) -> bool:
        """Whether it was missed, and fired by a catch-up."""
        return self.transition is not None and self.transition.cause == Cause.CAUGHT_UP

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry `event_id`, `delivery_id` and `attempt`."""
        extra = {"event_id": self.event_id, "delivery_id": self.delivery_id, "attempt": self.attempt}
        return logging.LoggerAdapter(logging.getLogger("duly.handlers"), extra)


SAID_MOST: Final = 500


def said_of(error: BaseException) -> str:
    """Return an error as one short line that can be stored and shown."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - whatever somebody's error does when it is asked what it says
        text = "(its text cannot be had)"
    lines = text.strip().splitlines()
    said = name if not lines else lines[0] if isinstance(error, DulyError) else f"{name}: {lines[0]}"
    return said[:SAID_MOST].encode(errors="replace").decode()


class Channel(Protocol):
    """A way out: makes one attempt at telling a subscriber.

    What it raises counts as a failed attempt. It is cancelled at the subscriber's timeout.
    """

    async def deliver(self, context: Context) -> Outcome:
        """Make one attempt."""


class LateChannel:
    """A channel that is made when it is first needed: what it imports costs nothing before."""

    def __init__(self, make: Callable[[], Channel]) -> None:
        """Make nothing yet."""
        self._make = make
        self._made: Channel | None = None

    async def deliver(self, context: Context) -> Outcome:
        """Make one attempt."""
        if self._made is None:
            self._made = self._make()
        return await self._made.deliver(context)


# Called with an attempt's ticket and what came of it, from whatever thread.
Done = Callable[[int, Outcome], None]


class Desk(Protocol):
    """Where attempts are begun by the batch, each under a ticket of its own.

    `done` is told of each, once; of one that was cancelled perhaps not.
    """

    def serves(self, subscriber: Subscriber) -> bool:
        """Return whether it can tell this subscriber."""

    def begin(self, batch: Sequence[tuple[int, Context]], done: Done) -> None:
        """Begin attempts, without waiting for any."""

    def cancel(self, ticket: int) -> None:
        """Wait no longer for an attempt."""

    def end(self) -> None:
        """Begin nothing more."""


def _checked(outcome: object) -> Outcome:
    """Return an outcome; whatever else a channel returns is the failure of its attempt."""
    if isinstance(outcome, Outcome):
        return outcome
    return Outcome(verdict=Verdict.FAILED, said=f"its channel returned {type(outcome).__name__}, and no outcome")


class ChannelDesk:
    """The desk of a channel whose attempts are coroutines, run in the event loop in which they are begun."""

    def __init__(self, channel: Channel) -> None:
        """Begin nothing yet."""
        self._channel = channel
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def serves(self, subscriber: Subscriber) -> bool:
        """Return whether the channel can tell this subscriber: any, unless it says otherwise."""
        serves: Callable[[Subscriber], bool] | None = getattr(self._channel, "serves", None)
        return serves is None or serves(subscriber)

    def begin(self, batch: Sequence[tuple[int, Context]], done: Done) -> None:
        """Begin attempts."""
        for ticket, context in batch:
            self._tasks[ticket] = asyncio.create_task(self._attempt(ticket, context, done))

    async def _attempt(self, ticket: int, context: Context, done: Done) -> None:
        try:
            outcome = _checked(await self._channel.deliver(context))
        except BaseException as error:  # noqa: BLE001 - whatever a channel raises is the failure of this attempt
            outcome = Outcome(verdict=Verdict.FAILED, said=said_of(error))
        finally:
            self._tasks.pop(ticket, None)
        done(ticket, outcome)

    def cancel(self, ticket: int) -> None:
        """Cancel an attempt."""
        task = self._tasks.pop(ticket, None)
        if task is not None:
            task.cancel()

    def end(self) -> None:
        """Cancel what is under way."""
        for ticket in list(self._tasks):
            self.cancel(ticket)
