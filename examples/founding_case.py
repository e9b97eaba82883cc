"""The founding case: registration was to open at 20:30, and from 20:00 to 21:15 the server was down.

The clock is a manual one, so the evening of 27 August 2025 passes in a moment: `python examples/founding_case.py`.
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from duly import Context, Event, Scheduler
from duly.clock import ManualClock
from duly.model.dates import to_micros

RACE = {
    "event_id": "ARRCOSTU2025",
    "event_name": "Autonomous Robotics Race",
    "registration_start_date": "2025-08-27 20:30:00",
    "registration_end_date": "2025-09-10 18:00:00",
    "start_datetime": "2025-09-20 09:00:00",
    "end_datetime": "2025-09-20 17:00:00",
    "certificate_end_date": "2025-12-31 23:59:00",
    "created_at": "2025-08-01 12:00:00+00:00",
}


def clock_at(hour: int, minute: int) -> ManualClock:
    """Return a clock that stands at that time of the evening."""
    return ManualClock(to_micros(datetime(2025, 8, 27, hour, minute, tzinfo=UTC)))


def scheduler_at(url: str, clock: ManualClock, told: list[str]) -> Scheduler:
    """Return a scheduler that announces each opening of a registration."""
    scheduler = Scheduler(url, time_zone="UTC", clock=clock)

    @scheduler.on("registration_open", name="announce")
    async def announce(context: Context) -> None:
        told.append(f"{context.event.name} is open for registration ({context.lateness} late)")

    return scheduler


async def main() -> None:
    """Put the event, be down, come back, and come back once more."""
    told: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'events.db'}"

        async with scheduler_at(url, clock_at(19, 55), told) as scheduler:
            await scheduler.put(Event.from_record(RACE))
            view = await scheduler.get("ARRCOSTU2025")
            print(f"19:55  {view.name}: {view.status}")
        print("20:00  the server goes down")
        print("20:30  registration should open; nobody is there")

        async with scheduler_at(url, clock_at(21, 15), told) as scheduler:
            await scheduler.settled()
            report = scheduler.report
            assert report is not None
            print(f"21:15  the server is back: {report.detected} missed trigger detected")
            for entry in report.transitions:
                print(
                    f"       {entry.milestone}, due {entry.due_at:%H:%M}, {entry.lateness} late: "
                    f"{entry.from_status} → {entry.to_status}"
                )
            print(f"       {report.successful} successful, {report.failed} failed")
            view = await scheduler.get("ARRCOSTU2025")
            print(f"21:15  {view.name}: {view.status}")
            print(f"       told: {told}")
            assert (report.detected, report.successful, report.failed) == (1, 1, 0)
            assert told == ["Autonomous Robotics Race is open for registration (0:45:00 late)"]
            assert view.status == "upcoming/registration_open"

        async with scheduler_at(url, clock_at(21, 16), told) as scheduler:
            report = scheduler.report
            assert report is not None
            print(f"21:16  restarted once more: {report.detected} missed triggers detected")
            assert report.detected == 0


if __name__ == "__main__":
    asyncio.run(main())
