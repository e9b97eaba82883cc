"""The judge of deliveries: I7 to I9, I12 and L2 of PROMISES.md, from the store's rows and from what was heard outside.

Like the judge of histories it knows nothing of how Duly delivers. It holds what the store says against those who were
told: a receiver's log, a handler's file, the rows of a transactional handler.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Final, NamedTuple

from duly.model.dates import Micros
from duly.model.delivery import Attempt, Delivery, State, Subscriber
from duly.model.history import Cause, Entry, Kind
from duly.rules.audience import topic_of

# What may have made untrue what an entry tells.
_UNSAYING: Final = frozenset(
    {Kind.HELD, Kind.REMOVED, Kind.EDITED, Kind.REVOKED, Kind.RESTORED, Kind.REDEFINED, Kind.WITHDRAWN}
)
# How a delivery may end where no policy withholds and no person parks anything.
ENDS: Final = frozenset({State.DELIVERED, State.DEAD, State.WITHDRAWN})
DEAD: Final = "dead"
OUTAGE: Final = "outage"


class Receipt(NamedTuple):
    """One telling, as it came in. `seq`: the number of the history entry, None for what is about none."""

    delivery_id: str
    event_id: str
    topic: str
    seq: int | None
    attempt: int
    at_us: Micros


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What a store says of its deliveries, and what those say who were told.

    `receipts`: by the subscriber's name, in the order in which they came in; who is not in it has no witness.
    `ledgers`: of transactional subscribers, the delivery ids of the rows that they have written. `outages`: the ids of
    those that are finished. `seen`: closed deliveries as they were seen while all was still going on.
    """

    subscribers: Sequence[Subscriber]
    histories: Mapping[str, Sequence[Entry]]
    deliveries: Sequence[Delivery]
    attempts: Mapping[int, Sequence[Attempt]]
    receipts: Mapping[str, Sequence[Receipt]]
    ledgers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    outages: Sequence[int] = ()
    seen: Sequence[Delivery] = ()

    @cached_property
    def by_id(self) -> Mapping[str, Delivery]:
        """The deliveries by their ids."""
        return {delivery.id: delivery for delivery in self.deliveries}

    @cached_property
    def first_receipts(self) -> Mapping[str, Receipt]:
        """The first receipt of each delivery that has one."""
        found: dict[str, Receipt] = {}
        for receipts in self.receipts.values():
            for receipt in receipts:
                found.setdefault(receipt.delivery_id, receipt)
        return found


def telling_faults(told: Telling, *, ends: frozenset[State] = ENDS) -> list[str]:
    """Return everything that is wrong with what was told, as sentences; empty if all is well.

    To be asked once nothing is under way any more. `ends`: the states in which a delivery may have ended.
    """
    return [
        *_births(told),
        *_news(told),
        *(f"{_name(each)}: {said}" for each in told.deliveries for said in _life(told, each, ends)),
        *_receipts(told),
        *_lines(told),
        *_ledgers(told),
        *_finality(told),
    ]


def _name(delivery: Delivery) -> str:
    about = f"{delivery.topic} of '{delivery.event_id}' (entry {delivery.seq})"
    return f"delivery {delivery.number}, {about} for {delivery.subscriber}"


# -- one delivery for everything that happened, and none for what did not ---------------------------------


def _births(told: Telling) -> Iterator[str]:
    """Hold I7 for what is in the histories."""
    wanted = {
        (subscriber.name, entry.event_id, entry.seq, topic_of(entry))
        for entries in told.histories.values()
        for entry in entries
        for subscriber in told.subscribers
        if entry.cause != Cause.BORN_LATE and _listens(subscriber, entry)
    }
    found = Counter(
        (each.subscriber, each.event_id, each.seq, each.topic)
        for each in told.deliveries
        if each.seq > 0 and not each.replay_of
    )
    for name, event_id, seq, topic in sorted(wanted - found.keys()):
        yield f"I7: {topic} of '{event_id}' (entry {seq}) has no delivery for {name}"
    for name, event_id, seq, topic in sorted(found.keys() - wanted):
        yield f"I7: {topic} of '{event_id}' (entry {seq}) has a delivery for {name}, and did not happen for it"
    for (name, event_id, seq, topic), count in found.items():
        if count > 1:
            yield f"I7: {topic} of '{event_id}' (entry {seq}) has {count} deliveries for {name}"


