"""The last recovery, as the application counts it: what was missed, and what became of telling it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from duly.dynamic_event_scheduler.shapes import length_text
from duly.model.dates import to_datetime
from duly.model.history import iso
from duly.rules.catch_up import OUTSIDE_WINDOW
from duly.stores.births import audience
from duly.stores.rows import outage_of
from duly.stores.store import LAST
from duly.stores.verb import Statement
from duly.stores.verbs import meta_json, put_meta_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duly.engine.recovery import Report
    from duly.model.dates import Micros
    from duly.model.history import Entry, Outage
    from duly.scheduler import Scheduler
    from duly.stores.store import Counts, Store
    from duly.stores.verb import Verb

logger = logging.getLogger("duly.dynamic_event_scheduler")

KEY: Final = "dynamic_event_scheduler"


@dataclass(frozen=True, slots=True)
class Span:
    """Which outages the last recovery is about: those behind the number `after`, up to `until`. `at_us`: when it was.

    One that is not told to its end when the next one comes is counted together with it.
    """

    after: int = 0
    until: int = 0
    at_us: Micros | None = None


EVERYTHING: Final = Span(-1, LAST)


def span_kept() -> Verb[Span]:
    """Return what is kept; where nothing is, the span of a recovery that is to come."""
    kept = yield from meta_json(KEY)
    if kept is not None:
        recovery = kept["recovery"]
        return Span(**recovery) if "after" in recovery else (yield from _earlier_span(recovery))
    last = yield Statement("list_outages", {"before": LAST, "most": 1})
    # One whose recovery was cut off goes on under its number, and is counted.
    seen = 0 if not last else last[0][0] - (last[0][4] is None)
    return Span(seen, seen)


def _earlier_span(recovery: Mapping[str, Any]) -> Verb[Span]:
    """Return the span of what a version before the outbox had kept: of a recovery, the last outage and the counts."""
    span = Span(recovery["outage"], recovery["outage"], recovery["at_us"])
    left = 0 if recovery["done"] else recovery["detected"]
    rows = yield Statement("list_outages", {"before": span.until + 1, "most": LAST})
    for outage in map(outage_of, rows):
        if left > 0:
            span, left = replace(span, after=outage.id - 1), left - outage.detected
    return span


def keep_span(span: Span) -> Verb[None]:
    """Keep it, beside what else is kept there."""
    kept = yield from meta_json(KEY)
    if kept is None or kept["recovery"] != asdict(span):
        yield from put_meta_json(KEY, {**(kept or {}), "recovery": asdict(span)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What the last recovery found and did. `failed`: set aside, or not taken by the application when it was told."""

    at_us: Micros | None
    detected: int
    successful: int
    failed: int
    outside_window: int


def numbers_of(store: Store, subscriber: str | None) -> Numbers:
    """Return the numbers of the last recovery, whoever made it. `subscriber`: who is told; None: nobody."""
    return store.read(_numbers(subscriber))


def _numbers(name: str | None) -> Verb[Numbers]:
    span = yield from span_kept()
    outages = yield from _outages(span)
    refused, untried, outside = 0, 0, sum(outage.outside_window for outage in outages)
    number = None if name is None else (yield from _number(name))
    if number is not None:
        params = {"after": span.after, "until": span.until, "subscriber": number}
        refused = (yield Statement("count_refused", params))[0][0]
        untried = (yield Statement("count_untried", params))[0][0]
        too_old = {**params, "reason": f"{OUTSIDE_WINDOW}%"}
        outside = (yield Statement("count_withheld", too_old))[0][0]
    return Numbers(
        at_us=span.at_us,
        detected=sum(outage.detected for outage in outages),
        successful=sum(outage.successful for outage in outages) - refused - untried,
        failed=sum(outage.failed for outage in outages) + refused,
        outside_window=outside,
    )


def _outages(span: Span) -> Verb[list[Outage]]:
    rows = yield Statement("list_outages", {"before": span.until + 1, "most": span.until - span.after})
    return [outage for row in rows if (outage := outage_of(row)).id > span.after]


