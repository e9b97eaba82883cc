"""The drop-in has the names and shapes of the module that it replaces, and reads its records."""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from duly import dynamic_event_scheduler as module
from duly.agenda import Agenda
from duly.dynamic_event_scheduler import DynamicEventScheduler, EventTriggerType, ScheduledTrigger
from duly.dynamic_event_scheduler.host_zone import host_zone
from duly.dynamic_event_scheduler.records import read_record
from duly.dynamic_event_scheduler.shapes import length_text
from duly.errors import DulyError, InvalidDate, InvalidEvent, InvalidSetting, InvalidZone
from duly.lifecycles.reader import built_in
from tests.doors.campus import RACE, Campus, asynchronously, at, record

LOGGER = "duly.dynamic_event_scheduler"
START = datetime(2025, 9, 20, 9, tzinfo=UTC)


@pytest.fixture
def campus(tmp_path: Path) -> Campus:
    return Campus(tmp_path)


@pytest.fixture
def system_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Set the system's zone by its TZ variable, as the C library has it too."""

    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


# -- names ----------------------------------------------------------------------------------------------


def test_every_old_name_is_there_and_the_old_import_path_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "utils").mkdir()
    shim = tmp_path / "utils" / "dynamic_event_scheduler.py"
    shim.write_text("from duly.dynamic_event_scheduler import *  # noqa\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    old = importlib.import_module("utils.dynamic_event_scheduler")
    for name in (
        "EventTriggerType",
        "ScheduledTrigger",
        "DynamicEventScheduler",
        "dynamic_scheduler",
        "scheduler",
        "scheduler_instance",
        "start_dynamic_scheduler",
        "stop_dynamic_scheduler",
        "add_event_to_scheduler",
        "update_event_in_scheduler",
        "remove_event_from_scheduler",
        "get_scheduler_status",
        "set_max_downtime_hours",
        "configure",
    ):
        assert getattr(old, name) is getattr(module, name), name
    assert sorted(module.__all__) == module.__all__
    assert module.scheduler is module.dynamic_scheduler is module.scheduler_instance


def test_the_functions_of_the_module_drive_its_one_scheduler(campus: Campus) -> None:
    async def story() -> None:
        module.configure(store=campus.url, time_zone="UTC", clock=campus.clock, recovery_delay=0)
        module.set_max_downtime_hours(48)
        await module.start_dynamic_scheduler()
        try:
            await module.add_event_to_scheduler(RACE)
            await module.update_event_in_scheduler("ARRCOSTU2025", {**RACE, "event_name": "Race"})
            status = await module.get_scheduler_status()
            assert (status["running"], status["triggers_queued"], status["max_downtime_hours"]) == (True, 4, 48)
            await module.remove_event_from_scheduler("ARRCOSTU2025")
            await module.remove_event_from_scheduler("ARRCOSTU2025")
            assert module.dynamic_scheduler.trigger_queue == []
        finally:
            await module.stop_dynamic_scheduler()
            module.set_max_downtime_hours(24)
            module.configure()
        assert not module.dynamic_scheduler.running

    asynchronously(story)


def test_a_scheduler_that_was_never_started_answers_every_question(campus: Campus) -> None:
    async def story() -> None:
        scheduler = campus.scheduler()
        assert scheduler.trigger_queue == []
        assert scheduler.get_scheduled_triggers() == []
        assert await scheduler.get_status() == {
            "running": False,
            "triggers_queued": 0,
            "next_trigger": "No scheduled triggers",
            "queue_preview": [],
            "missed_detected": 0,
            "missed_successful": 0,
            "missed_failed": 0,
            "missed_outside_window": 0,
            "last_recovery_at": None,
            "max_downtime_hours": 24,
        }
        await scheduler.stop()

    asynchronously(story)


def test_the_store_is_that_of_the_environment_if_none_is_configured(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DULY_STORE", campus.url)
    scheduler = DynamicEventScheduler()
    asyncio.run(scheduler.add_new_event(record("A", "2099-01-01T10:00Z", "2099-01-02T10:00Z")))
    assert (campus.folder / "duly.db").exists()


# -- shapes ---------------------------------------------------------------------------------------------


def test_a_scheduled_trigger_names_itself_and_is_sorted_by_its_time() -> None:
    start = ScheduledTrigger(START, "EV1", EventTriggerType.EVENT_START)
    end = ScheduledTrigger(START + timedelta(hours=8), "EV0", EventTriggerType.EVENT_END, "mine")
    assert (start.trigger_id, end.trigger_id) == ("EV1_event_start_20250920_090000", "mine")
    assert sorted([end, start]) == [start, end]
    assert start < end
    assert start <= end
    assert end > start
    assert start != ScheduledTrigger(START, "EV2", EventTriggerType.EVENT_START)
    assert [each.value for each in EventTriggerType] == [
        "registration_open",
        "registration_close",
        "event_start",
        "event_end",
        "certificate_start",
        "certificate_end",
    ]


def test_the_queue_its_rows_and_the_status_say_the_same(campus: Campus) -> None:
    async def story() -> None:
        campus.clock.set(at("2025-09-20 08:59:15"))
        scheduler = campus.scheduler(load=None)
        for number in range(3):
            await scheduler.add_new_event(record(f"EV{number}", f"2025-09-2{number} 09:00", "2025-10-01 17:00"))
        campus.clock.set(at("2025-09-20 09:05"))
        queue = scheduler.trigger_queue
        assert queue[0] == ScheduledTrigger(START, "EV0", EventTriggerType.EVENT_START)
        rows = scheduler.get_scheduled_triggers()
        assert [row["event_id"] for row in rows] == ["EV0", "EV1", "EV2", "EV0", "EV1", "EV2"]
        assert rows[:2] == [
            {
                "event_id": "EV0",
                "trigger_type": "event_start",
                "trigger_time": "2025-09-20T09:00:00+00:00",
                "time_until_trigger": -300.0,
                "time_until_formatted": "Past due by 5 minutes",
                "is_past_due": True,
            },
            {
                "event_id": "EV1",
                "trigger_type": "event_start",
                "trigger_time": "2025-09-21T09:00:00+00:00",
                "time_until_trigger": 86_100.0,
                "time_until_formatted": "23 hours",
                "is_past_due": False,
            },
        ]
        status = await scheduler.get_status()
        assert status["triggers_queued"] == len(queue) == 6
        assert status["next_trigger"] == "event_start for EV0 in 0:00:00"
        assert len(status["queue_preview"]) == 5
        assert status["queue_preview"][1] == {
            "event_id": "EV1",
            "trigger_type": "event_start",
            "trigger_time": "2025-09-21T09:00:00+00:00",
            "time_until": "23:55:00",
        }

    asynchronously(story)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (45.9, "45 seconds"),
        (60, "1 minute"),
        (7_200, "2 hours"),
        (259_200, "3 days"),
    ],
)
def test_a_length_of_time_is_said_in_its_largest_unit(seconds: float, text: str) -> None:
    assert length_text(timedelta(seconds=seconds)) == text


