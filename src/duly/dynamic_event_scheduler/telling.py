"""The step that tells the application of each transition, one at a time and in order, until it has taken it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from duly.clock import SECOND
from duly.dynamic_event_scheduler.shapes import length_text
from duly.dynamic_event_scheduler.standing import (
    Outcome,
    Progress,
    Standing,
    keep,
    standing_now,
    standing_of,
    subscribe,
)
from duly.errors import StoreRefused, UnknownLifecycle
from duly.model.dates import to_datetime
from duly.model.event import Hold
from duly.model.history import Kind, iso
from duly.model.lifecycle import CatchUp
from duly.rules.catch_up import Verdict, effective, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duly.engine.recovery import Report
    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.model.history import Entry, Outage
    from duly.scheduler import Scheduler
    from duly.stores.store import Counts

logger = logging.getLogger("duly.dynamic_event_scheduler")

BATCH: Final = 100
OUTAGES_LOOKED_AT: Final = 50
RETRY_FIRST_US: Final[Micros] = SECOND
RETRY_MOST_US: Final[Micros] = 60 * SECOND
# A call that has not come back by then counts as failed, so that one that hangs does not silence all others.
TELL_WITHIN: Final = 60.0
_TOLD_KINDS: Final = frozenset({Kind.FIRED, Kind.REVOKED})

Tell = Callable[["Entry"], Awaitable[None]]


class Announcing:
    """A step that tells the application of each transition: of one event in order, each until it was taken.

    `tell` returns when the application has taken note; if it raises, it is asked again after a growing pause, also
    after a restart, and later transitions of that event wait. Other events go on. Between two transitions of a
    recovery `delay_us` pass. Those older than `window` are not told, nor what had passed before the event was
    known, nor of events that are on hold or removed by then. Without `tell` it only reports recoveries.
    """

    name = "announcing"

    def __init__(
        self, scheduler: Scheduler, tell: Tell | None, *, delay_us: Micros, window: Callable[[], timedelta | None]
    ) -> None:
        """Set it up; `prepare` comes before the scheduler's start, `begin` after it."""
        self._scheduler = scheduler
        self._store = scheduler.store
        self._clock = scheduler.clock
        self._tell = tell
        self._delay_us = 0 if tell is None else delay_us
        self._window = window
        self._standing: Standing | None = None
        self._told_until = 0
        self._paced_until_us: Micros = 0
        self._failures: dict[str, int] = {}
        self._retry_at_us: dict[str, Micros] = {}

    @property
    def progress(self) -> Progress | None:
        """How far the last recovery of this process has been told; None while another process sees to it."""
        standing = self._standing if self._scheduler.is_owner else None
        return None if standing is None else standing.recovery

    async def prepare(self) -> None:
        """Make sure that what happens from now on is told, whatever becomes of this process."""
        if self._tell is None:
            self._standing = await self._standing_now()
        else:
            await asyncio.to_thread(subscribe, self._store)

    async def begin(self) -> None:
        """Take note of the recovery that the scheduler's start has made."""
        if not self._scheduler.is_owner:
            return
        standing = await self._take_up()
        if not await self._find_recoveries(standing) and standing.recovery.done:
            standing.recovery = Progress(outage=standing.recovery.outage, at_us=self._clock.now())
            await self._keep(standing)

    async def run_once(self) -> Micros | None:
        """Tell what there is to tell, and return when to be called again."""
        if not self._scheduler.is_owner:
            # Whoever fires tells, and writes down how far it has got.
            self._standing = None if self._tell is not None else await self._standing_now()
            return None
        standing = await self._take_up()
        for outage in await self._find_recoveries(standing):
            await self._log_detected(outage)
        there_is_more = await self._tell_news(standing)
        await self._retry_one(standing)
        return self._wanted(standing, there_is_more=there_is_more)

    async def drain(self) -> None:
        """Tell all news now, at the pace that is set. What the application did not take stays owed."""
        while self._scheduler.is_owner:
            standing = await self._take_up()
            if not await self._tell_news(standing):
                return
            await self._clock.nap(max(0, self._paced_until_us - self._clock.since_boot()), asyncio.Event())

    async def _standing_now(self) -> Standing:
        return await asyncio.to_thread(lambda: self._store.read(standing_now()))

    # -- what there is ----------------------------------------------------------------------------------

    async def _take_up(self) -> Standing:
        if self._standing is None:
            found = await asyncio.to_thread(standing_of, self._store)
            self._standing = found or Standing()
            self._told_until = self._standing.cursor
        return self._standing

    async def _keep(self, standing: Standing) -> None:
        self._told_until = standing.cursor
        if self._tell is not None:
            await asyncio.to_thread(keep, self._store, standing)

    async def _find_recoveries(self, standing: Standing) -> list[Outage]:
        """Begin to tell of outages that are over and caught up with; return them."""
        latest = await asyncio.to_thread(self._store.outages, most=OUTAGES_LOOKED_AT)
        known = standing.recovery.outage
        found = [outage for outage in latest if outage.id > known and outage.finished_us is not None]
        if found:
            end = await asyncio.to_thread(self._store.history_end)
            standing.recovery = standing.recovery.joined(found, self._clock.now(), end[0] if end else 0)
            await self._keep(standing)
        return found[::-1]

    async def _log_detected(self, outage: Outage) -> None:
        if outage.detected:
            entries = await asyncio.to_thread(self._store.history_of_outage, outage.id, most=outage.detected)
            due = [(entry.milestone or "", entry.event_id, entry.due_us or entry.at_us) for entry in entries]
            log_detected(outage.detected, due, self._clock.now())

    async def _tell_news(self, standing: Standing) -> bool:
        """Go through one batch of the history; return whether there is more to do already."""
        batch = await asyncio.to_thread(self._store.history_after, standing.cursor, most=BATCH)
        for number, entry in batch:
            if entry.outage is not None and entry.outage > standing.recovery.outage:
                return False  # its recovery is still going on: first the count of all, then one after the other
            if self._clock.since_boot() < self._paced_until_us:
                return True
            await self._take(standing, number, entry)
        if standing.cursor != self._told_until:
            await self._keep(standing)
        await self._conclude(standing)
        return len(batch) == BATCH

    async def _take(self, standing: Standing, number: int, entry: Entry) -> None:
        recovered = entry.outage is not None
        if recovered:
            logger.info("🔄 Executing missed trigger: %s for %s", entry.milestone, entry.event_id)
        outcome = await self._first_turn(standing, number, entry)
        # In memory first: should the store refuse to keep it, what was told is still not told again.
        standing.cursor = number
        if recovered and not standing.recovery.done:
            standing.recovery = standing.recovery.counted(outcome)
        if outcome is Outcome.TOLD:
            await self._keep(standing)
            if recovered and self._delay_us:
                self._paced_until_us = self._clock.since_boot() + self._delay_us

    async def _conclude(self, standing: Standing) -> None:
        recovery = standing.recovery
        if not recovery.done and standing.cursor >= recovery.until:
            logger.info(
                "✅ Missed trigger execution complete: %d successful, %d failed",
                recovery.successful,
                recovery.failed,
            )
            standing.recovery = replace(recovery, done=True)
            await self._keep(standing)

    # -- one transition ---------------------------------------------------------------------------------

    async def _first_turn(self, standing: Standing, number: int, entry: Entry) -> Outcome:
        if entry.kind not in _TOLD_KINDS:
            return Outcome.NOTHING_TO_TELL
        if entry.event_id in standing.owed:
            logger.warning(
                "%s for %s waits until the application has taken what came before", entry.milestone, entry.event_id
            )
            standing.owed[entry.event_id].append(number)
            return Outcome.OWED
        verdict = await asyncio.to_thread(self._verdict, entry)
        if verdict is Verdict.MISSED:
            logger.info("%s for %s is too old to be announced", entry.milestone, entry.event_id)
            return Outcome.OUTSIDE_WINDOW
        if verdict is not Verdict.DELIVER or self._tell is None:
            return Outcome.NOTHING_TO_TELL
        if await self._told(entry, self._tell):
            return Outcome.TOLD
        standing.owed[entry.event_id] = [number]
        return Outcome.OWED

    async def _told(self, entry: Entry, tell: Tell) -> bool:
        id_ = entry.event_id
        try:
            async with asyncio.timeout(TELL_WITHIN):
                await tell(entry)
        except Exception as error:  # noqa: BLE001 - the application's own: logged, and asked again until it succeeds
            self._log_failure(entry, error)
            return False
        if self._failures.pop(id_, 0):
            logger.info("save_status took %s of %s at last", entry.milestone, id_)
        self._retry_at_us.pop(id_, None)
        return True

    def _log_failure(self, entry: Entry, error: Exception) -> None:
        id_ = entry.event_id
        count = self._failures[id_] = self._failures.get(id_, 0) + 1
        pause = min(RETRY_MOST_US, RETRY_FIRST_US * 2 ** min(count - 1, 10))
        self._retry_at_us[id_] = self._clock.since_boot() + pause
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        logger.error(
            "save_status failed for %s of %s (%s); it is tried again in %d s",
            entry.milestone, id_, said, pause // SECOND,
            exc_info=error if count == 1 else None,  # where it comes from is told once
        )  # fmt: skip

    def _verdict(self, entry: Entry) -> Verdict:
        """Judge, in the store's thread, whether a transition is told at its first turn."""
        row = self._living(entry)
        if row is None:
            return Verdict.SKIP
        judged, levels = entry, [CatchUp(window=self._window())]
        try:
            lifecycle = self._store.lifecycle_of(row)
        except UnknownLifecycle:
            return Verdict.DELIVER  # it happened, and there is no policy any more that says otherwise
        if entry.kind == Kind.FIRED:
            base = (entry.milestone or "").partition("#")[0]
            levels += [lifecycle.by_name[base].catch_up] if base in lifecycle.by_name else []
            levels.append(lifecycle.catch_up)
        else:
            # What was undone is news of now, however old its date; policies speak of what has come, not of that.
            judged = entry._replace(due_us=None)
        return judge(judged, row, lifecycle, policy=effective(levels), now_us=self._clock.now()).verdict

    def _living(self, entry: Entry) -> EventRow | None:
        """Return the event; None if it was removed or put on hold since: nothing is told of it then.

        Whatever was told now would overwrite, in the application, what it has decided in the meantime.
        """
        if not self._store.own():
            msg = f"the lock of {self._store.url} is lost: another process may be telling"
            raise StoreRefused(msg)
        row = self._store.get_events([entry.event_id]).get(entry.event_id)
        return row if row is not None and not row.removed and row.hold == Hold.ACTIVE else None

    # -- what is owed -----------------------------------------------------------------------------------

    async def _retry_one(self, standing: Standing) -> None:
        """Try the event again that has waited longest: one per round, so that news never wait behind failures."""
        event_id = min(standing.owed, key=lambda id_: self._retry_at_us.get(id_, 0), default=None)
        if event_id is None or self._tell is None:
            return
        if self._retry_at_us.get(event_id, 0) > self._clock.since_boot():
            return
        numbers = standing.owed[event_id]
        [(_, entry)] = await asyncio.to_thread(self._store.history_after, numbers[0] - 1, most=1)
        # No window here: what the application was asked to take once, it is asked until it does.
        living = await asyncio.to_thread(self._living, entry)
        if living is not None and not await self._told(entry, self._tell):
            return
        numbers.pop(0)
        if not numbers:
            del standing.owed[event_id]
        await self._keep(standing)

    def _wanted(self, standing: Standing, *, there_is_more: bool) -> Micros | None:
        now, boot = self._clock.now(), self._clock.since_boot()
        wishes = [self._retry_at_us.get(event_id, 0) for event_id in standing.owed]
        if there_is_more:
            wishes.append(self._paced_until_us)
        return now + max(0, min(wishes) - boot) if wishes else None


def log_detected(count: int, due: Sequence[tuple[str, str, Micros]], now_us: Micros) -> None:
    """Log what was missed: how many, and for each (milestone, event, due instant) when it was due."""
    logger.warning("⚠️ Detected %d missed triggers during downtime!", count)
    for milestone, event_id, due_us in due:
        age = length_text(timedelta(microseconds=now_us - due_us))
        logger.info("%s for %s was due at %s, %s ago", milestone, event_id, iso(to_datetime(due_us)), age)


def log_report(report: Report | None, counts: Counts, next_trigger: str) -> None:
    """Log what a start has found and done, and what is to come."""
    if report is not None and report.detected:
        logger.info(
            "Recovery: %d detected, %d brought up to date, %d set aside, %d too old to be announced",
            report.detected,
            report.successful,
            report.failed,
            report.outside_window,
        )
    if counts.set_aside:
        logger.warning("%d events are set aside with their errors: see 'duly check'", counts.set_aside)
    logger.info("Initialized scheduler with %d future triggers from %d events", counts.pending, counts.armed)
    logger.info("Next trigger: %s", next_trigger)
