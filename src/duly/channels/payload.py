"""What a webhook says: the payload of Standard Webhooks' advice, as `schemas/delivery.schema.json` describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from duly.channels.channel import Context
from duly.model.dates import to_datetime
from duly.model.delivery import Subscriber
from duly.model.history import iso
from duly.rules.view import EventView

TEST: Final = "test"

# What stays inside: names of our hosts, what we keep for ourselves, and errors, which are for the owner.
_EVENT: Final = ("id", "name", "lifecycle", "zone", "hold", "revision", "status", "tracks", "upcoming", "data")
_TRANSITION: Final = (
    "seq",
    "kind",
    "milestone",
    "generation",
    "due_at",
    "at",
    "lateness_seconds",
    "from_status",
    "to_status",
    "cause",
    "actor",
    "reason",
    "detail",
    "outage",
)
_OUTAGE: Final = (
    "id",
    "began_at",
    "ended_at",
    "length_seconds",
    "finished",
    "detected",
    "successful",
    "failed",
    "outside_window",
)
_DEAD: Final = (
    "id",
    "subscriber",
    "event",
    "topic",
    "seq",
    "state",
    "reason",
    "due_at",
    "created_at",
    "closed_at",
    "attempts",
)


def payload_of(context: Context) -> dict[str, object]:
    """Return what is told of an attempt: `type`, `timestamp` (when it happened), `data`. Every key is always there.

    `type` is the topic, without the number of its round. `event` is the event as it is now, None where there is none
    (an outage, one that was removed). Of `transition`, `outage` and `dead`, one at most is not None.
    """
    transition, outage, dead = context.transition, context.outage, context.dead
    return {
        "type": context.topic.partition("#")[0],
        "timestamp": _happened(context),
        "data": {
            "delivery_id": context.delivery_id,
            "attempt": context.attempt,
            "topic": context.topic,
            "milestone": context.milestone,
            "event_id": context.event_id or None,
            "status": None if context.status is None else str(context.status),
            "due_at": iso(context.due_at),
            "fired_at": None if context.fired_at is None else iso(context.fired_at),
            "lateness_seconds": context.lateness.total_seconds(),
            "caught_up": context.caught_up,
            "event": _event_of(context),
            "transition": None if transition is None else _picked(transition.to_json(), _TRANSITION),
            "outage": None if outage is None else _picked(outage.to_json(), _OUTAGE),
            "dead": None if dead is None else _picked(dead.to_json(), _DEAD),
        },
    }


def body_of(context: Context) -> str:
    """Return the payload as it is signed and sent. Reads the event: may block."""
    return json.dumps(payload_of(context), separators=(",", ":"), allow_nan=False)


def payload_schema() -> dict[str, Any]:
    """Return the JSON Schema of all payloads."""
    text = files("duly.channels").joinpath("schemas/delivery.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def trial(subscriber: Subscriber, delivery_id: str, now_us: int) -> Context:
    """Return what an endpoint is told in order to try it: topic `test`, about nothing that happened."""
    return Context(
        delivery_id=delivery_id,
        attempt=1,
        topic=TEST,
        subscriber=subscriber,
        event_id="",
        due_us=now_us,
        now_us=now_us,
    )


def _happened(context: Context) -> str:
    if context.transition is not None:
        return iso(context.transition.at)
    if context.outage is not None:
        return iso(context.outage.ended_at)
    closed = None if context.dead is None else context.dead.closed_at
    return iso(to_datetime(context.now_us) if closed is None else closed)


def _event_of(context: Context) -> dict[str, object] | None:
    try:
        view: EventView = context.event
        whole = view.to_json()
    except LookupError:
        # No event, one that is gone, or one whose lifecycle is not known here: what happened is told all the same.
        return None
    dates = {
        name: {"due_at": iso(due), "fired": (mark := view.mark(name)) is not None and mark.is_fired}
        for name, due in view.dates.items()
    }
    return {**_picked(whole, _EVENT), "dates": dates}


def _picked(whole: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    return {name: whole[name] for name in names}
