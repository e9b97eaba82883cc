"""The verbs of the outbox, once for every store: claim, settle, put off, park, replay. Each is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from duly.errors import InvalidInput, UnknownSubscriber
from duly.model.delivery import WAITING_US, Attempt, Lease, Standing, State, Subscriber
from duly.rules.audience import DEAD, Birth, topic_of
from duly.stores.births import audience, definition_of, subscriber_of, wake_lines, write_births
from duly.stores.copies import copy_kept
from duly.stores.rows import entry_of, ids_text, readable_row
from duly.stores.verb import Rows, Statement, Verb

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.rules.audience import Audience

DECLARED_BY_CODE: Final = frozenset({"handler", "task_queue"})
LOST: Final = "lost"
# So many attempts lost in a row make a suspect: see `claim`. The statements and their index say the same.
SUSPECT_FROM: Final = 2
# `replay_of` of what a person had announced: like a replay, so that no policy withholds it, but of no delivery.
ANNOUNCED: Final = -1


class Result(NamedTuple):
    """What becomes of a leased delivery. `state` pending: it is attempted again from `wake_us` on.

    `attempt`: the try that was made, None if there was none (judged untrue, given back). `wakes`: whether the one
    behind it in its line must be woken (False: its node holds that one too).
    """

    lease: Lease
    state: State
    wake_us: Micros | None
    reason: str | None
    attempt: Attempt | None
    wakes: bool = True


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settling did. `stale`: numbers whose lease had passed to somebody else: nothing was changed for them."""

    stale: frozenset[int]
    dead: tuple[int, ...]


def claim(
    node: str, now_us: Micros, until_us: Micros, rooms: Mapping[int, int], *, suspects: bool
) -> Verb[list[Lease]]:
    """Lease what may be attempted now, for each subscriber as much as it has room; fresh ones before the backlog.

    The attempt is counted here, so that a delivery which kills the process comes to an end: it is dead once its
    last attempt was lost. So that it takes no others along, which only were leased beside it, those during which a
    node has ended twice are suspects: leased one at a time, and only where they are asked for.
    """
    listening = yield from audience()
    found: Rows = []
    for number, room in rooms.items():
        mine: Rows = []
        if suspects and room > 0 and not any(_is_suspect(columns) for columns in found):
            mine += yield Statement("claim_suspect", {"subscriber": number, "now": now_us})
        for is_late in (0, 1):
            left = room - len(mine)
            if left > 0:
                params = {"subscriber": number, "is_late": is_late, "now": now_us, "most": left}
                mine += yield Statement("claim_deliveries", params)
        found += mine
    lost = [attempt for columns in found if (attempt := _lost_attempt(columns, now_us)) is not None]
    if lost:
        yield Statement("insert_attempt", lost, many=True)
    yield from _take_over([row for row in found if row[11] is not None], node, until_us)
    spent = [columns for columns in found if columns[6] >= listening.by_number[columns[1]].retry.attempts]
    dead = {columns[0] for columns in spent}
    leases = [_claimed(columns) for columns in found if columns[0] not in dead]
    if leases:
        taken = [(node, lease.token, lease.attempt, until_us, lease.number) for lease in leases]
        yield Statement("lease_delivery", taken, many=True)
    yield from _bury(spent, listening, now_us)
    return leases


def _take_over(found: Rows, node: str, until_us: Micros) -> Verb[None]:
    """See to what stands behind first ones whose lease had run out, as far as their holders had leased it too."""
    lost = [(row[2], row[1], row[0], WAITING_US) for row in found if row[11] != node]
    if lost:
        # Whoever has lost the first of a line has lost those behind it: they wait again.
        yield Statement("free_behind", lost, many=True)
    mine = [(row[2], row[1], row[0], until_us, node, WAITING_US) for row in found if row[11] == node]
    if mine:
        # A node that was only late goes on with the whole line, as it believes to hold it.
        yield Statement("keep_behind", mine, many=True)


def _is_suspect(columns: Sequence[Any]) -> bool:
    return columns[11] is not None and columns[6] >= SUSPECT_FROM


def _claimed(columns: Sequence[Any]) -> Lease:
    number, subscriber, event_id, topic, seq, token, attempts, due, wake, is_late, replay_of, _ = columns
    return Lease(
        number,
        subscriber,
        event_id,
        topic,
        seq,
        token + 1,
        attempts + 1,
        due,
        wake,
        bool(is_late),
        replay_of,
        _is_suspect(columns),
    )


