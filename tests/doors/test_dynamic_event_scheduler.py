"""The drop-in catches up: what was missed is found, executed in order, told, counted and logged."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import pytest
from typing_extensions import override

from duly.agenda import Agenda
from duly.dynamic_event_scheduler import DynamicEventScheduler, EventTriggerType, ScheduledTrigger
from duly.errors import InvalidSetting, StoreRefused, WrongState
from duly.model.event import Status
from duly.model.history import Entry
from tests.doors.campus import DAY, HOUR, MINUTE, RACE, Campus, asynchronously, at, record

LOGGER = "duly.dynamic_event_scheduler"


@pytest.fixture
def campus(tmp_path: Path) -> Campus:
    return Campus(tmp_path)


def transitions_of(campus: Campus, event_id: str) -> list[Entry]:
    with Agenda(campus.url, clock=campus.clock) as agenda:
        return [entry for entry in agenda.history(event_id) if entry.is_transition]


def missed_counts(status: dict[str, Any]) -> list[int]:
    return [status[f"missed_{what}"] for what in ("detected", "successful", "failed", "outside_window")]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{found.levelname} {found.message}" for found in caplog.records if found.name == LOGGER]


@pytest.mark.parametrize("known_by", ["an earlier run", "a loader", "a loader, with created_at", "the check itself"])
def test_scenario_00_registration_that_opened_during_downtime(campus: Campus, known_by: str) -> None:
    async def story() -> None:
        if known_by == "an earlier run":
            await campus.put_by_an_earlier_run(RACE, when="2025-08-01 00:00")
        elif known_by == "a loader, with created_at":
            campus.records = [{**RACE, "created_at": "2025-08-01T00:00:00Z"}]
        else:
            campus.records = [RACE]
        campus.clock.set(at("2025-08-27 21:15"))
        if known_by == "the check itself":
            scheduler = campus.scheduler(load=None)
            missed = await scheduler._check_missed_triggers(campus.records)
            assert [trigger.trigger_type for trigger in missed] == [EventTriggerType.REGISTRATION_OPEN]
            await scheduler._execute_missed_triggers(missed)
            status = await scheduler.get_status()
        else:
            status = await campus.run()
        assert missed_counts(status) == [1, 1, 0, 0]
        assert campus.told == [("ARRCOSTU2025", "upcoming/registration_open")]
        campus.clock.advance(MINUTE)
        assert missed_counts(await campus.run()) == [0, 0, 0, 0]
        assert len(campus.told) == 1

    asynchronously(story)
    [entry] = transitions_of(campus, "ARRCOSTU2025")
    assert (entry.from_status, entry.to_status) == ("upcoming/registration_not_started", "upcoming/registration_open")
    assert (entry.due_us, entry.at_us) == (at("2025-08-27 20:30"), at("2025-08-27 21:15"))
    assert entry.cause == "caught_up"
    assert entry == campus.entries[0]


def test_scenario_02_after_a_long_downtime_every_status_is_right_and_nothing_old_is_told(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-09-01 00:00")
        campus.clock.set(at("2025-09-25 00:00"))
        scheduler = campus.scheduler()
        await scheduler.start()
        with Agenda(campus.url, clock=campus.clock) as agenda:
            assert agenda.get("ARRCOSTU2025").announced == "completed/event_ended"
        await scheduler.settled()
        assert missed_counts(await scheduler.get_status()) == [3, 3, 0, 3]
        await scheduler.stop()

    asynchronously(story)
    assert campus.told == []


def test_scenario_14_an_event_created_late_has_its_status_at_once_and_nothing_is_announced(campus: Campus) -> None:
    async def story() -> None:
        campus.clock.set(at("2025-09-20 12:00"))
        scheduler = campus.scheduler()
        await scheduler.start()
        status = await scheduler.add_new_event(RACE)
        assert (status, status.main, status.sub_status) == ("ongoing/event_started", "ongoing", "event_started")
        await scheduler.settled()
        await scheduler.stop()

    asynchronously(story)
    assert [entry.cause for entry in transitions_of(campus, "ARRCOSTU2025")] == ["born_late"] * 3
    assert campus.told == []


def test_scenario_15_pending_approval_across_the_opening_and_two_restarts(campus: Campus) -> None:
    async def story() -> None:
        campus.records = [{**RACE, "status": "pending_approval"}]
        await campus.run()
        for when in ("2025-08-27 21:15", "2025-08-27 22:15"):
            campus.clock.set(at(when))
            assert missed_counts(await campus.run()) == [0, 0, 0, 0]
        assert transitions_of(campus, "ARRCOSTU2025") == []
        scheduler = campus.scheduler(load=None)
        await scheduler.start()
        with Agenda(campus.url, clock=campus.clock) as agenda:
            assert agenda.get("ARRCOSTU2025").status == "pending_approval/pending_approval"
        assert await scheduler.update_event_triggers("ARRCOSTU2025", RACE) == "upcoming/registration_open"
        await scheduler.settled()
        await scheduler.stop()

    asynchronously(story)
    assert [entry.cause for entry in transitions_of(campus, "ARRCOSTU2025")] == ["born_late"]
    assert campus.told == []


def test_scenario_30_the_four_founding_cases_are_executed_in_chronological_order(campus: Campus) -> None:
    later = {"start_datetime": "2025-09-20 09:00", "end_datetime": "2025-09-20 17:00"}
    events = [
        {"event_id": "D", "registration_start_date": "2025-08-27 20:10", **later},
        {"event_id": "C", "registration_end_date": "2025-08-27 20:40", **later},
        record("B", "2025-08-27 20:05", "2025-08-27 20:45"),
        record("A", "2025-08-01 10:00", "2025-08-01 12:00", certificate_start_date="2025-08-27 20:30"),
    ]

    async def story() -> None:
        await campus.put_by_an_earlier_run(*events, when="2025-08-27 19:55")
        campus.clock.set(at("2025-08-27 21:15"))
        missed = await campus.scheduler()._check_missed_triggers()
        assert [trigger.trigger_id for trigger in missed] == [
            "B_event_start_20250827_200500",
            "D_registration_open_20250827_201000",
            "A_certificate_start_20250827_203000",
            "C_registration_close_20250827_204000",
            "B_event_end_20250827_204500",
        ]
        assert missed_counts(await campus.run()) == [5, 5, 0, 0]

    asynchronously(story)
    assert campus.told == [
        ("B", "ongoing/event_started"),
        ("D", "upcoming/registration_open"),
        ("A", "ongoing/certificate_available"),
        ("C", "upcoming/registration_closed"),
        ("B", "completed/event_ended"),
    ]


def test_scenario_31_removed_and_put_again_nothing_fires_twice(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler()
        await scheduler.start()
        await scheduler.settled()
        await scheduler.remove_event("ARRCOSTU2025")
        assert scheduler.trigger_queue == []
        await scheduler.add_new_event(RACE)
        await scheduler.settled()
        await scheduler.stop()
        await campus.run()

    asynchronously(story)
    assert campus.told == [("ARRCOSTU2025", "upcoming/registration_open")]
    with Agenda(campus.url, clock=campus.clock) as agenda:
        history = agenda.history("ARRCOSTU2025")
        assert [entry.seq for entry in history] == list(range(1, len(history) + 1))
        assert [page.findings for page in agenda.check()] == [()]
    assert [entry.kind for entry in history] == ["created", "fired", "removed", "restored"]


def test_a_thousand_missed_triggers_have_all_committed_when_start_returns(campus: Campus) -> None:
    # More events than fire in one transaction. 400 of them have ended too, the first before the last have started:
    # event by event they would be out of order.
    def time_of(number: int, minute: int) -> str:
        return f"2025-08-27 19:{minute + number // 60:02}:{number % 60:02}"

    events = [
        record(f"E{number:03}", time_of(number, 10), time_of(number, 14) if number < 400 else "2025-12-01")
        for number in range(600)
    ]

    async def story() -> None:
        campus.records = events
        await campus.run()
        assert campus.told == []
        campus.records = []
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler()
        await scheduler.start()
        assert campus.told == []
        with Agenda(campus.url, clock=campus.clock) as agenda:
            assert agenda.counts().by_status == {"completed/event_ended": 400, "ongoing/event_started": 200}
        while len(campus.told) < 1000:
            await scheduler.settled()
        assert missed_counts(await scheduler.get_status()) == [1000, 1000, 0, 0]
        await scheduler.stop()

    asynchronously(story)
    due = [entry.due_us for entry in campus.entries if entry.due_us is not None]
    assert len(due) == 1000
    assert due == sorted(due)


def test_the_log_of_a_recovery_reads_as_the_founding_document_has_it(
    campus: Campus, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(
            RACE, record("HACK26", "2025-08-27 19:30", "2025-08-27 21:30"), when="2025-08-27 19:00"
        )
        campus.clock.set(at("2025-08-27 21:15"))
        caplog.clear()
        scheduler = campus.scheduler()
        await scheduler.start()
        await scheduler.settled()
        await scheduler.start()
        await scheduler.stop()
        await scheduler.stop()

    with caplog.at_level(logging.INFO, LOGGER):
        asynchronously(story)
    assert logged(caplog) == [
        "WARNING ⚠️ Detected 2 missed triggers during downtime!",
        "INFO event_start for HACK26 was due at 2025-08-27T19:30:00Z, 1 hour ago",
        "INFO registration_open for ARRCOSTU2025 was due at 2025-08-27T20:30:00Z, 45 minutes ago",
        "INFO Recovery: 2 detected, 2 brought up to date, 0 set aside, 0 too old to be announced",
        "INFO Initialized scheduler with 4 future triggers from 2 events",
        "INFO Next trigger: event_end for HACK26 in 0:15:00",
        "INFO Scheduler started",
        "INFO 🔄 Executing missed trigger: event_start for HACK26",
        "INFO 🔄 Executing missed trigger: registration_open for ARRCOSTU2025",
        "INFO ✅ Missed trigger execution complete: 2 successful, 0 failed",
        "WARNING Scheduler is already running",
        "INFO Scheduler stopped",
    ]


@pytest.mark.parametrize("with_save_status", [True, False])
def test_initialize_does_its_four_steps_in_their_order_and_ends(
    campus: Campus, caplog: pytest.LogCaptureFixture, *, with_save_status: bool
) -> None:
    steps: list[str] = []

    class Watched(DynamicEventScheduler):
        @override
        async def _check_missed_triggers(self, *given: Any) -> list[ScheduledTrigger]:
            steps.append("check")
            return await super()._check_missed_triggers(*given)

        @override
        async def _execute_missed_triggers(self, missed_triggers: list[ScheduledTrigger] | None = None) -> None:
            steps.append(f"execute {[trigger.event_id for trigger in missed_triggers or []]}")
            await super()._execute_missed_triggers(missed_triggers)

    async def story() -> None:
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = Watched()
        scheduler.configure(
            store=campus.url,
            time_zone="UTC",
            clock=campus.clock,
            recovery_delay=0,
            save_status=campus.save_status if with_save_status else None,
        )
        await scheduler.add_new_event({**RACE, "created_at": "2025-08-01T00:00:00Z"})
        caplog.clear()
        await scheduler.initialize()
        assert not scheduler.running
        assert [trigger.trigger_type.value for trigger in scheduler.trigger_queue] == [
            "registration_close",
            "event_start",
            "event_end",
        ]
        assert missed_counts(await scheduler.get_status()) == [1, 1, 0, 0]
        await scheduler.stop()

    with caplog.at_level(logging.INFO, LOGGER):
        asynchronously(story)
    assert steps == ["check", "execute ['ARRCOSTU2025']"]
    assert [line.partition(":")[0] for line in logged(caplog)] == [
        "WARNING ⚠️ Detected 1 missed triggers during downtime!",
        "INFO registration_open for ARRCOSTU2025 was due at 2025-08-27T20",
        "INFO 🔄 Executing missed trigger",
        "INFO ✅ Missed trigger execution complete",
        "INFO Recovery",
        "INFO Initialized scheduler with 3 future triggers from 1 events",
        "INFO Next trigger",
    ]
    assert campus.told == ([("ARRCOSTU2025", "upcoming/registration_open")] if with_save_status else [])


def test_the_check_and_the_execution_can_be_called_by_themselves(campus: Campus) -> None:
    async def story() -> None:
        campus.records = [RACE]
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler()
        missed = await scheduler._check_missed_triggers()
        assert [(trigger.event_id, trigger.trigger_type) for trigger in missed] == [
            ("ARRCOSTU2025", EventTriggerType.REGISTRATION_OPEN)
        ]
        assert campus.told == []
        await scheduler._execute_missed_triggers([])
        assert campus.told == []
        await scheduler._execute_missed_triggers()
        assert campus.told == [("ARRCOSTU2025", "upcoming/registration_open")]
        assert await scheduler._check_missed_triggers() == []
        assert not scheduler.running
        # Nothing was left behind: another scheduler can own the file.
        assert missed_counts(await campus.run()) == [0, 0, 0, 0]

    asynchronously(story)


def test_the_check_asks_about_the_events_and_the_time_that_it_is_given(campus: Campus) -> None:
    async def story() -> None:
        other = record("HACK26", "2025-08-27 19:30", "2025-08-27 21:30")
        scheduler = campus.scheduler(load=None)
        for each in (RACE, other):
            await scheduler.add_new_event(each)
        campus.clock.set(at("2025-08-27 21:15"))
        of_one = await scheduler._check_missed_triggers([other])
        assert [trigger.event_id for trigger in of_one] == ["HACK26"]
        earlier = await scheduler._check_missed_triggers(current_time=datetime.fromisoformat("2025-08-27 20:00"))
        assert [trigger.trigger_type.value for trigger in earlier] == ["event_start"]
        later = await scheduler._check_missed_triggers(current_time=datetime.fromisoformat("2025-08-27 22:00"))
        assert [trigger.trigger_type.value for trigger in later] == ["event_start", "registration_open", "event_end"]

    asynchronously(story)


def test_a_falsified_status_is_repaired_before_the_transition_and_right_after_it(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        with apsw.Connection(str(campus.folder / "duly.db")) as connection:
            connection.execute("UPDATE event SET status = 'completed/event_ended'")
        connection.close()
        campus.clock.set(at("2025-08-27 21:15"))
        await campus.run()

    asynchronously(story)
    with Agenda(campus.url, clock=campus.clock) as agenda:
        *_, repaired, fired = agenda.history("ARRCOSTU2025")
        assert (repaired.kind, repaired.details) == ("repaired", {"found": "completed/event_ended"})
        assert (repaired.to_status, fired.from_status) == ("upcoming/registration_not_started",) * 2
        assert agenda.get("ARRCOSTU2025").announced == fired.to_status == "upcoming/registration_open"
    assert campus.told == [("ARRCOSTU2025", "upcoming/registration_open")]


def test_an_event_that_raises_counts_as_failed_and_stops_no_other(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(
            RACE, record("BROKEN", "2025-08-27 20:00", "2025-12-01"), when="2025-08-27 19:00"
        )
        connection = apsw.Connection(str(campus.folder / "duly.db"))
        connection.execute("UPDATE event SET lifecycle = 'gone', lifecycle_hash = 'gone' WHERE id = 'BROKEN'")
        connection.close()
        campus.clock.set(at("2025-08-27 21:15"))
        assert missed_counts(await campus.run()) == [2, 1, 1, 0]

    asynchronously(story)
    assert campus.told == [("ARRCOSTU2025", "upcoming/registration_open")]


@pytest.mark.parametrize(
    ("hours", "told", "outside"),
    [(24, 1, 2), (None, 3, 0), (0, 0, 3), (48.5, 2, 1)],
)
def test_the_window_bounds_what_is_told_and_never_the_status(
    campus: Campus, hours: float | None, told: int, outside: int
) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(
            record("A", "2025-08-28 10:00", "2025-12-01"),
            record("B", "2025-08-29 10:00", "2025-12-01"),
            record("C", "2025-08-30 10:00", "2025-12-01"),
            when="2025-08-27 19:00",
        )
        campus.clock.set(at("2025-08-30 20:00"))
        status = await campus.run(max_downtime_hours=hours)
        assert missed_counts(status) == [3, 3, 0, outside]
        assert status["max_downtime_hours"] == hours

    asynchronously(story)
    assert [event_id for event_id, _ in campus.told] == ["A", "B", "C"][3 - told :]
    with Agenda(campus.url, clock=campus.clock) as agenda:
        assert agenda.counts().by_status == {"ongoing/event_started": 3}


@pytest.mark.parametrize("hours", [-1, float("nan"), float("inf"), "24", True])
def test_an_impossible_window_is_refused_and_changes_nothing(hours: Any) -> None:
    scheduler = DynamicEventScheduler()
    with pytest.raises(InvalidSetting, match=r"max_downtime_hours .* must be from 0"):
        scheduler.max_downtime_hours = hours
    assert scheduler.max_downtime_hours == 24


def test_triggers_fire_on_time_and_an_edit_moves_them(campus: Campus) -> None:
    async def story() -> None:
        scheduler = campus.scheduler()
        await scheduler.start()
        assert await scheduler.add_new_event(RACE) == "upcoming/registration_not_started"
        campus.clock.advance(at("2025-08-27 20:30") - campus.clock.now())
        await scheduler.settled()
        assert campus.told == [("ARRCOSTU2025", "upcoming/registration_open")]
        moved = {**RACE, "registration_start_date": "2025-08-28 09:00"}
        assert await scheduler.update_event_triggers("ARRCOSTU2025", moved) == "upcoming/registration_not_started"
        await scheduler.settled()
        campus.clock.advance(DAY)
        await scheduler.settled()
        await scheduler.stop()

    asynchronously(story)
    assert [status for _, status in campus.told] == [
        "upcoming/registration_open",
        "upcoming/registration_not_started",
        "upcoming/registration_open",
    ]
    assert [(entry.kind, entry.generation) for entry in campus.entries] == [
        ("fired", 1),
        ("revoked", 1),
        ("fired", 2),
    ]


def test_a_date_taken_back_is_told_however_long_ago_it_had_fired(campus: Campus) -> None:
    async def story() -> None:
        scheduler = campus.scheduler()
        await scheduler.start()
        await scheduler.add_new_event(RACE)
        await scheduler.stop()
        campus.clock.set(at("2025-08-27 20:31"))
        await campus.run()
        campus.clock.set(at("2025-09-05 00:00"))
        scheduler = campus.scheduler()
        await scheduler.start()
        await scheduler.update_event_triggers("ARRCOSTU2025", {**RACE, "registration_start_date": "2025-09-06"})
        await scheduler.settled()
        await scheduler.stop()

    asynchronously(story)
    assert [entry.kind for entry in campus.entries] == ["fired", "revoked"]
    assert campus.told[-1] == ("ARRCOSTU2025", "upcoming/registration_not_started")


def test_what_was_missed_is_told_at_the_pace_that_is_set_behind_a_started_scheduler(
    campus: Campus, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        events = [record(each, f"2025-08-27 20:0{each}", "2025-12-01") for each in "123"]
        await campus.put_by_an_earlier_run(*events, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler(recovery_delay=0.1)
        await scheduler.start()
        assert scheduler.running
        await scheduler.settled()
        for expected in (1, 2, 3):
            assert len(campus.told) == expected
            assert (await scheduler.get_status())["missed_successful"] == expected
            campus.clock.advance(99_999)
            await scheduler.settled()
            assert len(campus.told) == expected
            campus.clock.advance(1)
            await scheduler.settled()
        await scheduler.stop()

    with caplog.at_level(logging.INFO, LOGGER):
        asynchronously(story)
    assert logged(caplog)[-2:] == [
        "INFO ✅ Missed trigger execution complete: 3 successful, 0 failed",
        "INFO Scheduler stopped",
    ]


def test_a_host_that_was_suspended_catches_up_as_after_a_restart(
    campus: Campus, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        scheduler = campus.scheduler()
        campus.records = [RACE]
        await scheduler.start()
        await scheduler.settled()  # it is between two rounds, not in the middle of one
        caplog.clear()
        campus.clock.advance(2 * HOUR)
        await scheduler.settled()
        assert missed_counts(await scheduler.get_status()) == [1, 1, 0, 0]
        await scheduler.stop()

    with caplog.at_level(logging.INFO, LOGGER):
        asynchronously(story)
    assert logged(caplog)[:4] == [
        "WARNING ⚠️ Detected 1 missed triggers during downtime!",
        "INFO registration_open for ARRCOSTU2025 was due at 2025-08-27T20:30:00Z, 30 minutes ago",
        "INFO 🔄 Executing missed trigger: registration_open for ARRCOSTU2025",
        "INFO ✅ Missed trigger execution complete: 1 successful, 0 failed",
    ]


def test_a_standby_reports_nothing_as_missed(campus: Campus, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        with Agenda(campus.url, clock=campus.clock) as another_process:
            assert another_process.store.own()
            assert missed_counts(await campus.run()) == [0, 0, 0, 0]

    asynchronously(story)
    assert not any("Detected" in line for line in logged(caplog))
    assert campus.told == []


def test_it_can_be_stopped_and_started_again(campus: Campus) -> None:
    async def story() -> None:
        scheduler = campus.scheduler(load=None)
        await scheduler.start()
        await scheduler.add_new_event(RACE)
        with pytest.raises(WrongState, match="stop it before you configure it"):
            scheduler.configure()
        await scheduler.stop()
        campus.clock.advance(2 * HOUR)
        await scheduler.start()
        await scheduler.settled()
        assert missed_counts(await scheduler.get_status()) == [1, 1, 0, 0]
        await scheduler.stop()
        assert missed_counts(await scheduler.get_status()) == [1, 1, 0, 0]
        with pytest.raises(WrongState, match="not been started"):
            await scheduler.settled()

    asynchronously(story)
    assert campus.told == [("ARRCOSTU2025", "upcoming/registration_open")]


def test_a_start_that_fails_leaves_nothing_behind(campus: Campus) -> None:
    async def away() -> list[Any]:
        raise ConnectionError("the database is away")

    async def story() -> None:
        campus.records = [RACE]
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler(load=away)
        with pytest.raises(ConnectionError):
            await scheduler.start()
        assert not scheduler.running
        assert missed_counts(await campus.run()) == [1, 1, 0, 0]

    asynchronously(story)


def test_a_store_that_is_not_duly_s_is_refused_and_left_alone(campus: Campus) -> None:
    (campus.folder / "duly.db").write_text("a diary")

    async def story() -> None:
        scheduler = campus.scheduler()
        with pytest.raises(StoreRefused):
            await scheduler.start()
        await scheduler.stop()

    asynchronously(story)
    assert (campus.folder / "duly.db").read_text() == "a diary"


def test_two_starts_at_once_are_one(campus: Campus, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        campus.records = [RACE]
        scheduler = campus.scheduler()
        await asyncio.gather(scheduler.start(), scheduler.start())
        assert scheduler.running
        await scheduler.stop()

    asynchronously(story)
    assert logged(caplog).count("WARNING Scheduler is already running") == 1


def test_a_stop_that_comes_during_the_start_waits_for_it(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler()
        await asyncio.gather(scheduler.start(), scheduler.stop())
        assert not scheduler.running
        await campus.run()

    asynchronously(story)
    assert campus.told == [("ARRCOSTU2025", "upcoming/registration_open")]


def test_initializing_a_running_scheduler_loads_the_events_anew(campus: Campus) -> None:
    async def story() -> None:
        scheduler = campus.scheduler()
        await scheduler.start()
        campus.records = [RACE]
        await scheduler.initialize()
        assert scheduler.running
        assert len(scheduler.trigger_queue) == 4
        await scheduler._execute_missed_triggers()
        await scheduler.stop()
        assert isinstance(await scheduler.add_new_event(RACE), Status)

    asynchronously(story)
