"""A date as it was given: read from text, datetimes and mappings, and kept as what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, Never

from duly.errors import InvalidDate
from duly.model.instants import (
    INSTANT_MAX,
    INSTANT_MIN,
    Micros,
    check_fineness,
    check_range,
    check_year,
    micros_of_span,
    micros_of_wall,
    shown,
    to_datetime,
    to_micros,
)
from duly.model.relative import Relative, read_relative
from duly.model.written import Written, read_written, refuse_number, refuse_text, wall_text
from duly.model.zones import offset_text, read_utc, read_whenever, read_zone, wall_of

Choice = Literal["earlier", "later"]
_TEXT_LENGTH_MAX: Final = 200
_PLAIN_LENGTH: Final = len("2026-05-01T10:00:00Z")
_KEYS: Final = frozenset({"at", "zone", "disambiguate"})


class Kind(StrEnum):
    """What was given: an instant, a wall time, a whole day, or a way from another milestone."""

    INSTANT = "instant"
    WALL = "wall"
    DAY = "day"
    RELATIVE = "relative"


@dataclass(frozen=True, slots=True)
class GivenDate:
    """A date as it was given; two are equal if they mean the same as given. Made by `read_date`.

    `text`: canonical. An instant is written in UTC, whatever its offset was: an instant is all that it says.
    `zone`: the canonical zone given with this very date; never one for an instant.
    `meaning`: what the text says, so that nobody parses it twice: an instant, a wall time (of a day 00:00),
    or the way from another milestone.
    `remarks`: what was odd in how it was given (an old zone name); not kept by `to_json`.
    """

    text: str
    kind: Kind
    zone: str | None
    disambiguate: Choice | None
    meaning: Micros | datetime | Relative = field(compare=False, repr=False)
    remarks: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def anchor(self) -> str | None:
        """The milestone that a relative date hangs on."""
        return self.meaning.anchor if isinstance(self.meaning, Relative) else None

    @property
    def is_exact(self) -> bool:
        """Whether no zone can change what it means: an instant, or hours after another milestone."""
        way = self.meaning
        return isinstance(way, int) or (isinstance(way, Relative) and way.is_exact)

    def to_json(self) -> str | dict[str, str]:
        """Return what the store keeps: the text with its zone; a mapping only if it is disambiguated."""
        text = self.text if self.zone is None else f"{self.text} {self.zone}"
        if self.disambiguate is None:
            return text
        return {"at": text, "disambiguate": self.disambiguate}

    @classmethod
    def from_json(cls, kept: object) -> GivenDate:
        """Return the date that `to_json` kept."""
        return read_date(kept, what="kept date")


def read_date(value: object, *, what: str = "date") -> GivenDate:
    """Read a date in any of the ways in which it may be given; `what` names it in the InvalidDate.

    Accepts text, `datetime` (naive: a wall time) and `date` with their subclasses, the types of `whenever`,
    a mapping of `at`, `zone` and `disambiguate`, and a GivenDate.
    """
    try:
        return _from_text(value) if isinstance(value, str) else _from_object(value)
    except InvalidDate as error:
        raise type(error)(f"{what}: {error}") from None


def _from_text(given: str) -> GivenDate:
    text = given.strip()
    if len(text) == _PLAIN_LENGTH and text[19] == "Z" and (plain := _from_plain_instant(text)):
        return plain
    if len(text) > _TEXT_LENGTH_MAX:
        msg = f"{shown(text)} is too long for a date"
        raise InvalidDate(msg)
    written = read_written(text)
    if written is not None:
        return _from_written(written)
    if not text:
        _refuse_nothing("is empty")
    relative = read_relative(text)
    if relative is None:
        refuse_text(text)
    return _from_relative(*relative)


def _from_plain_instant(text: str) -> GivenDate | None:
    """Read `2026-05-01T10:00:00Z`, by far the most frequent form; None if it is another."""
    if text[10] != "T" or not text[4] == text[7] == "-" or not text[13] == text[16] == ":" or text[17] == "6":
        return None
    at = read_utc(text)
    if at is None or not INSTANT_MIN <= at <= INSTANT_MAX:
        return None
    return GivenDate(text, Kind.INSTANT, None, None, at)


def _from_written(written: Written) -> GivenDate:
    wall, is_day, offset, is_local, zone_given = written
    zone, remarks = (None, ()) if zone_given is None else read_zone(zone_given)
    if offset is None:
        return _given_day(wall, zone, remarks) if is_day else _given_wall(wall, zone, None, remarks)
    at = micros_of_wall(wall) - micros_of_span(offset)
    given = _given_instant(at, remarks)
    if zone is not None and is_local:
        _check_offset(at, offset, zone)
    return given


def _from_relative(way: Relative, text: str, zone_given: str | None) -> GivenDate:
    zone, remarks = (None, ()) if zone_given is None else read_zone(zone_given)
    return GivenDate(text, Kind.RELATIVE, None if way.is_exact else zone, None, way, remarks)


def _given_instant(at: Micros, remarks: tuple[str, ...] = ()) -> GivenDate:
    text = to_datetime(check_range(at)).isoformat()[: -len("+00:00")] + "Z"
    return GivenDate(text, Kind.INSTANT, None, None, at, remarks)


def _given_wall(wall: datetime, zone: str | None, choice: Choice | None, remarks: tuple[str, ...]) -> GivenDate:
    return GivenDate(wall_text(wall), Kind.WALL, zone, choice, wall, remarks)


def _given_day(midnight: datetime, zone: str | None, remarks: tuple[str, ...]) -> GivenDate:
    return GivenDate(midnight.isoformat()[: len("2026-05-01")], Kind.DAY, zone, None, midnight, remarks)


def _check_offset(at: Micros, offset: timedelta, zone: str) -> None:
    """Refuse an offset that the zone does not have at that instant."""
    there = timedelta(microseconds=micros_of_wall(wall_of(at, zone)) - at)
    if there != offset:
        wall = (to_datetime(at) + offset).replace(tzinfo=None)
        msg = (
            f"{wall_text(wall)} has the offset {offset_text(offset)}, "
            f"but {zone} is at {offset_text(there)} then: write only one of the two"
        )
        raise InvalidDate(msg)


def _from_object(value: object) -> GivenDate:
    """Read anything that is not text."""
    if isinstance(value, GivenDate):
        return value
    if isinstance(value, Mapping):
        return _from_mapping(value)
    if isinstance(value, datetime):
        return _from_datetime(value)
    if isinstance(value, date):
        check_year(value.year, value)
        midnight = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a wall time
        return _given_day(midnight, None, ())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        refuse_number(value)
    if value is None:
        _refuse_nothing("is missing")
    return _from_whenever(value)


def _from_datetime(value: datetime) -> GivenDate:
    """Read a datetime: with an offset it is an instant, whatever its zone; without one it is a wall time."""
    if value != value:  # noqa: PLR0124 - pandas.NaT is a datetime, and the only one that is not itself
        _refuse_nothing("is NaT")
    check_year(value.year, value)
    if value.utcoffset() is not None:
        _check_pytz(value)
        return _given_instant(to_micros(value))
    check_fineness(getattr(value, "nanosecond", 0), value)
    wall = datetime.combine(date(value.year, value.month, value.day), value.time().replace(fold=0))
    return _given_wall(wall, None, "later" if value.fold else None, ())


def _check_pytz(value: datetime) -> None:
    """Refuse what `datetime(…, tzinfo=pytz.timezone(…))` makes: local mean time, minutes off every clock."""
    if hasattr(value.tzinfo, "localize") and value.tzname() == "LMT":
        msg = (
            f"{value} is in local mean time, because a pytz zone was passed as tzinfo: "
            "use zoneinfo.ZoneInfo, or the pytz zone's localize()"
        )
        raise InvalidDate(msg)


def _from_whenever(value: object) -> GivenDate:
    """Read the types of the library that does the zones, and refuse everything else."""
    plain = read_whenever(value)
    if isinstance(plain, int):
        return _given_instant(plain)
    if plain is not None:
        return _from_object(plain)
    msg = f"{shown(value)} is a {type(value).__name__}, not a date: give text, a datetime or a date"
    raise InvalidDate(msg)


def _from_mapping(value: Mapping[object, object]) -> GivenDate:
    """Read a date whose zone, or whose choice between two instants, stands beside it."""
    unknown = [key for key in value if key not in _KEYS]
    at = value.get("at")
    if unknown or at is None or isinstance(at, Mapping):
        what = f"has the unknown key {shown(unknown[0])}" if unknown else "has no date under 'at'"
        example = "{'at': '2026-05-01 10:00', 'zone': 'Europe/Berlin'}"
        msg = f"{what}: write {example}, and 'disambiguate' if needed"
        raise InvalidDate(msg)
    given = _from_text(at) if isinstance(at, str) else _from_object(at)
    if value.get("zone") is not None:
        given = _with_zone(given, at, value["zone"])
    if value.get("disambiguate") is None:
        return given
    return _with_choice(given, value["disambiguate"])


def _with_zone(given: GivenDate, at: object, name: object) -> GivenDate:
    """Return the date with a zone given beside it, which must not contradict what the date itself says."""
    zone, remarks = read_zone(name)
    offset = _local_offset(at)
    if isinstance(given.meaning, int) and offset is not None:
        _check_offset(given.meaning, offset, zone)
    if given.zone not in {None, zone}:
        msg = f"{given.text} {given.zone} has the zone {zone} beside it: write only one of the two"
        raise InvalidDate(msg)
    return replace(given, zone=None if given.is_exact else zone, remarks=given.remarks + remarks)


def _local_offset(at: object) -> timedelta | None:
    """Return the offset that an instant was written with; None for UTC, which claims no place."""
    if isinstance(at, str):
        written = read_written(at.strip())
        return written.offset if written is not None and written.is_local else None
    return (at.utcoffset() or None) if isinstance(at, datetime) else None


def _with_choice(given: GivenDate, choice: object) -> GivenDate:
    if choice not in ("earlier", "later"):  # a tuple, because what is given may not be hashable
        msg = f"disambiguate is {shown(choice)}: write 'earlier' or 'later'"
        raise InvalidDate(msg)
    kept: Choice = "later" if choice == "later" else "earlier"
    return replace(given, disambiguate=None if given.is_exact else kept)


def _refuse_nothing(what: str) -> Never:
    msg = f"{what}: leave it out, or write 2026-05-01T10:00:00Z, 2026-05-01 10:00 or 2026-05-01"
    raise InvalidDate(msg)
