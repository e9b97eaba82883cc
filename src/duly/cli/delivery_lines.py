"""How deliveries are said: in a table, on a line of a report, in a scheduler's log. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from duly.cli.wording import clock, count, duration, moment, printable, relative
from duly.deliveries import Account
from duly.engine.telling import Telling
from duly.model.delivery import WAITING_US, Attempt, Delivery, Standing, State, Subscriber
from duly.model.instants import Micros
from duly.stores.outbox import DeliveryCounts

DELIVERY_HEADERS: Final = ("id", "state", "subscriber", "topic", "event", "tries", "what")
ATTEMPT_HEADERS: Final = ("attempt", "ended", "took", "outcome", "code", "what was said", "node")
PENDING_HEADERS: Final = ("subscriber", "pending", "under way", "failing", "next")
# What somebody should look at, in the order in which it is said.
_TROUBLE: Final = (State.DEAD, State.PARKED, State.MISSED)
_ENDINGS: Final = {1: "st", 2: "nd", 3: "rd"}
_TENS: Final = 10
_TEENS: Final = (11, 12, 13)


def delivery_rows(found: Iterable[Delivery], zones: Mapping[str, str], now: Micros) -> Iterator[Sequence[str]]:
    """Yield the cells of each delivery under DELIVERY_HEADERS. `zones`: by event's id."""
    for each in found:
        what = what_became(each, zones.get(each.event_id, "UTC"), now)
        yield (each.id, each.state, each.subscriber, each.topic, each.event_id, str(each.attempts), what)


def attempt_rows(attempts: Iterable[Attempt], zone: str, now: Micros) -> Iterator[Sequence[str]]:
    """Yield the cells of each attempt under ATTEMPT_HEADERS."""
    for each in attempts:
        yield (
            str(each.number),
            f"{clock(each.ended_us, zone, beside=now)} {zone}",
            "" if each.started_us is None else duration(each.ended_us - each.started_us),
            each.outcome,
            "" if each.code is None else str(each.code),
            each.said or "",
            each.node or "",
        )


def what_became(delivery: Delivery, zone: str, now: Micros) -> str:
    """Return where a delivery stands: since when it is closed and why, or what it waits for."""
    if delivery.wake_us is not None:
        return _waits_for(delivery, delivery.wake_us, zone, now)
    at = "" if delivery.closed_us is None else f"{clock(delivery.closed_us, zone, beside=now)} {zone}"
    return ": ".join(part for part in (at, delivery.reason) if part)


def _waits_for(delivery: Delivery, wake: Micros, zone: str, now: Micros) -> str:
    why = f": {delivery.reason}" if delivery.reason else ""
    if delivery.node is not None:
        gone = "" if wake > now else "; nobody has heard of it since, so another takes over"
        return f"under way on node {delivery.node}{gone}"
    if wake >= WAITING_US:
        return "waits for the one before it"
    if wake <= now:
        return f"about to be tried{' again' if delivery.attempts else ''}{why}"
    return f"tried{' again' if delivery.attempts else ''} {moment(wake, zone, now)}{why}"


def ordinal(number: int) -> str:
    """Return `1st`, `2nd`, `3rd`, `11th`."""
    ending = "th" if number % 100 in _TEENS else _ENDINGS.get(number % _TENS, "th")
    return f"{number}{ending}"


def counted(by_state: Mapping[str, int]) -> str:
    """Return how many deliveries have which state: `12 delivered, 3 pending, 1 dead`; empty for none."""
    ordered = (State.DELIVERED, State.PENDING, *_TROUBLE, State.WITHDRAWN)
    return ", ".join(f"{by_state[state]:,} {state}" for state in ordered if by_state.get(state))


# -- one event's -------------------------------------------------------------------------------------------


def fate(account: Account, milestone: str, zone: str, now: Micros) -> tuple[str, str]:
    """Return what became of one delivery about a milestone, as a name and what belongs to it."""
    delivery = account.delivery
    who = delivery.subscriber if delivery.topic == milestone else f"{delivery.subscriber} of '{delivery.topic}'"
    again = f"; made again as {account.replays[-1].id}" if account.replays else ""
    if delivery.state is State.DELIVERED and delivery.closed_us is not None:
        at = f"{clock(delivery.closed_us, zone, beside=now)} {zone}"
        return delivery.state, f"{who} at {at}, {_tries(account.attempts, delivery.attempts)}{again}"
    tried = f" ({count(delivery.attempts, 'attempt')})" if delivery.attempts else ""
    return delivery.state, f"{who}{tried}: {what_became(delivery, zone, now)}{again}"


