"""The judge of deliveries is judged: each kind of bad record, made by hand from a good one, must be found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from duly.agenda import Agenda
from duly.clock import ManualClock
from duly.model.delivery import Attempt, Delivery, Lease, Retry, State
from duly.model.event import Hold
from tests.builders import HOUR, SECOND, T0, event
from tests.outbox_stage import OutboxStage
from tests.torture.telling_checker import Receipt, Telling, telling_faults

AGAIN = timedelta(seconds=5)


def receipt_of(lease: Lease, identity: str, at_us: int) -> Receipt:
    seq = lease.seq if lease.seq > 0 else None
    return Receipt(f"{identity}-{lease.number}", lease.event_id, lease.topic, seq, lease.attempt, at_us)


def good() -> Telling:
    """Return the record of two events: told, told at the second attempt, dead, withdrawn; and of the news of the dead."""
    clock = ManualClock(T0)
    with Agenda("sqlite:///:memory:", time_zone="UTC", clock=clock) as agenda:
        stage = OutboxStage(agenda, clock)
        retry = Retry((AGAIN,))
        stage.subscribe("crm", "*", retry=retry)
        stage.subscribe("ledger", "*", retry=retry)
        stage.subscribe("diary", "dead", retry=retry)
        agenda.put(event("w1", registration_open=T0 + HOUR, event_start=T0 + HOUR + 1, event_end=T0 + HOUR + 2))
        agenda.put(event("w2", event_start=T0 + HOUR, event_end=T0 + HOUR + 2))
        clock.advance(HOUR + 3)
        stage.fire()
        receipts: dict[str, list[Receipt]] = {"crm": [], "diary": []}
        ledger = tell_all(stage, receipts, held="w2")
        deliveries = stage.all()
        return Telling(
            subscribers=stage.outbox.subscribers(),
            histories={id_: agenda.store.history(id_) for id_ in ("w1", "w2")},
            deliveries=deliveries,
            attempts=stage.outbox.attempts([each.number for each in deliveries]),
            receipts=receipts,
            ledgers={"ledger": ledger},
            seen=[each for each in deliveries if not each.is_open],
        )


def tell_all(stage: OutboxStage, receipts: dict[str, list[Receipt]], *, held: str) -> list[str]:
    """Attempt everything: `event_start` fails for the CRM, once of w1, always of w2, which is then put on hold."""
    names = {subscriber.number: subscriber.name for subscriber in stage.outbox.subscribers()}
    ledger: list[str] = []
    while wakes := stage.outbox.next_wakes():
        stage.clock.advance(max(0, min(wakes.values()) - stage.clock.now()))
        for lease in stage.lease():
            name, identity = names[lease.subscriber], stage.outbox.identity
            if name == "ledger":
                ledger.append(f"{identity}-{lease.number}")
            else:
                receipts[name].append(receipt_of(lease, identity, stage.clock.now()))
            stage.clock.advance(SECOND)
            is_failing = name == "crm" and lease.topic == "event_start"
            if is_failing and lease.attempt == 1:
                stage.settle(lease, State.PENDING, said="HTTP 500", again_in=AGAIN)
            elif is_failing and lease.event_id == held:
                # What stands behind it is no more to be told.
                stage.agenda.set_hold(held, Hold.CANCELLED)
                stage.settle(lease, State.DEAD, said="HTTP 500")
            else:
                stage.settle(lease)
    return ledger


def find(told: Telling, subscriber: str, topic: str, event_id: str = "w1") -> Delivery:
    return next(
        each
        for each in told.deliveries
        if (each.subscriber, each.topic, each.event_id) == (subscriber, topic, event_id)
    )


def changed(told: Telling, each: Delivery, **fields: Any) -> Telling:
    """Return a record in which a delivery's row is another one."""
    rows = [replace(row, **fields) if row is each else row for row in told.deliveries]
    return replace(told, deliveries=rows, seen=())


def without(told: Telling, each: Delivery) -> Telling:
    return replace(told, deliveries=[row for row in told.deliveries if row is not each], seen=())


def tried(told: Telling, each: Delivery, tries: Sequence[Attempt]) -> Telling:
    return replace(told, attempts={**told.attempts, each.number: list(tries)})


def heard(told: Telling, name: str, receipts: Sequence[Receipt]) -> Telling:
    return replace(told, receipts={**told.receipts, name: list(receipts)})


def wrote(told: Telling, ids: Sequence[str]) -> Telling:
    return replace(told, ledgers={"ledger": list(ids)})


# -- the doctors: each breaks one rule ----------------------------------------------------------------------


def lost(told: Telling) -> Telling:
    return without(told, find(told, "crm", "event_end"))


