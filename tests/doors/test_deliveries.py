"""Deliveries without a running engine: found, shown with their attempts, replayed, released, parked, announced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from duly.agenda import Agenda
from duly.clock import SECOND, ManualClock
from duly.deliveries import PAGE, Deliveries, Wanted
from duly.errors import InvalidInput, InvalidLifecycle, UnknownDelivery, UnknownEvent, UnknownSubscriber
from duly.model.dates import to_datetime
from duly.model.delivery import Standing, State
from duly.model.event import Event, Hold
from duly.model.lifecycle import CatchUp, Policy
from tests.builders import HOUR, T0
from tests.outbox_stage import OutboxStage

DATES = {"registration_open": 1, "registration_close": 2, "event_start": 3, "event_end": 4}


def workshop(id_: str = "w1", *, now: int = T0) -> Event:
    """Return an event whose four dates are one, two, three and four hours after an instant."""
    return Event(id_, dates={name: to_datetime(now + hours * HOUR) for name, hours in DATES.items()})


@pytest.fixture
def stage() -> Iterator[OutboxStage]:
    clock = ManualClock(T0)
    with Agenda("sqlite:///:memory:", clock=clock) as agenda:
        yield OutboxStage(agenda, clock)


@pytest.fixture
def deliveries(stage: OutboxStage) -> Deliveries:
    return Deliveries(stage.agenda)


def told(stage: OutboxStage, *ids: str, hours: float = 1) -> None:
    """Put events, let their first dates come and fire them on time."""
    stage.agenda.put([workshop(id_, now=stage.clock.now()) for id_ in ids or ("w1",)])
    for _ in range(int(hours)):
        stage.clock.advance(HOUR)
        stage.fire()


def kill_all(stage: OutboxStage) -> None:
    stage.settle_all(State.DEAD, said="HTTP 500", code=500)


# -- asking ------------------------------------------------------------------------------------------------


def test_deliveries_are_found_newest_first_by_every_filter(stage: OutboxStage, deliveries: Deliveries) -> None:
    stage.subscribe("crm")
    stage.subscribe("mail", "registration_open")
    told(stage, "w1", "w2", hours=2)
    lease = next(each for each in stage.lease() if each.event_id == "w1")
    stage.settle(lease, State.DEAD, said="broken")

    def numbers(wanted: Wanted) -> list[int]:
        return [each.number for each in deliveries.find(wanted)]

    every = numbers(Wanted())
    assert every == sorted(every, reverse=True)
    assert len(every) == 6
    assert numbers(Wanted(states=(State.DEAD,))) == [lease.number]
    assert numbers(Wanted(states=(State.DEAD, State.PENDING))) == every
    assert len(numbers(Wanted(subscriber="mail"))) == 2
    assert len(numbers(Wanted(event_id="w1", subscriber="crm"))) == 2
    assert len(numbers(Wanted(topic="registration_close"))) == 2
    assert len(numbers(Wanted(since=to_datetime(T0 + 2 * HOUR)))) == 2
    assert [each.number for each in deliveries.find(most=4)] == every[:4]


def test_more_deliveries_than_a_page_come_all_and_in_their_order(stage: OutboxStage, deliveries: Deliveries) -> None:
    stage.subscribe("crm")
    told(stage, *(f"w{n:03}" for n in range(PAGE + 1)))
    found = [each.number for each in deliveries.find()]
    assert found == list(range(PAGE + 1, 0, -1))


def test_a_filter_that_names_nobody_is_refused_with_who_there_is(stage: OutboxStage, deliveries: Deliveries) -> None:
    with pytest.raises(UnknownSubscriber, match="there is no subscriber 'crm'; nobody has subscribed yet"):
        deliveries.find(Wanted(subscriber="crm"))
    stage.subscribe("mail")
    stage.subscribe("webhook:crm", channel="webhook")
    with pytest.raises(UnknownSubscriber, match="there is no subscriber 'crn'; there are: mail, webhook:crm"):
        deliveries.find(Wanted(subscriber="crn"))
    with pytest.raises(UnknownEvent, match="there is no event 'w9'"):
        deliveries.find(Wanted(event_id="w9"))
    assert deliveries.subscriber("crm").name == "webhook:crm"


def test_one_delivery_is_shown_with_every_attempt(stage: OutboxStage, deliveries: Deliveries) -> None:
    stage.subscribe("crm")
    told(stage)
    first = stage.lease()[0]
    stage.settle(first, State.PENDING, said="HTTP 503", code=503, again_in=timedelta(minutes=5))
    stage.clock.advance(5 * 60 * SECOND)
    second = stage.lease()[0]
    assert (second.number, second.attempt) == (first.number, 2)
    stage.settle(second)
    shown = deliveries.get(first.number)
    assert shown.delivery.state is State.DELIVERED
    assert [(each.number, each.outcome, each.said) for each in shown.attempts] == [
        (1, "failed", "HTTP 503"),
        (2, "delivered", None),
    ]
    assert deliveries.get(shown.delivery.id) == shown
    assert [each["code"] for each in shown.to_json()["attempt_log"]] == [503, None]  # type: ignore[attr-defined]
    assert deliveries.of_event("w1") == [shown]


@pytest.mark.parametrize(
    "named", ["", "0", "-1", "+1", " 1", "1 ", "1_0", "\uff11", "1\n", "bd53944c-", "x-1", "9" * 30, "1.0"]
)
def test_bad_input_45_what_is_no_delivery_s_name_is_refused(deliveries: Deliveries, named: str) -> None:
    with pytest.raises(InvalidInput, match="names no delivery; give its number or its id") as caught:
        deliveries.get(named)
    assert "\n" not in str(caught.value)


def test_a_delivery_that_is_not_there_or_of_another_store_is_unknown(
    stage: OutboxStage, deliveries: Deliveries
) -> None:
    with pytest.raises(UnknownDelivery, match="there is no delivery 7"):
        deliveries.get(7)
    with pytest.raises(UnknownDelivery, match="there is no delivery 7"):
        deliveries.get(f"{stage.outbox.identity}-7")
    with pytest.raises(UnknownDelivery, match="delivery 00000000-7 is of another store; the ids of this one begin"):
        deliveries.get("00000000-7")


# -- replay ------------------------------------------------------------------------------------------------


def test_what_is_dead_is_replayed_as_a_new_delivery_and_only_once(stage: OutboxStage, deliveries: Deliveries) -> None:
    stage.subscribe("crm")
    told(stage)
    kill_all(stage)
    (old,) = deliveries.find(Wanted(states=(State.DEAD,)))
    assert deliveries.counts().trouble == {"dead": 1}
    remade = deliveries.replay([old.id])
    (new,) = deliveries.find(Wanted(states=(State.PENDING,)))
    assert remade.made == {old.id: new.id}
    assert (new.replay_of, new.topic, new.event_id, new.seq) == (old.number, old.topic, old.event_id, old.seq)
    assert deliveries.get(old.number).delivery == old
    assert deliveries.get(old.number).replays == (new,)
    again = deliveries.replay([old.number])
    assert (again.made, again.refused) == ({}, {old.id: "it has been replayed already; replay that one"})
    # What is in its replay's hands is nobody's trouble any more.
    assert deliveries.counts().trouble == {}
    assert list(deliveries.find(Wanted(states=(State.DEAD,), unreplayed=True))) == []


def test_what_is_pending_or_of_a_silent_subscriber_is_refused_one_by_one(
    stage: OutboxStage, deliveries: Deliveries
) -> None:
    crm = stage.subscribe("crm")
    stage.subscribe("mail")
    told(stage)
    for lease in stage.lease():
        if lease.subscriber == crm.number:
            stage.settle(lease, State.DEAD, said="gone")
    stage.outbox.put_subscriber(replace(crm, standing=Standing.DISABLED, reason="410 Gone"), stage.clock.now())
    dead, pending = (each.id for each in sorted(deliveries.find(), key=lambda each: each.subscriber))
    remade = deliveries.replay([dead, pending])
    assert remade.made == {}
    assert remade.refused == {
        dead: "its subscriber 'crm' is disabled (410 Gone); name another",
        pending: "it is still pending",
    }
    assert list(deliveries.replay([dead], to="mail").made) == [dead]


def test_one_unknown_id_among_others_replays_nothing(stage: OutboxStage, deliveries: Deliveries) -> None:
    stage.subscribe("crm")
    told(stage)
    kill_all(stage)
    with pytest.raises(UnknownDelivery):
        deliveries.replay([1, 99])
    assert [each.state for each in deliveries.find()] == [State.DEAD]


def test_a_filter_replays_all_that_it_means_in_the_order_of_their_birth(
    stage: OutboxStage, deliveries: Deliveries
) -> None:
    stage.subscribe("crm")
    stage.subscribe("mail")
    told(stage, "w1", "w2", hours=2)
    kill_all(stage)
    wanted = Wanted(states=(State.DEAD,), subscriber="crm", event_id="w1")
    assert [each.topic for each in deliveries.replayable(wanted)] == ["registration_open", "registration_close"]
    remade = deliveries.replay_all(wanted)
    pending = sorted(deliveries.find(Wanted(states=(State.PENDING,))), key=lambda each: each.number)
    assert list(remade.made.values()) == [each.id for each in pending]
    assert [each.topic for each in pending] == ["registration_open", "registration_close"]
    assert deliveries.replayable(wanted) == []
    assert deliveries.replay_all(wanted).made == {}


def test_a_replay_without_states_means_all_that_is_closed_and_never_what_is_pending(
    stage: OutboxStage, deliveries: Deliveries
) -> None:
    stage.subscribe("crm")
    told(stage)
    assert deliveries.replayable(Wanted()) == []
    assert deliveries.replayable(Wanted(states=(State.PENDING,))) == []
    stage.settle_all()
    assert [each.state for each in deliveries.replayable(Wanted())] == [State.DELIVERED]


def test_what_a_replay_would_refuse_is_known_beforehand(stage: OutboxStage, deliveries: Deliveries) -> None:
    crm = stage.subscribe("crm")
    stage.subscribe("mail", "revoked")
    told(stage)
    kill_all(stage)
    (dead,) = deliveries.replayable(Wanted())
    assert deliveries.refusals([dead]) == {}
    stage.outbox.put_subscriber(replace(crm, standing=Standing.GONE, reason="removed"), stage.clock.now())
    assert deliveries.refusals([dead]) == {dead.id: "its subscriber 'crm' is gone (removed); name another"}
    assert deliveries.refusals([dead], to="mail") == {}
    with pytest.raises(UnknownSubscriber):
        deliveries.refusals([dead], to="nobody")


# -- park and release --------------------------------------------------------------------------------------


def test_what_is_parked_waits_until_it_is_released(stage: OutboxStage, deliveries: Deliveries) -> None:
    stage.subscribe("crm")
    told(stage)
    parked = deliveries.park([1], "the receiver moves house")
    (old,) = deliveries.find()
    assert parked.parked == (old.id,)
    assert (old.state, old.reason) == (State.PARKED, "the receiver moves house")
    assert stage.lease() == []
    remade = deliveries.release([old.id])
    assert list(remade.made) == [old.id]
    stage.settle_all()
    assert stage.states() == ["crm registration_open parked", "crm registration_open delivered"]
    assert deliveries.release_all().made == {}


def test_only_what_is_pending_and_not_under_way_is_parked_and_only_with_a_reason(
    stage: OutboxStage, deliveries: Deliveries
) -> None:
    stage.subscribe("crm")
    told(stage, "w1", "w2")
    (first, second) = stage.lease()
    stage.settle(first)
    parked = deliveries.park([first.number, second.number], "wait")
    assert parked.parked == ()
    assert list(parked.refused.values()) == ["it is not pending", "it is being delivered just now"]
    for reason in ("", "  "):
        with pytest.raises(InvalidInput, match="parking needs a reason"):
            deliveries.park([second.number], reason)
    with pytest.raises(InvalidInput, match="control character"):
        deliveries.park([second.number], "two\nlines")


def test_only_what_is_parked_is_released(stage: OutboxStage, deliveries: Deliveries) -> None:
    stage.subscribe("crm", catch_up=CatchUp(policy=Policy.PARK))
    stage.subscribe("mail")
    stage.agenda.put(workshop(now=T0 - 3 * HOUR), known_for=timedelta(hours=24))
    stage.fire()
    ids = {each.subscriber: each.id for each in deliveries.find(Wanted(topic="registration_open"))}
    remade = deliveries.release(ids.values())
    assert list(remade.made) == [ids["crm"]]
    assert remade.refused == {ids["mail"]: "it is pending, not parked"}
    stage.settle_all(State.DEAD, said="no")
    dead = deliveries.release([ids["mail"]])
    assert dead.refused == {ids["mail"]: "it is dead, not parked; a replay makes it again"}
    assert list(deliveries.release_all(Wanted(subscriber="mail")).made) == []
    assert len(deliveries.release_all(Wanted(subscriber="crm")).made) == 1


# -- announce ----------------------------------------------------------------------------------------------


def test_what_nobody_was_told_of_is_announced_to_somebody(stage: OutboxStage, deliveries: Deliveries) -> None:
    told(stage)
    assert stage.all() == []
    stage.subscribe("crm")
    made = deliveries.announce("w1", "registration_open", to="crm")
    assert (made.subscriber, made.topic, made.state) == ("crm", "registration_open", State.PENDING)
    assert made.to_json()["replay_of"] is None
    # A person wants it told: no policy withholds it, just as with a replay.
    (lease,) = stage.lease()
    assert lease.replay_of
    with pytest.raises(InvalidInput, match=f"'crm' has been told of entry 2 already, by delivery {made.number}"):
        deliveries.announce("w1", "registration_open", to="crm")


def test_what_has_not_fired_or_is_unknown_is_not_announced(stage: OutboxStage, deliveries: Deliveries) -> None:
    crm = stage.subscribe("crm", "revoked")
    told(stage)
    with pytest.raises(InvalidInput, match="event_start of event 'w1' has not fired"):
        deliveries.announce("w1", "event_start", to="crm")
    with pytest.raises(InvalidLifecycle, match="has no milestone 'party'"):
        deliveries.announce("w1", "party", to="crm")
    with pytest.raises(UnknownEvent):
        deliveries.announce("w9", "event_start", to="crm")
    with pytest.raises(UnknownSubscriber):
        deliveries.announce("w1", "registration_open", to="nobody")
    stage.outbox.put_subscriber(replace(crm, standing=Standing.DISABLED, reason="410"), stage.clock.now())
    with pytest.raises(InvalidInput, match=r"^subscriber 'crm' is disabled \(410\); name another$"):
        deliveries.announce("w1", "registration_open", to="crm")
    assert stage.all() == []


def test_what_was_revoked_is_not_announced(stage: OutboxStage, deliveries: Deliveries) -> None:
    told(stage)
    stage.subscribe("crm")
    stage.agenda.put(workshop(now=stage.clock.now()))
    with pytest.raises(InvalidInput, match="registration_open of event 'w1' has not fired"):
        deliveries.announce("w1", "registration_open", to="crm")


# -- counts ------------------------------------------------------------------------------------------------


def test_an_outage_counts_what_became_of_its_deliveries(stage: OutboxStage, deliveries: Deliveries) -> None:
    stage.subscribe("crm")
    stage.agenda.put([workshop("w1"), workshop("w2")])
    outage = stage.after_outage(hours=2.5)
    assert deliveries.of_outage(outage) == {"pending": 4}
    stage.settle(stage.lease()[0])
    stage.agenda.set_hold("w2", Hold.CANCELLED, reason="flood")
    assert deliveries.of_outage(outage) == {"delivered": 1, "pending": 2, "withdrawn": 1}
