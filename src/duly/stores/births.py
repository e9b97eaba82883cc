"""Deliveries are born in the transaction of what they tell of, and withdrawn in the transaction that makes it untrue.

Verbs to be used inside others (`yield from`); see `verbs.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from duly.errors import InvalidInput, StoreRejected
from duly.model.delivery import WAITING_US, Lease, Retry, Standing, State, Subscriber
from duly.model.history import Kind
from duly.model.lifecycle import CatchUp
from duly.rules.audience import Audience, Birth, untrue
from duly.stores.copies import copy_kept
from duly.stores.rows import entry_of, ids_text
from duly.stores.verb import Rows, Statement, Verb

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.model.history import Entry
    from duly.model.lifecycle import Lifecycle

# What a scheduler says of misfires, kept for whoever else commits transitions.
POLICY_KEY: Final = "catch_up"
_UNSAYING: Final = frozenset({Kind.HELD, Kind.REMOVED, Kind.EDITED, Kind.REVOKED, Kind.REDEFINED, Kind.RESTORED})

Born = tuple[Lease, "Entry | None"]


class LeaseTerms(NamedTuple):
    """Under which terms deliveries are born leased: to whom, until when, and for how many of each subscriber."""

    node: str
    until_us: Micros
    rooms: Mapping[int, int]


def subscriber_of(columns: Sequence[Any]) -> Subscriber:
    """Read a subscriber's row."""
    number, name, channel, definition, standing, reason = columns
    said = json.loads(definition)
    return Subscriber(
        number=number,
        name=name,
        channel=channel,
        topics=tuple(said["topics"]),
        lifecycles=tuple(said["lifecycles"]),
        tags=tuple(said["tags"]),
        catch_up=CatchUp.from_json(said["catch_up"]),
        retry=Retry.from_json(said["retry"]),
        timeout=timedelta(seconds=said["timeout_seconds"]),
        concurrency=said["concurrency"],
        is_chronological=said.get("chronological", False),
        settings=said["settings"],
        standing=Standing(standing),
        reason=reason,
    )


def definition_of(subscriber: Subscriber) -> str:
    """Return what a subscriber's row keeps of it beside its name, channel and standing."""
    return json.dumps(
        {
            "topics": subscriber.topics,
            "lifecycles": subscriber.lifecycles,
            "tags": subscriber.tags,
            "catch_up": subscriber.catch_up.to_json(),
            "retry": subscriber.retry.to_json(),
            "timeout_seconds": subscriber.timeout.total_seconds(),
            "concurrency": subscriber.concurrency,
            **({"chronological": True} if subscriber.is_chronological else {}),
            "settings": dict(subscriber.settings),
        },
        sort_keys=True,
    )


def audience() -> Verb[Audience]:
    """Return who listens just now: read in the transaction that needs it, so that nobody is overlooked."""
    rows = yield Statement("list_subscribers")
    if not rows:
        return _NOBODY
    said = yield Statement("get_meta", {"key": POLICY_KEY})
    return _audience(tuple(map(tuple, rows)), said[0][0] if said else "{}")


@lru_cache(maxsize=32)
def _audience(rows: tuple[tuple[Any, ...], ...], said: str) -> Audience:
    # The same rows make the same audience, whose own caches are then kept from batch to batch.
    policy = json.loads(said)
    grace = policy.pop("grace_seconds", None)
    how = {} if grace is None else {"grace": timedelta(seconds=grace)}
    return Audience(map(_readable_subscriber, rows), catch_up=CatchUp.from_json(policy), **how)


def _readable_subscriber(columns: Sequence[Any]) -> Subscriber:
    """Read a subscriber's row; one that makes no sense is nobody's news until it is declared again."""
    try:
        return subscriber_of(columns)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, AssertionError, InvalidInput) as error:
        # It must not keep anything from firing, nor others from being told.
        number, name, channel, *_ = columns
        why = f"its row cannot be read: {type(error).__name__}: {error}"
        return Subscriber(number=number, name=name, channel=channel, topics=(), standing=Standing.GONE, reason=why)


_NOBODY: Final = Audience(())


def policy_json(catch_up: CatchUp, grace: timedelta) -> dict[str, object]:
    """Return what is kept of a scheduler's word on misfires."""
    return {**catch_up.to_json(), "grace_seconds": grace.total_seconds()}


def announce(
    entries: Sequence[Entry],
    subjects: Mapping[str, tuple[EventRow, Lifecycle | None]],
    now_us: Micros,
    terms: LeaseTerms | None = None,
) -> Verb[list[Born]]:
    """Write the deliveries of entries that this transaction writes. Returns those that are born leased.

    `subjects`: the events' rows by id, before or after the firing. Where a subscriber asks for tags and a row comes
    without its `data` (a claim), the whole row is read.
    """
    listening = yield from audience()
    if not (entries and listening.active):
        return []
    if listening.asks_tags:
        subjects = yield from _with_data(subjects, {entry[0] for entry in entries if entry[2] == "fired"})
    births = listening.births(entries, subjects.__getitem__, now_us)
    return (yield from write_births(births, now_us, terms))


