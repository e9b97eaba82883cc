"""A handler that writes down what it is told, and fails when it is asked to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from typing_extensions import override

from duly.errors import InvalidInput
from duly.model.dates import to_datetime

if TYPE_CHECKING:
    from duly.channels.channel import Context
    from duly.model.delivery import Delivery
    from duly.model.event import Status
    from duly.model.history import Entry, Outage


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One attempt at telling, as it arrived. `failed`: it was answered with an error.

    `delivery_id` is the same over all attempts at one delivery. `lateness`: from `due_at` to `at`. `event_id` is
    empty, and `transition` None, for what is about no event (`outage`).
    """

    event_id: str
    topic: str
    attempt: int
    delivery_id: str
    at: datetime
    due_at: datetime
    lateness: timedelta
    caught_up: bool
    status: Status | None
    failed: bool
    transition: Entry | None = field(repr=False)
    outage: Outage | None = field(repr=False)
    dead: Delivery | None = field(repr=False)


class Recorder:
    """A handler for tests. `ManualScheduler.record` declares one; `scheduler.on("*", name=…)(recorder)` does, too.

    It runs in the scheduler's event loop, so that what it writes down stands in the order in which it was told.
    """

    def __init__(self) -> None:
        """Have heard nothing yet."""
        self.heard: list[Heard] = []
        self._failing: dict[str | None, tuple[float, Exception]] = {}

    @override
    def __repr__(self) -> str:
        return f"<Recorder: {self.told!r}>"

    async def __call__(self, context: Context) -> None:
        """Take one attempt."""
        error = self._error_for(context.event_id)
        self.heard.append(
            Heard(
                event_id=context.event_id,
                topic=context.topic,
                attempt=context.attempt,
                delivery_id=context.delivery_id,
                at=to_datetime(context.now_us),
                due_at=context.due_at,
                lateness=context.lateness,
                caught_up=context.caught_up,
                status=context.status,
                failed=error is not None,
                transition=context.transition,
                outage=context.outage,
                dead=context.dead,
            )
        )
        if error is not None:
            raise error

    @property
    def taken(self) -> list[Heard]:
        """What was heard and not answered with an error: one for each delivery that went well."""
        return [heard for heard in self.heard if not heard.failed]

    @property
    def told(self) -> list[tuple[str, str]]:
        """The same in short: (event, topic), in the order in which it was told."""
        return [(heard.event_id, heard.topic) for heard in self.taken]

    def of(self, event_id: str) -> list[Heard]:
        """Return all that was heard of one event, failed attempts too."""
        return [heard for heard in self.heard if heard.event_id == event_id]

    def forget(self) -> None:
        """Begin with an empty list."""
        self.heard.clear()

    # -- failing ----------------------------------------------------------------------------------------

    def fail(self, times: int | None = 1, *, event_id: str | None = None, error: Exception | None = None) -> None:
        """Answer the next attempts with an error. `times` None: until `recover`. `event_id`: only those about it.

        `error`: `RuntimeError` unless given; `duly.Reject` makes a delivery dead at once, `duly.RetryLater` says when
        to come again.
        """
        if times is not None and times < 0:
            raise InvalidInput(f"a recorder cannot fail {times} times; use a number from zero up, or None")
        answer = error or RuntimeError("the recorder was asked to fail")
        self._failing[event_id] = (float("inf") if times is None else times, answer)

    def recover(self) -> None:
        """Answer well from now on."""
        self._failing.clear()

    def _error_for(self, event_id: str) -> Exception | None:
        for key in self._keys(event_id):
            left, error = self._failing.get(key, (0, None))
            if error is not None and left > 0:
                self._failing[key] = (left - 1, error)
                return error
        return None

    def _keys(self, event_id: str) -> Iterator[str | None]:
        yield event_id
        yield None
