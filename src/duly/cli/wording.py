"""How durations, instants, policies and counts are said. Pure: the same in, the same out, on every screen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from duly.model.history import Cause, Entry, Outage
from duly.model.instants import Micros, micros_of_span
from duly.model.lifecycle import Policy
from duly.model.zones import wall_of
from duly.rules.catch_up import Effective

UTC: Final = "UTC"
_SECOND: Final = 1_000_000
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
# Below this, seconds are said beside the minutes; from there on they are noise.
_SECONDS_MATTER: Final = 10 * _MINUTE
_HOURS_MATTER: Final = 30 * _DAY
_MILLIS_MATTER: Final = 1_000_000
_POLICIES: Final = {
    Policy.ALL: "announce, in order",
    Policy.CURRENT: "announce only what still holds once caught up",
    Policy.LATEST: "announce only the last of the event's",
    Policy.NONE: "announce nothing",
    Policy.PARK: "keep for a person to decide",
}


def duration(length: timedelta | Micros) -> str:
    """Return a duration in its two largest units that matter: `1 h 47 min`, `17 min`, `3 days 4 h`, `214 ms`.

    Rounded down; of a negative one, its size.
    """
    micros = abs(micros_of_span(length) if isinstance(length, timedelta) else length)
    seconds = micros // _SECOND
    if micros < _MILLIS_MATTER:
        return f"{micros // 1000} ms"
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return _two(seconds, _MINUTE, "min", "s", within=_SECONDS_MATTER)
    if seconds < _DAY:
        return _two(seconds // _MINUTE, _MINUTE, "h", "min")
    days = seconds // _DAY
    unit = "day" if days == 1 else "days"
    return _two(seconds // _HOUR, 24, unit, "h", within=_HOURS_MATTER // _HOUR)


def _two(amount: int, size: int, large: str, small: str, *, within: int | None = None) -> str:
    whole, rest = divmod(amount, size)
    if not rest or (within is not None and amount >= within):
        return f"{whole} {large}"
    return f"{whole} {large} {rest} {small}"


def relative(at: Micros, now: Micros) -> str:
    """Return how far an instant is away: `in 43 min`, `12 min ago`, `now`."""
    away = at - now
    if abs(away) < _SECOND:
        return "now"
    return f"in {duration(away)}" if away > 0 else f"{duration(away)} ago"


def clock(at: Micros, zone: str | None, *, beside: Micros | None = None) -> str:
    """Return what the clocks of a zone show: `15:00`, with seconds if there are any.

    The day is said too unless it is that of `beside`, and the year unless it is the same: `27 Aug 2025 15:00`.
    """
    wall = wall_of(at, zone or UTC)
    time = f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"
    if beside is None:
        return f"{day(wall)} {time}"
    other = wall_of(beside, zone or UTC)
    if wall.date() == other.date():
        return time
    return f"{wall.day} {wall:%b} {time}" if wall.year == other.year else f"{day(wall)} {time}"


def day(wall: datetime) -> str:
    """Return a day as text: `27 Aug 2025`."""
    return f"{wall.day} {wall:%b} {wall.year}"


def moment(at: Micros, zone: str | None, now: Micros) -> str:
    """Return an instant in all its three ways: `in 43 min (15:00 Europe/Berlin)`."""
    return f"{relative(at, now)} ({clock(at, zone, beside=now)} {zone or UTC})"


def planned(at: Micros, zone: str | None) -> str:
    """Return a date in full: `12:30 Europe/Berlin, 27 Aug 2025 (10:30Z)`."""
    wall, universal = wall_of(at, zone or UTC), wall_of(at, UTC)
    time = f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"
    utc = f"{universal:%H:%M:%S}Z" if universal.second else f"{universal:%H:%M}Z"
    if universal.date() != wall.date():
        utc = f"{universal.day} {universal:%b} {utc}"
    said = f"{time} {zone or UTC}, {day(wall)}"
    return said if (zone or UTC) == UTC else f"{said} ({utc})"


def span(began: Micros, ended: Micros, zone: str | None) -> str:
    """Return a stretch of time: `12:03 – 14:17 Europe/Berlin`, with the days if it has several."""
    exact = ended - began < _SECONDS_MATTER * _SECOND
    first, last = wall_of(began, zone or UTC), wall_of(ended, zone or UTC)
    form = "%H:%M:%S" if exact else "%H:%M"
    if first.date() == last.date():
        return f"{first:{form}} – {last:{form}} {zone or UTC}"
    return f"{first.day} {first:%b} {first:{form}} – {last.day} {last:%b} {last:{form}} {zone or UTC}"


def lateness(late: timedelta | None, grace: timedelta) -> str:
    """Return how late something was: `on time` below a second, `4 s late` within the grace, else `late 17 min`."""
    if late is None:
        return ""
    if late < timedelta(seconds=1):
        return "on time"
    return f"{duration(late)} late" if late <= grace else f"late {duration(late)}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things: `1 event`, `214 triggers`, `6,008 events`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def policy(effective: Effective) -> str:
    """Return a catch-up policy as a sentence: `missed by up to 24 h: announce, in order; older: keep as missed`."""
    said = _POLICIES[effective.policy]
    if effective.policy is Policy.NONE or effective.window is None:
        sentence = f"missed: {said}" if effective.policy is Policy.NONE else f"missed, however long ago: {said}"
    elif not effective.window:
        sentence = "missed: keep as missed"
    else:
        sentence = f"missed by up to {window(effective.window)}: {said}; older: keep as missed"
    return f"{sentence}; passed before it was known: announce" if effective.born_late else sentence


def window(length: timedelta) -> str:
    """Return a set duration as people say it: whole hours up to two days, then days."""
    if length <= timedelta(days=2) and not length % timedelta(hours=1):
        return f"{length // timedelta(hours=1)} h"
    return duration(length)


def cause(entry: Entry, outage: Outage | None, zone: str | None, grace: timedelta) -> str:
    """Return why a trigger fired when it did: `no node was alive from 12:03 to 14:17 (outage 7)`."""
    if entry.actor or entry.reason:
        who = f" by {entry.actor}" if entry.actor else ""
        by = who + (f": {entry.reason}" if entry.reason else "")
    else:
        by = ""
    match entry.cause:
        case Cause.EDITED:
            return f"its date was moved into the past{by}"
        case Cause.MANUAL:
            return f"fired by hand{by}"
        case Cause.BORN_LATE:
            return "it had passed before the event was known, so it was not announced"
        case Cause.CAUGHT_UP if outage is not None:
            return _absence(entry, outage, zone)
        case Cause.CAUGHT_UP:
            return "it was caught up"
        case _:
            late = entry.lateness or timedelta(0)
            return "" if late < timedelta(seconds=1) else f"within the misfire grace of {duration(grace)}"


def _absence(entry: Entry, outage: Outage, zone: str | None) -> str:
    if outage.began_us is None:
        ended = clock(outage.ended_us, zone, beside=entry.at_us)
        return f"no node had ever been alive before {ended} (outage {outage.id})"
    if entry.due_us is not None and entry.due_us < outage.began_us:
        return f"caught up after outage {outage.id}; it had been due before that"
    began = clock(outage.began_us, zone, beside=entry.at_us)
    ended = clock(outage.ended_us, zone, beside=entry.at_us)
    return f"no node was alive from {began} to {ended} (outage {outage.id})"


def outage_line(outage: Outage, zone: str) -> str:
    """Return an outage in one line."""
    if outage.began_us is None or outage.length is None:
        when = f"{outage.id}: until {clock(outage.ended_us, zone)} {zone}, when it first ran"
    else:
        when = f"{outage.id}: {duration(outage.length)} ({span(outage.began_us, outage.ended_us, zone)})"
    unfinished = "" if outage.finished_us is not None else "; not caught up yet"
    return (
        f"{when}, {outage.detected:,} missed: {outage.successful:,} successful, {outage.failed:,} failed{unfinished}"
    )


def printable(text: str) -> str:
    """Return text that cannot steer a terminal or forge a line: what is not printable is escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape", "replace").decode() for each in text)
