"""What holds attempts back: a pause that a subscriber asked for, its trying out again, the pace of a backlog."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from duly.clock import SECOND

if TYPE_CHECKING:
    from duly.clock import Micros
    from duly.engine.lines import Waiting
    from duly.model.delivery import Subscriber

# Of a subscriber's places so many, but no more than half, are kept free of the backlog: what is fresh never waits
# behind that.
KEPT_FREE: Final = 4


@dataclass(slots=True)
class Restraint:
    """How many attempts may be begun for whom. All instants are those of the boot clock.

    `rate`: of the backlog, no more attempts a second than this; None: as fast as it goes.
    """

    rate: float | None = None
    disabled: dict[int, str] = field(default_factory=dict)
    _paused: dict[int, Micros] = field(default_factory=dict)
    _probing: set[int] = field(default_factory=set)
    _paced_until: Micros = 0

    def pause(self, subscriber: int, until: Micros) -> None:
        """Begin nothing for a subscriber until then; and then one at a time, until one has succeeded."""
        # Several attempts may have been under way, each told something else: the longest pause holds.
        self._paused[subscriber] = max(until, self._paused.get(subscriber, until))
        self._probing.add(subscriber)

    def succeeded(self, subscriber: int) -> None:
        """Note that a subscriber is well."""
        self._probing.discard(subscriber)

    def holds(self, subscriber: int, boot: Micros) -> bool:
        """Return whether nothing is to be begun for a subscriber."""
        return subscriber in self.disabled or self._paused.get(subscriber, 0) > boot

    def places(self, subscriber: Subscriber, waiting: Waiting, boot: Micros) -> tuple[int, int]:
        """Return how many attempts may be begun for a subscriber now: fresh ones, and of the backlog."""
        if self.holds(subscriber.number, boot):
            return 0, 0
        one = subscriber.is_chronological or subscriber.number in self._probing
        most = 1 if one else subscriber.concurrency
        free = most - waiting.running
        fresh = max(0, min(free, len(waiting.fresh)))
        late = max(0, min(free - fresh - min(KEPT_FREE, most // 2), len(waiting.late)))
        if late and self.rate is not None:
            late = int(self._paced_until <= boot)
        return fresh, late

    def began_late(self, boot: Micros) -> None:
        """Note that one of the backlog was begun."""
        if self.rate is not None:
            self._paced_until = max(self._paced_until, boot) + round(SECOND / self.rate)

    def ends(self, boot: Micros) -> Iterable[Micros]:
        """Yield the instants at which something is held back no longer."""
        if self._paced_until > boot:
            yield self._paced_until
        yield from (until for until in self._paused.values() if until > boot)
