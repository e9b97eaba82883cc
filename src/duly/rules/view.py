"""What a reader sees of an event: its status derived at the instant of the reading, whoever is or is not running."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duly.model.dates import Micros, to_datetime
from duly.model.event import EventRow, Hold, Mark, Status, Trigger
from duly.model.history import iso
from duly.rules.status import status_at, track_states_at, triggers_to_come

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from duly.model.lifecycle import Lifecycle


@dataclass(frozen=True, slots=True)
class EventView:
    """An event as it is at an instant. `status` is derived; `announced` is what has been fired and told."""

    row: EventRow
    lifecycle: Lifecycle
    at_us: Micros

    @property
    def id(self) -> str:
        """The event's id."""
        return self.row.id

    @property
    def name(self) -> str:
        """The event's name."""
        return self.row.name

    @property
    def hold(self) -> Hold:
        """`active`, or why nothing fires."""
        return Hold(self.row.hold)

    @property
    def revision(self) -> int:
        """How often it has been written; give it back with an edit to be told of another's in between."""
        return self.row.revision

    @property
    def data(self) -> Mapping[str, object]:
        """Whatever else belongs to it."""
        return self.row.data

    @property
    def error(self) -> str | None:
        """Why the event is set aside, None if it is not."""
        return self.row.error

    @property
    def status(self) -> Status:
        """The status at the instant of the reading: right even while nothing runs."""
        return status_at(self.row, self.lifecycle, self.at_us)

    @property
    def announced(self) -> Status:
        """The status that the fired transitions amount to."""
        return self.row.status

    @property
    def dates(self) -> dict[str, datetime]:
        """Milestone → instant, aware, UTC."""
        return {name: to_datetime(due) for name, due in self.row.dates.items()}

    @property
    def tracks(self) -> dict[str, str]:
        """Track → its state."""
        return track_states_at(self.row, self.lifecycle, self.at_us)

    @property
    def upcoming(self) -> list[Trigger]:
        """What has not fired yet, in order; what is overdue comes first."""
        return triggers_to_come(self.row, self.lifecycle)

    @property
    def overdue(self) -> list[Trigger]:
        """What should have fired by now and has not: its announcement is outstanding."""
        return [trigger for trigger in self.upcoming if trigger.due_us <= self.at_us]

    def mark(self, milestone: str) -> Mark | None:
        """Return what became of a milestone, None if nothing has."""
        return self.row.marks.get(milestone)

    def to_json(self) -> dict[str, object]:
        """Return plain values, instants as ISO 8601 UTC text."""
        row = self.row
        upcoming = self.upcoming
        return {
            "id": row.id,
            "name": row.name,
            "lifecycle": row.lifecycle,
            "zone": row.zone,
            "hold": row.hold,
            "revision": row.revision,
            "status": str(self.status),
            "announced_status": str(row.status),
            "tracks": self.tracks,
            "dates": {
                name: {
                    "due_at": iso(to_datetime(due)),
                    "given": row.given.get(name),
                    "generation": mark.generation if (mark := row.marks.get(name)) else 1,
                    "fired": mark is not None and mark.is_fired,
                }
                for name, due in row.dates.items()
            },
            "upcoming": [trigger.milestone for trigger in upcoming],
            "overdue": [trigger.milestone for trigger in self.overdue],
            "next_due_at": None if row.next_due_at is None else iso(row.next_due_at),
            "error": row.error,
            "data": dict(row.data),
        }
