"""How a scheduler is, in one value: what a health check wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from duly.model.dates import to_datetime
from duly.model.history import iso

if TYPE_CHECKING:
    from duly.engine.firing import FiringTotals
    from duly.engine.telling import DeliveryTotals
    from duly.model.history import Outage
    from duly.stores.outbox import DeliveryCounts
    from duly.stores.store import Counts

Role = Literal["owner", "standby", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStatus:
    """How a scheduler is. `role`: `owner` fires, `standby` waits to take over, `stopped` does neither."""

    role: Role
    node: str
    store: str
    counts: Counts
    totals: FiringTotals
    deliveries: DeliveryCounts
    told: DeliveryTotals
    troubles: tuple[str, ...]
    held: str | None
    outage: Outage | None

    @property
    def healthy(self) -> bool:
        """Whether all is as it should be."""
        return not self.troubles and self.held is None

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        counts = self.counts
        due = counts.next_due_us
        return {
            "role": self.role,
            "node": self.node,
            "store": self.store,
            "healthy": self.healthy,
            "troubles": list(self.troubles),
            "held": self.held,
            "events": counts.events,
            "triggers_to_come": counts.pending,
            "events_with_triggers": counts.armed,
            "events_overdue": counts.overdue,
            "events_set_aside": counts.set_aside,
            "next_due_at": None if due is None else iso(to_datetime(due)),
            "by_status": dict(counts.by_status),
            "fired_since_start": self.totals.fired,
            "caught_up_since_start": self.totals.caught_up,
            "deliveries_pending": self.deliveries.pending,
            "deliveries_failing": sum(count.failing for count in self.deliveries.open),
            "deliveries_dead": self.deliveries.dead,
            "deliveries_parked": self.deliveries.trouble.get("parked", 0),
            "deliveries_missed": self.deliveries.trouble.get("missed", 0),
            "delivered_since_start": self.told.delivered,
            "stale_since_start": self.told.stale,
            "last_outage": None if self.outage is None else self.outage.to_json(),
        }
