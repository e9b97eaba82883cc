"""Time zones: which names are accepted, refused or warned about, and what their clocks show."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from functools import cache, lru_cache
from importlib import import_module
from typing import Final, NamedTuple, Never

import whenever

from duly.errors import InvalidZone
from duly.model.instants import Micros, check_fineness, micros_of_span, micros_of_wall, shown, to_datetime
from duly.model.zone_names import ABBREVIATIONS, HOST_NAMES, ZoneNames, zone_names

AOE: Final = "AoE"
_FIXED: Final = r"UTC([+-])([0-9]{1,2})(?::?([0-5][0-9]))?"
_ETC: Final = r"Etc/GMT([+-])([1-9]\d?)"
_NEARLY: Final = r"(GMT|)([+-]?)(\d{1,2})(?::?([0-5]\d))?"
_WEST_MAX: Final = timedelta(hours=-12)
_EAST_MAX: Final = timedelta(hours=14)
_NAME_LENGTH_MAX: Final = 64
_HINT: Final = "write one such as Europe/Berlin, UTC+2 or AoE"


class Readings(NamedTuple):
    """The instants that a wall time can mean: the same twice unless the clocks skip it or show it twice."""

    earlier: Micros
    later: Micros
    skipped: bool


def read_zone(name: object) -> tuple[str, tuple[str, ...]]:
    """Return the canonical name of a zone, and warnings; raise InvalidZone, with what would be right.

    Accepts IANA names, `UTC±h[:mm]`, `UTC`, `GMT`, `Z`, `AoE`, and tzinfo objects that know their name.
    """
    if not isinstance(name, str):
        name = _name_of_tzinfo(name)
    return _read_name(name)


def offset_text(offset: timedelta) -> str:
    """Return the canonical name of a fixed offset: `UTC`, `UTC-12`, `UTC+5:30`."""
    minutes = micros_of_span(offset) // 60_000_000
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}" + (f":{rest:02d}" if rest else "")


def instants_of(wall: datetime, zone: str) -> Readings:
    """Return the instants at which the clocks of a canonical zone show `wall`, a naive datetime.

    A skipped wall time is shifted by the length of the gap: forward for `later`, back for `earlier`.
    """
    offset = _fixed_offset(zone)
    if offset is not None:
        at = micros_of_wall(wall) - offset
        return Readings(at, at, False)  # noqa: FBT003 - on the hot path a keyword costs as much as the zone
    plain = whenever.PlainDateTime(wall)
    try:
        at = plain.assume_tz(zone, disambiguation="raise").timestamp(unit="microsecond")
    except whenever.RepeatedTime:
        skipped = False
    except whenever.SkippedTime:
        skipped = True
    else:
        return Readings(at, at, False)  # noqa: FBT003 - see above
    earlier = plain.assume_tz(zone, disambiguation="earlier").timestamp(unit="microsecond")
    later = plain.assume_tz(zone, disambiguation="later").timestamp(unit="microsecond")
    return Readings(earlier, later, skipped)


def wall_of(at: Micros, zone: str) -> datetime:
    """Return what the clocks of a canonical zone show at an instant, as a naive datetime."""
    offset = _fixed_offset(zone)
    if offset is not None:
        return to_datetime(at + offset).replace(tzinfo=None)
    there = whenever.Instant.from_timestamp(at, unit="microsecond").to_tz(zone)
    return there.to_plain().to_stdlib()


def read_utc(text: str) -> Micros | None:
    """Return the instant of `2026-05-01T10:00:00Z`, faster than by taking it apart; None if it is none.

    The caller has seen to the shape: `whenever` also reads a leap second, as the second before it.
    """
    try:
        return whenever.Instant(text).timestamp(unit="microsecond")
    except ValueError:
        return None


def read_whenever(value: object) -> Micros | datetime | date | None:
    """Return an object of the library as an instant, a naive datetime or a day; None if it is no such."""
    if isinstance(value, (whenever.Instant, whenever.OffsetDateTime, whenever.ZonedDateTime)):
        check_fineness(value.timestamp(unit="nanosecond"), value)
        return value.timestamp(unit="microsecond")
    if isinstance(value, whenever.PlainDateTime):
        check_fineness(value.nanosecond, value)
        return value.to_stdlib()
    return value.to_stdlib() if isinstance(value, whenever.Date) else None


def add_months(day: date, months: int) -> date:
    """Return the day some months away, the last of that month if it is shorter; ValueError out of range."""
    return whenever.Date(day).add(months=months).to_stdlib()


@cache
def tzdata_version() -> str:
    """Return the version of the tz database that dates are resolved with here, such as `2026a`.

    `whenever` looks into the system's directories first and into the `tzdata` package last. A system database
    that does not say its version gives `unknown`.
    """
    from pathlib import Path

    for folder in map(Path, whenever.get_tzpath()):
        if not (folder / "UTC").is_file():
            continue
        if (folder / "tzdata.zi").is_file():
            with (folder / "tzdata.zi").open(encoding="ascii", errors="replace") as file:
                words = file.readline().split()
            return words[-1] if words[:2] == ["#", "version"] else "unknown"
        if (folder / "+VERSION").is_file():
            return (folder / "+VERSION").read_text(encoding="ascii", errors="replace").strip()
        return "unknown"
    return str(import_module("tzdata").IANA_VERSION)


def forget_tzdata() -> None:
    """Forget everything read from the tz database, so that a replaced one is read anew."""
    tzdata_version.cache_clear()
    zone_names.cache_clear()
    _read_name.cache_clear()
    _fixed_offset.cache_clear()
    whenever.clear_tzcache()


@lru_cache(maxsize=4096)
def _fixed_offset(zone: str) -> Micros | None:
    """Return the offset of a canonical zone whose clocks never change; None for the others."""
    if zone == AOE:
        return micros_of_span(_WEST_MAX)
    if zone == "UTC":
        return 0
    found = re.fullmatch(_FIXED, zone)
    return micros_of_span(_span(*found.groups())) if found else None


def _span(sign: str, hours: str, minutes: str | None) -> timedelta:
    span = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return -span if sign == "-" else span


def _name_of_tzinfo(zone: object) -> str:
    """Return the name of a zoneinfo, pytz, pendulum or fixed-offset object."""
    for attribute in ("key", "zone"):
        name = getattr(zone, attribute, None)
        if isinstance(name, str):
            return name
    offset = zone.utcoffset(None) if isinstance(zone, timezone) else None
    if offset is None or offset % timedelta(minutes=1):
        msg = f"a zone is a name, not {shown(zone)}: {_HINT}"
        raise InvalidZone(msg)
    return offset_text(offset)


@lru_cache(maxsize=4096)
def _read_name(given: str) -> tuple[str, tuple[str, ...]]:
    """Read a zone by its name; remembered, because 50,000 dates a second name the same few zones."""
    name = given.strip()
    if not name:
        msg = f"no zone is named: {_HINT}"
        raise InvalidZone(msg)
    if not name.isprintable() or not name.isascii() or len(name) > _NAME_LENGTH_MAX:
        _refuse(name, f"is not the name of a zone: {_HINT}")
    if name.upper() in {"UTC", "GMT", "Z"} or name in {"Etc/UTC", "Etc/GMT"}:
        return "UTC", ()
    if name.upper() == "AOE":
        return AOE, ()
    fixed = re.fullmatch(_FIXED, name, re.IGNORECASE)
    if fixed:
        return _read_offset(name, fixed), ()
    etc = re.fullmatch(_ETC, name, re.ASCII)
    return _read_etc(name, etc) if etc else _read_iana(name)


def _read_offset(name: str, found: re.Match[str]) -> str:
    sign, hours, minutes = found.groups()
    offset = _span(sign, hours, minutes)
    if not _WEST_MAX <= offset <= _EAST_MAX:
        _refuse(name, "is nobody's time: offsets go from UTC-12 to UTC+14")
    return offset_text(offset)


def _read_etc(name: str, found: re.Match[str]) -> tuple[str, tuple[str, ...]]:
    sign, hours = found.groups()
    offset = _span("+" if sign == "-" else "-", hours, None)
    if not _WEST_MAX <= offset <= _EAST_MAX:
        _refuse(name, "does not exist: offsets go from UTC-12 to UTC+14")
    meant = offset_text(offset)
    return meant, (f"zone '{name}' means {meant}, because its sign is reversed: write {meant}",)


def _read_iana(name: str) -> tuple[str, tuple[str, ...]]:
    names = zone_names()
    if name in ABBREVIATIONS:
        _refuse(name, f"is ambiguous: write {ABBREVIATIONS[name]}")
    if name in HOST_NAMES:
        _refuse(name, f"depends on the machine: {_HINT}")
    if name in names.old:
        current = names.old[name]
        return current, (f"zone '{name}' is an old name: write {current}",)
    if name not in names.current:
        _refuse_unknown(name, names)
    return name, ()


def _refuse_unknown(name: str, names: ZoneNames) -> Never:
    """Refuse a name that is in no list, with the one that was most likely meant."""
    if name.upper() in ABBREVIATIONS:
        _refuse(name, f"is ambiguous: write {ABBREVIATIONS[name.upper()]}")
    offset = re.fullmatch(_NEARLY, name, re.ASCII | re.IGNORECASE)
    if offset:
        prefix, sign, hours, minutes = offset.groups()
        why = "is ambiguous, because some read its sign the other way round" if prefix else "is an offset"
        _refuse(name, f"{why}: write {offset_text(_span(sign, hours, minutes))}")
    nearest = names.nearest(name)
    if names.is_region(name):
        _refuse(name, f"is a region: write one of its zones, such as {nearest}")
    _refuse(name, f"is unknown: {f'did you mean {nearest}?' if nearest else _HINT}")


def _refuse(name: str, why: str) -> Never:
    msg = f"zone {shown(name)} {why}"
    raise InvalidZone(msg)
