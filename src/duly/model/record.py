"""A plain record, as an application or a file has it → an Event."""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Final, Never

from duly.errors import InvalidEvent
from duly.model.dates import Kind, Side, read_date, resolve_date, to_datetime
from duly.model.event import DEFAULT_LIFECYCLE, Event, Hold
from duly.model.names import check_id, check_text

CAMPUS_EVENT_FIELDS: Final = frozenset(
    {
        "registration_start_date",
        "registration_end_date",
        "start_datetime",
        "end_datetime",
        "certificate_start_date",
        "certificate_end_date",
        "registration_open",
        "registration_close",
        "event_start",
        "event_end",
        "certificate_start",
        "certificate_end",
    }
)
DATA_DEPTH_MAX: Final = 32
DATA_TEXT_MAX: Final = 1_000_000

_ID_KEYS: Final = ("event_id", "id")
_NAME_KEYS: Final = ("event_name", "name")
_ZONE_KEYS: Final = ("zone", "timezone", "time_zone")
# What a scheduler derives: kept as data it would go stale, and make an edit of every record read again.
_DERIVED_KEYS: Final = ("status", "sub_status")
_OTHER_KEYS: Final = ("lifecycle", "hold", "created_at", "revision", "data", "dates")
# A stored `draft` is not among them: the founding system derives it from missing dates, so it must not stick.
_HOLDING_STATUSES: Final = frozenset(set(Hold) - {Hold.ACTIVE, Hold.DRAFT})


def event_from_record(
    record: Mapping[str, Any],
    *,
    lifecycle: str | None = None,
    fields: Collection[str] | None = None,
) -> Event:
    """Read a record with the keys of the founding system: `event_id`, `event_name`, `start_datetime`.

    `lifecycle` is that of a record which names none. `fields` are the keys that are dates: milestones, or
    the lifecycle's fields for them; by default those of `campus_event`. Of another lifecycle without
    `fields`, the dates must stand under `dates`. A date that is None or blank is no date. A `status` of
    cancelled, postponed, pending_approval or archived is a hold; any other is derived, and left out.
    Every other key goes into `data`, as JSON. `created_at` stays naive if neither it nor the record says in
    which zone it is. Raises InvalidInput, naming the event and the key.
    """
    if not isinstance(record, Mapping):
        raise InvalidEvent(f"a record must be a mapping of names to values, not {type(record).__name__}")
    event_id, id_key = _id_of(record)
    where = f"event {event_id!r}"
    name, name_key = _name_of(record, where)
    named = _text_of(record, "lifecycle", where) or lifecycle or DEFAULT_LIFECYCLE
    zone = _zone_of(record, where)
    date_keys = _DateKeys(named, fields, where)
    return Event(
        id=event_id,
        name=name,
        lifecycle=named,
        dates=_dates_of(record, date_keys),
        zone=zone,
        hold=_hold_of(record, where),
        data=_data_of(record, date_keys, {id_key, name_key}),
        revision=_revision_of(record, where),
        created_at=_created_at_of(record, zone, where),
    )


def plain(value: object, *, what: str) -> object:
    """Return a value as JSON has it; what JSON does not know becomes its text.

    A date becomes its ISO text, and NaN, by which tables mean a missing value, becomes None.
    Raises InvalidEvent, naming `what`, for text that no database can hold (NUL, half surrogates), numbers
    beyond 64 bits and structures deeper than 32.
    """
    return _plain(value, what, 0)


@dataclass(frozen=True, slots=True)
class _DateKeys:
    """Which keys of a record are dates."""

    lifecycle: str
    fields: Collection[str] | None
    where: str

    def __contains__(self, key: object) -> bool:
        """Whether a key names a milestone, a field of one, or a round of one (`paper_deadline#2`)."""
        base = str(key).partition("#")[0]
        return base in (CAMPUS_EVENT_FIELDS if self.fields is None else self.fields)

    def check(self, record: Mapping[str, Any]) -> None:
        """Refuse to guess: of a lifecycle that is not known here, dates must be marked as such."""
        if self.fields is None and self.lifecycle != DEFAULT_LIFECYCLE and "dates" not in record:
            raise InvalidEvent(
                f"{self.where}: which keys of a {self.lifecycle!r} record are dates is not known here; "
                "put its dates under 'dates', by the names of its milestones"
            )


def _id_of(record: Mapping[str, Any]) -> tuple[str, str]:
    for key in _ID_KEYS:
        value = record.get(key)
        if value is None:
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str):
            value = unicodedata.normalize("NFC", value)
        return check_id(value, what=key), key
    raise InvalidEvent("the record has no id: give it one as 'event_id' or 'id'")


def _name_of(record: Mapping[str, Any], where: str) -> tuple[str, str]:
    for key in _NAME_KEYS:
        if record.get(key) is not None:
            return check_text(record[key], what=f"{where}: {key}"), key
    return "", _NAME_KEYS[0]


def _text_of(record: Mapping[str, Any], key: str, where: str) -> str | None:
    value = record.get(key)
    if value is None:
        return None
    return check_text(value, what=f"{where}: {key}") or None