# -- records --------------------------------------------------------------------------------------------


def test_what_is_no_concern_of_a_scheduler_stays_with_the_application(campus: Campus) -> None:
    odd = {**RACE, "revision": "draft 7", "data": object(), "description": "\0", "_id": object(), "id": 12}

    async def story() -> None:
        campus.records = [odd]
        await campus.run()
        campus.records = [{**odd, "registrations_count": 18, "sub_status": "registration_open"}]
        await campus.run()

    asynchronously(story)
    with Agenda(campus.url, clock=campus.clock) as agenda:
        assert [entry.kind for entry in agenda.history("ARRCOSTU2025")] == ["created"]
        assert agenda.get("ARRCOSTU2025").data == {}


def test_a_bad_record_is_named_with_its_reason_and_the_others_are_scheduled(
    campus: Campus, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(dict[str, Any]):
        @override
        def get(self, *_: Any) -> Any:
            raise RuntimeError("a lazy column")

    async def story() -> None:
        campus.records = [
            {**RACE, "event_id": "LEAP", "start_datetime": "2025-02-30 10:00"},
            {**RACE, "event_id": "TURNED", "registration_end_date": "2025-08-01"},
            {**RACE, "event_id": "ZONED", "timezone": "IST"},
            {"event_name": "Nameless"},
            ["no", "record"],
            Odd(RACE),
            {**RACE, "event_id": "EPOCH", "created_at": 1_756_000_000},
            {**RACE, "event_id": "OTHER", "lifecycle": "wedding"},
            RACE,
            RACE,
        ]
        scheduler = campus.scheduler()
        await scheduler.start()
        assert {trigger.event_id for trigger in scheduler.trigger_queue} == {"EPOCH", "ARRCOSTU2025"}
        await scheduler.stop()

    asynchronously(story)
    said = "\n".join(found.message for found in caplog.records if found.name == LOGGER)
    for part in (
        "event 'LEAP': start_datetime: ",
        "event 'TURNED': registration_close (",
        "event 'ZONED': zone 'IST' is ambiguous",
        "the record has no id",
        "a record must be a mapping of names to values, not list; it is left out, all others are scheduled",
        "record 6: RuntimeError: a lazy column",
        "lifecycle 'wedding' is unknown",
        "event 'ARRCOSTU2025' is there twice",
        "'EPOCH': created_at: ",
    ):
        assert part in said, part


def test_a_bad_record_that_is_put_alone_is_refused(campus: Campus) -> None:
    async def story() -> None:
        scheduler = campus.scheduler()
        with pytest.raises(InvalidDate, match="event 'ARRCOSTU2025': start_datetime"):
            await scheduler.add_new_event({**RACE, "start_datetime": "2025-02-30 10:00"})
        with pytest.raises(InvalidEvent, match="event 'B': the record given for it is that of 'ARRCOSTU2025'"):
            await scheduler.update_event_triggers("B", RACE)
        nothing: Any = None
        with pytest.raises(InvalidEvent, match="event 'B': its record must be a mapping, not NoneType"):
            await scheduler.update_event_triggers("B", nothing)
        assert scheduler.trigger_queue == []

    asynchronously(story)


def test_an_update_need_not_repeat_the_id(campus: Campus) -> None:
    async def story() -> None:
        scheduler = campus.scheduler()
        without = {key: value for key, value in RACE.items() if key != "event_id"}
        await scheduler.update_event_triggers("ARRCOSTU2025", without)
        assert {trigger.event_id for trigger in scheduler.trigger_queue} == {"ARRCOSTU2025"}

    asynchronously(story)


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"recovery_delay": -1}, InvalidSetting),
        ({"recovery_delay": float("nan")}, InvalidSetting),
        ({"recovery_delay": "0.1"}, InvalidSetting),
        ({"max_downtime_hours": -24}, InvalidSetting),
        ({"time_zone": "PST"}, InvalidZone),
    ],
)
def test_an_impossible_setting_is_refused_and_changes_nothing(
    campus: Campus, settings: dict[str, Any], refusal: type[DulyError]
) -> None:
    scheduler = campus.scheduler()
    with pytest.raises(refusal):
        scheduler.configure(**settings)
    asyncio.run(scheduler.add_new_event(RACE))
    assert (campus.folder / "duly.db").exists()
    assert scheduler.max_downtime_hours == 24