def _listens(subscriber: Subscriber, entry: Entry) -> bool:
    assert not subscriber.lifecycles, "this judge knows of topics only"
    assert not subscriber.tags, "this judge knows of topics only"
    topic = topic_of(entry)
    if entry.kind == Kind.FIRED:
        return any(fnmatchcase(topic, pattern) for pattern in subscriber.topics)
    return topic in subscriber.topics or entry.kind in subscriber.topics


def _news(told: Telling) -> Iterator[str]:
    """Hold I7 for what is about no entry: dead deliveries, and outages."""
    wanted = {
        (subscriber.name, DEAD, -each.number)
        for each in told.deliveries
        if each.state is State.DEAD and each.topic != DEAD
        for subscriber in told.subscribers
        if DEAD in subscriber.topics and subscriber.name != each.subscriber
    }
    wanted |= {(s.name, OUTAGE, -outage) for s in told.subscribers if OUTAGE in s.topics for outage in told.outages}
    found = Counter((each.subscriber, each.topic, each.seq) for each in told.deliveries if each.seq < 0)
    for name, topic, seq in sorted(wanted - found.keys()):
        yield f"I7: {topic} {-seq} has no delivery for {name}"
    for (name, topic, seq), count in sorted(found.items()):
        if (name, topic, seq) not in wanted:
            yield f"I7: {topic} {-seq} has a delivery for {name}, and did not happen for it"
        if count > 1:
            yield f"I7: {topic} {-seq} has {count} deliveries for {name}"


# -- the life of one delivery -----------------------------------------------------------------------------


def _life(told: Telling, each: Delivery, ends: frozenset[State]) -> Iterator[str]:
    tries = told.attempts.get(each.number, ())
    yield from _counted(each, tries)
    if each.closed_us is None or each.is_open:
        yield f"L2: it is stuck: {each.state}, to be looked at again at {each.wake_us}"
        return
    if each.state not in ends:
        yield f"L2: it ended as {each.state} ({each.reason}), which nobody asked for"
    if late := [attempt.number for attempt in tries if attempt.ended_us > each.closed_us]:
        yield f"I9: its attempts {late} ended after it was closed"
    yield from _ended_rightly(told, each, tries)


def _counted(each: Delivery, tries: Sequence[Attempt]) -> Iterator[str]:
    numbers = [attempt.number for attempt in tries]
    if numbers != list(range(1, len(tries) + 1)):
        yield f"I8: its attempts are numbered {numbers}"
    # One that is under way is counted before it has ended.
    if each.attempts != len(tries) and each.node is None:
        yield f"I8: it counts {each.attempts} attempts, and has rows of {len(tries)}"
    successes = sum(attempt.outcome == "delivered" for attempt in tries)
    if successes > (each.state is State.DELIVERED):
        yield f"I8: {successes} of its attempts were settled as delivered, and it is {each.state}"


def _ended_rightly(told: Telling, each: Delivery, tries: Sequence[Attempt]) -> Iterator[str]:
    last = tries[-1].outcome if tries else "none"
    match each.state:
        case State.DELIVERED:
            if last != "delivered":
                yield f"I8: it is delivered, and its last attempt is {last}"
            yield from _heard(told, each)
        case State.DEAD:
            most = next(s.retry.attempts for s in told.subscribers if s.name == each.subscriber)
            if len(tries) < most and last != "rejected":
                yield f"P8: it is dead after {len(tries)} of {most} attempts"
        case State.WITHDRAWN:
            later = (e for e in told.histories.get(each.event_id, ()) if e.seq > each.seq and e.kind in _UNSAYING)
            if not any(later):
                yield "P8: it was withdrawn, and nothing has made it untrue"
        case _:
            pass