def lost_news(told: Telling) -> Telling:
    return without(told, find(told, "diary", "dead", "w2"))


def born_twice(told: Telling) -> Telling:
    again = replace(find(told, "crm", "event_end"), number=99, id="x-99")
    return replace(told, deliveries=[*told.deliveries, again])


def of_nothing(told: Telling) -> Telling:
    return changed(told, find(told, "crm", "event_end"), seq=77)


def for_somebody_else(told: Telling) -> Telling:
    return changed(told, find(told, "ledger", "event_end"), subscriber="diary")


def never_heard(told: Telling) -> Telling:
    id_ = find(told, "crm", "registration_open").id
    return heard(told, "crm", [r for r in told.receipts["crm"] if r.delivery_id != id_])


def heard_too_late(told: Telling) -> Telling:
    each = find(told, "crm", "event_end")
    late = [
        r._replace(at_us=(each.closed_us or 0) + 1) if r.delivery_id == each.id else r for r in told.receipts["crm"]
    ]
    return heard(told, "crm", late)


def heard_under_a_new_id(told: Telling) -> Telling:
    last = told.receipts["crm"][-1]
    return heard(told, "crm", [*told.receipts["crm"], last._replace(delivery_id=f"{last.delivery_id}-2")])


def heard_of_something_else(told: Telling) -> Telling:
    last = told.receipts["crm"][-1]
    return heard(told, "crm", [*told.receipts["crm"], last._replace(topic="certificate_end")])


def heard_of_another_entry(told: Telling) -> Telling:
    last = told.receipts["crm"][-1]
    return heard(told, "crm", [*told.receipts["crm"], last._replace(seq=(last.seq or 0) + 1)])


def a_gap_in_the_attempts(told: Telling) -> Telling:
    each = find(told, "crm", "event_start")
    return tried(told, each, told.attempts[each.number][1:])


def an_attempt_that_is_not_counted(told: Telling) -> Telling:
    return changed(told, find(told, "crm", "event_start"), attempts=1)


def delivered_twice(told: Telling) -> Telling:
    each = find(told, "crm", "event_end")
    first = told.attempts[each.number][0]
    return tried(changed(told, each, attempts=2), each, [first, first._replace(number=2)])


def delivered_without_success(told: Telling) -> Telling:
    return changed(told, find(told, "crm", "event_start", "w2"), state=State.DELIVERED)


def dead_too_soon(told: Telling) -> Telling:
    each = find(told, "crm", "event_start", "w2")
    return tried(changed(told, each, attempts=1), each, told.attempts[each.number][:1])


def dead_after_a_success(told: Telling) -> Telling:
    return changed(told, find(told, "ledger", "event_end"), state=State.DEAD)


def withdrawn_though_true(told: Telling) -> Telling:
    return changed(told, find(told, "crm", "registration_open"), state=State.WITHDRAWN)


def withheld(told: Telling) -> Telling:
    return changed(told, find(told, "crm", "event_end", "w2"), state=State.MISSED, reason="too old")


def stuck(told: Telling) -> Telling:
    return changed(told, find(told, "crm", "event_end"), state=State.PENDING, closed_us=None, wake_us=T0)


def attempted_after_its_end(told: Telling) -> Telling:
    each = find(told, "crm", "event_end")
    only = told.attempts[each.number][0]
    return tried(told, each, [only._replace(ended_us=(each.closed_us or 0) + 1)])


def begun_too_soon(told: Telling) -> Telling:
    before, each = find(told, "crm", "event_start"), find(told, "crm", "event_end")
    only = told.attempts[each.number][0]
    return tried(told, each, [only._replace(started_us=(before.closed_us or 0) - 1)])


def heard_too_soon(told: Telling) -> Telling:
    before, each = find(told, "crm", "event_start"), find(told, "crm", "event_end")
    early = [
        r._replace(at_us=(before.closed_us or 0) - 1) if r.delivery_id == each.id else r for r in told.receipts["crm"]
    ]
    return heard(told, "crm", early)


def begun_behind_one_that_is_open(told: Telling) -> Telling:
    return changed(told, find(told, "crm", "event_start"), state=State.PENDING, closed_us=None, wake_us=T0)


def numbered_against_the_history(told: Telling) -> Telling:
    one, other = find(told, "crm", "registration_open"), find(told, "crm", "event_start")
    swapped = {one.number: (other.seq, other.topic), other.number: (one.seq, one.topic)}
    rows = [
        replace(row, seq=swapped[row.number][0], topic=swapped[row.number][1]) if row.number in swapped else row
        for row in told.deliveries
    ]
    return replace(told, deliveries=rows)


