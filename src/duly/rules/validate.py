"""Refusals and warnings about the dates of one event, taken together. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from duly.errors import InvalidEvent
from duly.model.dates import Kind, Micros, wall_clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duly.model.dates import GivenDate
    from duly.model.lifecycle import Lifecycle

# Instants outside these years are kept, but said aloud: they are nearly always a slip of the keyboard.
ODD_BEFORE_US: Final[Micros] = 0  # 1970-01-01
ODD_AFTER_US: Final[Micros] = 4_102_444_800_000_000  # 2100-01-01


def check_dates(dates: Mapping[str, Micros], lifecycle: Lifecycle, *, where: str, zone: str | None) -> list[str]:
    """Return warnings; raise InvalidEvent for a required date that is missing or a pair in the wrong order."""
    for milestone in lifecycle.milestones:
        if milestone.required and milestone.name not in dates:
            msg = f"{where}: {milestone.name} has no date, but lifecycle '{lifecycle.name}' requires one"
            raise InvalidEvent(msg)
    warnings = []
    for earlier, later in lifecycle.shape(tuple(dates)).pairs:
        if dates[earlier] > dates[later]:
            msg = (
                f"{where}: {later} ({_said(dates[later], zone)}) is before {earlier} ({_said(dates[earlier], zone)})"
            )
            raise InvalidEvent(msg)
        if dates[earlier] == dates[later] and lifecycle.milestone(later).default is None:
            warnings.append(f"{where}: {earlier} and {later} are at the same instant: a window of no length")
    warnings += [
        f"{where}: {name} is in the year {_said(due, 'UTC')[:4]}: is that meant?"
        for name, due in dates.items()
        if not ODD_BEFORE_US <= due < ODD_AFTER_US
    ]
    return warnings


def check_days(given: Mapping[str, GivenDate], lifecycle: Lifecycle, *, where: str) -> None:
    """Refuse a bare last day that lies before the bare first day.

    As instants the two can be equal, since a closing ends its day: `2026-12-05` to `2026-12-04` would be a window
    of no length, and is a slip of the keyboard.
    """
    for earlier, later in lifecycle.shape(tuple(given)).pairs:
        first, last = given[earlier], given[later]
        if first.kind == last.kind == Kind.DAY and last.text < first.text:
            msg = f"{where}: {later} ({last.text}) is before {earlier} ({first.text})"
            raise InvalidEvent(msg)


def passed_at_creation(dates: Mapping[str, Micros], now_us: Micros, *, where: str) -> list[str]:
    """Return one warning about the dates that have passed by now, if there are any."""
    passed = sorted((due, name) for name, due in dates.items() if due < now_us)
    if not passed:
        return []
    due, last = passed[-1]
    if len(passed) == 1:
        return [f"{where}: {last} ({_said(due, 'UTC')}) has already passed"]
    return [f"{where}: {len(passed)} dates have already passed, the last of them {last} ({_said(due, 'UTC')})"]


def _said(at: Micros, zone: str | None) -> str:
    return wall_clock(at, zone or "UTC")
