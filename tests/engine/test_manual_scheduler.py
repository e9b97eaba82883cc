"""The schedulers for tests: time goes where it is moved to, and everything on the way is done at its very instant."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from duly import Context, Reject, Retry, RetryLater, Scheduler, State, Wanted
from duly.errors import InvalidInput, WrongState
from duly.testing import AsyncManualScheduler, ManualScheduler, MemoryStore, Receiver, WalkingClock
from duly.testing.replies import status
from tests.builders import DAY, HOUR, MINUTE, T0, event
from tests.engine.stage import FailingStore, in_a_loop

Make = Callable[..., ManualScheduler]
AT_NINE, AT_TEN, AT_NOON = (T0 + hours * HOUR for hours in (1, 2, 4))
WORKSHOP = event("w1", registration_open=AT_NINE, event_start=AT_TEN, event_end=AT_NOON)


def minutes_of(told: Any) -> list[tuple[str, str, int, int]]:
    """Return (event, topic, attempt, minutes after T0) of all that a recorder has heard."""
    begin = datetime(2026, 5, 1, 8, tzinfo=UTC)
    return [(h.event_id, h.topic, h.attempt, (h.at - begin) // timedelta(minutes=1)) for h in told.heard]


# -- time ----------------------------------------------------------------------------------------------------


def test_the_clock_begins_at_eight_on_the_first_of_may(duly_clock: WalkingClock) -> None:
    assert duly_clock.now_at == datetime(2026, 5, 1, 8, tzinfo=UTC)
    assert duly_clock.now() == T0


def test_time_that_is_let_pass_stops_at_every_alarm_and_every_further_attempt_in_their_order(
    duly_scheduler: ManualScheduler, duly_clock: WalkingClock
) -> None:
    told = duly_scheduler.record(retry=Retry((timedelta(minutes=30), timedelta(hours=2)), jitter=0))
    told.fail(2, event_id="w1")
    duly_scheduler.put([WORKSHOP, event("w2", event_start=AT_NINE + 45 * MINUTE, event_end=AT_NOON)])
    duly_clock.advance("1 day")
    assert minutes_of(told) == [
        ("w1", "registration_open", 1, 60),
        ("w1", "registration_open", 2, 90),
        ("w2", "event_start", 1, 105),
        ("w1", "registration_open", 3, 210),
        ("w1", "event_start", 1, 210),  # it had waited behind the one before it
        ("w1", "event_end", 1, 240),
        ("w2", "event_end", 1, 240),
    ]
    assert duly_clock.now() == T0 + DAY
    fired = [entry for entry in duly_scheduler.history("w1") if entry.is_transition]
    assert [(entry.at_us, entry.cause) for entry in fired] == [
        (AT_NINE, "scheduled"),
        (AT_TEN, "scheduled"),
        (AT_NOON, "scheduled"),
    ]
    assert duly_scheduler.outages() == [], "a long walk is no outage"


def test_one_walk_and_many_short_ones_tell_the_same(duly_make_scheduler: Make, duly_clock: WalkingClock) -> None:
    schedulers = [duly_make_scheduler(), ManualScheduler(WalkingClock())]
    records = []
    for scheduler in schedulers:
        told = scheduler.record(retry=Retry((timedelta(minutes=7),) * 3, jitter=0))
        told.fail(3)
        scheduler.put(WORKSHOP)
        records.append(told)
    schedulers[0].advance("5 h")
    for _ in range(300):
        schedulers[1].advance("1 min")
    assert minutes_of(records[0]) == minutes_of(records[1])
    schedulers[1].close()


@pytest.mark.parametrize("span", ["2 hours", timedelta(hours=2), 2 * HOUR, "1 h 60 min"])
def test_a_span_is_a_text_a_timedelta_or_microseconds(duly_clock: WalkingClock, span: Any) -> None:
    duly_clock.advance(span)
    assert duly_clock.now() == T0 + 2 * HOUR


@pytest.mark.parametrize("instant", ["2026-05-01T12:00:00+02:00", datetime(2026, 5, 1, 10, tzinfo=UTC), AT_TEN])
def test_time_can_be_let_pass_until_an_instant(duly_scheduler: ManualScheduler, instant: Any) -> None:
    told = duly_scheduler.record()
    duly_scheduler.put(WORKSHOP)
    duly_scheduler.advance_to(instant)
    assert told.told == [("w1", "registration_open"), ("w1", "event_start")]
    assert duly_scheduler.clock.now() == AT_TEN


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (lambda clock: clock.advance("soon"), "the span 'soon' is no duration"),
        (lambda clock: clock.advance(timedelta(seconds=-1)), "time does not run backwards"),
        (lambda clock: clock.advance_to("2026-05-01T07:59Z"), "2026-05-01T07:59Z has passed"),
        (lambda clock: clock.advance_to("2026-05-01 10:00"), "is no instant; write 2026-05-01T10:00Z"),
        (lambda clock: clock.advance_to("tomorrow"), "'tomorrow' is no instant"),
    ],
)
def test_a_move_that_means_nothing_is_refused(
    duly_clock: WalkingClock, move: Callable[[WalkingClock], None], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        move(duly_clock)
    assert duly_clock.now() == T0


def test_a_leap_is_a_host_that_was_suspended(duly_scheduler: ManualScheduler, duly_clock: WalkingClock) -> None:
    told = duly_scheduler.record()
    duly_scheduler.put(WORKSHOP)
    duly_scheduler.advance("5 min")
    duly_clock.leap("2 hours")
    duly_scheduler.settle()
    assert [(h.topic, h.caught_up, h.lateness) for h in told.heard] == [
        ("registration_open", True, timedelta(minutes=65)),
        ("event_start", True, timedelta(minutes=5)),
    ]
    assert [outage.length for outage in duly_scheduler.outages()] == [timedelta(hours=2)]


def test_two_schedulers_on_one_clock_are_both_taken_along(
    duly_make_scheduler: Make, duly_clock: WalkingClock
) -> None:
    one, two = duly_make_scheduler(), duly_make_scheduler()
    records = [one.record(), two.record()]
    one.put(WORKSHOP)
    two.put(event("w2", event_start=AT_NINE + MINUTE, event_end=AT_NOON))
    duly_clock.advance_to(AT_TEN)
    assert [minutes_of(told) for told in records] == [
        [("w1", "registration_open", 1, 60), ("w1", "event_start", 1, 120)],
        [("w2", "event_start", 1, 61)],
    ]


def test_what_waits_for_its_pace_is_told_at_its_pace(duly_make_scheduler: Make) -> None:
    scheduler = duly_make_scheduler(recovery_rate=1 / 60)
    told = scheduler.record("event_start")
    scheduler.put([event(f"w{n}", event_start=AT_NINE + n, event_end=AT_NOON) for n in range(4)])
    scheduler.down("2 h")
    scheduler.advance("1 h")
    assert [minute for *_, minute in minutes_of(told)] == [120, 121, 122, 123]


# -- down ----------------------------------------------------------------------------------------------------


def test_what_falls_due_while_it_is_down_is_caught_up_at_the_next_start(duly_scheduler: ManualScheduler) -> None:
    told = duly_scheduler.record()
    duly_scheduler.put(WORKSHOP)
    report = duly_scheduler.down("3 hours")
    duly_scheduler.settle()
    assert (report.detected, report.successful, report.failed) == (2, 2, 0)
    assert report.outage is not None
    assert report.outage.length == timedelta(hours=3)
    assert [(h.topic, h.caught_up, h.lateness) for h in told.heard] == [
        ("registration_open", True, timedelta(hours=2)),
        ("event_start", True, timedelta(hours=1)),
    ]


def test_a_stopped_scheduler_stays_stopped_however_much_time_passes(duly_scheduler: ManualScheduler) -> None:
    told = duly_scheduler.record()
    duly_scheduler.put(WORKSHOP)
    duly_scheduler.settle()
    duly_scheduler.stop()
    duly_scheduler.advance("1 day")
    duly_scheduler.settle()
    assert (told.heard, duly_scheduler.is_running) == ([], False)
    assert duly_scheduler.start().detected == 3
    assert duly_scheduler.report is not None


def test_another_scheduler_can_be_started_on_the_same_store(duly_make_scheduler: Make) -> None:
    store = MemoryStore()
    first = duly_make_scheduler(store=store)
    first.put(WORKSHOP)
    first.settle()
    first.stop()
    second = duly_make_scheduler(store=store)
    told = second.record()
    second.advance("1 day")
    assert [topic for _, topic in told.told] == ["registration_open", "event_start", "event_end"]


# -- handlers ------------------------------------------------------------------------------------------------


def test_handlers_in_threads_have_done_their_work_before_time_goes_on(duly_scheduler: ManualScheduler) -> None:
    seen: list[tuple[str, int, str]] = []

    @duly_scheduler.on("*", name="threaded")
    def threaded(context: Context) -> None:
        seen.append((context.topic, duly_scheduler.clock.now(), threading.current_thread().name))

    duly_scheduler.put(WORKSHOP)
    duly_scheduler.advance("1 day")
    assert seen == [
        ("registration_open", AT_NINE, "duly-handler"),
        ("event_start", AT_TEN, "duly-handler"),
        ("event_end", AT_NOON, "duly-handler"),
    ]


def test_what_a_handler_puts_is_fired_on_the_way_too(duly_make_scheduler: Make) -> None:
    scheduler = duly_make_scheduler()
    told = scheduler.record(name="told")

    @scheduler.on("registration_open", name="follow_up")
    async def follow_up(_: Context) -> None:
        await scheduler._scheduler.put(event("dinner", event_start=AT_NINE + MINUTE, event_end=AT_TEN))

    scheduler.put(WORKSHOP)
    scheduler.advance_to(AT_TEN - 1)
    assert told.told == [("w1", "registration_open"), ("dinner", "event_start")]


def test_a_handler_that_never_returns_is_given_up_at_its_timeout_on_the_way(duly_make_scheduler: Make) -> None:
    scheduler = duly_make_scheduler(patience=0.1)
    attempts = []

    @scheduler.on("event_start", name="hangs", timeout=timedelta(minutes=2), retry=Retry((timedelta(minutes=5),)))
    async def hangs(context: Context) -> None:
        attempts.append(context.attempt)
        await asyncio.Event().wait()

    scheduler.put(WORKSHOP)
    scheduler.advance("1 day")
    assert attempts == [1, 2]
    [delivery] = scheduler.deliveries(Wanted(subscriber="hangs"))
    assert (delivery.state, delivery.reason) == (State.DEAD, "no answer within 120 s")


def test_a_scheduler_that_is_closed_under_a_hanging_handler_waits_no_longer_than_its_patience(
    duly_make_scheduler: Make,
) -> None:
    scheduler = duly_make_scheduler(patience=0.1)

    @scheduler.on("event_start", name="hangs")
    async def hangs(_: Context) -> None:
        await asyncio.Event().wait()

    scheduler.put(WORKSHOP)
    scheduler.advance_to(AT_TEN)  # the fixture closes it; a test that hangs is ended by its own limit


def test_a_scheduler_that_cannot_come_to_rest_says_why(duly_make_scheduler: Make) -> None:
    store = FailingStore(next_due_us=[OSError("the disk is on fire")] * 1000)
    scheduler = duly_make_scheduler(store=store, patience=0.2)
    with pytest.raises(
        TimeoutError, match=r"did not come to rest within 0\.2 s: firing: OSError: the disk is on fire"
    ):
        scheduler.settle()


def test_the_handlers_of_an_application_are_taken_over_under_their_names(duly_scheduler: ManualScheduler) -> None:
    application = Scheduler("sqlite:///never-opened.db")
    seen = []

    @application.on("registration_*", name="app:announce", catch_up="current")
    async def announce(context: Context) -> None:
        seen.append(context.topic)

    duly_scheduler.take_handlers(application)
    duly_scheduler.put(WORKSHOP)
    duly_scheduler.advance("1 day")
    assert seen == ["registration_open"]
    assert [delivery.subscriber for delivery in duly_scheduler.deliveries()] == ["app:announce"]
    with pytest.raises(WrongState, match="take handlers before that"):
        duly_scheduler.take_handlers(application)


# -- the recorder --------------------------------------------------------------------------------------------


def test_a_recorder_writes_down_all_that_a_handler_is_told(duly_scheduler: ManualScheduler) -> None:
    told = duly_scheduler.record("registration_open", "cancelled")
    duly_scheduler.put(WORKSHOP)
    duly_scheduler.advance("1 h")
    [heard] = told.heard
    nine = datetime(2026, 5, 1, 9, tzinfo=UTC)
    assert (heard.event_id, heard.topic, heard.attempt, heard.failed) == ("w1", "registration_open", 1, False)
    assert (heard.due_at, heard.at, heard.lateness, heard.caught_up) == (nine, nine, timedelta(0), False)
    assert heard.status == "upcoming/registration_open"
    assert heard.transition == duly_scheduler.history("w1")[-1]
    assert heard.delivery_id == duly_scheduler.deliveries()[0].id
    assert repr(told) == "<Recorder: [('w1', 'registration_open')]>"
    told.forget()
    assert told.heard == []


def test_a_recorder_fails_as_often_as_it_is_asked_to_and_for_whom(duly_scheduler: ManualScheduler) -> None:
    told = duly_scheduler.record("event_start", retry=Retry((timedelta(minutes=1),) * 5, jitter=0))
    told.fail(2, event_id="w1")
    duly_scheduler.put([WORKSHOP, event("w2", event_start=AT_TEN, event_end=AT_NOON)])
    duly_scheduler.advance("1 day")
    assert [(h.attempt, h.failed) for h in told.of("w1")] == [(1, True), (2, True), (3, False)]
    assert [(h.attempt, h.failed) for h in told.of("w2")] == [(1, False)]
    assert len({h.delivery_id for h in told.of("w1")}) == 1


def test_a_recorder_fails_until_it_recovers(duly_scheduler: ManualScheduler) -> None:
    told = duly_scheduler.record("event_start", retry=Retry((timedelta(minutes=1),) * 500, jitter=0))
    told.fail(None)
    duly_scheduler.put(WORKSHOP)
    duly_scheduler.advance_to(AT_TEN + 10 * MINUTE)
    assert (len(told.heard), told.taken) == (11, [])
    told.recover()
    duly_scheduler.advance("1 h")
    assert (len(told.heard), len(told.taken)) == (12, 1)


def test_a_recorder_can_answer_what_a_handler_can(duly_scheduler: ManualScheduler) -> None:
    told = duly_scheduler.record(retry=Retry((timedelta(minutes=1),) * 5, jitter=0))
    told.fail(error=RetryLater(after=timedelta(minutes=40)))
    duly_scheduler.put(WORKSHOP)
    duly_scheduler.advance_to(AT_TEN - 1)
    assert [minute for *_, minute in minutes_of(told)] == [60, 100]
    told.fail(error=Reject("nobody by that name"))
    duly_scheduler.advance("1 day")
    states = {delivery.topic: delivery.state for delivery in duly_scheduler.deliveries()}
    assert states == {
        "registration_open": State.DELIVERED,
        "event_start": State.DEAD,
        "event_end": State.DELIVERED,
    }
    with pytest.raises(InvalidInput, match="cannot fail -1 times"):
        told.fail(-1)


def test_recorders_have_names_of_their_own(duly_scheduler: ManualScheduler) -> None:
    duly_scheduler.record()
    duly_scheduler.record("cancelled")
    duly_scheduler.record("outage", name="alarms")
    assert [handler.subscriber.name for handler in duly_scheduler.handlers] == ["recorder", "recorder 2", "alarms"]


# -- webhooks ------------------------------------------------------------------------------------------------


def test_a_webhook_is_told_and_tried_again_by_the_clock_of_the_test(
    duly_scheduler: ManualScheduler, duly_receiver: Receiver
) -> None:
    given = duly_scheduler.add_webhook(duly_receiver, "event_start")
    duly_receiver.answer(status(500))
    duly_scheduler.put(WORKSHOP)
    duly_scheduler.advance_to(AT_TEN)
    assert [request.type for request in duly_receiver.received] == ["event_start"]
    duly_scheduler.advance("1 min")
    first, second = duly_receiver.received
    assert (first.id, [r.json["data"]["attempt"] for r in (first, second)]) == (second.id, [1, 2])
    assert second.is_signed_by(given.secret)


# -- asynchronous --------------------------------------------------------------------------------------------


def test_an_asynchronous_test_has_the_same_with_await(
    duly_async_scheduler: AsyncManualScheduler, duly_clock: WalkingClock, duly_receiver: Receiver
) -> None:
    @in_a_loop
    async def journey() -> None:
        told = duly_async_scheduler.record(retry=Retry((timedelta(minutes=30),), jitter=0))
        told.fail()
        seen = []

        @duly_async_scheduler.on("event_start", name="here")
        async def here(context: Context) -> None:
            seen.append((context.topic, asyncio.get_running_loop() is home))

        home = asyncio.get_running_loop()
        async with duly_async_scheduler as scheduler:
            await scheduler.add_webhook(duly_receiver, "event_*")
            await scheduler.put(WORKSHOP)
            await scheduler.advance("90 min")
            assert minutes_of(told) == [("w1", "registration_open", 1, 60), ("w1", "registration_open", 2, 90)]
            with pytest.raises(WrongState, match=r"move it with await scheduler\.advance"):
                duly_clock.advance("1 h")
            await scheduler.advance_to(AT_TEN)
            assert seen == [("event_start", True)]
            report = await scheduler.down("1 day")
            await scheduler.settle()
            assert (report.detected, told.told[-1]) == (1, ("w1", "event_end"))
            assert [request.type for request in duly_receiver.received] == ["event_start", "event_end"]
        duly_clock.advance("1 h")  # it is stopped
        await duly_async_scheduler.settle()

    journey()


def test_an_asynchronous_scheduler_that_nobody_stopped_is_ended_with_its_event_loop(duly_clock: WalkingClock) -> None:
    scheduler = AsyncManualScheduler(duly_clock)

    async def forgetful() -> None:
        await scheduler.put(WORKSHOP)
        await scheduler.advance("1 day")

    asyncio.run(forgetful())
    scheduler.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("duly-")] == []
