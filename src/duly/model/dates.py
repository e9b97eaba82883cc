"""A date as given → an instant: zones, bare dates, relative dates, gaps and repeated hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Never

from duly.errors import InvalidDate
from duly.model.given import Choice, GivenDate, Kind, read_date
from duly.model.instants import (
    INSTANT_MAX,
    INSTANT_MIN,
    SECOND,
    YEAR_MAX,
    YEAR_MIN,
    Micros,
    to_datetime,
    to_micros,
)
from duly.model.relative import Relative
from duly.model.written import wall_text
from duly.model.zones import forget_tzdata, instants_of, read_zone, tzdata_version, wall_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "GivenDate",
    "Kind",
    "Micros",
    "ResolvedDate",
    "Side",
    "forget_tzdata",
    "read_date",
    "read_zone",
    "resolve_date",
    "to_datetime",
    "to_micros",
    "tzdata_version",
    "wall_clock",
]

_GIVE_ZONE: Final = (
    "give the date a zone (2026-05-01 10:00 Europe/Berlin) or an offset (2026-05-01T10:00+02:00), or set the "
    "zone of the event, the lifecycle, the file or the scheduler"
)
_NO_ANCHORS: Final[Mapping[str, Micros]] = {}


class Side(StrEnum):
    """How a bare date and a repeated wall time are read.

    An opening is 00:00 and takes the first of two instants.
    A closing is the next midnight, exclusive, and takes the second.
    """

    OPENING = "opening"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class ResolvedDate:
    """The instant that a date means.

    `zone`: in which it was read; None for an instant, and for a relative date without a calendar in it.
    """

    at: Micros
    zone: str | None
    warnings: tuple[str, ...]


def resolve_date(
    given: GivenDate,
    *,
    zone: str | None,
    side: Side,
    anchors: Mapping[str, Micros] = _NO_ANCHORS,
    what: str = "date",
) -> ResolvedDate:
    """Return the instant of a date; InvalidDate if nothing says in which zone it is, or where its anchor is.

    `zone`: in which dates without a zone of their own are read. `anchors`: milestone → instant.
    Each warning begins with `what`.
    """
    meaning = given.meaning
    try:
        if isinstance(meaning, int):
            resolved = ResolvedDate(meaning, None, given.remarks)
        elif isinstance(meaning, Relative):
            resolved = _resolve_relative(given, meaning, zone, side, anchors)
        else:
            resolved = _resolve_wall(given, meaning, zone, side)
    except InvalidDate as error:
        raise type(error)(f"{what}: {error}") from None
    if not resolved.warnings:
        return resolved
    warnings = tuple(f"{what}: {said}" for said in resolved.warnings)
    return ResolvedDate(resolved.at, resolved.zone, warnings)


def wall_clock(at: Micros, zone: str) -> str:
    """Return what the clocks of a canonical zone show: `2026-05-01 10:00 Europe/Berlin`, seconds if any."""
    return f"{wall_text(wall_of(at, zone))} {zone}"


def _zone_of(given: GivenDate, zone: str | None) -> str:
    name = given.zone or zone
    if name is None:
        msg = f"{given.text} has no zone: {_GIVE_ZONE}"
        raise InvalidDate(msg)
    return read_zone(name)[0]


def _resolve_wall(given: GivenDate, wall: datetime, zone: str | None, side: Side) -> ResolvedDate:
    name = _zone_of(given, zone)
    if given.kind is Kind.WALL or side is Side.OPENING:
        at, said = _pick(wall, name, side, given.disambiguate)
    else:
        at, said = _pick(wall + timedelta(days=1), name, side, given.disambiguate)
        # Samoa had no 2011-12-30: the end of such a day exists, so only its noon shows that it was left out.
        if instants_of(wall + timedelta(hours=12), name).skipped:
            said += (f"{given.text} is a day that {name} skipped: read as {wall_clock(at, name)}",)
    return ResolvedDate(at, name, given.remarks + said)


def _pick(wall: datetime, zone: str, side: Side, choice: Choice | None) -> tuple[Micros, tuple[str, ...]]:
    """Return the instant of a wall time, and a warning if it does not exist or comes twice."""
    earlier, later, skipped = instants_of(wall, zone)
    if earlier == later:
        return later, ()
    takes_later = choice == "later" if choice else skipped or side is Side.CLOSING
    at = later if takes_later else earlier
    text = f"{wall_text(wall)} {zone}"
    if skipped:
        return at, (f"{text} does not exist, the clocks skip it: read as {wall_clock(at, zone)}",)
    if choice:
        return at, ()
    which, other = ("second", "earlier") if takes_later else ("first", "later")
    instant = to_datetime(at).isoformat().replace("+00:00", "Z")
    said = f"{text} comes twice: read as the {which}, {instant}; disambiguate = {other} means the other"
    return at, (said,)


def _resolve_relative(
    given: GivenDate, way: Relative, zone: str | None, side: Side, anchors: Mapping[str, Micros]
) -> ResolvedDate:
    base = anchors.get(way.anchor)
    if base is None:
        msg = f"{given.text!r} hangs on {way.anchor!r}, which has no date"
        raise InvalidDate(msg)
    if way.is_exact:
        return ResolvedDate(_in_range(given, base + way.seconds * SECOND), None, given.remarks)
    name = _zone_of(given, zone)
    start = wall_of(base, name)
    try:
        wall, clamped = way.shift(start)
    except (ValueError, OverflowError):
        _refuse_range(given)
    if not YEAR_MIN <= wall.year <= YEAR_MAX:
        _refuse_range(given)
    at, said = _pick(wall, name, side, given.disambiguate)
    if clamped:
        said += (f"{given.text}: that month is shorter, so its last day is taken: {wall_clock(at, name)}",)
    return ResolvedDate(_in_range(given, at + way.seconds * SECOND), name, given.remarks + said)


def _in_range(given: GivenDate, at: Micros) -> Micros:
    return at if INSTANT_MIN <= at <= INSTANT_MAX else _refuse_range(given)


def _refuse_range(given: GivenDate) -> Never:
    msg = f"{given.text} leads outside the years {YEAR_MIN} to {YEAR_MAX}"
    raise InvalidDate(msg)
