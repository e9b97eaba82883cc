"""The commands that change one event: `hold`, `cancel`, `postpone`, `approve`, `fire` and `remove`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from duly.cli.door import Door, command
from duly.model.event import Hold
from duly.model.names import check_text
from duly.rules.edit import Outcome

_DONE = {
    Hold.ACTIVE: "is active",
    Hold.CANCELLED: "is cancelled",
    Hold.POSTPONED: "is postponed",
    Hold.DRAFT: "is a draft again",
    Hold.PENDING_APPROVAL: "waits for approval",
    Hold.ARCHIVED: "is archived",
}


def _why_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--by", "actor", default="cli", show_default=True, metavar="NAME", help="Who does it."),
        click.option("--reason", metavar="TEXT", help="Why; kept in the event's history."),
    ):
        function = option(function)
    return function


def _set_hold(door: Door, event: str, hold: Hold, *, reason: str | None, actor: str) -> None:
    said = {"actor": _one_line(actor, "--by"), "reason": _one_line(reason, "--reason")}
    with door.agenda() as agenda:
        outcome = agenda.set_hold(event, hold, **said).outcomes[event]
        view = agenda.get(event)
    if door.out.as_json:
        door.out.json({"event": event, "outcome": str(outcome), "hold": view.hold, "status": view.status})
        return
    already = " already; nothing changed" if outcome is Outcome.UNCHANGED else ""
    door.out.line(f"{event} {_DONE[hold]}{already}. Its status is {view.status}.")


def _one_line(text: str | None, what: str) -> str | None:
    return None if text is None else check_text(text, what=what) or None


@command("hold", example='duly hold HACK26 --as archived --reason "last year\'s"')
@click.argument("event")
@click.option(
    "--as",
    "hold",
    type=click.Choice([each.value for each in Hold if each is not Hold.ACTIVE]),
    default=Hold.PENDING_APPROVAL.value,
    show_default=True,
    help="What it waits for.",
)
@_why_options
def hold(door: Door, *, event: str, hold: str, reason: str | None, actor: str) -> None:
    """Hold an event: nothing of it fires until 'duly approve' lifts that. Its dates are kept."""
    _set_hold(door, event, Hold(hold), reason=reason, actor=actor)


@command("cancel", example='duly cancel HACK26 --reason "the venue is flooded"')
@click.argument("event")
@_why_options
def cancel(door: Door, *, event: str, reason: str | None, actor: str) -> None:
    """Cancel an event: nothing of it fires any more. Its dates and its history are kept. Needs a --reason."""
    if not (reason or "").strip():
        raise click.UsageError("a cancellation needs a --reason", click.get_current_context())
    _set_hold(door, event, Hold.CANCELLED, reason=reason, actor=actor)


@command("postpone", example='duly postpone HACK26 --reason "storm"')
@click.argument("event")
@_why_options
def postpone(door: Door, *, event: str, reason: str | None, actor: str) -> None:
    """Postpone an event to a date not known yet: nothing of it fires. Put it with new dates to go on."""
    _set_hold(door, event, Hold.POSTPONED, reason=reason, actor=actor)


@command("approve", example="duly approve HACK26")
@click.argument("event")
@_why_options
def approve(door: Door, *, event: str, reason: str | None, actor: str) -> None:
    """Lift the hold of an event, whichever it is: its status is at once what its dates say."""
    _set_hold(door, event, Hold.ACTIVE, reason=reason, actor=actor)


@command("fire", example="duly fire HACK26 winners_announced")
@click.argument("event")
@click.argument("milestone")
@_why_options
def fire(door: Door, *, event: str, milestone: str, reason: str | None, actor: str) -> None:
    """Fire a manual milestone now: one that no date fires, but a person."""
    with door.agenda() as agenda:
        entries = agenda.fire(event, milestone, actor=_one_line(actor, "--by"), reason=_one_line(reason, "--reason"))
        view = agenda.get(event)
    if door.out.as_json:
        door.out.json([entry.to_json() for entry in entries])
    else:
        door.out.line(f"{milestone} of {event} has fired. Its status is {view.status}.")


@command("remove", example='duly remove HACK26 --reason "entered twice"')
@click.argument("event")
@_why_options
def remove(door: Door, *, event: str, reason: str | None, actor: str) -> None:
    """Remove an event: nothing of it fires any more. Its history stays; putting it again goes on from there."""
    with door.agenda() as agenda:
        agenda.remove(event, actor=_one_line(actor, "--by"), reason=_one_line(reason, "--reason"))
    if door.out.as_json:
        door.out.json({"event": event, "outcome": "removed"})
    else:
        door.out.line(f"{event} is removed. Its history stays: duly history {event}")
