"""`duly events` and `duly show`: the events, and one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click

from duly.cli.delivery_lines import DELIVERY_HEADERS, delivery_rows
from duly.cli.door import Door, command
from duly.cli.lists import ENTRY_HEADERS, entry_rows
from duly.cli.telling import zone_of
from duly.cli.wording import clock, duration, lateness, moment, relative
from duly.deliveries import Deliveries
from duly.model.delivery import Delivery
from duly.model.event import EventRow
from duly.model.history import Entry
from duly.model.instants import Micros
from duly.rules.view import EventView

_HISTORY_SHOWN: Final = 10
_DELIVERIES_SHOWN: Final = 20


@command("events", example="duly events --status upcoming/registration_open")
@click.option("--status", "wanted", metavar="STATUS", help="Only these: 'upcoming', or 'upcoming/registration_open'.")
@click.option("--lifecycle", metavar="NAME", help="Only events of this kind.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
def events(door: Door, *, wanted: str | None, lifecycle: str | None, limit: int | None) -> None:
    """List the events with their status as it is now, in the order of their ids."""
    with door.agenda() as agenda:
        if lifecycle is not None:
            agenda.lifecycle(lifecycle)
        found = _chosen(agenda.events(), wanted, lifecycle, limit)
        if door.out.as_json:
            door.out.json_list(view.to_json() for view in found)
            return
        now, zone = agenda.clock.now(), agenda.time_zone
        headers = ("event", "name", "status", "next")
        door.out.table(headers, (_event_cells(view, zone, now) for view in found), empty="No events.")


def _chosen(
    views: Iterable[EventView], wanted: str | None, lifecycle: str | None, limit: int | None
) -> Iterator[EventView]:
    left = limit
    for view in views:
        if lifecycle is not None and view.row.lifecycle != lifecycle:
            continue
        if wanted is not None and wanted not in (view.status, view.status.main):
            continue
        yield view
        if left is not None:
            left -= 1
            if not left:
                return


def _event_cells(view: EventView, zone: str | None, now: Micros) -> Sequence[str]:
    if view.error is not None:
        return (view.id, view.name, view.status, f"set aside: {view.error}")
    coming = view.upcoming
    said = f"{coming[0].milestone} {moment(coming[0].due_us, zone_of(view.row, zone), now)}" if coming else ""
    return (view.id, view.name, view.status, said)


# -- show --------------------------------------------------------------------------------------------------


@command("show", example="duly show ARRCOSTU2025")
@click.argument("event")
def show(door: Door, *, event: str) -> None:
    """Show one event: its status, its tracks, every date planned and fired, its latest history, its deliveries."""
    with door.agenda() as agenda:
        view = agenda.get(event)
        entries = agenda.history(event)
        told = [account.delivery for account in Deliveries(agenda).of_event(event)]
        now, zone = agenda.clock.now(), zone_of(view.row, agenda.time_zone)
    if door.out.as_json:
        history = [entry.to_json() for entry in entries]
        door.out.json({**view.to_json(), "history": history, "deliveries": [each.to_json() for each in told]})
        return
    out = door.out
    out.pairs(_facts(view))
    out.line()
    rows = [_date_cells(view, name, entries, zone, now, door) for name in view.row.dates]
    out.table(("milestone", "planned", "as given", "fired"), rows, empty="It has no dates.")
    out.line()
    shown = entries[-_HISTORY_SHOWN:]
    if len(shown) < len(entries):
        out.line(f"The last {len(shown)} of {len(entries)} entries; all: duly history {event}")
    out.table(ENTRY_HEADERS, entry_rows(shown, {event: zone}, now, door), empty="No history.")
    _told_table(door, told, zone, now)


def _told_table(door: Door, told: Sequence[Delivery], zone: str, now: Micros) -> None:
    """Show an event's deliveries, if there are any."""
    if not told:
        return
    door.out.line()
    shown = told[-_DELIVERIES_SHOWN:]
    event = told[0].event_id
    if len(shown) < len(told):
        door.out.line(f"The last {len(shown)} of {len(told)} deliveries; all: duly deliveries --event {event}")
    # The column with the event would say the same on every line.
    place = DELIVERY_HEADERS.index("event")
    rows = ((*row[:place], *row[place + 1 :]) for row in delivery_rows(shown, {event: zone}, now))
    door.out.table((*DELIVERY_HEADERS[:place], *DELIVERY_HEADERS[place + 1 :]), rows, empty="")


def _facts(view: EventView) -> Iterator[tuple[str, str]]:
    yield "event", f"{view.id}  {view.name}".rstrip()
    yield "status", str(view.status)
    if view.announced != view.status:
        yield "announced", f"{view.announced} (what fell due since has not fired yet)"
    if view.hold != "active":
        yield "hold", f"{view.hold}: nothing fires until it is lifted"
    if view.error is not None:
        yield "set aside", view.error
    yield "lifecycle", view.row.lifecycle
    yield "tracks", ", ".join(f"{track}: {state}" for track, state in view.tracks.items())
    yield "zone", view.row.zone or "none of its own"
    yield "revision", str(view.revision)


def _date_cells(
    view: EventView, name: str, entries: list[Entry], zone: str, now: Micros, door: Door
) -> Sequence[str]:
    due = view.row.dates[name]
    given = given_text(view.row, name)
    mark = view.mark(name)
    if mark is None or not mark.is_fired:
        if view.hold != "active":
            said = "held"
        else:
            said = f"overdue since {duration(now - due)}" if due <= now else relative(due, now)
    else:
        last = last_fired(entries, name)
        said = "" if last is None else (
            f"{clock(last.at_us, zone, beside=due)}, {lateness(last.lateness, door.settings.misfire_grace)}"
        )  # fmt: skip
    return (name, f"{clock(due, zone, beside=now)} {zone}", given, said)


def given_text(row: EventRow, name: str) -> str:
    """Return a date as it was given; `by default` where the lifecycle dated it."""
    given = row.given.get(name)
    if given is None:
        return "by default"
    if isinstance(given, dict):
        return " ".join(str(part) for part in (given.get("at"), given.get("disambiguate")) if part)
    return str(given)


def last_fired(entries: Iterable[Entry], name: str) -> Entry | None:
    """Return the last time that a milestone fired."""
    fired = [entry for entry in entries if entry.milestone == name and entry.is_transition]
    return fired[-1] if fired else None
