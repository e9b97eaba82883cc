"""The shapes of the module that Duly replaces: its triggers, and its rows of text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from duly.errors import UnknownLifecycle
from duly.model.event import Trigger
from duly.rules.status import triggers_to_come
from duly.stores.store import LAST

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.stores.store import Store

_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60))


class EventTriggerType(Enum):
    """What a trigger does to an event."""

    REGISTRATION_OPEN = "registration_open"
    REGISTRATION_CLOSE = "registration_close"
    EVENT_START = "event_start"
    EVENT_END = "event_end"
    CERTIFICATE_START = "certificate_start"
    CERTIFICATE_END = "certificate_end"


@dataclass(frozen=True, slots=True)
class OtherTriggerType:
    """A milestone of another lifecycle than the old module's, in the place of an EventTriggerType."""

    value: str

    @property
    def name(self) -> str:
        """The name in the style of the enum."""
        return self.value.upper()


@dataclass(slots=True)
class ScheduledTrigger:
    """What will happen to an event, and when (aware, UTC). Sorted by time."""

    trigger_time: datetime
    event_id: str
    trigger_type: EventTriggerType | OtherTriggerType
    trigger_id: str = ""

    def __post_init__(self) -> None:
        """Give it an id that says what it is, if it has none."""
        if not self.trigger_id:
            self.trigger_id = f"{self.event_id}_{self.trigger_type.value}_{self.trigger_time:%Y%m%d_%H%M%S}"

    def __lt__(self, other: ScheduledTrigger) -> bool:
        return self.trigger_time < other.trigger_time

    def __le__(self, other: ScheduledTrigger) -> bool:
        return self.trigger_time <= other.trigger_time


def trigger_type(milestone: str) -> EventTriggerType | OtherTriggerType:
    """Return the type of a trigger of that milestone."""
    try:
        return EventTriggerType(milestone)
    except ValueError:
        return OtherTriggerType(milestone)


def scheduled(triggers: Iterable[Trigger]) -> list[ScheduledTrigger]:
    """Return triggers in the old shape."""
    return [ScheduledTrigger(each.due_at, each.event_id, trigger_type(each.milestone)) for each in triggers]


def triggers_in(store: Store, *, until_us: Micros = LAST, most: int = LAST) -> list[Trigger]:
    """Return the next `most` triggers of all events that are due at or before an instant, soonest first."""
    found: list[Trigger] = []
    for row in store.list_by_alarm(until_us=until_us, most=most):
        try:
            found += triggers_to_come(row, store.lifecycle_of(row))
        except UnknownLifecycle:
            continue  # firing sets that event aside and says so; here the others are listed
    found = [trigger for trigger in found if trigger.due_us <= until_us]
    return sorted(found, key=lambda trigger: (trigger.due_us, trigger.event_id, trigger.order))[:most]


def trigger_row(trigger: ScheduledTrigger, now: datetime) -> dict[str, Any]:
    """Return a row of `get_scheduled_triggers`."""
    until = trigger.trigger_time - now
    past = until < timedelta(0)
    length = length_text(abs(until))
    return {
        "event_id": trigger.event_id,
        "trigger_type": trigger.trigger_type.value,
        "trigger_time": trigger.trigger_time.isoformat(),
        "time_until_trigger": until.total_seconds(),
        "time_until_formatted": f"Past due by {length}" if past else length,
        "is_past_due": past,
    }


def preview_row(trigger: ScheduledTrigger, now: datetime) -> dict[str, str]:
    """Return a row of the `queue_preview`."""
    return {
        "event_id": trigger.event_id,
        "trigger_type": trigger.trigger_type.value,
        "trigger_time": trigger.trigger_time.isoformat(),
        "time_until": str(max(trigger.trigger_time - now, timedelta(0))),
    }


def next_text(queue: list[ScheduledTrigger], now: datetime) -> str:
    """Return the `next_trigger`: `event_start for EV1 in 1:23:45`."""
    if not queue:
        return "No scheduled triggers"
    return "{trigger_type} for {event_id} in {time_until}".format(**preview_row(queue[0], now))


def length_text(length: timedelta) -> str:
    """Return a duration in its largest unit: `45 seconds`, `1 minute`, `2 hours`, `3 days`."""
    seconds = int(length.total_seconds())
    unit, size = next((each for each in _UNITS if seconds >= each[1]), ("second", 1))
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