def _tries(attempts: Sequence[Attempt], made: int) -> str:
    """Return which attempt it was that went well, and after what: `2nd attempt after HTTP 503`."""
    failed = [attempt for attempt in attempts if attempt.number < made and attempt.said]
    return f"{ordinal(made)} attempt" + (f" after {failed[-1].said}" if failed else "")


# -- the store's -------------------------------------------------------------------------------------------


def status_lines(counts: DeliveryCounts, subscribers: Sequence[Subscriber]) -> Iterator[tuple[str, str]]:
    """Yield what `duly status` says of deliveries, nothing where nobody has ever subscribed."""
    if not subscribers:
        return
    standing = Counter(subscriber.standing for subscriber in subscribers)
    parts = [f"{standing[each]:,} {each}" for each in Standing if standing[each]]
    yield "subscribers", ", ".join(parts)
    leased, failing = sum(each.leased for each in counts.open), sum(each.failing for each in counts.open)
    within = [f"{leased:,} under way"] * bool(leased) + [f"{failing:,} failing"] * bool(failing)
    pending = f"{counts.pending:,} pending" + (f" ({', '.join(within)})" if within else "")
    trouble = [f"{counts.trouble[state]:,} {state}" for state in _TROUBLE if counts.trouble.get(state)]
    remedy = f": see 'duly deliveries --{_worst(counts)}'" if trouble else ""
    yield "deliveries", ", ".join([pending, *trouble]) + remedy
    for subscriber in subscribers:
        if subscriber.standing is Standing.DISABLED:
            yield "disabled", f"{subscriber.name}: {subscriber.reason}"


def _worst(counts: DeliveryCounts) -> State:
    return next(state for state in _TROUBLE if counts.trouble.get(state))


def pending_rows(counts: DeliveryCounts, now: Micros) -> Iterator[Sequence[str]]:
    """Yield the cells of each subscriber that is owed something, under PENDING_HEADERS."""
    for each in counts.open:
        soonest = "" if each.next_us >= WAITING_US or each.leased else relative(max(now, each.next_us), now)
        yield (each.subscriber, f"{each.pending:,}", f"{each.leased:,}", f"{each.failing:,}", soonest)


def counts_json(counts: DeliveryCounts) -> dict[str, object]:
    """Return the counts as plain values."""
    return {
        "pending": counts.pending,
        "under_way": sum(each.leased for each in counts.open),
        "failing": sum(each.failing for each in counts.open),
        **{state.value: counts.trouble.get(state, 0) for state in (*_TROUBLE, State.WITHDRAWN)},
        "by_subscriber": {
            each.subscriber: {"pending": each.pending, "under_way": each.leased, "failing": each.failing}
            for each in counts.open
        },
    }


# -- a scheduler's log -------------------------------------------------------------------------------------


def telling_text(telling: Telling) -> tuple[str, str] | None:
    """Return what became of a delivery as a mark and a sentence; None for what is not worth a line.

    `✓ told webhook:crm of registration_open of w12 (attempt 1, 200 ms late)`.
    """
    who = telling.subscriber
    what = f"{telling.topic} of {telling.event_id}" if telling.event_id else telling.topic
    said = printable(telling.said) if telling.said else ""
    if telling.state is State.DELIVERED:
        late = "" if telling.lateness is None else f", {duration(max(timedelta(0), telling.lateness))} late"
        return "✓", f"told {who} of {what} (attempt {telling.attempt}{late})"
    if telling.state is State.PENDING:
        if not telling.attempt:
            return None  # given back untried: nothing has happened
        return "!", f"could not tell {who} of {what} (attempt {telling.attempt}, to be tried again): {said}"
    if telling.state is State.DEAD:
        return "✘", f"gave up telling {who} of {what} after {count(telling.attempt, 'attempt')}: {said}"
    return "·", f"{who} is not told of {what}, {telling.state}: {said}"


def telling_json(telling: Telling) -> dict[str, object]:
    """Return what became of a delivery as plain values."""
    return {
        "delivery": telling.delivery_id,
        "subscriber": telling.subscriber,
        "event": telling.event_id or None,
        "topic": telling.topic,
        "state": telling.state.value,
        "attempt": telling.attempt or None,
        "lateness_seconds": None if telling.lateness is None else telling.lateness.total_seconds(),
        "said": telling.said,
    }