# -- zones ----------------------------------------------------------------------------------------------


def test_naive_datetimes_are_in_the_configured_zone_and_aware_ones_are_what_they_say(campus: Campus) -> None:
    async def story() -> None:
        scheduler = campus.scheduler(load=None, time_zone="Asia/Kolkata")
        await scheduler.add_new_event(record("A", "2025-09-20 14:30", "2025-09-20T17:00:00+02:00"))
        naive = datetime(2025, 9, 20, 14, 30)
        aware = naive.replace(tzinfo=timezone(timedelta(hours=2)))
        await scheduler.add_new_event({"event_id": "B", "start_datetime": naive, "end_datetime": aware})
        await scheduler.add_new_event({"event_id": "C", "start_datetime": date(2025, 9, 20), "timezone": "UTC"})
        assert [(trigger.event_id, trigger.trigger_time.isoformat()) for trigger in scheduler.trigger_queue] == [
            ("C", "2025-09-20T00:00:00+00:00"),
            ("A", "2025-09-20T09:00:00+00:00"),
            ("B", "2025-09-20T09:00:00+00:00"),
            ("B", "2025-09-20T12:30:00+00:00"),
            ("A", "2025-09-20T15:00:00+00:00"),
        ]

    asynchronously(story)


def test_without_a_configured_zone_the_system_s_is_taken_with_one_warning(
    campus: Campus, system_zone: Any, caplog: pytest.LogCaptureFixture
) -> None:
    system_zone("Asia/Kolkata")

    async def story() -> None:
        scheduler = campus.scheduler(time_zone=None)
        campus.records = [record("AWARE", "2025-09-20T09:00Z", "2025-09-20T10:00Z", created_at="2025-08-01T00:00Z")]
        await scheduler.start()
        assert caplog.messages == []
        campus.records = [RACE, {**RACE, "event_id": "B"}]
        await scheduler.initialize()
        await scheduler.add_new_event({**RACE, "event_id": "C"})
        assert scheduler.trigger_queue[0].trigger_time == datetime(2025, 8, 27, 15, tzinfo=UTC)
        await scheduler.stop()

    with caplog.at_level(logging.WARNING, LOGGER):
        campus.clock.set(at("2025-08-27 12:00"))
        asynchronously(story)
    [said] = caplog.messages
    assert said == (
        "registration_start_date of event ARRCOSTU2025 names no time zone; such dates are read in the "
        "system's, Asia/Kolkata. Say which is meant: configure(time_zone='Asia/Kolkata')"
    )