def _lost_attempt(columns: Sequence[Any], now_us: Micros) -> Attempt | None:
    """Return the attempt that ended with its node, if the delivery was under one's lease and had been begun."""
    number, attempts, holder = columns[0], columns[6], columns[11]
    if holder is None or not attempts:
        return None
    return Attempt(number, attempts, holder, None, now_us, LOST, None, "its node ended during the attempt")


def _bury(spent: Rows, listening: Audience, now_us: Micros) -> Verb[None]:
    """Close what was claimed once too often."""
    if spent:
        closing = [(State.DEAD.value, now_us, _spent_by(row), row[0]) for row in spent]
        yield Statement("close_waiting", closing, many=True)
        yield from wake_lines({(row[1], row[2]) for row in spent}, now_us)
        yield from _tell_of_dead([(row[0], row[1], row[2], row[3]) for row in spent], listening, now_us)


def _spent_by(columns: Sequence[Any]) -> str:
    if columns[11] is not None:
        return "its node ended during the last attempt"
    return f"it has been tried {columns[6]} times; by now the schedule of its subscriber allows no more"


def settle(results: Sequence[Result], now_us: Micros) -> Verb[Settled]:
    """Write what became of leased deliveries, where the token is still the newest; the rest is stale (P9)."""
    numbers = ids_text([result.lease.number for result in results])
    tokens = {row[0]: row[1] for row in (yield Statement("open_tokens", {"numbers": numbers}))}
    valid = [result for result in results if _is_newest(result, tokens)]
    attempts = [result.attempt for result in valid if result.attempt is not None]
    closed = [result for result in valid if result.state is not State.PENDING]
    put_off = [result for result in valid if result.state is State.PENDING]
    if attempts:
        yield Statement("insert_attempt", attempts, many=True)
    if closed:
        columns = [(r.state, _attempts(r), now_us, r.reason, r.lease.number) for r in closed]
        yield Statement("close_delivery", columns, many=True)
    if put_off:
        yield from _put_off(put_off)
    # Last: of a line whose first is closed, the next may just have been put off behind it.
    # Whoever holds a line since its birth knows what it holds behind the first; who has claimed it may be mistaken.
    woken = {_line(r) for r in closed if r.wakes or r.lease.token > 1}
    yield from wake_lines(woken | {_line(r) for r in put_off}, now_us)
    dead = [(r.lease.number, *_line(r), r.lease.topic) for r in closed if r.state is State.DEAD]
    if dead:
        yield from _tell_of_dead(dead, (yield from audience()), now_us)
    stale = frozenset(r.lease.number for r in results) - frozenset(r.lease.number for r in valid)
    return Settled(stale, tuple(number for number, *_ in dead))


def _is_newest(result: Result, tokens: dict[int, int]) -> bool:
    """Return whether a result is under the newest token, and the first for its delivery: a lease settles once."""
    if tokens.get(result.lease.number) != result.lease.token:
        return False
    del tokens[result.lease.number]
    return True


def _line(result: Result) -> tuple[int, str]:
    return result.lease.subscriber, result.lease.event_id


def _put_off(put_off: Sequence[Result]) -> Verb[None]:
    """Give leases back until an instant. Whatever stands behind the first of its line waits for that."""
    later = [
        (WAITING_US if r.wake_us is None else r.wake_us, _attempts(r), r.reason, r.lease.number) for r in put_off
    ]
    yield Statement("put_off_delivery", later, many=True)
    behind = [(event_id, subscriber, WAITING_US) for subscriber, event_id in sorted({_line(r) for r in put_off})]
    yield Statement("hold_back", behind, many=True)


def _attempts(result: Result) -> int:
    """Return how many attempts have been made: the one that was counted but not begun does not count."""
    return result.attempt.number if result.attempt is not None else max(0, result.lease.attempt - 1)


