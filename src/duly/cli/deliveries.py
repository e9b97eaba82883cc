"""`duly deliveries`, `replay`, `park` and `release`: what is owed to whom, and what a person does about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import click

from duly.agenda import Agenda
from duly.cli.delivery_lines import (
    ATTEMPT_HEADERS,
    DELIVERY_HEADERS,
    attempt_rows,
    delivery_rows,
    what_became,
)
from duly.cli.door import FAILED, OK, Door, command
from duly.cli.telling import zones_of
from duly.cli.wording import clock, count, printable
from duly.deliveries import Account, Deliveries, Remade, Wanted
from duly.model.dates import Side, read_date, resolve_date, to_datetime
from duly.model.delivery import Delivery, State
from duly.settings import read_duration

_LIMIT_MOST: Final = 100_000
_FORESEEN_SHOWN: Final = 20
_STATES: Final = {
    State.DEAD: "Those given up: every attempt has failed.",
    State.MISSED: "Those withheld by a catch-up policy.",
    State.PARKED: "Those that wait for a person.",
    State.WITHDRAWN: "Those that were not true any more.",
    State.DELIVERED: "Those that went well.",
    State.PENDING: "Those that are still to be made.",
}
# Of these, what somebody has made again is listed only on demand: it is no trouble any more.
_TROUBLE: Final = frozenset({State.DEAD, State.MISSED, State.PARKED})
_CLOSED: Final = tuple(state for state in _STATES if state is not State.PENDING)


def _filters(*states: State) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options that say which deliveries are meant."""
    flags = [
        click.option(f"--{state}", is_flag=True, help=f"Those that are {state}: {_STATES[state]}.")
        for state in states
    ]
    others = [
        click.option("--subscriber", metavar="NAME", help="Only of this subscriber."),
        click.option("--event", metavar="EVENT", help="Only about this event."),
        click.option("--topic", metavar="TOPIC", help="Only of this milestone, or news such as 'cancelled'."),
        click.option("--since", metavar="WHEN", help="Only those born since then: a date, or so long ago ('24h')."),
    ]

    def give(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([*flags, *others]):
            function = option(function)
        return function

    return give


def _wanted(agenda: Agenda, given: dict[str, Any]) -> Wanted:
    """Return which deliveries a command's options mean."""
    return Wanted(
        states=tuple(state for state in State if given.get(state)),
        subscriber=given["subscriber"],
        event_id=given["event"],
        topic=given["topic"],
        since=_since(agenda, given["since"]),
    )


def _since(agenda: Agenda, text: str | None) -> datetime | None:
    if text is None:
        return None
    if not text.strip()[:4].isdigit() or "-" not in text:
        return to_datetime(agenda.clock.now()) - read_duration(text, what="--since")
    given = resolve_date(read_date(text), zone=agenda.time_zone, side=Side.OPENING, what="--since")
    return to_datetime(given.at)


def _is_filtered(given: dict[str, Any]) -> bool:
    return any(given.values())


def _usage(said: str) -> click.UsageError:
    return click.UsageError(said, click.get_current_context())


# -- deliveries --------------------------------------------------------------------------------------------


@command("deliveries", example="duly deliveries --dead --subscriber webhook:crm")
@click.argument("delivery", required=False, metavar="[ID]")
@_filters(State.PENDING, State.DEAD, State.PARKED, State.MISSED, State.WITHDRAWN, State.DELIVERED)
@click.option("--all", "replayed", is_flag=True, help="Of dead, parked and missed ones also those made again since.")
@click.option(
    "--most", type=click.IntRange(1, _LIMIT_MOST), default=50, show_default=True, metavar="N", help="How many."
)
def deliveries(door: Door, *, delivery: str | None, replayed: bool, most: int, **given: Any) -> None:
    """List who was told of what and what became of it, newest first; or show one, with every attempt.

    An ID is a delivery's number, or the whole id that its receiver was given.
    """
    if delivery is not None and (_is_filtered(given) or replayed):
        raise _usage("give an ID or say which, not both")
    with door.agenda() as agenda:
        asked = Deliveries(agenda)
        if delivery is not None:
            _show(door, agenda, asked.get(delivery))
            return
        wanted = _wanted(agenda, given)
        trouble = bool(wanted.states) and _TROUBLE.issuperset(wanted.states) and not replayed
        found = list(asked.find(replace(wanted, unreplayed=trouble), most=most))
        if door.out.as_json:
            door.out.json_list(each.to_json() for each in found)
            return
        _table(
            door, agenda, found, empty="There are no such deliveries." if _is_filtered(given) else "No deliveries."
        )
    if len(found) == most:
        door.out.line(f"The newest {most:,}; more with --most.")


def _table(door: Door, agenda: Agenda, found: Sequence[Delivery], *, empty: str) -> None:
    zones = zones_of(agenda.store, (each.event_id for each in found), agenda.time_zone)
    door.out.table(DELIVERY_HEADERS, delivery_rows(found, zones, agenda.clock.now()), empty=empty)


def _show(door: Door, agenda: Agenda, account: Account) -> None:
    if door.out.as_json:
        door.out.json(account.to_json())
        return
    event_id = account.delivery.event_id
    zone = zones_of(agenda.store, [event_id], agenda.time_zone)[event_id]
    now = agenda.clock.now()
    door.out.pairs(_facts(account, zone, now))
    door.out.line()
    door.out.table(ATTEMPT_HEADERS, attempt_rows(account.attempts, zone, now), empty="It has not been attempted.")


def _facts(account: Account, zone: str, now: int) -> Iterator[tuple[str, str]]:
    each = account.delivery
    yield "delivery", each.id
    yield "state", f"{each.state}  {what_became(each, zone, now)}".rstrip()
    yield "subscriber", each.subscriber
    yield "tells of", f"{each.topic} of {each.event_id}" if each.event_id else each.topic
    if each.seq > 0:
        yield "entry", f"{each.seq} of its history"
    yield "due", f"{clock(each.due_us, zone)} {zone}"
    yield "born", f"{clock(each.created_us, zone)} {zone}"
    if each.replay_of:
        yield "made again", f"of delivery {each.replay_of}" if each.replay_of > 0 else "a person had it announced"
    if account.replays:
        yield "replayed as", ", ".join(replay.id for replay in account.replays)


# -- replay ------------------------------------------------------------------------------------------------


@command("replay", example="duly replay --dead --subscriber webhook:crm --since 24h --yes")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_filters(*_CLOSED)
@click.option("--to", metavar="NAME", help="For this subscriber instead of the one that it was for.")
@click.option(
    "--milestone", metavar="NAME", help="With --event and --to: tell of this one, of which NAME was not told."
)
@click.option("--yes", is_flag=True, help="Do it; without, only IDs are replayed, and filters show what they mean.")
def replay(
    door: Door, *, ids: tuple[str, ...], to: str | None, milestone: str | None, yes: bool, **given: Any
) -> int:
    """Make closed deliveries again: those of the IDs at once, those of a filter with --yes.

    Each becomes a new delivery with an id of its own, which no catch-up policy withholds; the old one stays as it
    is, and is replayed once. With --milestone, tells a subscriber of what it has no delivery of at all.
    """
    _check_replay(ids, to, milestone, given)
    with door.agenda() as agenda:
        asked = Deliveries(agenda)
        if milestone is not None:
            made = asked.announce(given["event"], milestone, to=to or "")
            _tell_announced(door, made)
            return OK
        if ids:
            return _tell_remade(door, asked.replay(ids, to=to))
        wanted = _wanted(agenda, given)
        if yes:
            return _tell_remade(door, asked.replay_all(wanted, to=to))
        _foresee(door, agenda, wanted, to=to)
        return OK


def _check_replay(ids: tuple[str, ...], to: str | None, milestone: str | None, given: dict[str, Any]) -> None:
    """Refuse what contradicts itself: a replay sends things out."""
    if ids and (_is_filtered(given) or milestone is not None):
        raise _usage("give IDs or say which, not both")
    if milestone is not None:
        others = [name for name, value in given.items() if value and name != "event"]
        if given["event"] is None or to is None or others:
            raise _usage("--milestone goes with --event and --to, and with nothing else")
        return
    if not ids and not any(given[state] for state in _CLOSED):
        *most, last = (f"--{state}" for state in _CLOSED)
        raise _usage(f"say which: IDs, or {', '.join(most)} or {last}")


def _tell_announced(door: Door, made: Delivery) -> None:
    if door.out.as_json:
        door.out.json({"made": [{"delivery": None, "as": made.id}], "refused": []})
    else:
        door.out.line(f"{made.subscriber} will be told of {made.topic} of {made.event_id}, by delivery {made.id}.")


def _foresee(door: Door, agenda: Agenda, wanted: Wanted, *, to: str | None) -> None:
    """Say what a filter means, and do nothing."""
    asked = Deliveries(agenda)
    found = asked.replayable(wanted)
    refused = asked.refusals(found, to=to)
    if door.out.as_json:
        said = {"dry_run": True, "deliveries": [each.to_json() for each in found]}
        door.out.json({**said, **Remade({}, refused).to_json()})
        return
    if not found:
        door.out.line("There is nothing of that kind to be made again.")
        return
    _table(door, agenda, found[:_FORESEEN_SHOWN], empty="")
    left = len(found) - _FORESEEN_SHOWN
    if left > 0:
        door.out.line(f"… and {left:,} more")
    for why in dict.fromkeys(refused.values()):
        number = sum(each == why for each in refused.values())
        door.out.line(f"{door.out.paint('refused', 'red')}  {number:,} would be: {printable(why)}")
    again = count(len(found) - len(refused), "delivery", "deliveries")
    door.out.line(f"{again} would be made again. Nothing is done yet; --yes does it.")


def _tell_remade(door: Door, remade: Remade) -> int:
    if door.out.as_json:
        door.out.json(remade.to_json())
    else:
        for old, new in list(remade.made.items())[:_FORESEEN_SHOWN]:
            door.out.line(f"{old} is made again as {new}")
        left = len(remade.made) - _FORESEEN_SHOWN
        if left > 0:
            door.out.line(f"… and {left:,} more")
        _tell_refused(door, remade.refused)
        if not remade.made and not remade.refused:
            door.out.line("There is nothing of that kind to be made again.")
    return FAILED if remade.refused else OK


def _tell_refused(door: Door, refused: Any) -> None:
    for id_, why in refused.items():
        door.out.line(f"{door.out.paint('refused', 'red')}  {id_}: {printable(why)}")


# -- park and release --------------------------------------------------------------------------------------


@command("park", example='duly park 17 18 --reason "the receiver moves house on Monday"')
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--reason", metavar="TEXT", required=True, help="Why they wait; kept with each.")
def park(door: Door, *, ids: tuple[str, ...], reason: str) -> int:
    """Keep pending deliveries from being made, until a person releases them."""
    with door.agenda() as agenda:
        done = Deliveries(agenda).park(ids, reason)
    if door.out.as_json:
        door.out.json(done.to_json())
    else:
        for id_ in done.parked:
            door.out.line(f"{id_} is parked")
        _tell_refused(door, done.refused)
    return FAILED if done.refused else OK


@command("release", example="duly release --subscriber webhook:crm --yes")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All that are parked.")
@_filters()
@click.option("--yes", is_flag=True, help="Do it; without, only IDs are released, and filters show what they mean.")
def release(door: Door, *, ids: tuple[str, ...], every: bool, yes: bool, **given: Any) -> int:
    """Have parked deliveries made after all: those of the IDs at once, those of a filter with --yes."""
    if bool(ids) + every + _is_filtered(given) != 1:
        raise _usage("say which: IDs, --all, or a filter such as --subscriber; one of these")
    with door.agenda() as agenda:
        asked = Deliveries(agenda)
        if ids:
            return _tell_remade(door, asked.release(ids))
        wanted = _wanted(agenda, {**given, State.PARKED: True})
        if yes:
            return _tell_remade(door, asked.release_all(wanted))
        _foresee(door, agenda, wanted, to=None)
        return OK
