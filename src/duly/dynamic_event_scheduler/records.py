"""The records of an application → events: what of them counts, and in which zone their naive dates are read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from duly.clock import Clock
from duly.dynamic_event_scheduler.host_zone import host_zone
from duly.errors import DulyError, InvalidDate, InvalidEvent
from duly.model.dates import Micros, Side, read_date, resolve_date, to_datetime
from duly.model.event import DEFAULT_LIFECYCLE, Event
from duly.model.lifecycle import Lifecycle
from duly.model.record import event_from_record

logger = logging.getLogger("duly.dynamic_event_scheduler")

Record = Mapping[str, Any]
LifecycleOf = Callable[[str], Lifecycle]
# What of a record is Duly's business. The rest stays the application's: kept here, a counter in it would make an
# edit of every load, and its own `revision` would be taken for ours.
_KEPT_KEYS: Final = frozenset(
    {
        "event_id", "id", "event_name", "name", "zone", "timezone", "time_zone",
        "status", "hold", "lifecycle", "created_at", "dates",
    }
)  # fmt: skip


class Records:
    """Reads records. Dates without a zone are in `time_zone`, or (None) the system's, which is warned of once."""

    def __init__(self, time_zone: str | None, clock: Clock) -> None:
        """Say in which zone naive dates are."""
        self._time_zone = time_zone
        self._clock = clock
        self._warned = False

    @property
    def zone(self) -> str:
        """The zone of naive dates."""
        if self._time_zone is None:
            return host_zone(self._clock.now())
        return self._time_zone

    def instant(self, given: datetime, *, what: str) -> Micros:
        """Return the instant of a datetime. Raises InvalidDate, naming `what`."""
        return resolve_date(read_date(given, what=what), zone=self.zone, side=Side.OPENING, what=what).at

    def event(self, record: Record, lifecycle_of: LifecycleOf) -> Event:
        """Return the event of a record. Raises InvalidInput, UnknownLifecycle."""
        read = read_record(record, lifecycle_of, zone=self.zone)
        if read.naive is not None and self._time_zone is None:
            self._warn(read.event.id, read.naive)
        if read.remark is not None:
            logger.warning("%s", read.remark)
        return read.event

    def events(self, records: Iterable[Record], lifecycle_of: LifecycleOf) -> tuple[list[Event], list[str]]:
        """Return the events of the good records, and what is wrong with each of the bad ones."""
        events, refused = [], []
        for number, record in enumerate(records, start=1):
            try:
                events.append(self.event(record, lifecycle_of))
            except DulyError as error:
                refused.append(str(error))
            except Exception as error:  # noqa: BLE001 - whatever a record raises, it alone is left out, and named
                refused.append(f"record {number}: {type(error).__name__}: {error}")
        return events, refused

    def _warn(self, event_id: str, key: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s of event %s names no time zone; such dates are read in the system's, %s. "
                "Say which is meant: configure(time_zone=%r)", key, event_id, self.zone, self.zone,
            )  # fmt: skip


def renamed(record: object, event_id: str) -> Record:
    """Return the record of that event, whose id it need not repeat. Raises InvalidEvent if it is another's."""
    if not isinstance(record, Mapping):
        raise InvalidEvent(f"event {event_id!r}: its record must be a mapping, not {type(record).__name__}")
    named = record.get("event_id")
    if named is not None and str(named) != event_id:
        raise InvalidEvent(f"event {event_id!r}: the record given for it is that of {str(named)!r}")
    return {**record, "event_id": event_id}


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """An event out of a record.

    `naive`: a date that does not say in which zone it is, if one is. `remark`: what was left aside.
    """

    event: Event
    naive: str | None
    remark: str | None


def read_record(record: object, lifecycle_of: LifecycleOf, *, zone: str) -> ReadRecord:
    """Read a record of the application's. `zone`: where neither record nor lifecycle names one.

    Its dates, name, zone and hold (by `status`) count, and since when it is known (`created_at`). Raises
    InvalidInput, UnknownLifecycle. A `created_at` that cannot be read is left aside: it dates no trigger.
    """
    if not isinstance(record, Mapping):
        raise InvalidEvent(f"a record must be a mapping of names to values, not {type(record).__name__}")
    lifecycle = lifecycle_of(str(record.get("lifecycle") or DEFAULT_LIFECYCLE))
    fields = {*lifecycle.by_name, *lifecycle.by_field}
    kept = {key: value for key, value in record.items() if key in _KEPT_KEYS or str(key).partition("#")[0] in fields}
    remark = None
    try:
        event = event_from_record(kept, fields=fields)
    except InvalidDate as error:
        if kept.pop("created_at", None) is None:
            raise
        event, remark = event_from_record(kept, fields=fields), f"{error}; it is left aside"
    return _with_zone(event, lifecycle, zone, remark)


def _with_zone(event: Event, lifecycle: Lifecycle, zone: str, remark: str | None) -> ReadRecord:
    """Find out whether a zone has to be assumed, and do so for `created_at`, which nobody else resolves."""
    dates = {key: read_date(value, what=f"event {event.id!r}: {key}") for key, value in event.dates.items()}
    named = event.zone or lifecycle.zone
    naive = next((key for key, given in dates.items() if not given.is_exact and given.zone is None), None)
    created = event.created_at
    if created is not None and created.tzinfo is None:
        resolved = resolve_date(read_date(created), zone=named or zone, side=Side.OPENING)
        created, naive = to_datetime(resolved.at), naive or "created_at"
    # What else the record had (a second id) stays with the application, like all that was not even read.
    event = replace(event, dates=dates, created_at=created, data={})
    return ReadRecord(event, None if named else naive, remark)