def entered_twice(told: Telling) -> Telling:
    return wrote(told, [*told.ledgers["ledger"], told.ledgers["ledger"][0]])


def never_entered(told: Telling) -> Telling:
    return wrote(told, told.ledgers["ledger"][1:])


def entered_without_being_delivered(told: Telling) -> Telling:
    return wrote(told, [*told.ledgers["ledger"], find(told, "crm", "event_end").id])


def reopened(told: Telling) -> Telling:
    closed = find(told, "crm", "event_end")
    return replace(changed(told, closed, closed_us=(closed.closed_us or 0) + 1), seen=[closed])


def vanished(told: Telling) -> Telling:
    closed = find(told, "crm", "event_end")
    return replace(without(told, closed), seen=[closed])


BROKEN: Mapping[Callable[[Telling], Telling], str] = {
    lost: "I7: event_end of 'w1' (entry 4) has no delivery for crm",
    lost_news: "has no delivery for diary",
    born_twice: "I7: event_end of 'w1' (entry 4) has 2 deliveries for crm",
    of_nothing: "I7: event_end of 'w1' (entry 77) has a delivery for crm, and did not happen",
    for_somebody_else: "has a delivery for diary, and did not happen",
    never_heard: "P8: it is delivered, and nobody has heard of it",
    heard_too_late: "P8: it was called delivered 1 µs before it was heard",
    heard_under_a_new_id: "which no delivery has",
    heard_of_something_else: "P9: crm heard of certificate_end of 'w1' (entry 4) under the id of",
    heard_of_another_entry: "P9: crm heard of event_end of 'w1' (entry 5) under the id of",
    a_gap_in_the_attempts: "I8: its attempts are numbered [2]",
    an_attempt_that_is_not_counted: "I8: it counts 1 attempts, and has rows of 2",
    delivered_twice: "I8: 2 of its attempts were settled as delivered, and it is delivered",
    delivered_without_success: "I8: it is delivered, and its last attempt is failed",
    dead_too_soon: "P8: it is dead after 1 of 2 attempts",
    dead_after_a_success: "I8: 1 of its attempts were settled as delivered, and it is dead",
    withdrawn_though_true: "P8: it was withdrawn, and nothing has made it untrue",
    withheld: "L2: it ended as missed (too old), which nobody asked for",
    stuck: "L2: it is stuck: pending",
    attempted_after_its_end: "I9: its attempts [1] ended after it was closed",
    begun_too_soon: "I12: delivery",
    heard_too_soon: "I12: delivery",
    begun_behind_one_that_is_open: "closed at None",
    numbered_against_the_history: "stands behind entry 3 of the same event",
    entered_twice: "P11: ledger has written 2 rows for",
    never_entered: "P11: ledger has written 0 rows for",
    entered_without_being_delivered: "which is not delivered",
    reopened: "I9: ",
    vanished: "and is no more",
}


def test_a_good_record_has_no_fault() -> None:
    told = good()
    assert telling_faults(told) == []
    # It holds all that the doctors look for.
    states = {(each.subscriber, each.state) for each in told.deliveries}
    assert {("crm", State.DELIVERED), ("crm", State.DEAD), ("crm", State.WITHDRAWN)} <= states
    assert {len(tries) for tries in told.attempts.values()} == {0, 1, 2}


@pytest.mark.parametrize("doctor", BROKEN, ids=lambda doctor: doctor.__name__)
def test_each_broken_rule_is_found(doctor: Callable[[Telling], Telling]) -> None:
    said = telling_faults(doctor(good()))
    assert any(BROKEN[doctor] in sentence for sentence in said), said


def test_a_duplicate_under_the_same_id_is_no_fault_however_late() -> None:
    told = good()
    late = told.receipts["crm"][0]._replace(at_us=told.receipts["crm"][-1].at_us + HOUR)
    assert telling_faults(heard(told, "crm", [*told.receipts["crm"], late])) == []


def test_what_was_announced_or_replayed_by_a_person_is_no_second_birth() -> None:
    told = good()
    each = find(told, "crm", "event_end")
    again = replace(each, number=99, id="x-99", replay_of=each.number, created_us=each.closed_us or 0)
    receipt = told.receipts["crm"][-1]._replace(delivery_id="x-99", at_us=each.closed_us or 0)
    tries = [attempt._replace(delivery=99, started_us=each.closed_us) for attempt in told.attempts[each.number]]
    told = tried(replace(told, deliveries=[*told.deliveries, again]), again, tries)
    assert telling_faults(heard(told, "crm", [*told.receipts["crm"], receipt])) == []