def _with_data(
    subjects: Mapping[str, tuple[EventRow, Lifecycle | None]], fired: set[str]
) -> Verb[dict[str, tuple[EventRow, Lifecycle | None]]]:
    """Return the same with the events' data. Raises StoreRejected for one that fires, and whose data makes no sense.

    That one alone is then set aside (P7), and is told of like any other that is: as having no tags.
    """
    whole = dict(subjects)
    bare = [id_ for id_, (row, _) in subjects.items() if not row.data]
    for id_, text in (yield Statement("data_of_events", {"ids": ids_text(bare)})):
        row, lifecycle = subjects[id_]
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        if not isinstance(data, dict) and id_ in fired:
            said = "its data cannot be read, and a subscriber asks for its tags; restore it from a backup"
            raise StoreRejected(f"event '{id_}': {said}")
        whole[id_] = (replace(row, data=data if isinstance(data, dict) else {}), lifecycle)
    return whole


def write_births(
    births: Sequence[Birth], now_us: Micros, terms: LeaseTerms | None = None, *, replays: Sequence[int] = ()
) -> Verb[list[Born]]:
    """Write deliveries. Returns those that are born leased.

    The first of a line whose subscriber has room under the terms is, and with it those behind it; others are
    pending, or wait behind what is open before them. `replays`: which closed delivery each repeats, if they do.
    In a store that is a copy all are parked (P18).
    """
    if not births:
        return []
    copy = yield from copy_kept()
    if copy is not None:
        births = [_parked(birth, copy.reason) for birth in births]
    blocked = yield from _open_lines({birth.event_id for birth in births})
    number = (yield Statement("last_delivery"))[0][0]
    rooms = {} if terms is None else dict(terms.rooms)
    leased_lines: set[tuple[int, str]] = set()
    born: list[Born] = []
    rows = []
    for place, birth in enumerate(births):
        number += 1
        line = (birth.subscriber, birth.event_id)
        node, token, attempts, wake = None, 0, 0, None
        if birth.state is State.PENDING:
            wake = WAITING_US if line in blocked else now_us
            if terms is not None and rooms.get(birth.subscriber, 0) > 0 and (wake == now_us or line in leased_lines):
                rooms[birth.subscriber] -= 1
                # Only the first is counted as attempted: those behind it have not been begun (see `Lease.attempt`).
                node, token, attempts, wake = terms.node, 1, int(line not in leased_lines), terms.until_us
                leased_lines.add(line)
                born.append((_lease(number, birth, attempts, now_us), birth.entry))
            else:
                leased_lines.discard(line)
            blocked.add(line)
        replay_of = replays[place] if replays else 0
        rows.append(_birth_columns(number, birth, now_us, replay_of, wake, node, token, attempts))
    # The intent is committed with its cause, or neither is (P8).
    yield Statement("insert_delivery", rows, many=True)
    return born


def _parked(birth: Birth, reason: str) -> Birth:
    pending = birth.state is State.PENDING
    return birth._replace(state=State.PARKED, reason=reason) if pending else birth


def _lease(number: int, birth: Birth, attempt: int, now_us: Micros) -> Lease:
    return Lease(
        number,
        birth.subscriber,
        birth.event_id,
        birth.topic,
        birth.seq,
        1,
        attempt,
        birth.due_us,
        now_us,
        birth.is_late,
    )


def _birth_columns(number: int, birth: Birth, now_us: Micros, replay_of: int, *lease: Any) -> tuple[object, ...]:
    subscriber, event_id, topic, seq, state, due_us, is_late, reason, _ = birth
    closed = None if state is State.PENDING else now_us
    return (number, subscriber, event_id, topic, seq, replay_of, state, due_us, int(is_late), now_us,
            *lease, closed, reason)  # fmt: skip


def _open_lines(event_ids: Iterable[str]) -> Verb[set[tuple[int, str]]]:
    found = yield Statement("open_lines", {"ids": ids_text(sorted(event_ids))})
    return {(subscriber, event_id) for subscriber, event_id in found}


def withdraw_untold(entries: Sequence[Entry], rows: Mapping[str, EventRow], now_us: Micros) -> Verb[None]:
    """Close what is open of edited events and no longer true: nothing of it is attempted any more.

    What is leased just now is left to its node, which looks again before it begins an attempt.
    """
    edited = sorted({entry.event_id for entry in entries if entry.kind in _UNSAYING})
    if not edited or not (yield from audience()).by_number:
        return
    waiting = yield Statement("waiting_of_events", {"ids": ids_text(edited)})
    closing: Rows = []
    lines = set()
    for number, subscriber, event_id, *columns in waiting:
        _, entry = entry_of(columns)
        why = untrue(entry, rows[event_id])
        if why is not None:
            closing.append((State.WITHDRAWN.value, now_us, why, number))
            lines.add((subscriber, event_id))
    if closing:
        yield Statement("close_waiting", closing, many=True)
        yield from wake_lines(lines, now_us)


def wake_lines(lines: Iterable[tuple[int, str]], now_us: Micros) -> Verb[None]:
    """Let the first that is left of each line (subscriber, event) go on."""
    woken = [(now_us, event_id, subscriber, WAITING_US) for subscriber, event_id in lines]
    if woken:
        yield Statement("wake_next", woken, many=True)