def _tell_of_dead(dead: Iterable[tuple[int, int, str, str]], listening: Audience, now_us: Micros) -> Verb[None]:
    """Write deliveries about dead deliveries: number, subscriber, event, topic.

    Not to one whose own is the dead one, and not of one that was itself such news: two that cannot be reached would
    tell each other of it for ever.
    """
    news = [each for each in dead if each[3] != DEAD]
    rows: dict[str, EventRow] = {}
    if news and any(s.lifecycles or s.tags for s in listening.listeners("", DEAD, "")):
        found = yield Statement("get_events", {"ids": ids_text(sorted({each[2] for each in news}))})
        rows = {columns[0]: readable_row(columns) for columns in found}
    births: list[Birth] = []
    for number, subscriber, event_id, _ in news:
        told = listening.news(DEAD, -number, event_id, now_us, about=rows.get(event_id))
        births += [birth for birth in told if birth.subscriber != subscriber]
    yield from write_births(births, now_us)


# -- what people do -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: old number → new number, and those refused with the reason."""

    made: dict[int, int]
    refused: dict[int, str]


def replay(numbers: Sequence[int], now_us: Micros, *, to: str | None = None) -> Verb[Replayed]:
    """Make closed deliveries again, as new rows that name the old ones; `to` another subscriber, by name.

    Closed states are final (I9): the old row stays as it is. One is replayed once; then its replay is.
    """
    copy = yield from copy_kept()
    if copy is not None:
        # It would only be parked again; and what a copy would send is confirmed once, for all of it.
        return Replayed({}, dict.fromkeys(numbers, copy.reason))
    listening = yield from audience()
    target = None if to is None else _named(listening, to)
    found = yield Statement("delivery_for_replay", {"numbers": ids_text(list(numbers))})
    ids = ids_text(sorted({row[2] for row in found}))
    already = yield Statement("replayed_already", {"numbers": ids_text(list(numbers)), "ids": ids})
    replayed = {(row[1], row[4]) for row in already}
    refused = dict.fromkeys(numbers, "there is no such delivery")
    births: list[tuple[int, Birth]] = []
    for number, subscriber, event_id, topic, seq, state, due_us, _ in found:
        wanted = target or listening.by_number[subscriber]
        why = unreplayable(State(state), wanted)
        if why is None and (wanted.number, number) in replayed:
            why = "it has been replayed already; replay that one"
        if why is not None:
            refused[number] = why
            continue
        del refused[number]
        birth = Birth(
            wanted.number, event_id, topic, seq, State.PENDING, due_us, is_late=True, reason=None, entry=None
        )
        births.append((number, birth))
    first = (yield Statement("last_delivery"))[0][0] + 1
    yield from write_births([birth for _, birth in births], now_us, replays=[number for number, _ in births])
    return Replayed({number: first + place for place, (number, _) in enumerate(births)}, refused)


def unreplayable(state: State, subscriber: Subscriber) -> str | None:
    """Return why a delivery in a state is not made again for a subscriber, None if it is."""
    if state is State.PENDING:
        return "it is still pending"
    if subscriber.standing is not Standing.ACTIVE:
        return f"its subscriber '{subscriber.name}' is {subscriber.standing} ({subscriber.reason}); name another"
    return None


def _named(listening: Audience, name: str) -> Subscriber:
    for subscriber in listening.by_number.values():
        if subscriber.name == name:
            return subscriber
    known = ", ".join(sorted(s.name for s in listening.by_number.values())) or "none"
    raise UnknownSubscriber(f"there is no subscriber '{name}'; there are: {known}")


def announce_entry(event_id: str, seq: int, to: str, now_us: Micros) -> Verb[int]:
    """Have one history entry told to a subscriber that has no delivery of it. Returns the new delivery's number.

    For what no delivery was born of: it passed before the event was known, or before the subscriber was there.
    """
    target = _named((yield from audience()), to)
    why = unreplayable(State.MISSED, target)
    if why is not None:
        raise InvalidInput(f"entry {seq} of event '{event_id}' cannot be announced: {why}")
    found = yield Statement("history_at", {"pairs": ids_text([(event_id, seq)])})
    if not found:
        raise InvalidInput(f"event '{event_id}' has no history entry {seq}")
    _, entry = entry_of(found[0])
    topic = topic_of(entry)
    for row in (yield Statement("deliveries_of_event", {"event_id": event_id})):
        if row[1] == to and row[4] == seq:
            raise InvalidInput(f"'{to}' has been told of entry {seq} already, by delivery {row[0]}; replay that")
    due_us = entry.at_us if entry.due_us is None else entry.due_us
    birth = Birth(target.number, event_id, topic, seq, State.PENDING, due_us, is_late=True, reason=None, entry=entry)
    yield from write_births([birth], now_us, replays=[ANNOUNCED])
    return int((yield Statement("last_delivery"))[0][0])


