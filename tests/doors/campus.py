"""An application with events of its own and a manual clock, as the tests of the drop-in need it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from duly.clock import SECOND, ManualClock
from duly.dynamic_event_scheduler import DynamicEventScheduler
from duly.model.dates import to_micros
from duly.model.history import Entry

T = TypeVar("T")
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
RACE = {
    "event_id": "ARRCOSTU2025",
    "event_name": "Autonomous Robotics Race",
    "registration_start_date": "2025-08-27 20:30:00",
    "registration_end_date": "2025-09-10 18:00:00",
    "start_datetime": "2025-09-20 09:00:00",
    "end_datetime": datetime(2025, 9, 20, 17),
    "certificate_end_date": None,
    "status": "upcoming",
    "sub_status": "registration_not_started",
    "registrations_count": 17,
}


def at(text: str) -> int:
    """Return the instant of a UTC time such as `2025-08-27 20:30`."""
    return to_micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


def record(event_id: str, start: str, end: str, **more: Any) -> dict[str, Any]:
    return {"event_id": event_id, "event_name": event_id, "start_datetime": start, "end_datetime": end, **more}


@dataclass
class Campus:
    """The application: its records, what it was told, and (`broken`) for which events it cannot take note."""

    folder: Path
    clock: ManualClock = field(default_factory=lambda: ManualClock(at("2025-08-27 19:00")))
    records: list[Any] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    attempts: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'duly.db'}"

    async def load(self) -> Iterable[Any]:
        return self.records

    async def save_status(self, event_id: str, status: str, sub_status: str, transition: Entry) -> None:
        self.attempts.append(event_id)
        if event_id in self.broken:
            raise ConnectionError("the database is away")
        self.told.append((event_id, f"{status}/{sub_status}"))
        self.entries.append(transition)

    def scheduler(self, **settings: Any) -> DynamicEventScheduler:
        """Return a scheduler as a process that has just been started has it."""
        made = DynamicEventScheduler()
        made.configure(
            **{
                "store": self.url,
                "load": self.load,
                "save_status": self.save_status,
                "time_zone": "UTC",
                "recovery_delay": 0,
                "clock": self.clock,
                **settings,
            }
        )
        return made

    async def run(self, **settings: Any) -> dict[str, Any]:
        """Start, let everything settle, stop; return the status before the stop."""
        scheduler = self.scheduler(**settings)
        await scheduler.start()
        await scheduler.settled()
        status = await scheduler.get_status()
        await scheduler.stop()
        return status

    async def put_by_an_earlier_run(self, *records: dict[str, Any], when: str) -> None:
        """Have events put at an earlier instant by a process that has ended since."""
        now = self.clock.now()
        self.clock.set(at(when))
        scheduler = self.scheduler(load=None)
        await scheduler.start()
        for each in records:
            await scheduler.add_new_event(each)
        await scheduler.stop()
        self.clock.set(max(now, at(when)))


def asynchronously(test: Callable[..., Awaitable[None]], *args: Any) -> None:
    """Run a test's coroutine; a scheduler that hangs is the test's failure, not the run's."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test(*args)

    asyncio.run(bounded())
