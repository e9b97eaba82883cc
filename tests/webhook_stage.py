"""What the tests of webhooks are built of: endpoints on this machine, and something to tell them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Unpack

from duly.channels.channel import Context, Outcome
from duly.channels.endpoint import Policy, new_endpoint
from duly.channels.guard import LookUp, system_look_up
from duly.channels.webhooks import WebhookChannel
from duly.clock import Clock, ManualClock, SystemClock
from duly.model.dates import Micros
from duly.model.delivery import Delivery, State, Subscriber
from duly.model.event import Event, Hold
from duly.model.history import Entry, Kind, Outage
from duly.rules.view import EventView
from duly.testing.receiver import NETWORK, Receiver
from tests.builders import CAMPUS, HOUR, MINUTE, T0, Life

SECRET: Final = "whsec_" + "c2VjcmV0" * 4
# Long enough for whatever answers at all on a busy machine; short enough for what never does.
AMPLE: Final = timedelta(seconds=20)
BRIEF: Final = timedelta(seconds=0.5)


def endpoint_at(receiver: Receiver, *, host: str | None = None, **policy: Unpack[Policy]) -> Subscriber:
    """Return the endpoint of a receiver, by its address or by a name."""
    url = receiver.url if host is None else receiver.url.replace("127.0.0.1", host)
    policy.setdefault("timeout", AMPLE)
    return new_endpoint("crm", url, secret=SECRET, allow=[NETWORK], **policy)


def life() -> Life:
    """Return a workshop whose registration has just opened, two hours late."""
    lived = Life()
    dates = {
        "event_start": "2026-06-01 10:00",
        "event_end": "2026-06-01 12:00",
        "registration_open": "2026-05-01 09:00",
    }
    lived.put(T0, Event("w1", "A workshop", dates=dates, data={"tags": ["blue"], "room": "Ä 1"}))
    lived.advance(T0 + 3 * HOUR, late_before=T0 + 3 * HOUR - MINUTE)
    return lived


def firing(lived: Life) -> Entry:
    """Return the last transition of a life."""
    return [entry for entry in lived.entries if entry.kind == Kind.FIRED][-1]


def context_of(subscriber: Subscriber, entry: Entry, lived: Life, *, delivery_id: str = "d_1") -> Context:
    """Return a first attempt at telling of an entry of a life, made at once."""
    return Context(
        delivery_id=delivery_id,
        attempt=1,
        topic=topic_of(entry),
        subscriber=subscriber,
        event_id=entry.event_id,
        due_us=entry.at_us if entry.due_us is None else entry.due_us,
        now_us=entry.at_us,
        transition=entry,
        look_up=lambda: EventView(lived.now_row, CAMPUS, entry.at_us),
    )


def topic_of(entry: Entry) -> str:
    return str(entry.milestone if entry.kind == Kind.FIRED else entry.kind)


def told(subscriber: Subscriber, *, delivery_id: str = "d_1") -> Context:
    """Return a first attempt at telling that a workshop's registration has opened."""
    lived = life()
    return context_of(subscriber, firing(lived), lived, delivery_id=delivery_id)


def revoked(subscriber: Subscriber) -> Context:
    """Return the news that an opening was put off after it had fired."""
    lived = life()
    dates = {
        "event_start": "2026-06-01 10:00",
        "event_end": "2026-06-01 12:00",
        "registration_open": "2026-05-09 09:00",
    }
    lived.put(T0 + 4 * HOUR, Event("w1", "A workshop", dates=dates))
    return context_of(subscriber, next(e for e in lived.entries if e.kind == Kind.REVOKED), lived)


def cancelled(subscriber: Subscriber) -> Context:
    """Return the news that an event was cancelled by somebody, who gave a name."""
    lived = life()
    lived.hold(T0 + 5 * HOUR, Hold.CANCELLED)
    context = context_of(subscriber, lived.entries[-1], lived)
    context.topic = "cancelled"
    return context


def outage(subscriber: Subscriber, *, began_us: Micros | None = T0 - HOUR) -> Context:
    """Return the news of an outage."""
    kept = Outage(id=7, began_us=began_us, ended_us=T0, node="n1", finished_us=T0 + 1, detected=3, successful=3)
    return Context(
        delivery_id="d_2", attempt=1, topic="outage", subscriber=subscriber, event_id="", due_us=T0, now_us=T0,
        outage=kept,
    )  # fmt: skip


def dead(subscriber: Subscriber) -> Context:
    """Return the news that another delivery was given up; its event has been removed since."""
    gone = Delivery(
        number=4, id="d_4", subscriber="app:announce", event_id="w1", topic="registration_open", seq=2,
        state=State.DEAD, reason="ValueError", due_us=T0, created_us=T0, wake_us=None, closed_us=T0 + HOUR,
        attempts=10, node=None, replay_of=0,
    )  # fmt: skip
    return Context(
        delivery_id="d_3", attempt=2, topic="dead", subscriber=subscriber, event_id="w1", due_us=T0, now_us=T0 + HOUR,
        dead=gone,
    )  # fmt: skip


@dataclass
class Names:
    """A resolver that answers as it is told to, one answer a question, the last one for ever after."""

    answers: list[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> Sequence[str]:
        assert port
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def timed(context: Context, *, look_up: LookUp = system_look_up) -> tuple[Outcome, float]:
    """Make one attempt; return what came of it, and after how many seconds of real time."""
    clock = SystemClock()
    began = clock.since_boot()
    outcome = deliver(context, look_up=look_up)
    return outcome, (clock.since_boot() - began) / 1_000_000


def deliver(context: Context, *, clock: Clock | None = None, look_up: LookUp = system_look_up) -> Outcome:
    """Make one attempt in a loop of its own, by a clock that stands still unless another is given."""
    return asyncio.run(WebhookChannel(clock or ManualClock(T0), look_up=look_up).deliver(context))
