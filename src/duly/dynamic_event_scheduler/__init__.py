"""The drop-in for the module of this name that Duly replaces: its public names, with their old shapes."""

from __future__ import annotations

from duly.dynamic_event_scheduler.drop_in import (
    DynamicEventScheduler,
    add_event_to_scheduler,
    configure,
    dynamic_scheduler,
    get_scheduler_status,
    remove_event_from_scheduler,
    scheduler,
    scheduler_instance,
    set_max_downtime_hours,
    start_dynamic_scheduler,
    stop_dynamic_scheduler,
    update_event_in_scheduler,
)
from duly.dynamic_event_scheduler.shapes import EventTriggerType, ScheduledTrigger

__all__ = [
    "DynamicEventScheduler",
    "EventTriggerType",
    "ScheduledTrigger",
    "add_event_to_scheduler",
    "configure",
    "dynamic_scheduler",
    "get_scheduler_status",
    "remove_event_from_scheduler",
    "scheduler",
    "scheduler_instance",
    "set_max_downtime_hours",
    "start_dynamic_scheduler",
    "stop_dynamic_scheduler",
    "update_event_in_scheduler",
]