def park(numbers: Sequence[int], reason: str, now_us: Micros) -> Verb[dict[int, str | None]]:
    """Close what is pending as parked. Returns for each number None, or why it could not be."""
    result: dict[int, str | None] = dict.fromkeys(numbers, "it is not pending")
    lines: dict[int, tuple[int, str]] = {}
    found = yield Statement("open_tokens", {"numbers": ids_text(list(numbers))})
    for number, _, subscriber, event_id, node in found:
        result[number] = None if node is None else "it is being delivered just now"
        if node is None:
            lines[number] = (subscriber, event_id)
    if lines:
        closing = [(State.PARKED.value, now_us, reason, number) for number in lines]
        yield Statement("close_waiting", closing, many=True)
        yield from wake_lines(set(lines.values()), now_us)
    return result


def park_all(reason: str, now_us: Micros) -> Verb[int]:
    """Close everything that is pending as parked, leases and all. For a store that has been copied (P18)."""
    return (yield from _park_owed(list((yield from audience()).by_number), reason, now_us))


def _park_owed(subscribers: Sequence[int], reason: str, now_us: Micros) -> Verb[int]:
    """Park all that is open for some subscribers, also what is under way: what comes of that is stale."""
    whose = {"subscribers": ids_text(subscribers), "now": now_us}
    yield Statement("cut_off_owed", {**whose, "outcome": LOST, "said": "it was parked during the attempt"})
    return len((yield Statement("close_owed", {**whose, "state": State.PARKED.value, "reason": reason})))


# -- subscribers ----------------------------------------------------------------------------------------


def put_subscriber(subscriber: Subscriber, now_us: Micros) -> Verb[Subscriber]:
    """Add a subscriber, or change the one of that name. If it is not active, what it was owed is parked."""
    params = {**_row_of(subscriber), "now": now_us}
    stored = subscriber_of((yield Statement("upsert_subscriber", params))[0])
    if stored.standing is not Standing.ACTIVE:
        why = f"subscriber '{stored.name}' is {stored.standing}: {stored.reason}"
        yield from _park_owed([stored.number], why, now_us)
    return stored


def _row_of(subscriber: Subscriber) -> dict[str, object]:
    """Return all that a subscriber's row keeps, but for its number."""
    return {
        "name": subscriber.name,
        "channel": subscriber.channel,
        "definition": definition_of(subscriber),
        "standing": subscriber.standing.value,
        "reason": subscriber.reason,
    }


def change_subscriber(
    name: str, change: Callable[[Subscriber | None], Subscriber], now_us: Micros
) -> Verb[Subscriber]:
    """Put what `change` makes of the subscriber of that name; what it raises leaves all as it was.

    Reading and writing are one transaction: nobody's change in between (an endpoint that disables itself) is lost.
    """
    known = {subscriber.name: subscriber for subscriber in (yield from audience()).by_number.values()}
    return (yield from put_subscriber(change(known.get(name)), now_us))


def declare(declared: Sequence[Subscriber], now_us: Micros) -> Verb[list[Subscriber]]:
    """Make these the subscribers that code declares. Returns all, with their numbers.

    Others that code had declared are gone; what they are owed is parked, never dropped. Nothing is written where
    nothing has changed. With nothing declared, nobody is taken to be gone: a process without handlers
    (`duly catch-up`) says nothing about those of the application.
    """
    known = {subscriber.name: subscriber for subscriber in (yield from audience()).by_number.values()}
    wanted = {subscriber.name: subscriber for subscriber in declared}
    for name, subscriber in wanted.items():
        before = known.get(name)
        if before is not None and before.standing is Standing.DISABLED:
            # What a person (or the channel itself) has switched off is not switched on by a restart.
            subscriber = replace(subscriber, standing=before.standing, reason=before.reason)  # noqa: PLW2901
        if before is None or _row_of(subscriber) != _row_of(before):
            known[name] = yield from put_subscriber(subscriber, now_us)
    if wanted:
        for name, before in list(known.items()):
            if before.channel in DECLARED_BY_CODE and before.standing is Standing.ACTIVE and name not in wanted:
                gone = replace(before, standing=Standing.GONE, reason="no code declares it any more")
                known[name] = yield from put_subscriber(gone, now_us)
    return list(known.values())
