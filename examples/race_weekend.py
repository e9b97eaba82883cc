"""A race weekend with a sprint, on a lifecycle of its own, and a laptop that was closed over the qualifying.

The clock is a manual one, so three days pass in a moment: `python examples/race_weekend.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from duly import Entry, Event, Scheduler
from duly.clock import ManualClock
from duly.lifecycles.reader import lifecycle_from_toml
from duly.model.dates import to_micros

WEEKEND = Event(
    "f1/2024/miami",
    name="Miami Grand Prix 2024",
    lifecycle="race_weekend",
    dates={
        "practice": "2024-05-03T16:30:00Z",
        "sprint_qualifying": "2024-05-03T20:30:00Z",
        "sprint": "2024-05-04T16:00:00Z",
        "qualifying": "2024-05-04T20:00:00Z",
        "race": "2024-05-05T20:00:00Z",
    },
)
CLOSED = (datetime(2024, 5, 4, 15, 0, tzinfo=UTC), datetime(2024, 5, 4, 20, 30, tzinfo=UTC))


def told(entries: Sequence[Entry]) -> None:
    """Print each transition on a line."""
    for entry in entries:
        if entry.is_transition:
            print(f"{entry.at:%a %H:%M}Z  {entry.milestone:18} {entry.to_status}  ({entry.lateness} late)")


async def main() -> None:
    """Live through the weekend on one running scheduler; a suspended host is one more thing to recover from."""
    lifecycle = lifecycle_from_toml(Path(__file__).with_name("race_weekend.toml"))
    clock = ManualClock(to_micros(datetime(2024, 5, 3, tzinfo=UTC)))
    async with Scheduler("sqlite:///:memory:", lifecycles=[lifecycle], clock=clock) as scheduler:
        scheduler.on_commit(told)
        await scheduler.put(WEEKEND)
        await until(scheduler, clock, CLOSED[0])
        print(f"-- the laptop is closed from {CLOSED[0]:%H:%M} to {CLOSED[1]:%H:%M} --")
        clock.advance(to_micros(CLOSED[1]) - clock.now())
        await scheduler.settled()
        outage = (await scheduler.outages())[0]
        print(f"-- {outage.detected} were missed; it is {(await scheduler.get(WEEKEND.id)).status} --")
        assert outage.detected == outage.successful == 2
        await until(scheduler, clock, datetime(2024, 5, 6, tzinfo=UTC))
        assert (await scheduler.get(WEEKEND.id)).status == "completed/finished"


async def until(scheduler: Scheduler, clock: ManualClock, end: datetime) -> None:
    """Let time pass minute by minute, as it does."""
    while clock.now() < to_micros(end):
        clock.advance(timedelta(minutes=1) // timedelta(microseconds=1))
        await scheduler.settled()


if __name__ == "__main__":
    asyncio.run(main())
