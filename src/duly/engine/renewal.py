"""A thread that extends leases: whatever else is busy, stuck or slow, what is under way stays this node's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from duly.clock import SECOND

if TYPE_CHECKING:
    from duly.clock import Clock, Micros
    from duly.stores.store import Store

logger = logging.getLogger("duly.engine")


class Renewal:
    """Every third of a lease, by real time, extends the leases whose numbers `held` returns."""

    def __init__(
        self, store: Store, clock: Clock, node: str, held: Callable[[], list[int]], *, lease_us: Micros
    ) -> None:
        """Set it up; `start` starts the thread."""
        self._store, self._clock, self._node, self._held = store, clock, node, held
        self._lease_us = lease_us
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread: a daemon."""
        self._thread = threading.Thread(target=self._run, name="duly-renewal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, once what it is writing is written."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(self._lease_us / SECOND / 3):
            self.renew()

    def renew(self) -> None:
        """Extend the leases once."""
        try:
            numbers = self._held()
            if numbers:
                self._store.outbox.renew(self._node, numbers, self._clock.now() + self._lease_us)
        except Exception as error:  # noqa: BLE001 - a thread that dies would let leases end in silence (P17)
            # The next round tries again; a lease that ends meanwhile is somebody else's, and the fence holds.
            logger.warning("leases could not be renewed: %s", error)
