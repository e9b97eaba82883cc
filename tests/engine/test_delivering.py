"""Delivering by hand: order, lanes, retries, pauses, judgements. The node's step is called, and the clock is moved."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from duly.channels.channel import DELIVERED, Outcome, Verdict
from duly.engine.delivering import HELD_FACTOR
from duly.model.delivery import Retry, Standing, State
from duly.model.event import Hold
from duly.model.lifecycle import CatchUp, Policy
from duly.rules.audience import DEAD, OUTAGE
from tests.builders import CONTEST, DAY, HOUR, MINUTE, SECOND, T0, event
from tests.contract.telling import NEVER_AGAIN, assert_lines_move
from tests.engine.desk import FAILED, FOUR, HandDesk, Office, at_once, listener
from tests.engine.stage import FailingStore, falsify, in_a_loop

PAUSED = Outcome(verdict=Verdict.FAILED, said="429", pause=timedelta(seconds=60))


def topics(desk: HandDesk, event_id: str = "w1") -> list[str]:
    return [topic for event, topic, _ in desk.told if event == event_id]


# -- order ----------------------------------------------------------------------------------------------


@in_a_loop
async def test_what_fires_is_told_in_order_and_each_is_settled_before_the_next_begins() -> None:
    office = Office()
    await office.due("w1")
    for place, topic in enumerate(FOUR):
        await office.run()
        assert office.desk.now_open == [("w1", topic, 1)]
        assert office.states() == [State.DELIVERED] * place + [State.PENDING] * (4 - place)
        office.desk.say()
    await office.run()
    assert office.all_delivered()
    assert [office.outcomes(number) for number in (1, 2, 3, 4)] == [[(1, "delivered")]] * 4
    assert len(office.step.lines) == 0


@in_a_loop
async def test_the_next_does_not_begin_while_the_settling_of_the_one_before_fails() -> None:
    store = FailingStore()
    office = Office(store=store)
    await office.due("w1", most=2)
    await office.run()
    office.desk.say()
    real = store.outbox.settle
    store.outbox.settle = _refused  # type: ignore[assignment,method-assign]
    with pytest.raises(ZeroDivisionError):
        await office.run()
    assert topics(office.desk) == ["registration_open"]
    store.outbox.settle = real  # type: ignore[method-assign]
    await office.run()
    assert topics(office.desk) == ["registration_open", "registration_close"]
    assert office.outcomes(1) == [(1, "delivered")]


def _refused(*_: object) -> None:
    raise ZeroDivisionError


@in_a_loop
async def test_events_do_not_wait_for_each_other() -> None:
    office = Office()
    await office.due("w1", "w2", most=2)
    await office.run()
    assert sorted(office.desk.now_open) == [("w1", FOUR[0], 1), ("w2", FOUR[0], 1)]
    office.desk.say(event_id="w2")
    await office.run()
    assert sorted(office.desk.now_open) == [("w1", FOUR[0], 1), ("w2", FOUR[1], 1)]


@in_a_loop
async def test_subscribers_do_not_wait_for_each_other() -> None:
    office = Office(listener("slow"), listener("quick"))
    await office.due("w1", most=2)
    await office.run()
    for _ in range(2):
        assert office.desk.say(of="quick") == 1
        await office.run()
    assert office.states("quick") == [State.DELIVERED] * 2
    assert office.states("slow") == [State.PENDING] * 2


@in_a_loop
async def test_any_order_of_ends_keeps_the_order_of_every_line() -> None:
    chance = random.Random(7)
    office = Office(listener("a", concurrency=3), listener("b", concurrency=2))
    ids = [f"w{k}" for k in range(6)]
    await office.due(*ids)
    while not office.all_delivered():
        await office.run()
        tickets = list(office.desk.open)
        if not tickets:
            continue
        for ticket in chance.sample(tickets, chance.randint(1, len(tickets))):
            office.desk.end_of(ticket)
    for id_ in ids:
        for subscriber in "ab":
            mine = [c.topic for c in office.desk.begun if (c.event_id, c.subscriber.name) == (id_, subscriber)]
            assert mine == list(FOUR)
    assert office.desk.most == 5


@in_a_loop
async def test_what_another_process_commits_is_told_in_its_turn() -> None:
    office = Office(born=False)
    await office.due("w1", most=2)
    await office.run()
    assert office.desk.now_open == [("w1", FOUR[0], 1)]
    office.desk.say()
    await office.run()
    assert office.desk.now_open == [("w1", FOUR[1], 1)]


@in_a_loop
async def test_an_edit_made_elsewhere_is_noticed_within_a_fifth_of_a_second() -> None:
    office = Office()
    office.put("w1", first=T0 + HOUR, most=1)
    await office.run()
    office.put("w1", first=T0 - MINUTE // 2, most=1)
    assert office.states() == [State.PENDING]
    await office.run()
    assert office.desk.begun == []
    office.clock.advance(SECOND // 5)
    await office.run()
    assert office.desk.told == [("w1", "registration_open", 1)]


@in_a_loop
async def test_a_clock_that_is_set_back_does_not_keep_the_node_from_looking() -> None:
    office = Office(born=False)
    await office.due("w1", most=1)
    await office.run()
    office.desk.say()
    await office.run()
    office.clock.set(T0 - HOUR)
    office.put("w2", first=T0 - HOUR + SECOND, most=1)
    await office.fire(5 * SECOND)
    await office.run()
    assert ("w2", FOUR[0], 1) in office.desk.now_open


# -- how much at once -----------------------------------------------------------------------------------


@in_a_loop
async def test_no_more_are_under_way_than_a_subscriber_allows() -> None:
    office = Office(listener(concurrency=3))
    await office.due(*(f"w{k}" for k in range(10)), most=1)
    done = 0
    while done < 10:
        await office.run()
        assert len(office.desk.open) == min(3, 10 - done)
        done += office.desk.say()
    assert office.desk.most == 3


@in_a_loop
async def test_no_more_are_held_than_can_soon_be_told_and_the_rest_is_claimed_later() -> None:
    office = Office(listener(concurrency=1))
    await office.due(*(f"w{k:03}" for k in range(HELD_FACTOR + 50)), most=1)
    assert len(office.step.lines) == HELD_FACTOR
    office.desk.answer = at_once()
    await office.run()
    assert office.all_delivered()


@in_a_loop
async def test_what_is_fresh_does_not_wait_behind_a_backlog() -> None:
    office = Office(listener(concurrency=8))
    await office.due(*(f"old{k}" for k in range(20)), most=1, late=True)
    await office.run()
    assert len(office.desk.open) == 4
    await office.due("new", most=1)
    await office.run()
    assert ("new", FOUR[0], 1) in office.desk.now_open


@in_a_loop
async def test_behind_a_backlog_that_fills_all_the_room_what_is_fresh_is_next_but_one() -> None:
    office = Office(listener(concurrency=1), born=False)
    await office.due(*(f"old{k:03}" for k in range(HELD_FACTOR + 10)), most=1, late=True)
    await office.run()
    await office.due("new", most=1)
    for _ in range(2):
        office.desk.say()
        await office.run()
    assert office.desk.now_open == [("new", FOUR[0], 1)]


@in_a_loop
async def test_a_backlog_is_told_at_its_pace_and_fresh_news_at_once() -> None:
    office = Office(rate=10)
    office.desk.answer = at_once()
    await office.due(*(f"old{k}" for k in range(5)), most=1, late=True)
    await office.run()
    assert len(office.desk.begun) == 1
    await office.due("new", most=1)  # five seconds have passed, and nothing is made up for
    await office.run()
    assert topics(office.desk, "new") == [FOUR[0]]
    assert len(office.desk.begun) == 3
    for count in (3, 4, 5, 6):
        assert len(office.desk.begun) == count
        wanted = await office.run()
        assert wanted is not None
        assert wanted <= office.clock.now() + SECOND // 10
        office.clock.advance(SECOND // 10)
        await office.run()
    assert office.all_delivered()


@in_a_loop
async def test_the_pace_is_shared_by_all_who_have_a_backlog() -> None:
    office = Office(listener("a"), listener("b"), rate=1)
    office.desk.answer = at_once()
    await office.due(*(f"old{k}" for k in range(6)), most=1, late=True)
    await office.run_for(6 * SECOND)
    names = [context.subscriber.name for context in office.desk.begun]
    assert sorted(names[:6]) == ["a", "a", "a", "b", "b", "b"]


# -- failures -------------------------------------------------------------------------------------------


@in_a_loop
async def test_a_failure_is_tried_again_by_the_schedule_until_it_is_dead_and_then_the_next_goes_on() -> None:
    retry = Retry((timedelta(seconds=5), timedelta(minutes=1)), 0.0)
    office = Office(listener(retry=retry))
    office.desk.answer = at_once([FAILED] * 3)
    await office.due("w1", most=2)
    await office.run()
    assert office.desk.told == [("w1", FOUR[0], 1)]
    await office.run_for(5 * SECOND - 1)
    assert len(office.desk.begun) == 1
    await office.run_for(1)
    assert office.desk.told[1:] == [("w1", FOUR[0], 2)]
    await office.run_for(MINUTE)
    assert office.desk.told[2:] == [("w1", FOUR[0], 3), ("w1", FOUR[1], 1)]
    assert office.states() == [State.DEAD, State.DELIVERED]
    assert office.deliveries()[0].reason == "it is down"
    assert office.outcomes(1) == [(1, "failed"), (2, "failed"), (3, "failed")]
    assert (office.step.totals.failed, office.step.totals.dead, office.step.totals.delivered) == (2, 1, 1)


@in_a_loop
async def test_the_id_of_a_delivery_is_the_same_over_all_attempts() -> None:
    office = Office()
    office.desk.answer = at_once([FAILED])
    await office.due("w1", most=1)
    await office.run()
    await office.run_for(5 * SECOND)
    assert len(office.desk.begun) == 2
    assert len({context.delivery_id for context in office.desk.begun}) == 1


@in_a_loop
async def test_while_one_waits_for_its_retry_those_behind_it_wait_and_other_events_go_on() -> None:
    office = Office()
    first = ("w1", FOUR[0], 1)
    office.desk.answer = lambda c: FAILED if (c.event_id, c.topic, c.attempt) == first else DELIVERED
    await office.due("w1", "w2", most=2)
    await office.run()
    assert topics(office.desk) == [FOUR[0]]
    assert topics(office.desk, "w2") == list(FOUR[:2])
    assert_lines_move(office.store)
    await office.run_for(5 * SECOND)
    assert topics(office.desk) == [FOUR[0], FOUR[0], FOUR[1]]
    assert office.all_delivered()


@in_a_loop
async def test_what_fires_while_its_line_waits_for_a_retry_waits_behind_it() -> None:
    office = Office()
    office.desk.answer = at_once([FAILED])
    office.put("w1", first=T0 + SECOND, apart=2 * SECOND, most=2)
    await office.fire(SECOND)
    await office.run()
    await office.fire(2 * SECOND)
    await office.run()
    assert topics(office.desk) == [FOUR[0]]
    await office.run_for(3 * SECOND)
    assert topics(office.desk) == [FOUR[0], FOUR[0], FOUR[1]]


@in_a_loop
async def test_a_rejection_is_dead_at_once() -> None:
    office = Office()
    office.desk.answer = at_once([Outcome(verdict=Verdict.REJECTED, said="404")])
    await office.due("w1", most=2)
    await office.run()
    assert office.states() == [State.DEAD, State.DELIVERED]


@in_a_loop
async def test_whoever_asks_to_be_left_alone_for_a_while_is() -> None:
    office = Office()
    office.desk.answer = at_once([replace(FAILED, retry_after=timedelta(minutes=10))])
    await office.due("w1", most=1)
    await office.run()
    await office.run_for(10 * MINUTE - SECOND, stride=MINUTE)
    assert len(office.desk.begun) == 1
    await office.run_for(SECOND)
    assert office.all_delivered()


@in_a_loop
async def test_no_wish_for_a_delay_stops_anybody() -> None:
    office = Office(listener("odd"), listener("sane"))
    odd = replace(FAILED, retry_after=timedelta.max, said="\ud800")
    office.desk.answer = lambda context: odd if context.subscriber.name == "odd" else DELIVERED
    await office.due("w1", most=2)
    await office.run()
    assert office.states("sane") == [State.DELIVERED] * 2
    assert office.states("odd") == [State.PENDING] * 2


@in_a_loop
async def test_no_wish_for_a_pause_stops_anybody() -> None:
    office = Office(listener("odd"), listener("sane"))
    odd = replace(FAILED, pause=timedelta.max)
    office.desk.answer = lambda context: odd if context.subscriber.name == "odd" else DELIVERED
    await office.due("w1", "w2", most=2)
    await office.run()
    assert office.states("sane") == [State.DELIVERED] * 4
    assert_lines_move(office.store)


@in_a_loop
async def test_an_attempt_that_takes_too_long_is_given_up_and_made_again() -> None:
    office = Office(listener(timeout=timedelta(seconds=3)))
    await office.due("w1", most=1)
    wanted = await office.run()
    assert wanted is not None
    assert wanted <= office.clock.now() + 3 * SECOND
    office.clock.advance(3 * SECOND)
    await office.run()
    assert [context.attempt for context in office.desk.cancelled] == [1]
    assert office.store.outbox.attempts([1])[1][0].said == "no answer within 3 s"
    await office.run_for(5 * SECOND)
    assert office.desk.told[-1] == ("w1", FOUR[0], 2)


@in_a_loop
async def test_an_answer_that_comes_after_the_timeout_changes_nothing() -> None:
    office = Office(listener(timeout=timedelta(seconds=3)))
    await office.due("w1", most=1)
    await office.run()
    (ticket,) = office.desk.open
    await office.run_for(8 * SECOND)
    assert office.desk.told[-1][2] == 2
    office.desk.end_of(ticket)
    await office.run()
    assert office.states() == [State.PENDING]
    assert office.outcomes(1) == [(1, "failed")]


# -- a subscriber as a whole ----------------------------------------------------------------------------


@in_a_loop
async def test_in_a_pause_all_is_given_back_and_then_one_is_tried_at_a_time() -> None:
    office = Office()
    await office.due(*(f"w{k}" for k in range(5)), most=1)
    office.step.look_soon()
    await office.run()
    await office.due("w9", most=1)
    office.desk.say(PAUSED)
    await office.run()
    assert len(office.step.lines) == 0
    await office.run_for(59 * SECOND)
    assert office.desk.open == {}
    await office.run_for(SECOND)
    assert len(office.desk.open) == 1
    await office.run_for(SECOND)
    assert len(office.desk.open) == 1
    office.desk.say()
    await office.run()
    assert len(office.desk.open) == 5
    office.desk.say()
    await office.run()
    assert office.all_delivered()


@in_a_loop
async def test_a_pause_of_one_delays_nobody_else() -> None:
    office = Office(listener("limited"), listener("free"))
    office.desk.answer = lambda context: PAUSED if context.subscriber.name == "limited" else DELIVERED
    await office.due("w1", "w2", most=2)
    await office.run()
    assert office.states("free") == [State.DELIVERED] * 4
    assert_lines_move(office.store)


@in_a_loop
async def test_what_fires_in_a_pause_is_told_after_it() -> None:
    office = Office()
    office.desk.answer = at_once([PAUSED])
    await office.due("w1", most=1)
    await office.run()
    await office.due("w2", most=1)
    await office.run()
    assert len(office.desk.begun) == 1
    await office.run_for(61 * SECOND)
    assert office.all_delivered()


@in_a_loop
async def test_who_wants_nothing_more_is_disabled_and_what_it_is_owed_parked() -> None:
    office = Office(listener("leaver", concurrency=2), listener("other"))
    gone = Outcome(verdict=Verdict.REJECTED, said="410", disable="410 Gone")
    await office.due("w1", "w2", "w3", most=2)
    await office.run()
    assert len([c for c in office.desk.open.values() if c.subscriber.name == "leaver"]) == 2
    office.desk.say(gone, event_id="w1", of="leaver")
    await office.run()
    found = office.store.outbox.subscriber("leaver")
    assert (found.standing, found.reason) == (Standing.DISABLED, "410 Gone")
    assert sorted(office.states("leaver")) == [State.DEAD, *[State.PARKED] * 5]
    # Its other attempt, which was under way, ends in whatever way: that changes nothing any more.
    office.desk.say(of="leaver")
    await office.run()
    assert sorted(office.states("leaver")) == [State.DEAD, *[State.PARKED] * 5]
    while office.desk.say(of="other"):
        await office.run()
    assert office.states("other") == [State.DELIVERED] * 6
    assert len(office.step.lines) == 0
    await office.due("w4", most=1)
    await office.run()
    assert "w4" not in [c.event_id for c in office.desk.begun if c.subscriber.name == "leaver"]


@in_a_loop
async def test_disabling_itself_undoes_nobodys_change_to_the_subscriber() -> None:
    office = Office(listener("webhook:crm", channel="webhook", settings={"secret": "old"}))
    await office.due("w1", most=1)
    await office.run()
    office.declare(listener("webhook:crm", channel="webhook", settings={"secret": "rotated"}))
    office.desk.say(Outcome(verdict=Verdict.REJECTED, disable="410 Gone"))
    await office.run()
    found = office.store.outbox.subscriber("webhook:crm")
    assert (found.standing, dict(found.settings)) == (Standing.DISABLED, {"secret": "rotated"})


@in_a_loop
async def test_disabling_is_tried_again_where_the_store_failed() -> None:
    office = Office()
    await office.due("w1", "w2", most=1)
    await office.run()
    real = office.store.outbox.change_subscriber
    office.store.outbox.change_subscriber = _refused  # type: ignore[assignment,method-assign]
    office.desk.say(Outcome(verdict=Verdict.REJECTED, disable="410 Gone"), event_id="w1")
    with pytest.raises(ZeroDivisionError):
        await office.run()
    office.store.outbox.change_subscriber = real  # type: ignore[method-assign]
    await office.run()
    assert office.store.outbox.subscriber("a:b").standing is Standing.DISABLED


@in_a_loop
async def test_who_is_disabled_by_a_person_is_told_nothing_more() -> None:
    office = Office(listener(concurrency=1))
    await office.due("w1", "w2", most=2)
    await office.run()
    assert office.desk.now_open == [("w1", FOUR[0], 1)]
    office.declare(replace(listener(), standing=Standing.DISABLED, reason="a person"))
    await office.run_for(SECOND)
    office.desk.say()
    await office.run_for(SECOND)
    assert len(office.desk.begun) == 1
    assert office.states() == [State.PARKED] * 4
    assert len(office.step.lines) == 0


@in_a_loop
async def test_who_is_enabled_again_is_told_what_comes_then() -> None:
    office = Office()
    office.desk.answer = at_once()
    office.declare(replace(listener(), standing=Standing.DISABLED, reason="a person"))
    await office.run_for(SECOND)
    await office.due("w1", most=1)
    office.declare(listener())
    await office.run_for(SECOND)
    await office.due("w2", most=1)
    await office.run()
    assert office.desk.told == [("w2", FOUR[0], 1)]


@in_a_loop
async def test_what_nobody_here_can_tell_is_left_to_others() -> None:
    office = Office(listener("here"), listener("elsewhere"))
    office.desk.unserved.add("elsewhere")
    office.desk.answer = at_once()
    await office.due("w1", most=1)
    await office.run()
    assert office.states("here") == [State.DELIVERED]
    assert office.states("elsewhere") == [State.PENDING]
    assert office.deliveries()[1].node is None or office.deliveries()[0].node is None


@in_a_loop
async def test_a_channel_that_is_not_known_here_is_left_to_others() -> None:
    office = Office(listener("a", channel="pigeon"), listener("b"))
    office.desk.answer = at_once()
    await office.due("w1", most=1)
    await office.run()
    assert office.states("a") == [State.PENDING]
    assert office.states("b") == [State.DELIVERED]


# -- judged again ---------------------------------------------------------------------------------------


@in_a_loop
async def test_what_has_waited_and_was_cancelled_meanwhile_is_withdrawn() -> None:
    office = Office(listener(concurrency=1))
    await office.due("w1", "w2", most=1)
    await office.run()
    office.stage.agenda.set_hold("w2", Hold.CANCELLED)
    office.clock.advance(SECOND + 1)
    office.desk.say()
    await office.run()
    assert office.desk.told == [("w1", FOUR[0], 1)]
    assert office.states() == [State.DELIVERED, State.WITHDRAWN]
    assert office.deliveries()[1].reason == "the event is cancelled"
    assert office.settled[-1].state is State.WITHDRAWN
    assert office.settled[-1].attempt == 0


@in_a_loop
async def test_what_is_withdrawn_lets_the_next_go_on() -> None:
    office = Office(listener("a:b", "*", "cancelled", concurrency=1))
    await office.due("w1", "w2", most=2)
    await office.run()
    office.stage.agenda.set_hold("w2", Hold.CANCELLED)
    office.clock.advance(2 * SECOND)
    office.desk.answer = at_once()
    office.desk.say()
    await office.run()
    assert topics(office.desk, "w2") == ["cancelled"]
    assert topics(office.desk, "w1") == list(FOUR[:2])


@in_a_loop
async def test_what_fails_and_is_cancelled_meanwhile_is_not_tried_again() -> None:
    office = Office()
    office.desk.answer = at_once([FAILED])
    await office.due("w1", most=1)
    await office.run()
    office.stage.agenda.set_hold("w1", Hold.CANCELLED)
    await office.run_for(6 * SECOND)
    assert len(office.desk.begun) == 1
    assert office.states() == [State.WITHDRAWN]


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (Policy.ALL, [FOUR[0], FOUR[0], FOUR[1]]),
        (Policy.CURRENT, [FOUR[0], FOUR[1]]),
        (Policy.LATEST, [FOUR[0], FOUR[1]]),
    ],
)
@in_a_loop
async def test_after_a_long_pause_nothing_is_said_that_no_longer_holds(policy: Policy, told: list[str]) -> None:
    retry = Retry((timedelta(hours=2),), 0.0)
    office = Office(listener(catch_up=CatchUp(policy), retry=retry))
    office.desk.answer = at_once([FAILED])
    office.put("w1", first=T0 + SECOND, apart=HOUR, most=2)
    await office.fire(SECOND)
    await office.run()
    await office.fire(HOUR)
    await office.run()
    await office.run_for(HOUR, stride=MINUTE)
    assert topics(office.desk) == told
    assert office.states()[1] is State.DELIVERED
    assert office.states()[0] is (State.DELIVERED if policy is Policy.ALL else State.MISSED)


@in_a_loop
async def test_a_first_attempt_that_comes_too_late_is_not_made() -> None:
    office = Office(listener(catch_up=CatchUp(window=timedelta(hours=1))), born=False)
    await office.due("w1", most=1)
    office.clock.advance(HOUR)
    await office.run()
    assert office.states() == [State.MISSED]


@in_a_loop
async def test_what_was_begun_in_time_is_gone_on_with_beyond_the_window() -> None:
    retry = Retry((timedelta(hours=20), timedelta(hours=20)), 0.0)
    office = Office(listener(catch_up=CatchUp(window=timedelta(hours=1)), retry=retry))
    office.desk.answer = at_once([FAILED, FAILED])
    await office.due("w1", most=1)
    await office.run()
    await office.run_for(41 * HOUR, stride=10 * MINUTE)
    assert office.states() == [State.DELIVERED]
    assert [context.attempt for context in office.desk.begun] == [1, 2, 3]


@in_a_loop
async def test_a_retry_that_the_node_slept_through_is_missed_by_the_window() -> None:
    retry = Retry((timedelta(hours=2),), 0.0)
    office = Office(listener(catch_up=CatchUp(window=timedelta(hours=1)), retry=retry))
    office.desk.answer = at_once([FAILED])
    await office.due("w1", most=1)
    await office.run()
    office.clock.advance(4 * HOUR)
    await office.run()
    assert office.states() == [State.MISSED]


@in_a_loop
async def test_a_policy_that_parks_keeps_it_for_a_person() -> None:
    office = Office(listener(catch_up=CatchUp(Policy.PARK)), born=False)
    await office.due("w1", most=1)
    office.clock.advance(HOUR)
    await office.run()
    assert office.states() == [State.PARKED]


@in_a_loop
async def test_a_replay_is_made_whatever_policy_says() -> None:
    office = Office(listener(catch_up=CatchUp(Policy.NONE, window=timedelta(0))))
    await office.due("w1", most=1, late=True)
    assert office.states() == [State.MISSED]
    office.clock.advance(30 * DAY)
    office.store.outbox.replay([1], office.clock.now())
    office.desk.answer = at_once([FAILED])
    await office.run()
    await office.run_for(6 * SECOND)
    assert office.states() == [State.MISSED, State.DELIVERED]


@in_a_loop
async def test_a_milestone_fired_by_hand_is_told_though_its_event_was_looked_at_before() -> None:
    office = Office(listener(retry=Retry((timedelta(seconds=5),), 0.0)), born=False)
    office.desk.answer = at_once([FAILED])
    contest = event("c1", lifecycle=CONTEST, contest_start=T0 + SECOND, contest_end=T0 + HOUR)
    office.stage.put(contest)
    await office.fire(SECOND)
    await office.run()
    await office.run_for(6 * SECOND)  # the retry is judged, and its event remembered
    told = list(office.desk.told)
    assert told
    office.stage.agenda.fire("c1", "results_final")
    office.clock.advance(10 * SECOND)
    await office.run()
    assert office.desk.told[len(told) :] == [("c1", "results_final", 1)]
    assert State.WITHDRAWN not in office.states()


# -- news -----------------------------------------------------------------------------------------------


@in_a_loop
async def test_a_dead_delivery_is_news_of_its_own() -> None:
    office = Office(listener(retry=NEVER_AGAIN), listener("nurse", DEAD))
    office.desk.answer = lambda context: DELIVERED if context.topic == DEAD else FAILED
    await office.due("w1", most=1)
    await office.run()
    (told,) = [context for context in office.desk.begun if context.subscriber.name == "nurse"]
    assert told.dead is not None
    assert (told.dead.subscriber, told.dead.state, told.dead.reason) == ("a:b", State.DEAD, "it is down")
    assert (told.topic, told.event_id, told.event.id) == (DEAD, "w1", "w1")
    assert (told.transition, told.outage, told.milestone, told.caught_up) == (None, None, None, False)
    assert office.states("nurse") == [State.DELIVERED]


@in_a_loop
async def test_an_outage_is_news_of_its_own_and_so_is_that_nobody_could_be_told_of_it() -> None:
    office = Office(listener("watch", OUTAGE, retry=NEVER_AGAIN), listener("nurse", DEAD))
    office.desk.answer = lambda context: DELIVERED if context.topic == DEAD else FAILED
    outage_id = office.store.begin_outage(T0 - HOUR, T0, "n1").id
    office.store.finish_outage(outage_id, T0, failed=0, window_us=DAY)
    await office.run()
    outage, dead = office.desk.begun
    assert outage.outage is not None
    assert outage.outage.id == 1
    assert (outage.event_id, outage.transition) == ("", None)
    with pytest.raises(LookupError):
        _ = outage.event
    # The number of the dead delivery is that of the outage: they are not taken for each other.
    assert dead.dead is not None
    assert (dead.dead.number, dead.outage) == (1, None)


# -- what is told ---------------------------------------------------------------------------------------


@in_a_loop
async def test_a_context_says_what_happened() -> None:
    office = Office()
    await office.due("w1", most=1)
    await office.run()
    (context,) = office.desk.begun
    assert context.delivery_id == office.store.outbox.delivery_id(1)
    assert (context.topic, context.milestone, str(context.status)) == (FOUR[0], FOUR[0], str(context.event.status))
    assert context.lateness == timedelta(seconds=4)
    assert context.event.id == "w1"


@in_a_loop
async def test_listeners_hear_what_came_of_each_and_one_that_raises_harms_nobody() -> None:
    office = Office()
    heard: list[State] = []
    office.step.listeners.insert(0, _refused)
    office.step.listeners.append(lambda told: heard.extend(each.state for each in told))
    office.desk.answer = at_once([FAILED])
    await office.due("w1", most=2)
    await office.run()
    await office.run_for(6 * SECOND)
    assert office.all_delivered()
    assert heard == [State.PENDING, State.DELIVERED, State.DELIVERED]


@in_a_loop
async def test_listeners_do_not_hear_of_what_was_merely_given_back() -> None:
    office = Office(listener(concurrency=1))
    office.desk.answer = at_once([PAUSED])
    calls: list[int] = []
    office.step.listeners.append(lambda told: calls.append(len(told)))
    await office.due("w1", "w2", "w3", most=2)
    await office.run()
    assert [(told.event_id, told.attempt) for told in office.settled] == [("w1", 1)]
    assert calls == [1]


# -- when it wants to be called -------------------------------------------------------------------------


@in_a_loop
async def test_whoever_has_nothing_to_do_looks_again_in_a_fifth_of_a_second() -> None:
    office = Office()
    assert await office.run() == office.clock.now() + SECOND // 5


@in_a_loop
async def test_a_standby_delivers_nothing() -> None:
    office = Office(born=False)
    office.step.delivers = lambda: False
    await office.due("w1", most=1)
    assert await office.run() is None
    assert office.step.terms() is None
    assert office.desk.begun == []


@in_a_loop
async def test_who_becomes_the_owner_looks_at_once_what_is_owed() -> None:
    office = Office()
    woken: list[bool] = []
    is_owner = False
    office.step.delivers = lambda: is_owner
    office.step.wake = lambda: woken.append(is_owner)
    await office.run()
    await office.fire()
    assert woken == []
    is_owner = True
    await office.fire()
    assert woken == [True]
    await office.run()
    await office.fire()
    assert woken == [True]


@in_a_loop
async def test_an_event_that_makes_no_sense_delays_no_other() -> None:
    office = Office(born=False)
    office.desk.answer = at_once()
    await office.due("w1", "w2", most=1)
    falsify(office.store, "UPDATE event SET dates = '{' WHERE id = 'w1'")
    await office.run()
    by_event = {d.event_id: d for d in office.deliveries()}
    assert by_event["w2"].state is State.DELIVERED
    assert by_event["w1"].state is State.PARKED
    assert "w1" in (by_event["w1"].reason or "")


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE history SET hash = 'x' WHERE event_id = 'w1' AND kind = 'fired'",
        "UPDATE history SET at = 'noon' WHERE event_id = 'w1' AND kind = 'fired'",
        "UPDATE history SET due_at = 'noon' WHERE event_id = 'w1' AND kind = 'fired'",
        "DELETE FROM history WHERE event_id = 'w1' AND kind = 'fired'",
        "DELETE FROM event WHERE id = 'w1'",
        "UPDATE event SET marks = '[1]' WHERE id = 'w1'",
    ],
)
@in_a_loop
async def test_history_that_makes_no_sense_delays_no_other(wrong: str) -> None:
    office = Office(born=False)
    office.desk.answer = at_once()
    await office.due("w1", "w2", most=1)
    falsify(office.store, "DROP TRIGGER IF EXISTS history_is_append_only")
    falsify(office.store, wrong)
    await office.run()
    by_event = {d.event_id: d for d in office.deliveries()}
    assert by_event["w2"].state is State.DELIVERED
    assert by_event["w1"].state is not State.PENDING
