"""The pytest plugin: fixtures for the tests of those who use Duly. Loaded by pytest by itself, so it imports nothing.

`duly_clock`, `duly_scheduler`, `duly_make_scheduler`, `duly_async_scheduler`, `duly_receiver`; `duly_now` is meant to
be overridden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duly.testing.receiver import Receiver
    from duly.testing.schedulers import AsyncManualScheduler, ManualScheduler
    from duly.testing.walking import Instant, WalkingClock


@pytest.fixture
def duly_now() -> Instant:
    """The instant at which `duly_clock` begins: 2026-05-01 08:00 UTC. Override it to begin at another."""
    from duly.testing.walking import BEGINS

    return BEGINS


@pytest.fixture
def duly_clock(duly_now: Instant) -> WalkingClock:
    """A clock that stands still until the test moves it: `duly_clock.advance("2 days")`."""
    from duly.testing.walking import WalkingClock

    return WalkingClock(duly_now)


@pytest.fixture
def duly_make_scheduler(duly_clock: WalkingClock) -> Iterator[Callable[..., ManualScheduler]]:
    """Makes schedulers on `duly_clock` with the settings that they are given, each on a store of its own."""
    from duly.testing.schedulers import ManualScheduler

    made: list[ManualScheduler] = []

    def make(**how: Any) -> ManualScheduler:
        made.append(ManualScheduler(duly_clock, **how))
        return made[-1]

    yield make
    for scheduler in reversed(made):
        scheduler.close()


@pytest.fixture
def duly_scheduler(duly_make_scheduler: Callable[..., ManualScheduler]) -> ManualScheduler:
    """A scheduler on a store in memory and `duly_clock`; synchronous. The first `advance` starts it."""
    return duly_make_scheduler()


@pytest.fixture
def duly_async_scheduler(duly_clock: WalkingClock) -> Iterator[AsyncManualScheduler]:
    """The same for asynchronous tests, whichever plugin runs them: use it with `async with`."""
    from duly.testing.schedulers import AsyncManualScheduler

    scheduler = AsyncManualScheduler(duly_clock)
    yield scheduler
    scheduler.close()


@pytest.fixture
def duly_receiver() -> Iterator[Receiver]:
    """A webhook receiver on this machine, which records what it is told and misbehaves as it is asked to."""
    from duly.testing.receiver import Receiver

    with Receiver() as receiver:
        yield receiver
