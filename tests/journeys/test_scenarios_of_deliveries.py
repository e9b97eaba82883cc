"""The scenarios of SCENARIOS.md in which somebody is told, by their numbers, with their exact results."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from duly import Context, Retry, State, Wanted
from duly.deliveries import Deliveries
from duly.testing import ManualScheduler, MemoryStore, Receiver, Recorder, WalkingClock
from tests.builders import DAY, HOUR, MINUTE, SECOND, at, event
from tests.engine.stage import assert_store_sound, falsify

Make = Callable[..., ManualScheduler]
OPEN, CLOSED = "upcoming/registration_open", "upcoming/registration_closed"
STARTED, ENDED = "ongoing/event_started", "completed/event_ended"
AT_NOON = at("2026-05-01 12:00")


@pytest.fixture
def duly_now() -> str:
    return "2026-05-01T09:00:00Z"


def became_of(scheduler: ManualScheduler, **wanted: Any) -> list[tuple[str, str, State, str | None]]:
    """Return (event, topic, state, reason) of deliveries, oldest first."""
    found = scheduler.deliveries(Wanted(**wanted), most=100_000)
    return [(each.event_id, each.topic, each.state, each.reason) for each in reversed(found)]


def topics(told: Recorder) -> list[str]:
    return [topic for _, topic in told.told]


# -- 1, 2, 30: what falls due while nothing runs ----------------------------------------------------------------


def test_scenario_01_what_no_longer_holds_after_an_outage_is_not_said_and_what_does_is_said_once(
    duly_scheduler: ManualScheduler,
) -> None:
    log = duly_scheduler.record(name="log")
    starting_soon = duly_scheduler.record("event_start", name="starting_soon", catch_up="current")
    thank_you = duly_scheduler.record("event_end", name="thank_you", catch_up="current")
    duly_scheduler.put(
        event(
            "w1",
            registration_open=at("2026-04-01 10:00"),
            registration_close=at("2026-05-01 10:00"),
            event_start=at("2026-05-01 11:00"),
            event_end=at("2026-05-01 12:00"),
        )
    )
    duly_scheduler.advance_to("2026-05-01T09:59Z")
    assert log.heard == []
    report = duly_scheduler.down("2 h 31 min")
    assert duly_scheduler.clock.now() == at("2026-05-01 12:30")
    assert [(entry.milestone, entry.from_status, entry.to_status) for entry in report.transitions] == [
        ("registration_close", OPEN, CLOSED),
        ("event_start", CLOSED, STARTED),
        ("event_end", STARTED, ENDED),
    ]
    assert [entry.due_us for entry in report.transitions] == [at(f"2026-05-01 {hour}:00") for hour in (10, 11, 12)]
    duly_scheduler.settle()
    assert [(heard.topic, heard.lateness, heard.caught_up, heard.status) for heard in log.heard] == [
        ("registration_close", timedelta(minutes=150), True, CLOSED),
        ("event_start", timedelta(minutes=90), True, STARTED),
        ("event_end", timedelta(minutes=30), True, ENDED),
    ]
    assert starting_soon.heard == []
    assert became_of(duly_scheduler, subscriber="starting_soon") == [
        ("w1", "event_start", State.MISSED, "missed, and it no longer holds")
    ]
    assert topics(thank_you) == ["event_end"]
    duly_scheduler.down("1 min")
    duly_scheduler.advance("2 days")
    assert (len(log.heard), len(starting_soon.heard), len(thank_you.heard)) == (3, 0, 1), "and never again"
    assert duly_scheduler.get("w1").announced == ENDED


def test_scenario_02_after_ten_days_nothing_older_than_the_window_is_sent_and_all_of_it_can_be_replayed(
    duly_scheduler: ManualScheduler,
) -> None:
    told = duly_scheduler.record()
    began = duly_scheduler.clock.now() + MINUTE
    duly_scheduler.put(
        event(
            f"w{n:03}",
            registration_open=began + n * HOUR,
            event_start=began + 3 * DAY + n * HOUR,
            event_end=began + 8 * DAY + n * HOUR,
        )
        for n in range(1, 100)
    )
    report = duly_scheduler.down("10 days")
    store, now = duly_scheduler.store, duly_scheduler.clock.now()
    assert_store_sound(store, now)  # type: ignore[arg-type]  # a SQLite one
    day_old = now - DAY
    old = [(e.event_id, e.milestone) for e in report.transitions if (e.due_us or 0) < day_old]
    fresh = [(e.event_id, e.milestone) for e in report.transitions if (e.due_us or 0) >= day_old]
    assert len(old) + len(fresh) == report.detected == report.successful
    assert (len(old), len(fresh)) == (report.outside_window, 24)
    duly_scheduler.settle()
    assert told.told == fresh
    missed = became_of(duly_scheduler, states=(State.MISSED,))
    assert [(event_id, topic) for event_id, topic, *_ in missed] == old
    assert {reason for *_, reason in missed} == {"older than the catch-up window of 1 day, 0:00:00"}
    assert duly_scheduler.status().deliveries.trouble == {"missed": len(old)}
    duly_scheduler.advance("1 hour")
    told.forget()
    listed = duly_scheduler.deliveries(Wanted(states=(State.MISSED,)), most=100_000)
    remade = duly_scheduler.replay(*(each.id for each in listed))
    duly_scheduler.settle()
    assert (len(remade.made), remade.refused) == (len(old), {})
    assert sorted(told.told) == sorted((event_id, str(topic)) for event_id, topic in old)
    assert duly_scheduler.status().deliveries.trouble == {}


def test_scenario_30_each_kind_of_trigger_is_told_on_start_up_chronologically(
    duly_scheduler: ManualScheduler,
) -> None:
    told = duly_scheduler.record()
    long_ago, far = at("2026-04-01 00:00"), at("2026-06-01 00:00")
    open_, close, start, end, certificates = (at(f"2026-05-01 {hour}:30") for hour in (10, 11, 12, 13, 14))
    duly_scheduler.put(
        [
            event("certifies", event_start=long_ago, event_end=long_ago + DAY, certificate_start=certificates),
            event("ends", event_start=long_ago, event_end=end),
            event("starts", event_start=start, event_end=far),
            event("closes", registration_open=long_ago, registration_close=close, event_start=far, event_end=far),
            event("opens", registration_open=open_, event_start=far, event_end=far + HOUR),
        ]
    )
    assert duly_scheduler.down("1 day").successful == 5
    duly_scheduler.settle()
    assert [(h.event_id, h.topic, h.status, h.caught_up) for h in told.heard] == [
        ("opens", "registration_open", OPEN, True),
        ("closes", "registration_close", CLOSED, True),
        ("starts", "event_start", STARTED, True),
        ("ends", "event_end", ENDED, True),
        ("certifies", "certificate_start", "ongoing/certificate_available", True),
    ]


# -- 13: tracks ------------------------------------------------------------------------------------------------


def test_scenario_13_a_close_after_the_start_changes_no_headline_and_is_told_at_its_instant(
    duly_scheduler: ManualScheduler,
) -> None:
    told = duly_scheduler.record()
    start = at("2026-05-01 10:00")
    duly_scheduler.put(
        event(
            "w1",
            registration_open=start - 30 * MINUTE,
            registration_close=start + 4 * HOUR,
            event_start=start,
            event_end=start + DAY,
        )
    )
    duly_scheduler.advance_to(start + HOUR)
    view = duly_scheduler.get("w1")
    assert (view.status, view.tracks["registration"]) == (STARTED, "open")
    duly_scheduler.advance("3 hours")
    view = duly_scheduler.get("w1")
    assert (view.status, view.tracks["registration"]) == (STARTED, "closed")
    assert [(h.topic, h.lateness, h.status) for h in told.heard] == [
        ("registration_open", timedelta(0), OPEN),
        ("event_start", timedelta(0), STARTED),
        ("registration_close", timedelta(0), STARTED),
    ]


# -- 18: trouble -----------------------------------------------------------------------------------------------


def test_scenario_18_one_broken_event_and_one_broken_handler_among_a_thousand(
    duly_scheduler: ManualScheduler,
) -> None:
    told = duly_scheduler.record(name="announce", retry=Retry((timedelta(minutes=1),), jitter=0))
    told.fail(None, event_id="w456", error=ValueError("no such room"))
    alarms = duly_scheduler.record("dead", "set_aside", name="alarms")
    duly_scheduler.put(event(f"w{n:03}", event_start=AT_NOON + n, event_end=AT_NOON + DAY) for n in range(1000))
    falsify(
        duly_scheduler.store,  # type: ignore[arg-type]  # a SQLite one
        "UPDATE event SET lifecycle = 'unheard_of', lifecycle_hash = 'unheard of' WHERE id = 'w123'",
    )
    duly_scheduler.advance_to(AT_NOON + MINUTE)
    on_time = [h for h in told.taken if h.lateness <= timedelta(milliseconds=1)]
    assert len(on_time) == len(told.taken) == 998
    assert duly_scheduler.get("w456").announced == STARTED, "a handler that fails undoes no transition"
    duly_scheduler.advance("1 min")
    assert [(h.attempt, h.failed) for h in told.of("w456")] == [(1, True), (2, True)]
    assert became_of(duly_scheduler, states=(State.DEAD,)) == [
        ("w456", "event_start", State.DEAD, "ValueError: no such room")
    ]
    status = duly_scheduler.status()
    assert not status.healthy
    assert (status.counts.set_aside, status.deliveries.dead) == (1, 1)
    assert [trouble.split(" ")[0] for trouble in status.troubles] == ["1", "1"], status.troubles
    assert "set aside" in status.troubles[0]
    assert "dead" in status.troubles[1]
    assert alarms.told == [("w123", "set_aside"), ("w456", "dead")]


def test_scenario_18_the_same_thousand_missed_are_caught_up_and_the_start_succeeds(
    duly_scheduler: ManualScheduler,
) -> None:
    told = duly_scheduler.record(name="announce", retry=Retry((), jitter=0))
    told.fail(None, event_id="w456", error=ValueError("no such room"))
    duly_scheduler.put(event(f"w{n:03}", event_start=AT_NOON + n, event_end=AT_NOON + DAY) for n in range(1000))
    falsify(
        duly_scheduler.store,  # type: ignore[arg-type]  # a SQLite one
        "UPDATE event SET lifecycle = 'unheard_of', lifecycle_hash = 'unheard of' WHERE id = 'w123'",
    )
    report = duly_scheduler.down("4 hours")
    assert (report.detected, report.successful, list(report.set_aside)) == (1000, 999, ["w123"])
    assert "unheard_of" in report.set_aside["w123"]
    duly_scheduler.settle()
    assert len(told.taken) == 998
    assert report.outage is not None
    became = Deliveries(duly_scheduler._scheduler.agenda).of_outage(report.outage.id)
    assert became == {"delivered": 998, "dead": 1}
    # The two of SCENARIOS.md: an event that could not be fired, and a transition that could not be told.
    assert report.failed + became["dead"] == 2
    assert not duly_scheduler.status().healthy


# -- 26: a handler with another name ------------------------------------------------------------------------


def test_scenario_26_what_waits_for_a_handler_that_was_renamed_is_parked_and_replayed_to_the_new_name(
    duly_make_scheduler: Make,
) -> None:
    store = MemoryStore()
    before = duly_make_scheduler(store=store)
    announce = before.record("registration_open", name="app:announce")
    announce.fail(None, error=ConnectionError("mail server away"))
    now = before.clock.now()
    before.put(
        event(f"w{n:03}", registration_open=now + HOUR + n, event_start=now + DAY, event_end=now + 2 * DAY)
        for n in range(268)
    )
    before.advance("61 min")
    waiting = [each.id for each in reversed(before.deliveries(most=1000))]
    assert len(waiting) == 268
    before.stop()

    after = duly_make_scheduler(store=store)
    told = after.record("registration_open", name="app:announce_opening")
    after.advance("10 min")
    assert told.heard == [], "what happened before it was there is not its news"
    parked = after.deliveries(Wanted(subscriber="app:announce"), most=1000)
    assert [each.id for each in reversed(parked)] == waiting, "none is deleted"
    assert {(each.state, each.reason) for each in parked} == {
        (State.PARKED, "subscriber 'app:announce' is gone: no code declares it any more")
    }
    assert after.status().deliveries.trouble == {"parked": 268}

    refused = after.replay(waiting[0])
    assert "gone" in refused.refused[waiting[0]]
    remade = after.replay(*waiting, to="app:announce_opening")
    after.settle()
    assert (len(remade.made), remade.refused) == (268, {})
    assert told.told == [(f"w{n:03}", "registration_open") for n in range(268)]
    assert [heard.delivery_id for heard in told.heard] == [remade.made[id_] for id_ in waiting]
    assert after.status().deliveries.trouble == {}


# -- 32: a line in backoff ------------------------------------------------------------------------------------


def test_scenario_32_what_falls_due_behind_a_delivery_in_backoff_waits_and_other_events_do_not(
    duly_scheduler: ManualScheduler,
) -> None:
    told = duly_scheduler.record(retry=Retry((timedelta(minutes=30),) * 3, jitter=0))
    told.fail(2, event_id="w1")
    ten = at("2026-05-01 10:00")
    duly_scheduler.put(
        [
            event("w1", registration_open=ten, registration_close=ten + 10 * MINUTE, event_start=ten + DAY),
            event("w2", registration_open=ten, registration_close=ten + 10 * MINUTE, event_start=ten + DAY),
        ]
    )
    duly_scheduler.advance_to(ten + 2 * HOUR)
    heard = [(h.event_id, h.topic, h.attempt, h.at.strftime("%H:%M")) for h in told.heard]
    assert heard == [
        ("w1", "registration_open", 1, "10:00"),
        ("w2", "registration_open", 1, "10:00"),
        ("w2", "registration_close", 1, "10:10"),
        ("w1", "registration_open", 2, "10:30"),
        ("w1", "registration_open", 3, "11:00"),
        ("w1", "registration_close", 1, "11:00"),
    ]


# -- people are told --------------------------------------------------------------------------------------------


def test_a_delivery_that_dies_is_news_itself(duly_scheduler: ManualScheduler) -> None:
    mail = duly_scheduler.record("event_start", name="mail", retry=Retry((timedelta(minutes=5),), jitter=0))
    mail.fail(None, error=ConnectionError("mail server away"))
    alarms = duly_scheduler.record("dead", name="alarms")
    duly_scheduler.put(event("w1", event_start=AT_NOON, event_end=AT_NOON + DAY))
    duly_scheduler.advance_to(AT_NOON + 4 * MINUTE)
    assert alarms.heard == []
    duly_scheduler.advance("1 min")
    [heard] = alarms.heard
    assert heard.dead is not None
    assert (heard.event_id, heard.topic, heard.at.strftime("%H:%M")) == ("w1", "dead", "12:05")
    assert (heard.dead.subscriber, heard.dead.topic, heard.dead.attempts) == ("mail", "event_start", 2)
    assert heard.dead.reason == "ConnectionError: mail server away"
    assert heard.dead.id == mail.heard[0].delivery_id


def test_who_fails_to_hear_of_dead_deliveries_brings_about_no_further_news(duly_scheduler: ManualScheduler) -> None:
    alarms = duly_scheduler.record("event_start", "dead", name="alarms", retry=Retry(()))
    alarms.fail(None)
    duly_scheduler.put(event("w1", event_start=AT_NOON, event_end=AT_NOON + DAY))
    duly_scheduler.advance("1 day")
    assert len(alarms.heard) <= 2, "no endless chain of the death of news of a death"
    assert {each.state for each in duly_scheduler.deliveries()} == {State.DEAD}


def test_an_event_that_is_set_aside_is_news(duly_scheduler: ManualScheduler) -> None:
    alarms = duly_scheduler.record("set_aside", name="alarms")
    duly_scheduler.put(event("w1", event_start=AT_NOON, event_end=AT_NOON + DAY))
    falsify(
        duly_scheduler.store,  # type: ignore[arg-type]  # a SQLite one
        "UPDATE event SET dates = '{\"no_such_milestone\": 5}' WHERE id = 'w1'",
    )
    duly_scheduler.advance_to(AT_NOON + SECOND)
    [heard] = alarms.heard
    assert heard.transition is not None
    assert (heard.event_id, heard.topic, heard.transition.kind) == ("w1", "set_aside", "set_aside")


def test_an_outage_is_news_to_a_handler_and_to_a_webhook(
    duly_scheduler: ManualScheduler, duly_receiver: Receiver
) -> None:
    alarms = duly_scheduler.record("outage", name="alarms")
    duly_scheduler.add_webhook(duly_receiver, "outage", name="operations")
    duly_scheduler.put(event("w1", event_start=AT_NOON, event_end=AT_NOON + DAY))
    report = duly_scheduler.down("4 hours")
    duly_scheduler.settle()
    [heard] = alarms.heard
    assert heard.outage == report.outage
    assert (heard.event_id, heard.transition) == ("", None)
    [request] = duly_receiver.received
    data = request.json["data"]
    assert (request.type, data["event_id"], data["transition"]) == ("outage", None, None)
    assert (data["outage"]["detected"], data["outage"]["began_at"], data["outage"]["ended_at"]) == (
        1,
        "2026-05-01T09:00:00Z",
        "2026-05-01T13:00:00Z",
    )
    duly_scheduler.advance("1 day")
    assert len(duly_receiver.received) == 1, "that it runs is no news"


def test_a_plain_function_can_hear_of_all_three(duly_scheduler: ManualScheduler) -> None:
    heard: list[tuple[str, str]] = []

    @duly_scheduler.on("dead", "outage", "set_aside", name="pager")
    def page(context: Context) -> None:
        about = context.dead.subscriber if context.dead else "" if context.outage else context.event.error or ""
        heard.append((context.topic, about))

    mail = duly_scheduler.record("event_start", name="mail", retry=Retry(()))
    mail.fail(None, event_id="w1")
    duly_scheduler.put(event(f"w{n}", event_start=AT_NOON, event_end=AT_NOON + DAY) for n in (1, 2))
    falsify(
        duly_scheduler.store,  # type: ignore[arg-type]  # a SQLite one
        "UPDATE event SET dates = '{\"no_such_milestone\": 5}' WHERE id = 'w2'",
    )
    duly_scheduler.down("4 hours")
    duly_scheduler.settle()
    assert sorted(topic for topic, _ in heard) == ["dead", "outage", "set_aside"]
    assert dict(heard)["dead"] == "mail"
    assert "no_such_milestone" in dict(heard)["set_aside"]


def test_the_clock_of_these_scenarios_begins_at_nine(duly_clock: WalkingClock) -> None:
    assert duly_clock.now() == at("2026-05-01 09:00")
