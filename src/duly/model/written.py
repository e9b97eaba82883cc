"""Dates as people write them: ISO 8601 and RFC 9557 text taken apart; what a near miss should have been."""

from __future__ import annotations

import calendar
import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple, Never

from duly.errors import InvalidDate
from duly.model.instants import YEAR_MAX, YEAR_MIN, shown

_DATE: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?: ?([Zz]|[+-]\d\d(?::?\d\d)?))?)?"
    r"(?: ?\[!?([^\[\]]*)\]| +(?!(?:[AaPp]\.?[Mm]\b))([^\s\d\[].*))?",
    re.ASCII,
)
_LENIENT: Final = (
    r"([+-]?\d{4,})[-/.](\d{1,2})[-/.](\d{1,2})"
    r"(?:[Tt ]+(\d{1,2}):(\d\d)(?::(\d\d))?(?: *([AaPp])\.?[Mm]\.?)?)?(.*)"
)
_NUMBER: Final = r"[+-]?\d+(?:\.\d*)?"
_FAR_YEAR: Final = r"[+-]\d{4,}-|\d{5,}-"
_HINT: Final = "write 2026-05-01T10:00:00Z, 2026-05-01 10:00 or 2026-05-01"
_NO_PLACE: Final = frozenset({"Z", "z", "-00:00", "-0000", "-00"})
_EAST_MAX: Final = timedelta(hours=14)
_WEST_MAX: Final = timedelta(hours=-12)
_MICROS_DIGITS: Final = 6
_MINUTE_MAX: Final = 59
_LEAP_SECOND: Final = 60
_MIDNIGHT_AFTER: Final = (24, 0, 0, 0)


class Written(NamedTuple):
    """The parts of a date.

    `wall`: naive; for a bare date its 00:00. `offset`: None if none is written.
    `is_local`: whether the offset claims to be that of a place; Z and -00:00 do not (RFC 9557).
    """

    wall: datetime
    is_day: bool
    offset: timedelta | None
    is_local: bool
    zone: str | None