def _zone_of(record: Mapping[str, Any], where: str) -> str | None:
    found = {key: zone for key in _ZONE_KEYS if (zone := _text_of(record, key, where)) is not None}
    if len(set(found.values())) > 1:
        said = ", ".join(f"{key} {zone!r}" for key, zone in found.items())
        raise InvalidEvent(f"{where}: its zones contradict each other ({said}); give one")
    return next(iter(found.values()), None)


def _hold_of(record: Mapping[str, Any], where: str) -> Hold:
    said = _text_of(record, "hold", where)
    if said is not None:
        try:
            return Hold(said)
        except ValueError:
            _refuse_hold("hold", said, where)
    status = record.get("status")
    if not isinstance(status, str):
        return Hold.ACTIVE
    main = status.partition("/")[0]
    if main in _HOLDING_STATUSES:
        return Hold(main)
    # `canceled` must not be taken for one of the statuses that are derived: the event would fire.
    if difflib.get_close_matches(main.strip().lower().replace(" ", "_"), _HOLDING_STATUSES, 1, 0.85):
        _refuse_hold("status", status, where)
    return Hold.ACTIVE


def _refuse_hold(key: str, said: str, where: str) -> Never:
    near = difflib.get_close_matches(said.strip().lower().replace(" ", "_"), list(Hold), 1)
    hint = f"did you mean {str(near[0])!r}?" if near else f"it is one of: {', '.join(Hold)}"
    raise InvalidEvent(f"{where}: {key} {said!a} is unknown; {hint}")


def _revision_of(record: Mapping[str, Any], where: str) -> int | None:
    value = record.get("revision")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidEvent(f"{where}: revision {value!a} must be a whole number from zero up")
    return value


def _created_at_of(record: Mapping[str, Any], zone: str | None, where: str) -> datetime | None:
    value = record.get("created_at")
    if _is_blank(value):
        return None
    what = f"{where}: created_at"
    given = read_date(value, what=what)
    if given.anchor is not None:
        raise InvalidEvent(f"{what} {value!a} is relative; write when it was: 2026-05-01T10:00:00Z")
    if given.kind is not Kind.INSTANT and given.zone is None and zone is None:
        return datetime.fromisoformat(given.text)
    return to_datetime(resolve_date(given, zone=zone, side=Side.OPENING, what=what).at)


def _dates_of(record: Mapping[str, Any], keys: _DateKeys) -> dict[str, object]:
    keys.check(record)
    nested = record.get("dates")
    if nested is None:
        nested = {}
    if not isinstance(nested, Mapping):
        raise InvalidEvent(f"{keys.where}: dates must be a mapping of milestones to dates")
    found = {str(key): value for key, value in nested.items() if not _is_blank(value)}
    for key, value in record.items():
        if key in _OTHER_KEYS or key not in keys or _is_blank(value):
            continue
        if key in found:
            raise InvalidEvent(f"{keys.where}: {key} is there twice, once under 'dates'; give it once")
        found[key] = value
    return found


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _data_of(record: Mapping[str, Any], dates: _DateKeys, used: set[str]) -> dict[str, object]:
    nested = record.get("data")
    if nested is None:
        nested = {}
    if not isinstance(nested, Mapping):
        raise InvalidEvent(f"{dates.where}: data must be a mapping of names to values")
    known = {*used, *_ZONE_KEYS, *_DERIVED_KEYS, *_OTHER_KEYS}
    others = {key: value for key, value in record.items() if key not in known and key not in dates}
    for key in others:
        if key in nested:
            raise InvalidEvent(f"{dates.where}: {key} is there twice, once under 'data'; give it once")
    found = plain({**nested, **others}, what=f"{dates.where}: data")
    assert isinstance(found, dict)  # noqa: S101 - a mapping is plain as a dict
    return found


def _plain(value: object, what: str, depth: int) -> object:
    if depth > DATA_DEPTH_MAX:
        raise InvalidEvent(f"{what} is nested deeper than {DATA_DEPTH_MAX}")
    if isinstance(value, Mapping):
        pairs = ((_plain_text(str(key), what), inner) for key, inner in value.items())
        return {key: _plain(inner, f"{what}.{key}" if depth < 2 else what, depth + 1) for key, inner in pairs}  # noqa: PLR2004 - a name that long helps no one
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, what, depth + 1) for inner in value]
    return _plain_scalar(value, what)


def _plain_scalar(value: object, what: str) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise InvalidEvent(f"{what} is a number beyond 64 bits; write it as text")
        return int(value)
    if isinstance(value, float) and not math.isinf(value):
        return None if math.isnan(value) else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return _plain_text(str(value), what)


def _plain_text(text: str, what: str) -> str:
    if len(text) > DATA_TEXT_MAX:
        raise InvalidEvent(f"{what} has {len(text):,} characters; at most {DATA_TEXT_MAX:,} are kept")
    if "\0" in text:
        raise InvalidEvent(f"{what} has a NUL character, which no database keeps; leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidEvent(f"{what} has half of a surrogate pair, which is no text; leave it out") from None
    return text
