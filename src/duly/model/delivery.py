"""Who is told of what, and what becomes of the telling: subscribers, deliveries, attempts, the retry schedule."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from duly.errors import InvalidInput
from duly.model.dates import Micros, to_datetime
from duly.model.history import iso
from duly.model.lifecycle import CatchUp

SECOND: Final = timedelta(seconds=1)
MICROSECOND: Final = timedelta(microseconds=1)

# The schedule that Standard Webhooks recommends: ten attempts over about three days.
# Source: the Standard Webhooks specification, section "Deliverability and reliability".
SPEC_DELAYS: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
ATTEMPTS_MOST: Final = 1000
ENDLESS: Final = 1 << 62


class State(StrEnum):
    """What has become of a delivery. `pending` is open; every other state is closed, and final."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    MISSED = "missed"
    PARKED = "parked"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Retry:
    """When a delivery that failed is tried again. A value.

    `delays[k]` passes between attempt k+1 and k+2, so there is one attempt more than delays; each is lengthened by
    up to `jitter` of itself, so that deliveries that failed together do not come back together. `is_endless`: the
    last delay repeats for ever, until it succeeds; then no catch-up window ends it either.
    """

    delays: tuple[timedelta, ...] = SPEC_DELAYS
    jitter: float = 0.1
    is_endless: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be waited for."""
        if any(delay < timedelta(0) for delay in self.delays):
            raise InvalidInput("retry: a delay is negative; use durations from zero up")
        if len(self.delays) >= ATTEMPTS_MOST:
            raise InvalidInput(f"retry: {len(self.delays) + 1} attempts are too many; at most {ATTEMPTS_MOST}")
        if not 0 <= self.jitter <= 1:
            raise InvalidInput(f"retry: jitter {self.jitter} must be from 0 to 1")
        if self.is_endless and not (self.delays and self.delays[-1]):
            raise InvalidInput("retry: without an end it needs a last delay of more than zero")

    @classmethod
    def exponential(
        cls,
        attempts: int,
        *,
        first: timedelta = SECOND,
        factor: float = 2.0,
        most: timedelta = timedelta(hours=1),
        jitter: float = 0.1,
    ) -> Retry:
        """Return a schedule of that many attempts, whose delays grow by `factor` up to `most`."""
        if not 1 <= attempts <= ATTEMPTS_MOST:
            raise InvalidInput(f"retry: {attempts} attempts; use a number from 1 to {ATTEMPTS_MOST}")
        seconds, limit = first.total_seconds(), most.total_seconds()
        delays = [timedelta(seconds=min(limit, seconds * factor ** min(k, 200))) for k in range(attempts - 1)]
        return cls(tuple(delays), jitter)

    @classmethod
    def until_it_succeeds(cls, *, first: timedelta = SECOND, most: timedelta, jitter: float = 0.1) -> Retry:
        """Return a schedule without an end, whose delays double up to `most` and then stay."""
        delays = [first]
        while delays[-1] < most and len(delays) < ATTEMPTS_MOST - 1:
            delays.append(min(most, 2 * delays[-1]))
        return cls(tuple(delays), jitter, is_endless=True)

    @property
    def attempts(self) -> int:
        """How often a delivery is tried before it is dead."""
        return ENDLESS if self.is_endless else len(self.delays) + 1

    def delay_us(self, attempt: int, delivery: int) -> Micros | None:
        """Return how long to wait after that attempt (from 1) has failed; None: it was the last.

        The jitter is a function of delivery and attempt, so that a simulation repeats.
        """
        if attempt >= self.attempts:
            return None
        delay = self.delays[min(attempt, len(self.delays)) - 1] // MICROSECOND
        share = int.from_bytes(hashlib.sha256(f"{delivery}/{attempt}".encode()).digest()[:4], "big") / 2**32
        return delay + int(delay * self.jitter * share)

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        said = {"delays_seconds": [delay.total_seconds() for delay in self.delays], "jitter": self.jitter}
        return {**said, "endless": True} if self.is_endless else said

    @classmethod
    def from_json(cls, kept: Mapping[str, object]) -> Retry:
        """Read what `to_json` wrote."""
        delays, jitter = kept["delays_seconds"], kept["jitter"]
        assert isinstance(delays, list)  # noqa: S101 - our own writing
        assert isinstance(jitter, int | float)  # noqa: S101 - our own writing
        return cls(tuple(timedelta(seconds=seconds) for seconds in delays), float(jitter), bool(kept.get("endless")))


class Standing(StrEnum):
    """Whether a subscriber is told. `disabled`: by a person or by itself (410); `gone`: no code declares it now."""

    ACTIVE = "active"
    DISABLED = "disabled"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """Who is told, of what, how, and under which policy. A row of the store.

    `name` is unique in a store: `module:function` of a handler, `webhook:NAME` of an endpoint.
    `channel`: "handler", "webhook", "task_queue". `topics`: patterns of milestones (`registration_*`, `*`) and names
    of other things that happen (`revoked`, `cancelled`, `outage`, `dead`…); `*` means every milestone only.
    `lifecycles`, `tags` (of an event's `data["tags"]`, any of them): empty means all.
    `concurrency`: how many of its deliveries are under way at once. `is_chronological`: one is, whatever that says:
    what was missed is told in the order in which it happened, also over different events, each settled before the
    next one begins; only what has failed is overtaken. `settings`: the channel's own, JSON values.
    `number`: the store's, 0 before it is stored. `reason`: why it is not active.
    """

    name: str
    channel: str
    topics: tuple[str, ...]
    lifecycles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    catch_up: CatchUp = field(default_factory=CatchUp)
    retry: Retry = field(default_factory=Retry)
    timeout: timedelta = timedelta(seconds=30)
    concurrency: int = 100
    is_chronological: bool = False
    # Not in the repr, and so in no log or traceback: an endpoint's secrets are among them.
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    standing: Standing = Standing.ACTIVE
    reason: str | None = None
    number: int = 0


class Lease(NamedTuple):
    """A node's claim on one delivery: what it needs to make one attempt, and to settle it.

    `number` is the delivery's row; `token` the fencing number: who settles with an older one changes nothing.
    `attempt` counts from 1; 0 for one that waits behind an earlier one of its line (subscriber, event), and is
    counted when it becomes the first. `topic` and `seq` say what is told: see `Delivery`. `ready_us`: since when it
    could be attempted: its birth, or the instant of its retry. `is_late`: it belongs to the backlog. `replay_of`: a
    person had it made again, so that no policy withholds it. `is_suspect`: its node has ended during it more than
    once.
    """

    number: int
    subscriber: int
    event_id: str
    topic: str
    seq: int
    token: int
    attempt: int
    due_us: Micros
    ready_us: Micros
    is_late: bool
    replay_of: int = 0
    is_suspect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One side effect of one thing that happened, for one subscriber. As it is read and shown.

    `id` is the subscriber's idempotency key: it never changes over retries. `topic`: the milestone that fired, or
    `revoked`, `cancelled`, `outage`, `dead`… `seq`: the number of the history entry within the event; negative for
    what is about none: minus an outage's id, minus the number of the delivery that died. `replay_of`: the closed
    delivery that a person had made again, 0 for none; negative: a person had it announced. `wake_us`: when it may
    next be attempted (leased: when its lease ends); None: closed.
    """

    number: int
    id: str
    subscriber: str
    event_id: str
    topic: str
    seq: int
    state: State
    reason: str | None
    due_us: Micros
    created_us: Micros
    wake_us: Micros | None
    closed_us: Micros | None
    attempts: int
    node: str | None
    replay_of: int

    @property
    def due_at(self) -> datetime:
        """When what it tells of was due, aware, UTC."""
        return to_datetime(self.due_us)

    @property
    def closed_at(self) -> datetime | None:
        """When it was closed, aware, UTC."""
        return None if self.closed_us is None else to_datetime(self.closed_us)

    @property
    def is_open(self) -> bool:
        """Whether something may still come of it."""
        return self.state is State.PENDING

    def to_json(self) -> dict[str, object]:
        """Return plain values, instants as ISO 8601 UTC text."""
        return {
            "id": self.id,
            "number": self.number,
            "subscriber": self.subscriber,
            "event": self.event_id or None,
            "topic": self.topic,
            "seq": self.seq,
            "state": self.state.value,
            "leased": self.is_open and self.node is not None,
            "reason": self.reason,
            "due_at": iso(self.due_at),
            "created_at": iso(to_datetime(self.created_us)),
            "next_attempt_at": _iso_or_none(self.wake_us if self.node is None else None),
            "closed_at": _iso_or_none(self.closed_us),
            "attempts": self.attempts,
            "replay_of": self.replay_of if self.replay_of > 0 else None,
        }


class Attempt(NamedTuple):
    """One try of a delivery. `outcome`: `delivered`, `failed`, `rejected` or `lost` (its node died meanwhile).

    `code`: an HTTP status where there was one. `said`: the error or the answer, one line.
    """

    delivery: int
    number: int
    node: str | None
    started_us: Micros | None
    ended_us: Micros
    outcome: str
    code: int | None
    said: str | None

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "number": self.number,
            "node": self.node,
            "started_at": _iso_or_none(self.started_us),
            "ended_at": iso(to_datetime(self.ended_us)),
            "outcome": self.outcome,
            "code": self.code,
            "said": self.said,
        }


def _iso_or_none(at_us: Micros | None) -> str | None:
    """Return an instant as text; None for none, and for "whenever the one before it is through"."""
    if at_us is None or at_us >= WAITING_US:
        return None
    return iso(to_datetime(at_us))


# The wake instant of a delivery that waits until the one before it in its line is closed.
WAITING_US: Final[Micros] = 1 << 62
