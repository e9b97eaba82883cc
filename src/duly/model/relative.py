"""Dates that hang on another milestone: `event_start - 2 days at 23:59`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Never

from duly.errors import InvalidDate
from duly.model.instants import YEAR_MAX, YEAR_MIN, shown
from duly.model.zones import add_months

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*(?:#[0-9]{1,6})?"
_PART: Final = r"[0-9]+ *[A-Za-z]+"
_AMOUNT: Final = rf"P[0-9A-Z]*|{_PART}(?:(?: *, *| and | ){_PART})*"
_CLOCK: Final = r"(?: at (?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?))?"
_ZONE: Final = r"(?: (?P<zone>[A-Za-z][A-Za-z0-9_+/:-]*))?"
# Compiled at the first use (`re` remembers them): most programs never see a relative date.
_SIGNED: Final = rf"(?P<anchor>{_NAME})(?: ?(?P<sign>[+-]) ?(?P<amount>{_AMOUNT}))?{_CLOCK}{_ZONE}"
_SPOKEN: Final = rf"(?P<amount>{_AMOUNT}) (?P<sign>before|after) (?P<anchor>{_NAME}){_CLOCK}{_ZONE}"
_ATTEMPT: Final = rf"{_NAME} *[+-]|.*\b(?:before|after)\b"
_PARTS: Final = r"([0-9]+) *([A-Za-z]+)"
_ISO: Final = (
    r"P(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)W)?(?:([0-9]+)D)?"
    r"(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)S)?)?"
)
_UNITS: Final = ("year", "month", "week", "day", "hour", "minute", "second")
_CALENDAR: Final = frozenset(_UNITS[:4])
# So that no product of an amount and its unit leaves the range of a timedelta (999,999,999 days).
_DIGITS_MAX: Final = 9
_MINUTE_MAX: Final = 59
_HINT: Final = "write for example event_start - 2 days at 23:59, event_start + 3 hours or event_start - P1D"
# Words that stand where a date is missing; as names of milestones they would only be noticed much later.
_NO_DATES: Final = frozenset(
    {"none", "null", "nil", "nan", "nat", "inf", "infinity", "never", "tbd", "tba", "tbc", "unknown"}
    | {"now", "today", "tomorrow", "yesterday", "true", "false", "yes", "no"}
)


@dataclass(frozen=True, slots=True)
class Relative:
    """An anchor and the way from it: calendar months and days, then a wall time, then exact seconds.

    `clock`: the time of day that replaces the anchor's, counted from 00:00; 24 h is the next midnight.
    """

    anchor: str
    months: int = 0
    days: int = 0
    seconds: int = 0
    clock: timedelta | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it needs no zone, because no calendar is involved."""
        return not self.months and not self.days and self.clock is None

    def shift(self, wall: datetime) -> tuple[datetime, bool]:
        """Return the wall time after the calendar steps, and whether the day of the month was clamped."""
        day = wall.date()
        clamped = False
        if self.months:
            shifted = add_months(day, self.months)
            clamped = shifted.day != day.day
            day = shifted
        moved = wall.combine(day, wall.time()) + timedelta(days=self.days)
        if self.clock is not None:
            moved = moved.replace(hour=0, minute=0, second=0, microsecond=0) + self.clock
        return moved, clamped


def read_relative(text: str) -> tuple[Relative, str, str | None] | None:
    """Return the relative date, its canonical text and the zone written after it; None if it is none.

    Text that begins like a relative date and cannot be read as one raises InvalidDate.
    """
    plain = " ".join(text.split())
    found = re.fullmatch(_SIGNED, plain) or re.fullmatch(_SPOKEN, plain)
    if found is None:
        if re.match(_ATTEMPT, plain):
            _refuse(text, f"cannot be read as a relative date: {_HINT}")
        return None
    if not found["amount"] and not found["clock"]:
        if found["anchor"].lower() in _NO_DATES:
            _refuse(text, "is not a date: leave it out, or write 2026-05-01T10:00:00Z")
        if found["zone"]:
            return None
    return _build(plain, found)


def _build(text: str, found: re.Match[str]) -> tuple[Relative, str, str | None]:
    sign = -1 if found["sign"] in {"-", "before"} else 1
    amounts = _read_amount(text, found["amount"] or "")
    clock = _read_clock(text, found["clock"])
    exact = [unit for _, unit in amounts if unit not in _CALENDAR]
    if clock is not None and exact:
        _refuse(text, f"gives both {exact[0]}s and a time of day: write one of the two")
    sums = dict.fromkeys(_UNITS, 0)
    for number, unit in amounts:
        sums[unit] += sign * number
    way = Relative(
        anchor=found["anchor"],
        months=sums["year"] * 12 + sums["month"],
        days=sums["week"] * 7 + sums["day"],
        seconds=sums["hour"] * 3600 + sums["minute"] * 60 + sums["second"],
        clock=clock,
    )
    return way, _canonical(way, amounts, "-" if sign < 0 else "+"), found["zone"]


def _canonical(way: Relative, amounts: list[tuple[int, str]], sign: str) -> str:
    text = way.anchor
    if amounts:
        text += f" {sign} " + " ".join(f"{number} {unit}{'s' * (number != 1)}" for number, unit in amounts)
    if way.clock is None:
        return text
    minutes, seconds = divmod(way.clock // timedelta(seconds=1), 60)
    return f"{text} at {minutes // 60:02d}:{minutes % 60:02d}" + (f":{seconds:02d}" if seconds else "")


def _read_amount(text: str, amount: str) -> list[tuple[int, str]]:
    """Return the numbers and units of an amount, without those that are zero."""
    if amount.startswith("P"):
        iso = re.fullmatch(_ISO, amount)
        if iso is None or not any(iso.groups()):
            _refuse(text, f"has {amount}, which is not a duration: write for example P1D, P2W, P1M or PT3H")
        pairs = [(digits, unit) for digits, unit in zip(iso.groups(), _UNITS, strict=True) if digits]
    else:
        pairs = [(digits, _read_unit(text, unit)) for digits, unit in re.findall(_PARTS, amount)]
    for digits, unit in pairs:
        if len(digits.lstrip("0")) > _DIGITS_MAX:
            _refuse(text, f"leads outside the years {YEAR_MIN} to {YEAR_MAX}: that are too many {unit}s")
    return [(int(digits), unit) for digits, unit in pairs if int(digits)]


def _read_unit(text: str, word: str) -> str:
    unit = word.lower().removesuffix("s")
    if unit not in _UNITS:
        _refuse(text, f"has the unit {word!r}: use years, months, weeks, days, hours, minutes or seconds")
    return unit


def _read_clock(text: str, clock: str | None) -> timedelta | None:
    if clock is None:
        return None
    hours, minutes, seconds = map(int, f"{clock}:00".split(":")[:3])
    span = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if max(minutes, seconds) > _MINUTE_MAX or span > timedelta(days=1):
        _refuse(text, f"has the time {clock}: write 00:00 to 23:59, or 24:00 for the next midnight")
    return span


def _refuse(text: str, why: str) -> Never:
    msg = f"{shown(text)} {why}"
    raise InvalidDate(msg)
