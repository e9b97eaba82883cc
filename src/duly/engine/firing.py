"""Firing: what is due becomes what has happened, on time, in order, on either lane."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from duly.model.history import Cause
from duly.rules.advance import Firing
from duly.stores.store import LAST
from duly.stores.verbs import Fired, FireRequest

if TYPE_CHECKING:
    from duly.clock import Clock, Micros, StepWatch
    from duly.engine.threads import StoreThreads
    from duly.model.history import Entry
    from duly.stores.births import Born, LeaseTerms
    from duly.stores.store import Store

logger = logging.getLogger("duly.engine")

BATCH: Final = 500
LOGGED_MOST: Final = 20
Listener = Callable[[Sequence["Entry"]], None]


class Outgoing(Protocol):
    """What takes over the deliveries that are born with a firing."""

    def terms(self) -> LeaseTerms | None:
        """Return on which terms deliveries may be born leased, None if none may."""

    def accept(self, born: Iterable[Born], *, more: bool) -> None:
        """Take over what was born leased; `more`: another batch is being fired already."""


@dataclass(slots=True)
class FiringTotals:
    """What has been fired since the start."""

    fired: int = 0
    caught_up: int = 0
    set_aside: int = 0


@dataclass(slots=True, kw_only=True)
class FiringStep:
    """Fires everything that is due, batch by batch, and wants to be called again at the store's next alarm."""

    name: str = "firing"
    store: Store
    clock: Clock
    node: str
    grace: timedelta
    strict: bool
    watch: StepWatch
    threads: StoreThreads
    listeners: list[Listener] = field(default_factory=list)
    totals: FiringTotals = field(default_factory=FiringTotals)
    # While recovery runs: everything due before it began counts as caught up, for this outage.
    caught_up_before_us: Micros = 0
    outage: int | None = None
    stopping: bool = False
    outgoing: Outgoing | None = None

    async def run_once(self) -> Micros | None:
        """Fire until nothing is due."""
        try:
            return await self._fire_all()
        finally:
            if self.outgoing is not None:
                self.outgoing.accept((), more=False)

    async def _fire_all(self) -> Micros | None:
        while not self.stopping:
            # Looked at before every batch: what fires cannot be called back if the clock turns out to be wrong.
            if self.watch.look() is not None:
                return None
            due_us = await self.threads.fire(self.store.next_due_us)
            if due_us is None or due_us > self.clock.now():
                return due_us
            await self.fire_batch()
        return None

    async def fire_batch(self) -> Fired:
        """Fire one batch in one transaction, and tell the listeners of it."""
        terms = None if self.outgoing is None else self.outgoing.terms()
        fired = await self.threads.fire(self._fire, terms)
        if self.outgoing is not None:
            self.outgoing.accept(fired.born, more=fired.claimed >= BATCH)
        for event_id, error in islice(fired.set_aside.items(), LOGGED_MOST):
            logger.error("event '%s' is set aside: %s", event_id, error)
        if len(fired.set_aside) > LOGGED_MOST:
            logger.error("%d more events are set aside: see 'duly check'", len(fired.set_aside) - LOGGED_MOST)
        self._count(fired)
        if fired.entries:
            self._tell(fired.entries)
        return fired

    def _tell(self, entries: Sequence[Entry]) -> None:
        for listener in tuple(self.listeners):
            try:
                listener(entries)
            except Exception:
                # The transitions stand, and the next batch must not wait for whoever wanted to hear of this one.
                logger.exception("a listener raised; what it was told of has happened all the same")

    def _fire(self, terms: LeaseTerms | None) -> Fired:
        # The clocks are read here, in the store's thread, as late as possible: the claim asks what is due *now*,
        # and a step that was made since the alarm was asked for must not fire anything.
        if self.watch.look() is not None:
            return Fired([], {}, 0)
        now = self.clock.now()
        fresh_from = now - self.grace_us
        late_before = max(fresh_from, self.caught_up_before_us)
        firing = Firing(now, late_before, self.node, self.outage)
        request = FireRequest(firing=firing, most=BATCH, fresh_from_us=fresh_from, strict=self.strict, lease=terms)
        return self.store.fire_due(request)

    @property
    def grace_us(self) -> Micros:
        """The misfire grace in microseconds, as far as a store can count."""
        return min(self.grace // timedelta(microseconds=1), LAST)

    def _count(self, fired: Fired) -> None:
        self.totals.set_aside += len(fired.set_aside)
        for entry in fired.transitions:
            self.totals.fired += 1
            self.totals.caught_up += entry.cause == Cause.CAUGHT_UP
