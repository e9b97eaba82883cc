"""Events: what users hand over, what a store row holds, and what is still to come."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from duly.model.dates import Micros, to_datetime

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

DEFAULT_LIFECYCLE = "campus_event"


class Hold(StrEnum):
    """`active`, or the reason that nothing of the event fires."""

    ACTIVE = "active"
    DRAFT = "draft"
    PENDING_APPROVAL = "pending_approval"
    POSTPONED = "postponed"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"


class Status(str):
    """The headline of an event: `upcoming/registration_open`. A text with two halves."""

    __slots__ = ()

    @property
    def main(self) -> str:
        """The half before the stroke: `upcoming`."""
        return self.partition("/")[0]

    @property
    def sub_status(self) -> str:
        """The half after the stroke: `registration_open`."""
        return self.partition("/")[2]


def held_status(hold: str) -> Status:
    """Return the headline of an event on hold: the hold, twice."""
    return Status(f"{hold}/{hold}")


@dataclass(frozen=True, slots=True)
class Event:
    """An event as its organiser knows it. Dates are as given; they are resolved when it is put.

    `dates`: milestone (or the lifecycle's record field for it) → anything that `read_date` accepts.
    `zone`: in which wall times and bare dates are read; without one, the lifecycle's or the scheduler's.
    `revision`: if given, the edit is made only if the stored event still has this revision.
    `created_at`: since when the event is known; what passed before was not missed, only born late.
    `data`: whatever else belongs to it; kept as JSON, never interpreted.
    """

    id: str
    name: str = ""
    lifecycle: str = DEFAULT_LIFECYCLE
    dates: Mapping[str, object] = field(default_factory=dict)
    zone: str | None = None
    hold: Hold = Hold.ACTIVE
    data: Mapping[str, object] = field(default_factory=dict)
    revision: int | None = None
    created_at: datetime | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, lifecycle: str | None = None) -> Event:
        """Read a plain record in the shape of the founding system (see `duly.model.record`).

        Raises InvalidEvent for one that has no id or is no mapping.
        """
        from duly.model.record import event_from_record

        return event_from_record(record, lifecycle=lifecycle)


class Mark(NamedTuple):
    """What became of one milestone: its generation and, once fired, the date with which it fired."""

    generation: int
    due_us: Micros | None

    @property
    def is_fired(self) -> bool:
        """Whether the current generation has fired."""
        return self.due_us is not None


class Trigger(NamedTuple):
    """One dated milestone of one event: what will happen, and when."""

    due_us: Micros
    order: int
    event_id: str
    milestone: str
    generation: int

    @property
    def due_at(self) -> datetime:
        """The instant, aware, UTC."""
        return to_datetime(self.due_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event as its store row has it: dates resolved, marks, status, the end of its chain, and the alarm.

    `dates`: milestone → instant; `given`: milestone → the date as given, as JSON.
    `status` is what has been announced: the status that the fired transitions amount to.
    `next_due_us` is the alarm: when the row must be looked at again, None for never.
    `error` says why the event is set aside, if it is. `removed`: only a tombstone is left.
    """

    id: str
    name: str = ""
    lifecycle: str = DEFAULT_LIFECYCLE
    lifecycle_hash: str = ""
    zone: str | None = None
    hold: str = Hold.ACTIVE.value
    revision: int = 0
    dates: Mapping[str, Micros] = field(default_factory=dict)
    given: Mapping[str, object] = field(default_factory=dict)
    marks: Mapping[str, Mark] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    status: Status = Status("")  # noqa: RUF009 - an immutable text
    seq: int = 0
    hash: bytes = b""
    next_due_us: Micros | None = None
    pending: int = 0
    known_since_us: Micros = 0
    updated_us: Micros = 0
    tzdata: str = ""
    error: str | None = None
    removed: bool = False

    @property
    def next_due_at(self) -> datetime | None:
        """The alarm, aware, UTC."""
        return None if self.next_due_us is None else to_datetime(self.next_due_us)
