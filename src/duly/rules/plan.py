"""An event and its lifecycle → its dates, as given and as instants. Pure, but for the zone database it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duly.errors import InvalidEvent, InvalidInput
from duly.model.dates import GivenDate, Micros, Side, read_date, read_zone, resolve_date
from duly.model.event import Hold
from duly.model.names import check_id, check_text
from duly.rules.validate import check_dates, check_days

if TYPE_CHECKING:
    from duly.model.event import Event
    from duly.model.lifecycle import Lifecycle, Milestone


@dataclass(frozen=True, slots=True)
class Plan:
    """An event with every date resolved: what a store row will say of it.

    `dates`: milestone → instant, in lifecycle order, defaults included. `given`: milestone → the date as given,
    as JSON values, defaults left out. `data`: the event's, as plain JSON values. `created_us`: since when the
    record itself says that the event is known.
    `warnings`: sentences about what was accepted but looks odd.
    """

    event: Event
    lifecycle: Lifecycle
    zone: str | None
    dates: Mapping[str, Micros]
    given: Mapping[str, object]
    data: Mapping[str, object]
    warnings: tuple[str, ...]
    created_us: Micros | None


def plan(event: Event, lifecycle: Lifecycle, *, zone: str | None = None) -> Plan:
    """Resolve an event's dates. `zone`: the scheduler's, for events whose lifecycle and self name none.

    Raises InvalidInput (InvalidDate, InvalidZone, InvalidEvent) for whatever is wrong, naming event and date.
    """
    check_id(event.id)
    where = f"event '{event.id}'"
    check_text(event.name, what=f"{where}: name")
    _check_hold(event, where)
    warnings: list[str] = []
    named_zone = _zone_of(event, where, warnings)
    used_zone = named_zone or lifecycle.zone or zone
    given = _given_dates(event, lifecycle, where)
    dates = _resolve_all(_with_defaults(given, lifecycle), lifecycle, used_zone, where, warnings)
    check_days(given, lifecycle, where=where)
    warnings += check_dates(dates, lifecycle, where=where, zone=used_zone)
    kept = {name: given[name].to_json() for name in dates if name in given}
    created_us = None
    if event.created_at is not None:
        what = f"{where}: created_at"
        created_us = resolve_date(
            read_date(event.created_at, what=what), zone=used_zone, side=Side.OPENING, what=what
        ).at
    return Plan(event, lifecycle, used_zone, dates, kept, _plain_data(event, where), tuple(warnings), created_us)


def _check_hold(event: Event, where: str) -> None:
    try:
        Hold(event.hold)
    except ValueError:
        msg = f"{where}: hold {event.hold!r} is unknown; use one of {', '.join(Hold)}"
        raise InvalidEvent(msg) from None


def _zone_of(event: Event, where: str, warnings: list[str]) -> str | None:
    if event.zone is None:
        return None
    try:
        name, said = read_zone(event.zone)
    except InvalidInput as error:
        msg = f"{where}: {error}"
        raise type(error)(msg) from None
    warnings += [f"{where}: {sentence}" for sentence in said]
    return name


def _given_dates(event: Event, lifecycle: Lifecycle, where: str) -> dict[str, GivenDate]:
    """Return the dates by milestone; the keys of an event's dates may name the milestone or its field."""
    found: dict[str, GivenDate] = {}
    for key, value in event.dates.items():
        if value is None or value == "":
            continue
        name = _milestone_name(str(key), lifecycle, where)
        if name in found:
            msg = f"{where}: {name} is dated twice; give it once, as '{name}' or as its field"
            raise InvalidEvent(msg)
        found[name] = value if isinstance(value, GivenDate) else read_date(value, what=f"{where}: {key}")
    return found


def _milestone_name(key: str, lifecycle: Lifecycle, where: str) -> str:
    key = key.removesuffix("#1")
    if key in lifecycle.by_name:
        milestone = lifecycle.by_name[key]
        if not milestone.manual:
            return key
        msg = f"{where}: {key} is a manual milestone, fired by a person: it takes no date"
        raise InvalidEvent(msg)
    base, stroke, number = key.partition("#")
    by_field = lifecycle.by_field.get(base)
    name = (by_field.name if by_field is not None else base) + stroke + number
    try:
        lifecycle.milestone(name)
    except InvalidInput as error:
        msg = f"{where}: {error}"
        raise InvalidEvent(msg) from None
    return name


def _with_defaults(given: dict[str, GivenDate], lifecycle: Lifecycle) -> dict[str, GivenDate]:
    """Date also what the event left undated, where the lifecycle says how and the anchor is there."""
    dated = dict(given)
    # Again until nothing more comes of it: a default may hang on one that stands after it in the lifecycle.
    while found := {m.name: date for m in lifecycle.milestones if (date := _default(m, dated)) is not None}:
        dated |= found
    return dated


def _default(milestone: Milestone, dated: Mapping[str, GivenDate]) -> GivenDate | None:
    if milestone.default is None or milestone.name in dated:
        return None
    if milestone.default_if is not None and milestone.default_if not in dated:
        return None
    default = read_date(milestone.default)
    return default if default.anchor in dated else None


def _resolve_all(
    given: dict[str, GivenDate], lifecycle: Lifecycle, zone: str | None, where: str, warnings: list[str]
) -> dict[str, Micros]:
    """Resolve every date, a relative one after the one that it hangs on; refuse circles."""
    dates: dict[str, Micros] = {}
    waiting = list(given)
    while waiting:
        later = []
        for name in waiting:
            date = given[name]
            if date.anchor is not None and date.anchor not in dates:
                _check_anchor(name, date.anchor, given, where)
                later.append(name)
                continue
            side = lifecycle.milestone(name).side
            what = f"{where}: {name}"
            resolved = resolve_date(date, zone=zone, side=side, anchors=dates, what=what)
            dates[name] = resolved.at
            warnings += resolved.warnings
        if len(later) == len(waiting):
            circle = " → ".join([*later, str(given[later[-1]].anchor)])
            msg = f"{where}: the dates hang on each other in a circle: {circle}"
            raise InvalidEvent(msg)
        waiting = later
    return {name: dates[name] for name in lifecycle.shape(tuple(dates)).steps}


def _check_anchor(name: str, anchor: str, given: Mapping[str, GivenDate], where: str) -> None:
    if anchor not in given:
        msg = f"{where}: {name} is relative to '{anchor}', which has no date; date it, or date {name} itself"
        raise InvalidEvent(msg)


def _plain_data(event: Event, where: str) -> dict[str, object]:
    """Return the event's data as it will be read back, so that putting the same again is seen to be the same."""
    data: object = event.data  # whatever its annotation promises
    if not isinstance(data, Mapping):
        msg = f"{where}: data must be a mapping of names to values, not {type(data).__name__}"
        raise InvalidEvent(msg)
    if not data:
        return {}
    try:
        plain: dict[str, object] = json.loads(json.dumps(data, allow_nan=False))
        json.dumps(plain, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"{where}: data cannot be kept as JSON: {error}"
        raise InvalidEvent(msg) from None
    return plain
