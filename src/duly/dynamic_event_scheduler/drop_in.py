"""The class and the functions of the module that Duly replaces, over a `Scheduler`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from duly.agenda import DEFAULT_STORE, Agenda
from duly.channels.handlers import refuse_inside_handler
from duly.clock import Clock, SystemClock
from duly.dynamic_event_scheduler.life import AppScheduler, Life, SaveStatus
from duly.dynamic_event_scheduler.records import Record, Records, renamed
from duly.dynamic_event_scheduler.recoveries import log_detected, log_report, numbers_of
from duly.dynamic_event_scheduler.shapes import (
    ScheduledTrigger,
    next_text,
    preview_row,
    scheduled,
    trigger_row,
    triggers_in,
)
from duly.dynamic_event_scheduler.standing import NAME, subscribe
from duly.errors import InvalidSetting, UnknownEvent, WrongState
from duly.model.dates import read_zone, to_datetime
from duly.model.event import Status
from duly.model.lifecycle import UNSET, CatchUp, Lifecycle, Unset

logger = logging.getLogger("duly.dynamic_event_scheduler")

Load = Callable[[], Awaitable[Iterable[Record]] | Iterable[Record]]
T = TypeVar("T")

MAX_DOWNTIME_HOURS: Final = 24.0
HOURS_MOST: Final = 24.0 * 36_500
SECONDS_MOST: Final = 3600.0
PREVIEWED: Final = 5


@dataclass(frozen=True, slots=True)
class _Settings:
    """What `configure` was told. `store` None: DULY_STORE, or else duly.db in the working directory."""

    store: str | None = None
    load: Load | None = None
    save_status: SaveStatus | None = None
    recovery_delay: float = 0.1
    lifecycles: tuple[Lifecycle, ...] = ()


class DynamicEventScheduler:
    """Moves the status of events when their dates come, and catches up with what was missed during downtime.

    `start` returns when every missed trigger has been executed, in chronological order, and future ones are
    queued. Everything is kept in a store, so a stop at any instant loses nothing and repeats nothing.
    """

    def __init__(self) -> None:
        """Set it up; nothing is opened before it is needed."""
        self.running = False
        self._settings = _Settings()
        self._max_downtime: timedelta | None = timedelta(hours=MAX_DOWNTIME_HOURS)
        self._clock: Clock = SystemClock()
        self._records = Records(None, self._clock)
        self._starting: asyncio.Event | None = None
        self._life: Life | None = None

    def configure(
        self,
        *,
        store: str | None = None,
        load: Load | None = None,
        save_status: SaveStatus | None = None,
        time_zone: str | None = None,
        recovery_delay: float = 0.1,
        max_downtime_hours: float | Unset | None = UNSET,
        lifecycles: Iterable[Lifecycle] = (),
        clock: Clock | None = None,
    ) -> None:
        """Connect it to the application's own events. To be called before it starts; sets everything anew.

        `store`: a URL; by default that of DULY_STORE, else sqlite:///duly.db. `load()`: returns the records of all
        events; awaited at each start, before the recovery. `save_status(event_id, status, sub_status, transition)`:
        called for each transition of an event in its order, again and again until it succeeds. `time_zone`: that
        of naive datetimes, by default the system's. `recovery_delay`: seconds between two calls for missed
        triggers. `max_downtime_hours`: see `set_max_downtime_hours`. Raises InvalidSetting, InvalidZone, WrongState.
        """
        if self._life is not None or self._starting is not None:
            raise WrongState("the scheduler is running; stop it before you configure it")
        if not _is_within(recovery_delay, SECONDS_MOST):
            raise InvalidSetting(f"recovery_delay {recovery_delay!r} must be a number of seconds from 0 up")
        zone = None if time_zone is None else read_zone(time_zone)[0]
        if not isinstance(max_downtime_hours, Unset):
            self.max_downtime_hours = max_downtime_hours
        self._settings = _Settings(store, load, save_status, recovery_delay, tuple(lifecycles))
        self._clock = clock or SystemClock()
        self._records = Records(zone, self._clock)

    @property
    def max_downtime_hours(self) -> float | None:
        """How old a missed trigger may be for the application still to be told; None is unlimited, 0 none."""
        return None if self._max_downtime is None else self._max_downtime / timedelta(hours=1)

    @max_downtime_hours.setter
    def max_downtime_hours(self, hours: float | None) -> None:
        if hours is not None and not _is_within(hours, HOURS_MOST):
            raise InvalidSetting(
                f"max_downtime_hours {hours!r} must be from 0 (announce nothing that was missed) up, "
                "or None (announce all of it)"
            )
        self._max_downtime = None if hours is None else timedelta(hours=hours)
        if self._life is not None:
            self._life.scheduler.change_catch_up(self._catch_up)

    @property
    def _catch_up(self) -> CatchUp:
        return CatchUp(window=self._max_downtime)

    # -- life -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Catch up, then go on in the background. The application is told of what was missed behind this call."""
        if self.running or self._starting is not None:
            logger.warning("Scheduler is already running")
            return
        self._starting = asyncio.Event()
        try:
            await self.initialize()
            assert self._life is not None  # noqa: S101 - initialize leaves it up while we are starting
            self._life.go_on()
            self.running = True
        finally:
            self._starting.set()
            self._starting = None
        logger.info("Scheduler started")

    async def stop(self) -> None:
        """Fire and tell no more; what is being written finishes. Does nothing if it is not running.

        Raises WrongState in `save_status`, for which it would wait.
        """
        refuse_inside_handler("stop()")
        if self._starting is not None:
            await self._starting.wait()
        was_running, self.running = self.running, False
        await self._end()
        if was_running:
            logger.info("Scheduler stopped")

    async def initialize(self) -> None:
        """Check for missed triggers, execute them, queue the future ones, and report.

        By itself, without `start`, it does so once and also tells the application of all of it before it returns.
        """
        life = await self._begin()
        try:
            missed = await self._check_missed_triggers() if life.is_owner else []
            await self._execute_missed_triggers(missed)
            # What is still to come is queued as soon as it is in the store: the alarms on the events' rows.
            if not (self.running or (self._starting is not None and life.tells)):
                await life.drain()
            await self._report(life)
        except BaseException:
            await self._end(unless_running=True)
            raise
        if self._starting is None:
            await self._end(unless_running=True)

    async def settled(self) -> None:
        """Wait until everything due now has been fired, and told as far as it can be. For tests on a manual clock."""
        if self._life is None:
            raise WrongState("the scheduler has not been started, so nothing settles")
        await self._life.settled()

    async def _check_missed_triggers(
        self, events: Iterable[Record] | None = None, current_time: datetime | None = None
    ) -> list[ScheduledTrigger]:
        """Find and log what should have fired by now (or `current_time`) and has not, in chronological order.

        `events`: only those of these records, which are put into the store first. Nothing is fired.
        """
        if events is None and self._life is None:
            await self._put_all(await self._loaded())
        ids = None if events is None else await self._put_all(events)
        at = self._clock.now() if current_time is None else self._records.instant(current_time, what="current_time")
        due = await self._read(lambda agenda: triggers_in(agenda.store, until_us=at))
        missed = [trigger for trigger in due if ids is None or trigger.event_id in ids]
        if missed:
            log_detected(len(missed), [(each.milestone, each.event_id, each.due_us) for each in missed], at)
        else:
            logger.info("No missed triggers")
        return scheduled(missed)

    async def _execute_missed_triggers(self, missed_triggers: list[ScheduledTrigger] | None = None) -> None:
        """Execute what was missed, in chronological order, and tell the application.

        What was missed is what the store says: all of it, so that no event is left behind its dates. A list that
        is empty says that there is nothing to do. Does nothing more on a scheduler that has started: it has.
        """
        if self._life is not None:
            await self._life.catch_up()
        elif missed_triggers is None or missed_triggers:
            life = await self._begin()
            try:
                await life.catch_up()
                await life.drain()
            finally:
                await self._end()

    async def _begin(self) -> Life:
        if self._life is None:
            delay = self._settings.recovery_delay
            scheduler = AppScheduler(
                **self._place(),
                chronology="strict",
                catch_up=self._catch_up,
                recovery_rate=1 / delay if delay else None,
            )
            life = Life(scheduler, self._settings.save_status, delay=delay)
            await life.open()
            # It may have been changed meanwhile.
            scheduler.change_catch_up(self._catch_up)
            self._life = life
        try:
            await self._put_all(await self._loaded())
        except BaseException:
            await self._end(unless_running=True)
            raise
        return self._life

    async def _end(self, *, unless_running: bool = False) -> None:
        if unless_running and self.running:
            return
        life, self._life = self._life, None
        if life is not None:
            await life.stop()

    async def _loaded(self) -> Iterable[Record]:
        found = () if self._settings.load is None else self._settings.load()
        return await found if inspect.isawaitable(found) else found

    async def _report(self, life: Life) -> None:
        counts = await self._read(lambda agenda: agenda.counts())
        queue = scheduled(await self._read(lambda agenda: triggers_in(agenda.store, most=1)))
        log_report(life.scheduler.report, counts, next_text(queue, self._now()))

    # -- events -----------------------------------------------------------------------------------------

    async def add_new_event(self, event: Record) -> Status:
        """Put an event; the same again changes nothing. Returns its status. Raises InvalidInput.

        What had passed before it was known only counts for the status: `save_status` is not told of it.
        """
        return await self._put_one(event)

    async def update_event_triggers(self, event_id: str, updated_event: Record) -> Status:
        """Put the whole event anew: dates that moved move at once. Returns its status. Raises InvalidInput."""
        return await self._put_one(renamed(updated_event, str(event_id)))

    async def remove_event(self, event_id: str) -> None:
        """Remove an event: it fires no more; its history stays. One that is unknown is only logged."""
        try:
            if self._life is not None:
                await self._life.scheduler.remove(str(event_id))
            else:
                await self._read(lambda agenda: agenda.remove(str(event_id)))
        except UnknownEvent:
            logger.warning("Event %s is not scheduled, so it is not removed", event_id)

    async def _put_one(self, record: Record) -> Status:
        event = await self._read(lambda agenda: self._records.event(record, agenda.lifecycle))
        if self._life is not None:
            result = await self._life.scheduler.put(event)
        else:
            result = await self._read(lambda agenda: agenda.put(event))
        for warning in result.warnings:
            logger.warning("%s", warning)
        return (await self._read(lambda agenda: agenda.get(event.id))).status

    async def _put_all(self, records: Iterable[Record]) -> set[str]:
        """Put records, the good ones; log the bad ones with their reasons. Returns the ids of the good ones."""

        def put(agenda: Agenda) -> set[str]:
            events, refused = self._records.events(records, agenda.lifecycle)
            # Loaded events existed while nobody was there: what passed meanwhile was missed, not born late.
            result = agenda.put(events, known_for=self._max_downtime, keep_good=True)
            for reason in [*refused, *result.refused.values()]:
                logger.error("%s; it is left out, all others are scheduled", reason)
            for warning in result.warnings:
                logger.info("%s", warning)
            return set(result.outcomes)

        return await self._read(put)

    # -- reading ----------------------------------------------------------------------------------------

    @property
    def trigger_queue(self) -> list[ScheduledTrigger]:
        """All triggers to come, soonest first: read from the store each time."""
        with self._agenda() as agenda:
            return scheduled(triggers_in(agenda.store))

    def get_scheduled_triggers(self) -> list[dict[str, Any]]:
        """Return all triggers to come as rows of plain values, soonest first."""
        now = self._now()
        return [trigger_row(trigger, now) for trigger in self.trigger_queue]

    async def get_status(self) -> dict[str, Any]:
        """Return how it is: what is queued, and what the last recovery found and did."""
        pending = await self._read(lambda agenda: agenda.counts().pending)
        queue = scheduled(await self._read(lambda agenda: triggers_in(agenda.store, most=PREVIEWED)))
        subscriber = None if self._settings.save_status is None else NAME
        recovery = await self._read(lambda agenda: numbers_of(agenda.store, subscriber))
        now = self._now()
        return {
            "running": self.running,
            "triggers_queued": pending,
            "next_trigger": next_text(queue, now),
            "queue_preview": [preview_row(trigger, now) for trigger in queue],
            "missed_detected": recovery.detected,
            "missed_successful": recovery.successful,
            "missed_failed": recovery.failed,
            "missed_outside_window": recovery.outside_window,
            "last_recovery_at": None if recovery.at_us is None else to_datetime(recovery.at_us).isoformat(),
            "max_downtime_hours": self.max_downtime_hours,
        }

    def _now(self) -> datetime:
        return to_datetime(self._clock.now())

    @contextmanager
    def _agenda(self) -> Iterator[Agenda]:
        """Give the running scheduler's agenda, or one that is opened for this moment."""
        if self._life is not None:
            yield self._life.scheduler.agenda
            return
        with Agenda(**self._place()) as agenda:
            if self._settings.save_status is not None:
                subscribe(agenda.store, self._clock.now())
            yield agenda

    def _place(self) -> dict[str, Any]:
        """Return where the events are and how they are read, as Agenda and Scheduler take it."""
        return {
            "store": self._settings.store or os.environ.get("DULY_STORE") or DEFAULT_STORE,
            "lifecycles": self._settings.lifecycles,
            "time_zone": self._records.zone,
            "clock": self._clock,
        }

    async def _read(self, call: Callable[[Agenda], T]) -> T:
        def run() -> T:
            with self._agenda() as agenda:
                return call(agenda)

        return await asyncio.to_thread(run)


def _is_within(number: object, most: float) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= most


# The one scheduler of this process, and the old module's functions, which are its methods.
dynamic_scheduler = DynamicEventScheduler()
scheduler = dynamic_scheduler
scheduler_instance = dynamic_scheduler
configure = dynamic_scheduler.configure
start_dynamic_scheduler = dynamic_scheduler.start
stop_dynamic_scheduler = dynamic_scheduler.stop
add_event_to_scheduler = dynamic_scheduler.add_new_event
update_event_in_scheduler = dynamic_scheduler.update_event_triggers
remove_event_from_scheduler = dynamic_scheduler.remove_event
get_scheduler_status = dynamic_scheduler.get_status


def set_max_downtime_hours(hours: float | None) -> None:
    """Say how old a missed trigger may be for the application still to be told: None unlimited, 0 none.

    Every status is brought up to date however long the downtime was. Raises InvalidSetting.
    """
    dynamic_scheduler.max_downtime_hours = hours
