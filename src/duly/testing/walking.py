"""A clock that is moved by hand and stops on the way at everything that is to be done."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Protocol

from typing_extensions import override

from duly.clock import ManualClock, Micros
from duly.errors import InvalidInput
from duly.model.dates import to_datetime, to_micros

BEGINS: Final = "2026-05-01T08:00:00Z"
MICROSECOND: Final = timedelta(microseconds=1)

Span = str | timedelta | Micros
Instant = str | datetime | Micros


def micros_of(span: Span) -> Micros:
    """Return a span of time in microseconds: `"2 days"`, `"1 h 30 min"`, a timedelta, or microseconds.

    Raises InvalidInput for what is no duration, or is negative.
    """
    from duly.settings import read_duration

    if isinstance(span, str):
        span = read_duration(span, what="the span")
    micros = span // MICROSECOND if isinstance(span, timedelta) else span
    if micros < 0:
        raise InvalidInput(f"time does not run backwards ({span}); clock.set(…) steps the clock")
    return micros


def instant_of(instant: Instant) -> Micros:
    """Return an instant: ISO text or a datetime, each with its offset from UTC, or microseconds.

    Raises InvalidInput for what is none, or names no zone.
    """
    if isinstance(instant, int):
        return instant
    try:
        read = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    except ValueError:
        read = None
    if read is None or read.utcoffset() is None:
        raise InvalidInput(f"{instant!r} is no instant; write 2026-05-01T10:00Z, or give an aware datetime")
    return to_micros(read)


class Companion(Protocol):
    """A scheduler that is taken along when a walking clock moves. A synchronous one."""

    def begin(self) -> None:
        """Start, if it was never started."""

    def settle(self) -> None:
        """Do all that can be done at this instant."""

    def next_instant(self) -> Micros | None:
        """Return when time next brings something to do."""

    def live_until(self, until_us: Micros) -> None:
        """Take the leap up to there for time that was lived through."""


class WalkingClock(ManualClock):
    """A manual clock for tests. `advance` has its schedulers do whatever falls due on the way, at its very instant.

    Every alarm, further attempt, timeout and pace is stopped at, in its order, and all that can be done there has
    been done before time goes on. So what a test sees does not depend on how fast its machine is. Schedulers that
    are asynchronous are moved with `await scheduler.advance(…)` instead.
    """

    def __init__(self, now: Instant = BEGINS) -> None:
        """Begin at an instant."""
        super().__init__(instant_of(now))
        self._companions: list[Companion] = []

    @property
    def now_at(self) -> datetime:
        """The instant that it shows, aware, UTC."""
        return to_datetime(self.now())

    @override
    def advance(self, micros: Span) -> None:
        """Let time pass: `"2 days"`, a timedelta, or microseconds. Schedulers that were never started are, first.

        Raises InvalidInput; WrongState while an asynchronous scheduler runs on it; TimeoutError where a scheduler
        does not come to rest.
        """
        self._walk(self.now() + micros_of(micros))

    def advance_to(self, instant: Instant) -> None:
        """Let time pass until an instant: `2026-05-01T10:00Z`, an aware datetime, or microseconds."""
        self.advance(self.micros_to(instant))

    def micros_to(self, instant: Instant) -> Micros:
        """Return how far an instant is ahead. Raises InvalidInput for one that has passed."""
        ahead = instant_of(instant) - self.now()
        if ahead < 0:
            raise InvalidInput(f"{instant} has passed: it is {self.now_at}; clock.set(…) steps the clock")
        return ahead

    def leap(self, span: Span) -> None:
        """Let time pass at one stroke, as for a host that was suspended: nothing is done on the way."""
        super().advance(micros_of(span))

    def take_along(self, companion: Companion) -> None:
        """Have a scheduler do what falls due whenever time passes."""
        self._companions.append(companion)

    def leave(self, companion: Companion) -> None:
        """Take a scheduler along no more."""
        self._companions.remove(companion)

    def _walk(self, until_us: Micros) -> None:
        for companion in self._companions:
            companion.begin()
            companion.settle()
        while (instant := self._stop_before(until_us)) > self.now():
            for companion in self._companions:
                companion.live_until(instant)
            self.leap(instant - self.now())
            for companion in self._companions:
                companion.settle()

    def _stop_before(self, until_us: Micros) -> Micros:
        return soonest((companion.next_instant() for companion in self._companions), until_us)


def soonest(instants: Iterable[Micros | None], until_us: Micros) -> Micros:
    """Return the first stop on the way to an instant, which is the last one."""
    return min([until_us, *(instant for instant in instants if instant is not None)])