def _number(name: str) -> Verb[int | None]:
    listening = yield from audience()
    return next((each.number for each in listening.by_number.values() if each.name == name), None)


def has_untried(name: str, span: Span = EVERYTHING) -> Verb[bool]:
    """Return whether there is something that a subscriber was not asked to take yet."""
    number = yield from _number(name)
    if number is None:
        return False
    params = {"subscriber": number, "after": span.after, "until": span.until}
    return bool((yield Statement("has_untried", params))[0][0])


def _join(name: str | None, now_us: Micros, *, starting: bool) -> Verb[tuple[Span, bool]]:
    """Take note of outages that are over and caught up with since; `starting`: or that there was none.

    Returns the span of it all, and whether nothing of it is left to be told.
    """
    span = yield from span_kept()
    rows = yield Statement("list_outages", {"before": LAST, "most": 50})
    found = [outage for row in rows if (outage := outage_of(row)).id > span.until and outage.finished_us is not None]
    seen = max([span.until, *(outage.id for outage in found)])
    is_told = name is None or not (yield from has_untried(name, span))
    has_missed = any(outage.detected for outage in found)
    if has_missed or (starting and is_told):
        span = Span(span.until if is_told else span.after, seen, now_us)
    else:
        # A pause in which nothing fell due leaves the counts of the last recovery as they are.
        span = replace(span, until=seen)
    yield from keep_span(span)
    outages = yield from _outages(span)
    return span, (is_told and not has_missed) or not any(outage.detected for outage in outages)


class Recoveries:
    """A step that follows each recovery, and tells of it in the log. `subscriber`: who is told; None: nobody."""

    name = "recoveries"

    def __init__(self, scheduler: Scheduler, subscriber: str | None) -> None:
        """Set it up; `begin` comes after the scheduler's start."""
        self._scheduler = scheduler
        self._store = scheduler.store
        self._subscriber = subscriber
        self._begun = False
        self._span: Span | None = None
        # Whether all has been told that there was to tell, and said so.
        self.is_told = True

    async def begin(self) -> None:
        """Take note of the recovery that the scheduler's start has made."""
        if self._scheduler.is_owner:
            await asyncio.to_thread(self._look, starting=True)
        self._begun = True

    async def run_once(self) -> None:
        """Look whether a recovery has come, or has been told to its end."""
        if self._scheduler.is_owner:
            await asyncio.to_thread(self._look, starting=False)
        else:
            self._span = None

    def _look(self, *, starting: bool) -> None:
        store, now = self._store, self._scheduler.clock.now()
        latest = store.outages(most=1)
        is_new = self._span is None or any(o.id > self._span.until and o.finished_us is not None for o in latest)
        if self._span is not None and not self.is_told:
            self._conclude(self._span)
        if is_new:
            self._span, self.is_told = store.write(_join(self._subscriber, now, starting=starting))
            if not (self.is_told or starting):
                self._conclude(self._span)

    def _conclude(self, span: Span) -> None:
        name = self._subscriber
        if name is not None and self._store.read(has_untried(name, span)):
            return
        self.is_told = True
        found = numbers_of(self._store, name)
        logger.info("✅ Missed trigger execution complete: %d successful, %d failed", found.successful, found.failed)

    # -- what is heard ----------------------------------------------------------------------------------

    def fired(self, entries: Sequence[Entry]) -> None:
        """Tell of what is caught up while the scheduler goes on: after a suspension, or another process's end."""
        missed = [entry for entry in entries if entry.outage is not None and entry.is_transition]
        if missed and self._begun:
            due = [(entry.milestone or "", entry.event_id, entry.due_us or entry.at_us) for entry in missed]
            log_detected(len(missed), due, self._scheduler.clock.now())
            self.execute(missed)

    def execute(self, missed: Sequence[Entry]) -> None:
        """Tell that what was missed has been executed, where nobody else is told of it."""
        for entry in missed if self._subscriber is None else ():
            log_executing(entry)


def log_executing(entry: Entry) -> None:
    """Log that a missed trigger is executed."""
    logger.info("🔄 Executing missed trigger: %s for %s", entry.milestone, entry.event_id)


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