def _heard(told: Telling, each: Delivery) -> Iterator[str]:
    """Hold P8: what is delivered was heard, and before it was called delivered."""
    if each.subscriber not in told.receipts:
        return
    first = told.first_receipts.get(each.id)
    if first is None:
        yield "P8: it is delivered, and nobody has heard of it"
    elif first.at_us > (each.closed_us or 0):
        yield f"P8: it was called delivered {first.at_us - (each.closed_us or 0)} µs before it was heard"


# -- what was heard ---------------------------------------------------------------------------------------


def _receipts(told: Telling) -> Iterator[str]:
    """Hold that nothing is heard of what is not in the store, and always under the same id."""
    for name, receipts in told.receipts.items():
        for receipt in receipts:
            each = told.by_id.get(receipt.delivery_id)
            heard = f"{name} heard of {receipt.topic} of '{receipt.event_id}' (entry {receipt.seq})"
            if each is None:
                yield f"P8: {heard} under the id {receipt.delivery_id}, which no delivery has"
            elif (each.subscriber, each.event_id, each.topic) != (name, receipt.event_id, receipt.topic) or (
                receipt.seq not in {None, each.seq}
            ):
                yield f"P9: {heard} under the id of {_name(each)}"


def _lines(told: Telling) -> Iterator[str]:
    """Hold I12: whoever stands behind another in a line (subscriber, event) is not begun before that one is closed."""
    lines: defaultdict[tuple[str, str], list[Delivery]] = defaultdict(list)
    for each in sorted(told.deliveries, key=lambda each: each.number):
        lines[each.subscriber, each.event_id].append(each)
    for line in lines.values():
        before: Delivery | None = None
        seq = 0
        for each in line:
            began = _began(told, each)
            if before is not None and began is not None and (before.closed_us is None or began < before.closed_us):
                yield f"I12: {_name(each)} was begun at {began}, and {_name(before)} closed at {before.closed_us}"
            if not each.replay_of and 0 < each.seq <= seq:
                yield f"I12: {_name(each)} stands behind entry {seq} of the same event"
            seq = max(seq, each.seq)
            if before is None or before.closed_us is not None:
                # Of all that stand before, the one that was closed last (or never) counts.
                before = each if before is None or each.closed_us is None else max(before, each, key=_closed)


def _closed(each: Delivery) -> Micros:
    return each.closed_us or 0


def _began(told: Telling, each: Delivery) -> Micros | None:
    """Return the first sign of an attempt: in the store, or outside. An attempt that was lost has left none there."""
    signs = [attempt.started_us for attempt in told.attempts.get(each.number, ()) if attempt.started_us is not None]
    if (first := told.first_receipts.get(each.id)) is not None:
        signs.append(first.at_us)
    return min(signs, default=None)


def _ledgers(told: Telling) -> Iterator[str]:
    """Hold P11: what a transactional handler has written is there exactly once for each delivery that is delivered."""
    for name, written in told.ledgers.items():
        counts = Counter(written)
        mine = {each.id for each in told.deliveries if each.subscriber == name and each.state is State.DELIVERED}
        for id_ in sorted(mine | counts.keys()):
            if counts[id_] != (id_ in mine):
                is_delivered = "is" if id_ in mine else "is not"
                yield f"P11: {name} has written {counts[id_]} rows for {id_}, which {is_delivered} delivered"


def _finality(told: Telling) -> Iterator[str]:
    """Hold I9: what was seen closed is as it was."""
    for was in {(each.number, each.state, each.closed_us): each for each in told.seen}.values():
        now = told.by_id.get(was.id)
        if now is None:
            yield f"I9: {_name(was)} was {was.state} and is no more"
        elif (now.state, now.closed_us, now.attempts, now.reason) != (
            (was.state, was.closed_us, was.attempts, was.reason)
        ):
            yield f"I9: {_name(was)} was {was.state} since {was.closed_us}, and is {now.state} since {now.closed_us}"