def read_written(text: str) -> Written | None:
    """Return the parts of an ISO date; None if it looks like none; InvalidDate if there is no such date."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, offset, bracket, suffix = found.groups()
    zone = suffix if bracket is None else bracket
    if not YEAR_MIN <= int(year) <= YEAR_MAX:
        _refuse(text, f"lies outside the years {YEAR_MIN} to {YEAR_MAX}")
    micros = _read_fraction(text, fraction) if fraction else 0
    try:
        wall = datetime(  # noqa: DTZ001 - a wall time
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micros
        )
    except ValueError:
        wall = _read_odd(text, found, micros)
    if offset is None:
        return Written(wall, hour is None, None, is_local=False, zone=zone)
    return Written(wall, False, _read_offset(text, offset), offset not in _NO_PLACE, zone)  # noqa: FBT003


def wall_text(wall: datetime) -> str:
    """Return the canonical text of a wall time: `2026-05-01 10:00`, with seconds only if there are any."""
    text = wall.isoformat(" ")
    return text if wall.second or wall.microsecond else text[: len("2026-05-01 10:00")]


def _read_fraction(text: str, digits: str) -> int:
    if digits[_MICROS_DIGITS:].strip("0"):
        _refuse(text, f"is finer than a microsecond: write {text.replace(digits, digits[:_MICROS_DIGITS])}")
    return int(digits[:_MICROS_DIGITS].ljust(_MICROS_DIGITS, "0"))


def _read_odd(text: str, found: re.Match[str], micros: int) -> datetime:
    """Read 24:00 as the next midnight, as ISO 8601 has it; refuse what no calendar or clock shows."""
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    if not 1 <= month <= 12:  # noqa: PLR2004 - months
        _refuse(text, f"has the month {month}: write 01 to 12")
    days = calendar.monthrange(year, month)[1]
    if not 1 <= day <= days:
        _refuse(text, f"has the day {day}, but {year}-{month:02d} has {days} days")
    following = datetime(year, month, day) + timedelta(days=1)  # noqa: DTZ001 - a wall time
    if second == _LEAP_SECOND and max(minute, hour) <= _MINUTE_MAX:
        whole = f"{found[1]}-{found[2]}-{found[3]} {found[4]}:{found[5]}"
        written = text[len(whole) :]
        _refuse(text, f"is a leap second, which clocks do not show: write {whole}:59{written[3:]}")
    if (hour, minute, second, micros) != _MIDNIGHT_AFTER or following.year > YEAR_MAX:
        _refuse(text, "has a time that no clock shows: write 00:00 to 23:59, or 24:00 for the next midnight")
    return following


def _read_offset(text: str, written: str) -> timedelta:
    if written in {"Z", "z"}:
        return timedelta(0)
    digits = written[1:].replace(":", "")
    minutes = int(digits[2:] or 0)
    span = timedelta(hours=int(digits[:2]), minutes=minutes)
    offset = -span if written[0] == "-" else span
    if minutes > _MINUTE_MAX or not _WEST_MAX <= offset <= _EAST_MAX:
        _refuse(text, f"has the offset {written}, nobody's time: offsets go from -12:00 to +14:00")
    return offset


def refuse_number(number: int | float) -> Never:  # noqa: PYI041 - the two are told apart below
    """Refuse an epoch number, with the text that it may have meant."""
    meant = _epoch_text(number)
    text = str(number) if isinstance(number, float) or abs(number) < 10**40 else "a huge integer"
    msg = f"{text} is a number, not a date: {f'write {meant}' if meant else _HINT}"
    raise InvalidDate(msg)


def _epoch_text(number: int | float) -> str | None:  # noqa: PYI041
    """Return what an epoch number may mean, judged by its size: seconds, milli-, micro- or nanoseconds."""
    if isinstance(number, float) and not math.isfinite(number):
        return None
    if isinstance(number, int) and (day := _compact_day(number)):
        return day
    for limit, divisor in ((10**11, 1), (10**14, 10**3), (10**17, 10**6), (10**20, 10**9)):
        if abs(number) < limit:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(number) // divisor)
            return moment.isoformat().replace("+00:00", "Z")
    return None


def _compact_day(number: int) -> str | None:
    """Return the day of a number such as 20260501."""
    try:
        return date(number // 10_000, number // 100 % 100, number % 100).isoformat()
    except (ValueError, OverflowError):
        return None


def refuse_text(text: str) -> Never:
    """Refuse text that is no date, with the date that it comes nearest to."""
    if re.fullmatch(_NUMBER, text, re.ASCII):
        refuse_number(float(text) if "." in text else int(text))
    if re.match(_FAR_YEAR, text, re.ASCII):
        _refuse(text, f"lies outside the years {YEAR_MIN} to {YEAR_MAX}")
    meant = _nearest(text)
    msg = f"{shown(text)} is not a date: {f'write {meant}' if meant else _HINT}"
    raise InvalidDate(msg)


def _nearest(text: str) -> str | None:
    """Return the canonical form of a date in another form, another script, or without its zeros."""
    plain = _in_ascii(text)
    found = re.fullmatch(_LENIENT, plain, re.ASCII)
    plain = _padded(found) if found else plain
    try:
        if read_written(plain) is not None:
            return plain
        # Week dates, ordinal dates and the basic format: Python knows them all.
        meant = datetime.fromisoformat(plain)
    except (InvalidDate, ValueError):
        return None
    has_time = ":" in plain or "T" in plain
    whole = meant.isoformat().replace("+00:00", "Z") if has_time else meant.date().isoformat()
    return whole if _DATE.fullmatch(whole) else None


def _in_ascii(text: str) -> str:
    """Return the text with fullwidth and other scripts' digits as ASCII ones."""
    import unicodedata

    plain = unicodedata.normalize("NFKC", text).strip()
    return "".join(str(unicodedata.decimal(letter, letter)) for letter in plain)


def _padded(found: re.Match[str]) -> str:
    year, month, day, hour, minute, second, half, rest = found.groups()
    text = f"{year}-{month:0>2}-{day:0>2}"
    if hour:
        hours = int(hour) % 12 + (12 if half in ("P", "p") else 0) if half else int(hour)
        text += f" {hours:02d}:{minute}" + (f":{second}" if second else "")
    return text + rest


def _refuse(text: str, why: str) -> Never:
    msg = f"{shown(text)} {why}"
    raise InvalidDate(msg)
