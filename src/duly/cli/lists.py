"""`duly upcoming`, `history`, `outages` and `lifecycles`: what comes, what happened, what there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import click

from duly.agenda import Agenda
from duly.cli.delivery_lines import counted
from duly.cli.door import Door, command
from duly.cli.telling import zones_of
from duly.cli.wording import clock, duration, lateness, outage_line, policy, relative, span
from duly.clock import SECOND
from duly.deliveries import Deliveries
from duly.errors import NotFound
from duly.model.history import Entry, Outage, iso
from duly.model.instants import Micros
from duly.model.lifecycle import Lifecycle, Milestone
from duly.rules.catch_up import effective

_LIMIT_MOST: Final = 100_000
_LIMIT: Final = click.IntRange(1, _LIMIT_MOST)
ENTRY_HEADERS: Final = ("at", "event", "what", "milestone", "late", "status", "why")


# -- upcoming and history ----------------------------------------------------------------------------------


@command("upcoming", example="duly upcoming --limit 5")
@click.option("--limit", type=_LIMIT, default=20, show_default=True, metavar="N", help="How many.")
def upcoming(door: Door, *, limit: int) -> None:
    """List what will fire next, soonest first; what is overdue comes first of all."""
    with door.agenda() as agenda:
        triggers = agenda.upcoming(limit)
        zones = zones_of(agenda.store, (trigger.event_id for trigger in triggers), agenda.time_zone)
        now = agenda.clock.now()
    if door.out.as_json:
        door.out.json(
            [
                {
                    "event": trigger.event_id,
                    "milestone": trigger.milestone,
                    "generation": trigger.generation,
                    "due_at": iso(trigger.due_at),
                    "due_in_seconds": (trigger.due_us - now) / SECOND,
                    "zone": zones[trigger.event_id],
                }
                for trigger in triggers
            ]
        )
        return
    rows = (
        (
            relative(trigger.due_us, now),
            trigger.milestone,
            trigger.event_id,
            f"{clock(trigger.due_us, zones[trigger.event_id], beside=now)} {zones[trigger.event_id]}",
        )
        for trigger in triggers
    )
    door.out.table(("when", "trigger", "event", "at"), rows, empty="Nothing is to come.")


@command("history", example="duly history ARRCOSTU2025")
@click.argument("event", required=False)
@click.option("--limit", type=_LIMIT, metavar="N", help="Only the last so many. [default: 50; of one event, all]")
def history(door: Door, *, event: str | None, limit: int | None) -> None:
    """Show what happened, oldest first: to one event (also a removed one), or lately to all."""
    with door.agenda() as agenda:
        entries = agenda.history(event, most=limit or 50)[-(limit or _LIMIT_MOST) :]
        if door.out.as_json:
            door.out.json_list(entry.to_json() for entry in entries)
            return
        zones = zones_of(agenda.store, (entry.event_id for entry in entries), agenda.time_zone)
        now = agenda.clock.now()
    door.out.table(ENTRY_HEADERS, entry_rows(entries, zones, now, door), empty="Nothing has happened yet.")


def entry_rows(
    entries: Iterable[Entry], zones: Mapping[str, str], now: Micros, door: Door
) -> Iterator[Sequence[str]]:
    """Yield the cells of each entry under ENTRY_HEADERS. `zones`: of each event, by id."""
    for entry in entries:
        zone = zones[entry.event_id]
        late = lateness(entry.lateness, door.settings.misfire_grace) if entry.is_transition else ""
        moved = entry.to_status if entry.from_status != entry.to_status else ""
        why = [entry.cause.replace("_", " ") if entry.cause not in (None, "scheduled") and entry.cause else ""]
        why += [f"outage {entry.outage}" if entry.outage else "", f"by {entry.actor}" if entry.actor else ""]
        why += [entry.reason or ""]
        yield (
            f"{clock(entry.at_us, zone, beside=now)} {zone}",
            entry.event_id,
            entry.kind.replace("_", " "),
            entry.milestone or "",
            late,
            moved,
            ", ".join(part for part in why if part),
        )


# -- outages -----------------------------------------------------------------------------------------------


@command("outages", example="duly outages 7")
@click.argument("number", required=False, type=click.IntRange(1), metavar="[ID]")
@click.option("--limit", type=_LIMIT, default=20, show_default=True, metavar="N", help="How many.")
def outages(door: Door, *, number: int | None, limit: int) -> None:
    """List the stretches in which nobody was there, newest first; or show one, with all that it delayed."""
    with door.agenda() as agenda:
        if number is not None:
            _one_outage(door, agenda, number)
            return
        found = agenda.outages(most=limit)
        told = {outage.id: Deliveries(agenda).of_outage(outage.id) for outage in found}
        zone = agenda.time_zone or "UTC"
    if door.out.as_json:
        door.out.json([{**outage.to_json(), "deliveries": told[outage.id]} for outage in found])
        return
    # What became of deliveries is a column only where there are any.
    told_of = ("deliveries",) * any(told.values())
    headers = ("id", "when", "length", "missed", "successful", "failed", "withheld", *told_of)
    rows = ((*_outage_cells(outage, zone), counted(told[outage.id]))[: len(headers)] for outage in found)
    door.out.table(headers, rows, empty="There was no outage.")


def _outage_cells(outage: Outage, zone: str) -> tuple[str, ...]:
    began = outage.began_us
    when = f"until {clock(outage.ended_us, zone)} {zone}" if began is None else span(began, outage.ended_us, zone)
    length = "" if outage.length is None else duration(outage.length)
    numbers = (outage.detected, outage.successful, outage.failed, outage.outside_window)
    return (str(outage.id), when, length, *(f"{number:,}" for number in numbers))


def _one_outage(door: Door, agenda: Agenda, number: int) -> None:
    found = agenda.store.outages(before=number + 1, most=1)
    if not found or found[0].id != number:
        raise NotFound(f"there is no outage {number}; 'duly outages' lists them")
    outage = found[0]
    told = Deliveries(agenda).of_outage(number)
    entries = agenda.store.history_of_outage(number, most=max(outage.successful, _LIMIT_MOST))
    if door.out.as_json:
        transitions = [entry.to_json() for entry in entries]
        door.out.json({**outage.to_json(), "deliveries": told, "transitions": transitions})
        return
    zones = zones_of(agenda.store, (entry.event_id for entry in entries), agenda.time_zone)
    door.out.line(f"Outage {outage_line(outage, agenda.time_zone or 'UTC')}, {outage.outside_window:,} withheld.")
    if told:
        door.out.line(f"Of its deliveries: {counted(told)}.")
    rows = (
        (
            entry.milestone or "",
            entry.event_id,
            "" if entry.due_us is None else f"{clock(entry.due_us, zone, beside=entry.at_us)} {zone}",
            "" if entry.lateness is None else duration(entry.lateness),
            entry.from_status,
            entry.to_status,
        )
        for entry in entries
        for zone in (zones[entry.event_id],)
    )
    door.out.table(("trigger", "event", "due", "late", "from", "to"), rows, empty="It delayed nothing.")


# -- lifecycles --------------------------------------------------------------------------------------------


@command("lifecycles", example="duly lifecycles campus_event")
@click.argument("name", required=False)
def lifecycles(door: Door, *, name: str | None) -> None:
    """List the kinds of event that are known here; or show one: its milestones, its statuses, its policies."""
    path = door.path
    agenda = door.agenda() if path is not None and path.exists() else Agenda("sqlite:///:memory:")
    with agenda:
        known = agenda.lifecycles
        chosen = None if name is None else agenda.lifecycle(name)
    out = door.out
    if chosen is None:
        if out.as_json:
            out.json([known[each].to_json() for each in sorted(known)])
            return
        rows = ((each.name, each.title, ", ".join(each.by_name)) for _, each in sorted(known.items()))
        out.table(("lifecycle", "title", "milestones"), rows, empty="")
    elif out.as_json:
        out.json(chosen.to_json())
    else:
        out.line(f"{chosen.name}: {chosen.title}. {chosen.description}")
        out.line()
        headers = ("milestone", "dated by", "enters", "catch-up")
        out.table(headers, (_milestone_cells(each, chosen, door) for each in chosen.milestones), empty="")


def _milestone_cells(milestone: Milestone, lifecycle: Lifecycle, door: Door) -> Sequence[str]:
    enters = "nothing: a notice" if milestone.is_notice else f"{milestone.track}: {milestone.state}"
    dated = "a person" if milestone.manual else milestone.field or milestone.name
    found = effective([door.settings.catch_up, milestone.catch_up, lifecycle.catch_up])
    return (milestone.name + (" (repeats)" if milestone.repeats else ""), dated, enters, policy(found))
