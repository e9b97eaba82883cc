"""The scenarios of SCENARIOS.md that a scheduler alone can show, by their numbers, with their exact results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from duly import Event, Hold, Lifecycle, Milestone, Report, Scheduler, Track
from duly.agenda import PutResult
from duly.clock import ManualClock, Micros
from duly.engine.firing import BATCH
from duly.errors import InvalidInput
from duly.model.history import Entry
from duly.stores.sqlite import SqliteStore
from tests.builders import DAY, HOUR, MINUTE, SECOND, at, event
from tests.engine.stage import KeptStore, assert_store_sound, falsify, in_a_loop, let_pass

RACE = {
    "event_id": "ARRCOSTU2025",
    "event_name": "Autonomous Robotics Race",
    "registration_start_date": "2025-08-27T20:30:00Z",
    "registration_end_date": "2025-09-10T18:00:00Z",
    "start_datetime": "2025-09-20T09:00:00Z",
    "end_datetime": "2025-09-20T17:00:00Z",
}
NOT_STARTED, OPEN, CLOSED = (f"upcoming/registration_{state}" for state in ("not_started", "open", "closed"))
STARTED, ENDED = "ongoing/event_started", "completed/event_ended"


class Host:
    """A machine on which schedulers are started, stopped and killed, with one store and one clock."""

    def __init__(self, now: str) -> None:
        self.clock = ManualClock(at(now))
        self.store = KeptStore()

    def scheduler(self, **how: Any) -> Scheduler:
        return Scheduler(self.store, clock=self.clock, **how)

    async def put(self, *events: Event, **how: Any) -> PutResult:
        """Put events while a scheduler is up, and stop it again."""
        async with self.scheduler() as scheduler:
            return await scheduler.put(events, **how)

    def pass_to(self, instant: str) -> None:
        """Let time pass with nothing running."""
        self.clock.advance(at(instant) - self.clock.now())

    async def restart(self, **how: Any) -> Report:
        """Start, and stop again; return the report."""
        async with self.scheduler(**how) as scheduler:
            assert scheduler.report is not None
            report = scheduler.report
        self.assert_sound()
        return report

    async def run_to(self, instant: str, **how: Any) -> None:
        """Have a scheduler up until an instant."""
        async with self.scheduler(**how) as scheduler:
            await let_pass(self.clock, scheduler, at(instant) - self.clock.now())
        self.assert_sound()

    def assert_sound(self) -> None:
        assert_store_sound(self.store, self.clock.now())

    def fired(self, id_: str) -> list[Entry]:
        return [entry for entry in self.store.history(id_) if entry.is_transition]


def told(entries: Sequence[Entry]) -> list[tuple[str | None, str, str]]:
    return [(entry.milestone, entry.from_status, entry.to_status) for entry in entries]


# -- 0: the founding case ---------------------------------------------------------------------------------


def assert_founding_case(report: Report) -> None:
    [entry] = report.transitions
    assert told([entry]) == [("registration_open", NOT_STARTED, OPEN)]
    assert (entry.due_us, entry.lateness, entry.cause) == (at("2025-08-27 20:30"), timedelta(minutes=45), "caught_up")
    assert (report.detected, report.successful, report.failed) == (1, 1, 0)


async def assert_nothing_more(host: Host) -> None:
    entries = len(host.store.history("ARRCOSTU2025"))
    host.clock.advance(MINUTE)
    report = await host.restart()
    assert (report.detected, report.transitions) == (0, ())
    assert len(host.store.history("ARRCOSTU2025")) == entries


@in_a_loop
async def test_scenario_00_the_founding_case_put_by_an_earlier_run() -> None:
    host = Host("2025-08-01 00:00")
    await host.put(Event.from_record(RACE))
    host.pass_to("2025-08-27 19:00")
    await host.run_to("2025-08-27 20:00")
    host.pass_to("2025-08-27 21:15")
    report = await host.restart()
    assert_founding_case(report)
    assert report.outage is not None
    assert report.outage.length == timedelta(minutes=75)
    await assert_nothing_more(host)


@in_a_loop
async def test_scenario_00_the_founding_case_put_by_a_loader() -> None:
    host = Host("2025-08-27 21:15")
    scheduler = host.scheduler()
    await scheduler.put(Event.from_record(RACE), known_for=timedelta(hours=24))
    report = await scheduler.start()
    await scheduler.stop()
    assert_founding_case(report)
    await assert_nothing_more(host)


@pytest.mark.parametrize("created", ["2025-08-01", "2025-08-01T00:00:00Z", "2025-08-01 00:00"])
@in_a_loop
async def test_scenario_00_the_founding_case_as_a_record_that_says_when_it_was_created(created: str) -> None:
    host = Host("2025-08-27 21:15")
    scheduler = host.scheduler(time_zone="UTC")
    await scheduler.put(Event.from_record({**RACE, "created_at": created}))
    report = await scheduler.start()
    await scheduler.stop()
    assert_founding_case(report)
    await assert_nothing_more(host)


# -- 1, 2, 30: what falls due while nothing runs -------------------------------------------------------------


@in_a_loop
async def test_scenario_01_three_triggers_in_one_outage_fire_in_their_order() -> None:
    host = Host("2026-05-01 09:00")
    await host.put(
        event(
            "w1",
            registration_open=at("2026-04-01 10:00"),
            registration_close=at("2026-05-01 10:00"),
            event_start=at("2026-05-01 11:00"),
            event_end=at("2026-05-01 12:00"),
        )
    )
    await host.run_to("2026-05-01 09:59")
    host.pass_to("2026-05-01 12:30")
    report = await host.restart()
    assert told(report.transitions) == [
        ("registration_close", OPEN, CLOSED),
        ("event_start", CLOSED, STARTED),
        ("event_end", STARTED, ENDED),
    ]
    assert [e.due_us for e in report.transitions] == [at(f"2026-05-01 {hour}:00") for hour in (10, 11, 12)]
    assert [e.lateness for e in report.transitions] == [timedelta(minutes=minutes) for minutes in (150, 90, 30)]
    assert {e.cause for e in report.transitions} == {"caught_up"}
    assert host.store.get_event("w1").status == ENDED


@in_a_loop
async def test_scenario_02_after_ten_days_every_status_is_right_before_start_returns() -> None:
    host = Host("2026-05-01 00:00")
    events = [
        event(
            f"w{n:03}",
            registration_open=host.clock.now() + n * HOUR,
            event_start=host.clock.now() + 3 * DAY + n * HOUR,
            event_end=host.clock.now() + 8 * DAY + n * HOUR,
        )
        for n in range(1, 100)
    ]
    await host.put(*events)
    host.pass_to("2026-05-11 00:00")
    scheduler = host.scheduler()
    report = await scheduler.start()
    assert_store_sound(host.store, host.clock.now())  # before anything else has had a chance to run
    due = [entry.due_us or 0 for entry in report.transitions]
    assert report.detected == len(due) == report.successful
    day_old = host.clock.now() - DAY
    assert report.outside_window == sum(instant < day_old for instant in due)
    assert 0 < report.outside_window < report.detected
    await scheduler.stop()


@in_a_loop
async def test_scenario_30_each_kind_of_trigger_is_executed_on_start_up_chronologically() -> None:
    host = Host("2026-05-01 00:00")
    open_, close, start, end = (at(f"2026-05-02 {hour}:00") for hour in (10, 11, 12, 13))
    far = at("2026-06-01 00:00")
    await host.put(
        event("opens", registration_open=open_, event_start=far, event_end=far + HOUR),
        event(
            "closes",
            registration_open=at("2026-04-01 00:00"),
            registration_close=close,
            event_start=far,
            event_end=far,
        ),
        event("starts", event_start=start, event_end=far),
        event("ends", event_start=at("2026-04-01 00:00"), event_end=end),
        event(
            "certifies",
            event_start=at("2026-04-01 00:00"),
            event_end=at("2026-04-02 00:00"),
            certificate_start=end + HOUR,
        ),
        known_for=timedelta(0),
    )
    host.pass_to("2026-05-03 00:00")
    report = await host.restart()
    assert [(e.event_id, e.milestone, e.to_status) for e in report.transitions] == [
        ("opens", "registration_open", OPEN),
        ("closes", "registration_close", CLOSED),
        ("starts", "event_start", STARTED),
        ("ends", "event_end", ENDED),
        ("certifies", "certificate_start", "ongoing/certificate_available"),
    ]


# -- 8, 9, 10, 23: dates, through put to the instant of the firing ---------------------------------------------


async def fired_at(host: Host, put: Event, until: str) -> list[tuple[str | None, Micros]]:
    """Put an event, have a scheduler up until an instant, and return what fired when."""
    async with host.scheduler() as scheduler:
        await scheduler.put(put)
        while (due := host.store.next_due_us()) is not None and due <= at(until):
            await let_pass_quickly(host.clock, scheduler, due - 1)
            fired_before = len(host.fired(put.id))
            await let_pass(host.clock, scheduler, 1)
            assert len(host.fired(put.id)) > fired_before
    host.assert_sound()
    assert {entry.cause for entry in host.fired(put.id)} == {"scheduled"}
    return [(entry.milestone, entry.at_us) for entry in host.fired(put.id)]


async def let_pass_quickly(clock: ManualClock, scheduler: Scheduler, until: Micros) -> None:
    """Let much time pass at once; a node that slept through it records an outage, in which nothing fell due."""
    clock.advance(max(0, until - clock.now()))
    await scheduler.settled()


@in_a_loop
async def test_scenario_08_an_hour_that_exists_twice_opens_first_and_closes_second() -> None:
    twice = "2026-10-25 02:30 Europe/Berlin"
    opening = event("opens", registration_open=twice, event_start="2026-11-01T10:00Z", event_end="2026-11-02T10:00Z")
    closing = event(
        "closes", registration_close=twice, event_start="2026-11-01T10:00Z", event_end="2026-11-02T10:00Z"
    )
    until = "2026-10-26 00:00"
    assert await fired_at(Host("2026-10-01 00:00"), opening, until) == [("registration_open", at("2026-10-25 00:30"))]
    assert await fired_at(Host("2026-10-01 00:00"), closing, until) == [
        ("registration_close", at("2026-10-25 01:30"))
    ]


@in_a_loop
async def test_scenario_09_an_hour_that_does_not_exist_is_shifted_forward_with_a_warning() -> None:
    host = Host("2027-03-01 00:00")
    async with host.scheduler() as scheduler:
        result = await scheduler.put(
            event("berlin", event_start="2027-03-28 02:30 Europe/Berlin", event_end="2027-03-29 12:00 Europe/Berlin")
        )
    assert any("berlin" in warning and "02:30" in warning for warning in result.warnings)
    assert host.store.get_event("berlin").dates["event_start"] == at("2027-03-28 01:30")

    cairo = replace(event("cairo", event_start="2027-04-30", event_end="2027-05-01"), zone="Africa/Cairo")
    assert (await fired_at(Host("2027-03-01 00:00"), cairo, "2027-04-30 12:00")) == [
        ("event_start", at("2027-04-29 22:00"))
    ]
    fold = "2027-04-04 01:45 Australia/Lord_Howe"
    lord_howe = event("lord_howe", registration_open=fold, registration_close=fold, event_start="2027-05-01T00:00Z")
    lord_howe = replace(lord_howe, dates={**lord_howe.dates, "event_end": "2027-05-02T00:00Z"})
    assert (await fired_at(Host("2027-03-01 00:00"), lord_howe, "2027-04-30 00:00")) == [
        ("registration_open", at("2027-04-03 14:45")),
        ("registration_close", at("2027-04-03 15:15")),
    ]


@pytest.mark.parametrize("zone", ["AoE", "Etc/GMT+12", "UTC-12"])
@in_a_loop
async def test_scenario_10_the_end_of_the_year_anywhere_on_earth(zone: str) -> None:
    put = event(
        "paper",
        registration_close=f"2026-12-31 23:59:59 {zone}",
        event_start="2027-03-01T10:00Z",
        event_end="2027-03-02",
    )
    put = replace(put, zone="UTC")
    assert await fired_at(Host("2026-12-01 00:00"), put, "2027-01-02 00:00") == [
        ("registration_close", at("2027-01-01 11:59:59"))
    ]


@in_a_loop
async def test_scenario_10_a_zone_that_may_be_several_is_refused_with_a_suggestion_and_the_reversed_one_is_warned_of() -> (
    None
):
    host = Host("2026-12-01 00:00")
    async with host.scheduler() as scheduler:
        with pytest.raises(InvalidInput, match="America/Los_Angeles"):
            await scheduler.put(event("paper", event_start="2026-12-31 23:59:59 PT"))
        assert await scheduler.events() == []
        result = await scheduler.put(event("paper", event_start="2026-12-31 23:59:59 Etc/GMT+12"))
        assert any("Etc/GMT+12" in warning for warning in result.warnings)


def reminded(name: str, default: str) -> Lifecycle:
    return Lifecycle(
        name=name,
        tracks=(Track("talk", before="planned"),),
        milestones=(
            Milestone(name="reminder", default=default),
            Milestone(name="talk", track="talk", state="given"),
        ),
    )


@in_a_loop
async def test_scenario_23_a_day_before_and_24_hours_before_differ_across_a_change_of_the_clocks() -> None:
    lifecycles = [reminded("by_calendar", "talk - 1 day"), reminded("by_hours", "talk - 24 hours")]
    host = Host("2026-10-20 00:00")
    async with host.scheduler(lifecycles=lifecycles) as scheduler:
        for lifecycle in lifecycles:
            await scheduler.put(
                Event(
                    lifecycle.name, lifecycle=lifecycle.name, zone="Europe/Berlin", dates={"talk": "2026-10-25 18:00"}
                )
            )
        await let_pass_quickly(host.clock, scheduler, at("2026-10-24 15:59:59"))
        await let_pass(host.clock, scheduler, SECOND)
        await let_pass(host.clock, scheduler, HOUR)
    assert [(e.milestone, e.at_us) for e in host.fired("by_calendar")] == [("reminder", at("2026-10-24 16:00"))]
    assert [(e.milestone, e.at_us) for e in host.fired("by_hours")] == [("reminder", at("2026-10-24 17:00"))]


# -- 12 to 15: order, tracks, birth and approval ------------------------------------------------------------


@in_a_loop
async def test_scenario_12_a_close_at_the_very_start_comes_before_it() -> None:
    host = Host("2026-05-01 09:00")
    noon = at("2026-05-01 12:00")
    await host.put(
        event("w1", registration_open=noon - DAY, registration_close=noon, event_start=noon, event_end=noon + HOUR)
    )
    async with host.scheduler() as scheduler:
        await let_pass(host.clock, scheduler, noon - 1 - host.clock.now())
        assert (await scheduler.get("w1")).status == OPEN
        await let_pass(host.clock, scheduler, 1)
        view = await scheduler.get("w1")
        assert (view.at_us, view.status, view.announced) == (noon, STARTED, STARTED)
    assert told(host.fired("w1"))[1:] == [("registration_close", OPEN, CLOSED), ("event_start", CLOSED, STARTED)]
    assert {e.at_us for e in host.fired("w1")[1:]} == {noon}


@in_a_loop
async def test_scenario_13_registration_that_closes_after_the_start_changes_its_track_and_is_still_told() -> None:
    host = Host("2026-05-01 09:00")
    start = at("2026-05-01 10:00")
    heard: list[Entry] = []
    async with host.scheduler() as scheduler:
        scheduler.on_commit(heard.extend)
        await scheduler.put(
            event(
                "w1",
                registration_open=host.clock.now() + MINUTE,
                registration_close=start + 4 * HOUR,
                event_start=start,
                event_end=start + DAY,
            )
        )
        await let_pass(host.clock, scheduler, start + HOUR - host.clock.now())
        view = await scheduler.get("w1")
        assert (view.status, view.tracks["registration"]) == (STARTED, "open")
        await let_pass(host.clock, scheduler, 3 * HOUR)
        view = await scheduler.get("w1")
        assert (view.status, view.tracks["registration"]) == (STARTED, "closed")
    assert told(heard)[-1] == ("registration_close", STARTED, STARTED)


@in_a_loop
async def test_scenario_14_an_event_created_after_it_started_is_right_at_once_and_announces_nothing() -> None:
    host = Host("2026-05-01 12:00")
    heard: list[Entry] = []
    async with host.scheduler() as scheduler:
        scheduler.on_commit(heard.extend)
        result = await scheduler.put(
            event(
                "w1",
                registration_open=at("2026-04-01 12:00"),
                event_start=at("2026-05-01 10:00"),
                event_end=at("2026-05-01 18:00"),
            )
        )
        await scheduler.settled()
        assert (await scheduler.get("w1")).announced == STARTED
    assert any("2 dates have already passed" in warning for warning in result.warnings)
    assert [(e.kind, e.cause) for e in result.entries] == [
        ("created", None),
        ("fired", "born_late"),
        ("fired", "born_late"),
    ]
    assert heard == []
    host.assert_sound()


@in_a_loop
async def test_scenario_15_an_event_that_awaits_approval_across_its_opening_and_two_restarts() -> None:
    host = Host("2026-05-01 00:00")
    await host.put(
        event(
            "w1",
            hold=Hold.PENDING_APPROVAL,
            registration_open=at("2026-05-02 00:00"),
            event_start=at("2026-06-01 00:00"),
            event_end=at("2026-06-02 00:00"),
        )
    )
    for day in ("2026-05-03 00:00", "2026-05-04 00:00"):
        host.pass_to(day)
        assert (await host.restart()).detected == 0
        assert host.store.get_event("w1").status == "pending_approval/pending_approval"
    assert host.fired("w1") == []
    async with host.scheduler() as scheduler:
        await scheduler.set_hold("w1", Hold.ACTIVE, actor="dean", reason="approved")
        assert (await scheduler.get("w1")).status == OPEN
    assert [(e.milestone, e.cause, e.to_status) for e in host.fired("w1")] == [
        ("registration_open", "born_late", OPEN)
    ]
    host.assert_sound()


# -- 18, 19: trouble and clocks --------------------------------------------------------------------------


@in_a_loop
async def test_scenario_18_of_a_thousand_events_two_are_broken_and_the_others_are_on_time() -> None:
    host = Host("2026-05-01 00:00")
    noon = at("2026-05-01 12:00")
    await host.put(*(event(f"w{n:03}", event_start=noon + n, event_end=noon + DAY) for n in range(1000)))
    unknown = "UPDATE event SET lifecycle = 'unheard_of', lifecycle_hash = 'unheard of' WHERE id = 'w123'"
    falsify(host.store, unknown)
    falsify(host.store, "UPDATE event SET dates = '{\"no_such_milestone\": 5}' WHERE id = 'w456'")
    host.pass_to("2026-05-01 13:00")
    async with host.scheduler() as scheduler:
        report = scheduler.report
        assert report is not None
        assert (report.detected, report.successful, report.failed) == (1000, 998, 2)
        assert sorted(report.set_aside) == ["w123", "w456"]
        assert "unknown" in report.set_aside["w123"]
        assert "no_such_milestone" in report.set_aside["w456"]
        status = await scheduler.status()
        assert (status.healthy, status.counts.set_aside) == (False, 2)
        broken = await scheduler._life.call(scheduler.agenda.set_aside)
        assert {row.id: row.error for row in broken} == report.set_aside


@in_a_loop
async def test_scenario_19_two_hours_forward_then_back_and_a_suspended_host() -> None:
    host = Host("2026-05-01 00:00")
    await host.put(event("w1", event_start=at("2026-05-01 01:00"), event_end=at("2026-05-01 01:30")))
    async with host.scheduler() as scheduler:
        await let_pass(host.clock, scheduler, MINUTE)
        host.clock.set(host.clock.now() + 2 * HOUR)
        await let_pass(host.clock, scheduler, 30 * SECOND)
        assert (await scheduler.status()).held is not None
        assert not (await scheduler.status()).healthy
        host.clock.set(host.clock.now() - 2 * HOUR)
        await let_pass(host.clock, scheduler, 30 * SECOND)
        assert (await scheduler.status()).held is None
        assert host.fired("w1") == []
        await let_pass(host.clock, scheduler, 39 * MINUTE)
        assert host.clock.now() == at("2026-05-01 00:41")
        host.clock.advance(40 * MINUTE)  # suspended: both clocks went on
        await scheduler.settled()
        assert [(e.milestone, e.lateness, e.cause) for e in host.fired("w1")] == [
            ("event_start", timedelta(minutes=21), "caught_up")
        ]
        outage, *_ = await scheduler.outages()
        assert (outage.length, outage.detected) == (timedelta(minutes=40), 1)
        await let_pass(host.clock, scheduler, 10 * MINUTE)
        host.clock.set(host.clock.now() - HOUR)
        await let_pass(host.clock, scheduler, HOUR + MINUTE)
    assert [e.milestone for e in host.fired("w1")] == ["event_start", "event_end"]
    host.assert_sound()


# -- 29, 31: reading while nothing runs; removing and putting again ---------------------------------------------


@in_a_loop
async def test_scenario_29_a_page_reads_the_truth_while_nothing_runs_and_knows_what_is_outstanding() -> None:
    host = Host("2026-05-01 09:00")
    ten = at("2026-05-01 10:00")
    await host.put(
        event("w1", registration_open=ten - DAY, registration_close=ten - 1, event_start=ten, event_end=ten + DAY)
    )
    host.pass_to("2026-05-01 11:00")
    reader = host.scheduler()  # opened to read, never started
    view = await reader.get("w1")
    assert (view.status, view.announced) == (STARTED, OPEN)
    assert [trigger.milestone for trigger in view.overdue] == ["registration_close", "event_start"]
    overdue = await reader._life.call(reader.agenda.overdue)
    assert [(o.trigger.event_id, o.trigger.milestone, o.trigger.due_us) for o in overdue] == [
        ("w1", "registration_close", ten - 1),
        ("w1", "event_start", ten),
    ]
    status = await reader.status()
    assert (status.role, status.counts.overdue, status.counts.oldest_overdue_us) == ("stopped", 1, ten - 1)
    await reader.stop()
    assert len(host.fired("w1")) == 1, "reading fires nothing"


@in_a_loop
async def test_scenario_31_removed_and_put_again_goes_on_with_its_generations_and_fires_nothing_twice() -> None:
    host = Host("2026-05-01 09:00")
    ten = at("2026-05-01 10:00")
    put = event("w1", registration_open=ten - HOUR, event_start=ten, event_end=ten + DAY)
    async with host.scheduler() as scheduler:
        await scheduler.put(put)
        await let_pass(host.clock, scheduler, HOUR)
        before = await scheduler.history("w1")
        await scheduler.remove("w1")
        await let_pass(host.clock, scheduler, MINUTE)
        result = await scheduler.put(put)
        assert result.outcomes == {"w1": "restored"}
        await let_pass(host.clock, scheduler, MINUTE)
        after = await scheduler.history("w1")
        assert after[: len(before)] == before
        assert [entry.kind for entry in after[len(before) :]] == ["removed", "restored"]
        assert (await scheduler.get("w1")).announced == STARTED
        host.clock.advance(DAY)
        await scheduler.settled()
        assert [(e.milestone, e.generation) for e in host.fired("w1")] == [
            ("registration_open", 1),
            ("event_start", 1),
            ("event_end", 1),
        ]
    host.assert_sound()


@in_a_loop
async def test_scenario_31_removed_while_it_was_to_start_and_put_again_later_fires_what_it_missed_once() -> None:
    host = Host("2026-05-01 09:00")
    ten = at("2026-05-01 10:00")
    put = event("w1", event_start=ten, event_end=ten + DAY)
    async with host.scheduler() as scheduler:
        await scheduler.put(put)
        await scheduler.remove("w1")
        await let_pass(host.clock, scheduler, 2 * HOUR)
        assert host.fired("w1") == []
        await scheduler.put(put)
        await scheduler.put(put)
        await scheduler.settled()
    assert [(e.milestone, e.generation) for e in host.fired("w1")] == [("event_start", 1)]
    host.assert_sound()


@in_a_loop
async def test_events_from_before_1970_that_were_always_known_are_misfires_too() -> None:
    host = Host("2026-05-01 09:00")
    scheduler = host.scheduler()
    await scheduler.put(event("moon", event_start="1961-05-25T10:00Z", event_end="1969-07-20T20:17Z"), known_for=None)
    assert (await scheduler.start()).successful == 2
    await scheduler.stop()
    assert {entry.cause for entry in host.fired("moon")} == {"caught_up"}


def test_the_thousand_of_scenario_18_are_more_than_one_batch() -> None:
    assert BATCH < 1000
    assert isinstance(KeptStore(), SqliteStore)