def test_a_naive_created_at_is_read_in_the_same_zone() -> None:
    given = {**RACE, "created_at": "2025-08-01 12:00", "start_datetime": None, "end_datetime": None}
    read = read_record(given, built_in, zone="Asia/Kolkata")
    assert read.event.created_at == datetime(2025, 8, 1, 6, 30, tzinfo=UTC)
    zoned = read_record({**given, "timezone": "UTC"}, built_in, zone="Asia/Kolkata")
    assert (zoned.event.created_at, zoned.naive) == (datetime(2025, 8, 1, 12, tzinfo=UTC), None)
    only_created = read_record({"event_id": "A", "created_at": "2025-08-01 12:00"}, built_in, zone="UTC")
    assert only_created.naive == "created_at"


@pytest.mark.parametrize(
    ("variable", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (":Europe/Berlin", "Europe/Berlin"),
        (":/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/posix/Europe/Berlin", "Europe/Berlin"),
        ("", "UTC"),
        ("UTC", "UTC"),
        ("IST-5:30", "UTC+5:30"),
    ],
)
def test_the_system_s_zone_is_what_its_variable_says(system_zone: Any, variable: str, zone: str) -> None:
    now = at("2025-08-27 12:00")
    if "posix" in variable and not Path(variable).exists():
        pytest.skip("this system has no zoneinfo/posix")
    system_zone(variable)
    assert host_zone(now) == zone


def test_the_system_s_zone_is_where_its_clock_file_leads(system_zone: Any, tmp_path: Path) -> None:
    system_zone("Europe/Berlin")
    now = at("2025-08-27 12:00")
    (tmp_path / "etc").mkdir()
    assert host_zone(now, environment={}, root=tmp_path) == "UTC+2"
    (tmp_path / "etc/timezone").write_text("Asia/Kolkata\n")
    assert host_zone(now, environment={}, root=tmp_path) == "UTC+2"  # stale: the clock shows something else
    (tmp_path / "etc/timezone").write_text("Europe/Paris\n")
    assert host_zone(now, environment={}, root=tmp_path) == "Europe/Paris"
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert host_zone(now, environment={}, root=tmp_path) == "Europe/Berlin"
