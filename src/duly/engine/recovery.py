"""Recovery: the firing loop's first turn, with a report. Nothing else distinguishes it from any other turn."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from duly.clock import SECOND
from duly.stores.store import LAST

if TYPE_CHECKING:
    from collections.abc import Callable

    from duly.clock import Micros
    from duly.engine.firing import FiringStep
    from duly.model.history import Entry, Outage

logger = logging.getLogger("duly.engine")

# A silence shorter than this is no outage unless something fell due in it: heartbeats come every 5 s.
SILENCE_US: Final[Micros] = 15 * SECOND
MICROSECOND: Final = timedelta(microseconds=1)
TOLD_MOST: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a recovery found and did.

    `outage` is None if there was none. `detected` = `successful` + `failed` (events set aside).
    `outside_window`: how many of the successful ones are too old to be announced. `transitions` holds the first
    thousand, in the order in which they fired; the outage's page has all. `held`: why nothing was fired yet.
    """

    outage: Outage | None = None
    transitions: tuple[Entry, ...] = ()
    set_aside: dict[str, str] = field(default_factory=dict)
    held: str | None = None

    @property
    def detected(self) -> int:
        """How many missed triggers were found."""
        return 0 if self.outage is None else self.outage.detected

    @property
    def successful(self) -> int:
        """How many of them fired."""
        return 0 if self.outage is None else self.outage.successful

    @property
    def failed(self) -> int:
        """How many events could not be fired and are set aside."""
        return 0 if self.outage is None else self.outage.failed

    @property
    def outside_window(self) -> int:
        """How many fired, but are older than the catch-up window."""
        return 0 if self.outage is None else self.outage.outside_window

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "outage": None if self.outage is None else self.outage.to_json(),
            "detected": self.detected,
            "successful": self.successful,
            "failed": self.failed,
            "outside_window": self.outside_window,
            "transitions": [entry.to_json() for entry in self.transitions],
            "set_aside": self.set_aside,
            "held": self.held,
        }


@dataclass(slots=True, kw_only=True)
class Recovery:
    """Finds the outage that ends now, fires all that was missed in it, and writes its record.

    Killed in the middle, it is gone on with at the next start, under the same record.
    """

    firing: FiringStep
    window: timedelta | None
    progress: Callable[[int, int], None] | None = None

    async def run(self, silent_since_us: Micros | None, *, starting: bool) -> Report:
        """Catch up. `silent_since_us`: the last sign of life of any node, None if there never was one.

        When `starting`, whatever is overdue was missed, however short the silence; when going on (or taking over
        from another node), only a longer silence is an outage.
        """
        firing, store, threads = self.firing, self.firing.store, self.firing.threads
        held = firing.watch.look()
        if held is not None:
            return Report(held=held)
        now = firing.clock.now()
        overdue = await threads.fire(store.count_overdue, now)
        missed = overdue > 0 and starting
        short = silent_since_us is None or now - silent_since_us < SILENCE_US
        unfinished = [o for o in await threads.fire(store.outages, most=1) if o.finished_us is None]
        if not missed and short and not unfinished:
            return Report()
        began = None if silent_since_us is None else min(silent_since_us, now)
        outage = await threads.fire(store.begin_outage, began, now, firing.node)
        transitions, set_aside = await self._catch_up(outage.id, now, overdue)
        if unfinished:
            set_aside = await self._set_aside_since(outage.began_us or 0) | set_aside
        held = firing.watch.look()
        if firing.stopping or held is not None:
            return Report(outage=outage, transitions=tuple(transitions), set_aside=set_aside, held=held)
        finished = await threads.fire(
            store.finish_outage,
            outage.id,
            firing.clock.now(),
            failed=len(set_aside),
            window_us=LAST if self.window is None else min(self.window // MICROSECOND, LAST),
        )
        _log(finished)
        return Report(outage=finished, transitions=tuple(transitions), set_aside=set_aside)

    async def _catch_up(self, outage: int, now: Micros, overdue: int) -> tuple[list[Entry], dict[str, str]]:
        firing = self.firing
        firing.caught_up_before_us, firing.outage = now, outage
        transitions: list[Entry] = []
        set_aside: dict[str, str] = {}
        done = 0
        try:
            while not firing.stopping and firing.watch.look() is None:
                fired = await firing.fire_batch()
                if not fired.claimed:
                    break
                room = TOLD_MOST - len(transitions)
                transitions += [entry for entry in fired.transitions if entry.outage == outage][:room]
                set_aside |= fired.set_aside
                done += fired.claimed
                if self.progress is not None:
                    self.progress(min(done, overdue), overdue)
        finally:
            firing.caught_up_before_us, firing.outage = 0, None
        return transitions, set_aside

    async def _set_aside_since(self, began_us: Micros) -> dict[str, str]:
        """Return what an earlier part of this recovery had set aside, before it was cut off."""
        rows = await self.firing.threads.fire(self.firing.store.list_set_aside, most=LAST)
        return {row.id: row.error or "" for row in rows if row.updated_us >= began_us}


def _log(outage: Outage) -> None:
    length = "the first start" if outage.length is None else f"an outage of {outage.length}"
    logger.info(
        "caught up after %s: %d detected, %d successful, %d failed, %d outside the catch-up window",
        length,
        outage.detected,
        outage.successful,
        outage.failed,
        outage.outside_window,
    )
