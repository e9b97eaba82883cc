"""A real conference season, with a server that is down for two weeks in the middle of it.

The clock is a manual one, so a year and a half passes in a moment: `python examples/conference_season.py`.
The same file can be run for real: `duly run examples/conference_season.yaml`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from duly import Entry, Scheduler
from duly.clock import ManualClock
from duly.model.dates import to_micros
from duly.sources.loading import load_events

SEASON = Path(__file__).with_name("conference_season.yaml")
DOWN = (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 17, tzinfo=UTC))
END = datetime(2025, 1, 1, tzinfo=UTC)


def told(entry: Entry) -> str:
    """Return one transition on one line."""
    late = f"  ({entry.lateness} late)" if entry.cause == "caught_up" else ""
    return f"{entry.due_at:%Y-%m-%d %H:%M}Z  {entry.event_id:13} {entry.milestone:18} → {entry.to_status}{late}"


def tell(entries: Sequence[Entry]) -> None:
    """Print the transitions among what was committed."""
    for entry in entries:
        if entry.is_transition:
            print(told(entry))


async def main() -> None:
    """Load the season, live through it, be away for two weeks, come back."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'season.db'}"
        clock = ManualClock(to_micros(datetime(2023, 9, 1, tzinfo=UTC)))

        scheduler = Scheduler(url, clock=clock)
        await scheduler.start()
        loaded = load_events([SEASON])
        assert not loaded.refused, loaded.refused
        await scheduler.put(loaded.events)
        await live(scheduler, clock, until=DOWN[0])
        await scheduler.stop()

        print(f"-- nobody is there from {DOWN[0]:%d %b} to {DOWN[1]:%d %b %Y} --")
        clock.advance(to_micros(DOWN[1]) - clock.now())

        scheduler = Scheduler(url, clock=clock)
        report = await scheduler.start()
        print(f"-- back: {report.detected} missed, {report.successful} caught up, {report.failed} failed --")
        for entry in report.transitions:
            print(told(entry))
        assert [entry.event_id for entry in report.transitions] == ["icml-2024", "acl-2024", "acl-2024"]
        await live(scheduler, clock, until=END)
        statuses = {str(view.status) for view in await scheduler.events()}
        print(f"-- {END:%d %b %Y}: every conference is {', '.join(statuses)} --")
        assert len(statuses) == 1
        await scheduler.stop()


async def live(scheduler: Scheduler, clock: ManualClock, *, until: datetime) -> None:
    """Let time pass from trigger to trigger, as the background loop would."""
    scheduler.on_commit(tell)
    while (coming := await scheduler.upcoming(1)) and coming[0].due_at <= until:
        clock.advance(max(0, coming[0].due_us - clock.now()))
        await scheduler.settled()
    clock.advance(max(0, to_micros(until) - clock.now()))


if __name__ == "__main__":
    asyncio.run(main())
