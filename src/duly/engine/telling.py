"""What has come of deliveries: in counts, and one by one for whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from duly.model.delivery import State

if TYPE_CHECKING:
    from duly.stores.outbox_verbs import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One delivery that was attempted, or closed without an attempt, just now.

    `state` pending: the attempt failed and is made again. `attempt`: its number, 0 if none was made. `lateness`: from
    the due instant to the end of the attempt; None if none was made. `said`: the error, or why it was withheld.
    """

    delivery_id: str
    subscriber: str
    event_id: str
    topic: str
    state: State
    attempt: int
    lateness: timedelta | None
    said: str | None

    @classmethod
    def of(cls, result: Result, delivery_id: str, subscriber: str) -> Telling:
        """Tell of a result that was settled."""
        lease, attempt = result.lease, result.attempt
        return cls(
            delivery_id=delivery_id,
            subscriber=subscriber,
            event_id=lease.event_id,
            topic=lease.topic,
            state=result.state,
            attempt=0 if attempt is None else attempt.number,
            lateness=None if attempt is None else timedelta(microseconds=attempt.ended_us - lease.due_us),
            said=result.reason,
        )


TellingListener = Callable[[Sequence[Telling]], None]


@dataclass(slots=True)
class DeliveryTotals:
    """What has become of deliveries since the start."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    withheld: int = 0
    stale: int = 0

    def count(self, result: Result) -> None:
        """Count one that was settled."""
        match result.state:
            case State.DELIVERED:
                self.delivered += 1
            case State.DEAD:
                self.dead += 1
            case State.PENDING:
                self.failed += result.attempt is not None
            case _:
                self.withheld += 1
