"""Duly: a durable scheduler of event lifecycles. Every date kept."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duly.agenda import Agenda, PutResult
    from duly.blocking import BlockingScheduler
    from duly.channels.channel import Context
    from duly.deliveries import Account, Deliveries, Parked, Remade, Wanted
    from duly.engine.recovery import Report
    from duly.engine.status import SchedulerStatus
    from duly.engine.telling import Telling
    from duly.errors import DulyError, Reject, RetryLater
    from duly.model.delivery import Attempt, Delivery, Retry, State, Subscriber
    from duly.model.event import Event, Hold, Status, Trigger
    from duly.model.history import Entry, Outage
    from duly.model.lifecycle import CatchUp, Headline, Lifecycle, Milestone, Policy, Track
    from duly.rules.view import EventView
    from duly.scheduler import Scheduler
    from duly.webhooks import Webhooks

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Agenda",
    "Attempt",
    "BlockingScheduler",
    "CatchUp",
    "Context",
    "Deliveries",
    "Delivery",
    "DulyError",
    "Entry",
    "Event",
    "EventView",
    "Headline",
    "Hold",
    "Lifecycle",
    "Milestone",
    "Outage",
    "Parked",
    "Policy",
    "PutResult",
    "Reject",
    "Remade",
    "Report",
    "Retry",
    "RetryLater",
    "Scheduler",
    "SchedulerStatus",
    "State",
    "Status",
    "Subscriber",
    "Telling",
    "Track",
    "Trigger",
    "Wanted",
    "Webhooks",
]

# Where each public name lives. They are imported when they are first asked for, so that a command that needs
# little of Duly pays for little.
_ROOMS = {
    "duly.agenda": ("Agenda", "PutResult"),
    "duly.blocking": ("BlockingScheduler",),
    "duly.channels.channel": ("Context",),
    "duly.deliveries": ("Account", "Deliveries", "Parked", "Remade", "Wanted"),
    "duly.engine.recovery": ("Report",),
    "duly.engine.status": ("SchedulerStatus",),
    "duly.engine.telling": ("Telling",),
    "duly.errors": ("DulyError", "Reject", "RetryLater"),
    "duly.model.delivery": ("Attempt", "Delivery", "Retry", "State", "Subscriber"),
    "duly.model.event": ("Event", "Hold", "Status", "Trigger"),
    "duly.model.history": ("Entry", "Outage"),
    "duly.model.lifecycle": ("CatchUp", "Headline", "Lifecycle", "Milestone", "Policy", "Track"),
    "duly.rules.view": ("EventView",),
    "duly.scheduler": ("Scheduler",),
    "duly.webhooks": ("Webhooks",),
}


def __getattr__(name: str) -> object:
    """Import a public name from the room where it lives."""
    for room, names in _ROOMS.items():
        if name in names:
            found: object = getattr(import_module(room), name)
            globals()[name] = found
            return found
    msg = f"module 'duly' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted([*globals(), *__all__])
