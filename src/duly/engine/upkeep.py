"""Upkeep: signs of life, and a self-audit that goes round the store page by page, for ever."""

from __future__ import annotations

import logging
import os
import platform
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from duly.clock import SECOND
from duly.rules.advance import Firing

if TYPE_CHECKING:
    from collections.abc import Callable

    from duly.clock import Clock, Micros, StepWatch
    from duly.engine.threads import StoreThreads
    from duly.stores.audit import Finding
    from duly.stores.store import Store

logger = logging.getLogger("duly.engine")

HEARTBEAT_US: Final[Micros] = 5 * SECOND
FORGET_NODES_US: Final[Micros] = 7 * 24 * 3600 * SECOND
AUDIT_PAGE: Final = 200
FINDINGS_KEPT: Final = 100


def beat(store: Store, node: str, now_us: Micros, *, owner: bool) -> None:
    """Say in the store that this process is alive as that node."""
    store.heartbeat(node, platform.node(), os.getpid(), now_us, owner=owner)


@dataclass(slots=True, kw_only=True)
class UpkeepStep:
    """Says that the node is alive, and audits one page of events. Wants to be called again at the next heartbeat."""

    name: str = "upkeep"
    store: Store
    clock: Clock
    node: str
    threads: StoreThreads
    watch: StepWatch
    audits: Callable[[], bool]
    findings: deque[Finding] = field(default_factory=lambda: deque(maxlen=FINDINGS_KEPT))
    rounds: int = 0
    _after: str = ""

    async def run_once(self) -> Micros | None:
        """Beat once; if this node is the one that `audits`, check one page of events."""
        if self.watch.reason is not None:
            # A sign of life from a future that is not believed would hide the next outage, and a jump of days
            # would forget every node.
            return None
        now = self.clock.now()
        owner = self.audits()
        await self.threads.aside(beat, self.store, self.node, now, owner=owner)
        if owner:
            await self._audit(now)
        return now + HEARTBEAT_US

    async def _audit(self, now: Micros) -> None:
        firing = Firing(now, now, self.node)
        page = await self.threads.aside(
            self.store.audit, self._after, firing, most=AUDIT_PAGE, history=False, repair=False
        )
        if any(finding.repairable for finding in page.findings):
            # Looked at again under the write lock: what was found may be a firing's own half-way state no more.
            page = await self.threads.aside(
                self.store.audit, self._after, firing, most=AUDIT_PAGE, history=False, repair=True
            )
        for finding in page.findings:
            logger.error("audit: event '%s': %s", finding.event_id, finding.what)
        self.findings.extend(page.findings)
        if page.last is not None:
            self._after = page.last
            return
        self._after, self.rounds = "", self.rounds + 1
        await self.threads.aside(self.store.prune_nodes, now - FORGET_NODES_US)
