"""The unit of time in the house: whole microseconds since 1970-01-01T00:00Z, and its two gates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from duly.errors import InvalidDate

Micros = int

SECOND: Final[Micros] = 1_000_000
YEAR_MIN: Final = 1900
YEAR_MAX: Final = 9998
_SHOWN_MAX: Final = 80

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = _EPOCH.toordinal()


def to_datetime(at: Micros) -> datetime:
    """Return the aware UTC datetime of an instant."""
    return _EPOCH + timedelta(microseconds=at)


def to_micros(value: datetime) -> Micros:
    """Return the instant of an aware datetime, exactly; a naive one raises InvalidDate.

    Always by way of UTC, never by subtracting two datetimes of one zone, because Python then ignores their
    offsets and takes both readings of a repeated hour for equal.
    """
    offset = value.utcoffset()
    if offset is None:
        msg = f"{value} has no offset from UTC: use a datetime with a tzinfo"
        raise InvalidDate(msg)
    check_fineness(getattr(value, "nanosecond", 0), value)
    return micros_of_wall(value) - micros_of_span(offset)


def micros_of_wall(wall: datetime) -> Micros:
    """Return what the hands of a clock show, counted from 1970-01-01 00:00 of the same clock."""
    days = wall.toordinal() - _EPOCH_ORDINAL
    seconds = days * 86_400 + wall.hour * 3600 + wall.minute * 60 + wall.second
    return seconds * SECOND + wall.microsecond


def micros_of_span(span: timedelta) -> Micros:
    """Return a duration in microseconds, in integers all the way."""
    return (span.days * 86_400 + span.seconds) * SECOND + span.microseconds


def shown(value: object) -> str:
    """Return a value as messages show it: quoted, escaped, and not longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of more than 4,300 digits.
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 1]}…"


def check_range(at: Micros) -> Micros:
    """Return an instant that can be kept; raise InvalidDate for any other."""
    if INSTANT_MIN <= at <= INSTANT_MAX:
        return at
    msg = f"in UTC, it lies outside the years {YEAR_MIN} to {YEAR_MAX}"
    raise InvalidDate(msg)


def check_year(year: int, value: object) -> None:
    """Refuse years of which no zone knows the clocks, and those at the very end of the calendar."""
    if not YEAR_MIN <= year <= YEAR_MAX:
        msg = f"{value} lies outside the years {YEAR_MIN} to {YEAR_MAX}"
        raise InvalidDate(msg)


def check_fineness(nanoseconds: int, value: object) -> None:
    """Refuse what a microsecond cannot hold; pandas and `whenever` keep nanoseconds."""
    if nanoseconds % 1000:
        msg = f"{value} is finer than a microsecond: round it to six digits"
        raise InvalidDate(msg)


INSTANT_MIN: Final[Micros] = to_micros(datetime(YEAR_MIN, 1, 1, tzinfo=UTC))
INSTANT_MAX: Final[Micros] = to_micros(datetime(YEAR_MAX + 1, 1, 1, tzinfo=UTC)) - 1
