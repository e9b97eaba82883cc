"""The application is told of each transition: in order, one at a time, until it has taken note."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from duly.agenda import Agenda
from duly.clock import SECOND
from duly.engine import courier
from duly.errors import StoreFull, StoreStopped, WrongState
from duly.lifecycles.reader import built_in
from duly.model.event import Event, Hold
from duly.model.history import Entry
from duly.model.lifecycle import CatchUp, Policy
from duly.scheduler import Scheduler
from duly.stores.outbox import Outbox
from tests.doors.campus import DAY, HOUR, MINUTE, RACE, Campus, asynchronously, at, record

LOGGER = "duly.dynamic_event_scheduler"
OPEN = ("ARRCOSTU2025", "upcoming/registration_open")
EVENING = [
    record("A", "2025-08-27 20:00", "2025-08-27 20:30"),
    record("B", "2025-08-27 20:10", "2025-08-27 20:20"),
]


@pytest.fixture
def campus(tmp_path: Path) -> Campus:
    return Campus(tmp_path)


def counts_of(status: dict[str, Any]) -> list[int]:
    return [status[f"missed_{what}"] for what in ("detected", "successful", "failed", "outside_window")]


def test_a_failing_event_waits_and_stops_no_other(campus: Campus, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(*EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        campus.broken = {"A"}
        scheduler = campus.scheduler()
        await scheduler.start()
        await scheduler.settled()
        assert campus.told == [("B", "ongoing/event_started"), ("B", "completed/event_ended")]
        # The first of A was refused; the second waits behind it, and neither counts as successful.
        assert campus.attempts == ["A", "B", "B"]
        assert counts_of(await scheduler.get_status()) == [4, 2, 2, 0]
        campus.broken = set()
        campus.clock.advance(SECOND)
        await scheduler.settled()
        await scheduler.settled()
        assert campus.told[2:] == [("A", "ongoing/event_started"), ("A", "completed/event_ended")]
        assert counts_of(await scheduler.get_status()) == [4, 2, 2, 0]
        await scheduler.stop()

    asynchronously(story)
    messages = [found.message for found in caplog.records if found.levelno >= logging.WARNING]
    assert (
        "save_status failed for event_start of A (ConnectionError: the database is away); it is tried again in 1 s"
        in messages
    )


def test_the_pause_between_two_attempts_grows_to_a_minute(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        campus.broken = {"ARRCOSTU2025"}
        scheduler = campus.scheduler()
        await scheduler.start()
        await scheduler.settled()
        for attempts, pause in enumerate([1, 2, 4, 8, 16, 32, 60, 60], start=1):
            assert len(campus.attempts) == attempts
            campus.clock.advance(pause * SECOND - 1)
            await scheduler.settled()
            assert len(campus.attempts) == attempts
            campus.clock.advance(1)
            await scheduler.settled()
        await scheduler.stop()

    asynchronously(story)


def test_what_was_refused_is_told_after_a_restart_however_long_it_took(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        campus.broken = {"ARRCOSTU2025"}
        await campus.run()
        assert campus.told == []
        campus.broken = set()
        campus.clock.advance(3 * DAY)
        status = await campus.run()
        assert counts_of(status) == [0, 0, 0, 0]

    asynchronously(story)
    assert campus.told == [OPEN]
    with Agenda(campus.url, clock=campus.clock) as agenda:
        assert agenda.store.outbox.counts().pending == 0


def test_a_recovery_cut_off_while_it_is_told_goes_on_where_it_was(
    campus: Campus, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(*EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        await campus.run(recovery_delay=60)
        assert campus.told == [("A", "ongoing/event_started")]
        assert counts_of(await campus.run(recovery_delay=60)) == [4, 2, 0, 0]
        campus.clock.advance(MINUTE)
        assert counts_of(await campus.run()) == [4, 4, 0, 0]

    with caplog.at_level(logging.INFO, LOGGER):
        asynchronously(story)
    assert [event_id for event_id, _ in campus.told] == ["A", "B", "B", "A"]
    assert "✅ Missed trigger execution complete: 4 successful, 0 failed" in caplog.messages


def test_two_recoveries_that_overlap_are_counted_together(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, *EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 20:15"))
        await campus.run(recovery_delay=60)
        assert len(campus.told) == 1
        campus.clock.set(at("2025-08-27 21:15"))
        assert counts_of(await campus.run()) == [5, 5, 0, 0]

    asynchronously(story)
    assert len(campus.told) == 5


def test_a_recovery_that_was_told_to_its_end_is_not_counted_with_the_next_one(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, *EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 20:15"))
        assert counts_of(await campus.run()) == [2, 2, 0, 0]
        campus.clock.set(at("2025-08-27 20:25"))
        assert counts_of(await campus.run()) == [1, 1, 0, 0]
        scheduler = campus.scheduler(recovery_delay=3600)
        await scheduler.start()
        await scheduler.settled()
        assert counts_of(await scheduler.get_status()) == [0, 0, 0, 0]
        # Nor if it is told behind a suspension; and one in which nothing fell due changes nothing.
        for expected in ([2, 1, 0, 0], [2, 1, 0, 0]):
            campus.clock.advance(30 * MINUTE)
            await scheduler.settled()
            assert counts_of(await scheduler.get_status()) == expected
        await scheduler.stop()

    asynchronously(story)


def test_a_crash_between_the_commit_and_the_telling_loses_nothing(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        # As a process killed after its recovery leaves the store: fired, and nobody told.
        async with Scheduler(campus.url, time_zone="UTC", clock=campus.clock):
            pass
        assert counts_of(await campus.run()) == [1, 1, 0, 0]
        assert counts_of(await campus.run()) == [0, 0, 0, 0]

    asynchronously(story)
    assert campus.told == [OPEN]


def test_what_happened_before_anybody_asked_to_be_told_is_not_told(campus: Campus) -> None:
    async def story() -> None:
        async with Scheduler(campus.url, time_zone="UTC", clock=campus.clock) as scheduler:
            await scheduler.put(list(map(Event.from_record, [*EVENING, RACE])))
            campus.clock.advance(at("2025-08-27 20:15") - campus.clock.now())
            await scheduler.settled()
        campus.clock.set(at("2025-08-27 20:25"))
        assert counts_of(await campus.run()) == [1, 1, 0, 0]

    asynchronously(story)
    assert campus.told == [("B", "completed/event_ended")]


def test_what_fired_while_save_status_was_not_configured_is_told_once_it_is_again(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(*EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 20:15"))
        assert counts_of(await campus.run(save_status=None)) == [2, 2, 0, 0]
        assert campus.told == []
        campus.clock.set(at("2025-08-27 20:16"))
        assert counts_of(await campus.run()) == [2, 2, 0, 0]

    asynchronously(story)
    assert campus.told == [("A", "ongoing/event_started"), ("B", "ongoing/event_started")]


@pytest.mark.parametrize("ended_by", ["cancelling", "removing"])
def test_nothing_is_told_of_an_event_that_was_cancelled_or_removed_meanwhile(campus: Campus, ended_by: str) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        campus.broken = {"ARRCOSTU2025"}
        scheduler = campus.scheduler()
        await scheduler.start()
        await scheduler.settled()
        if ended_by == "cancelling":
            cancelled = await scheduler.update_event_triggers("ARRCOSTU2025", {**RACE, "status": "cancelled"})
            assert cancelled == "cancelled/cancelled"
        else:
            await scheduler.remove_event("ARRCOSTU2025")
        campus.broken = set()
        campus.clock.advance(MINUTE)
        await scheduler.settled()
        await scheduler.stop()

    asynchronously(story)
    assert campus.told == []


def test_only_the_process_that_fires_tells_and_a_standby_takes_over_where_it_was(campus: Campus) -> None:
    other = Campus(campus.folder, campus.clock)

    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, *EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 20:05"))
        owner, standby = campus.scheduler(), other.scheduler()
        await owner.start()
        await standby.start()
        await owner.settled()
        await standby.settled()
        assert (len(campus.told), len(other.told)) == (1, 0)
        assert counts_of(await standby.get_status()) == [1, 1, 0, 0]
        # An event put at the standby is fired and told by the owner.
        await standby.add_new_event(record("C", "2025-08-27 20:06", "2025-12-01"))
        campus.clock.advance(MINUTE)
        await owner.settled()
        await standby.settled()
        assert ([event_id for event_id, _ in campus.told], other.told) == (["A", "C"], [])
        await owner.stop()
        campus.clock.advance(5 * MINUTE)
        await standby.settled()
        await standby.settled()
        assert other.told == [("B", "ongoing/event_started")]
        await standby.stop()

    asynchronously(story)
    assert len(campus.told) == 2


def test_a_standby_that_nobody_has_to_be_told_by_reports_only_its_own_recoveries(campus: Campus) -> None:
    async def story() -> None:
        campus.records = [RACE]
        owner, standby = campus.scheduler(), campus.scheduler(save_status=None)
        await owner.start()
        await standby.start()
        await standby.settled()
        assert counts_of(await standby.get_status()) == [0, 0, 0, 0]
        await owner.stop()
        await standby.settled()
        assert (await standby.get_status())["running"]
        await standby.stop()

    asynchronously(story)


def test_save_status_may_be_a_plain_function_or_an_object_and_runs_beside_the_event_loop(campus: Campus) -> None:
    where: list[str] = []

    def plain(event_id: str, status: str, sub_status: str, transition: Entry) -> None:
        assert (event_id, status, sub_status) == ("ARRCOSTU2025", "upcoming", "registration_open")
        assert transition.lateness is not None
        where.append("a thread" if threading.current_thread() is not threading.main_thread() else "the loop")

    class Asynchronous:
        async def __call__(self, event_id: str, *_: object) -> None:
            assert event_id == "ARRCOSTU2025"
            where.append("the loop")

    def hands_over(event_id: str, *said: object) -> Awaitable[None]:
        return Asynchronous()(event_id, *said)

    async def story() -> None:
        for save_status in (plain, Asynchronous(), hands_over):
            folder = campus.folder / str(len(where))
            folder.mkdir()
            each = Campus(folder)
            await each.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
            each.clock.set(at("2025-08-27 21:15"))
            await each.run(save_status=save_status)

    asynchronously(story)
    assert where == ["a thread", "the loop", "the loop"]


def test_a_call_that_hangs_counts_as_failed_and_the_others_go_on(
    campus: Campus, caplog: pytest.LogCaptureFixture
) -> None:
    called = asyncio.Event()

    async def hangs_for_a(event_id: str, *said: Any) -> None:
        if event_id == "A":
            called.set()
            await asyncio.Event().wait()
        campus.told.append((event_id, "/".join(said[:2])))

    async def story() -> None:
        await campus.put_by_an_earlier_run(*EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler(save_status=hangs_for_a)
        await scheduler.start()
        waiting = asyncio.ensure_future(scheduler.settled())
        await called.wait()
        campus.clock.advance(MINUTE - 1)
        await asyncio.wait([waiting], timeout=0)
        assert campus.told == []
        campus.clock.advance(1)
        await waiting
        assert counts_of(await scheduler.get_status()) == [4, 2, 2, 0]
        await scheduler.stop()

    asynchronously(story)
    assert [event_id for event_id, _ in campus.told] == ["B", "B"]
    assert (
        "save_status failed for event_start of A (no answer within 60 s); it is tried again in 1 s" in caplog.messages
    )


def test_a_stop_does_not_wait_for_ever_for_a_call_that_hangs(campus: Campus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "STOP_WITHIN", 0.05)
    called = asyncio.Event()

    async def hangs(*said: Any) -> None:
        called.set()
        await asyncio.Event().wait()

    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler(save_status=hangs)
        await scheduler.start()
        await called.wait()
        await scheduler.stop()
        await campus.run()

    asynchronously(story)
    assert campus.told == [OPEN]


def test_the_policies_of_a_lifecycle_are_heard(campus: Campus) -> None:
    season = {
        "event_id": "PYC",
        "event_name": "PyConf",
        "lifecycle": "conference",
        "zone": "UTC",
        "cfp_open": "2025-08-27 20:00",
        "paper_deadline": "2025-08-27 20:30",
    }

    async def story() -> None:
        await campus.put_by_an_earlier_run(season, when="2025-08-27 19:00")
        assert [(each.trigger_type.name, each.trigger_type.value) for each in campus.scheduler().trigger_queue] == [
            ("CFP_OPEN", "cfp_open"),
            ("PAPER_DEADLINE", "paper_deadline"),
        ]
        campus.clock.set(at("2025-08-27 21:15"))
        assert counts_of(await campus.run()) == [2, 2, 0, 0]

    asynchronously(story)
    # An opening is announced only while it still holds.
    assert [entry.milestone for entry in campus.entries] == ["paper_deadline"]


def test_a_lifecycle_of_the_application_s_own_may_want_no_misfire_told(campus: Campus) -> None:
    quiet = replace(built_in("campus_event"), name="quiet", catch_up=CatchUp(policy=Policy.NONE))

    async def story() -> None:
        campus.records = [{**RACE, "lifecycle": "quiet"}]
        await campus.run(lifecycles=[quiet])
        campus.clock.set(at("2025-08-27 21:15"))
        assert counts_of(await campus.run(lifecycles=[quiet])) == [1, 1, 0, 0]

    asynchronously(story)
    assert campus.told == []


def test_a_recovery_that_was_cut_off_before_anybody_asked_is_told_from_where_it_goes_on(campus: Campus) -> None:
    async def story() -> None:
        campus.records = [RACE]
        campus.clock.set(at("2025-08-27 21:15"))
        with Agenda(campus.url, clock=campus.clock) as agenda:
            agenda.store.begin_outage(None, campus.clock.now(), "killed")
        assert counts_of(await campus.run()) == [1, 1, 0, 0]

    asynchronously(story)
    assert campus.told == [OPEN]


def test_a_firing_wakes_the_telling(campus: Campus) -> None:
    async def story() -> None:
        campus.records = [RACE]
        scheduler = campus.scheduler()
        await scheduler.start()
        await scheduler.settled()
        # The clock is stepped, so that no nap ends by itself: only the firing can wake the telling.
        await scheduler.add_new_event({**RACE, "registration_start_date": "2025-08-27 19:00:05"})
        await scheduler.settled()
        campus.clock.set(at("2025-08-27 19:00:06"))
        await scheduler.add_new_event(RACE | {"event_id": "OTHER"})  # has it look
        async with asyncio.timeout(10):
            while not campus.told:
                await asyncio.to_thread(lambda: None)
        await scheduler.stop()

    asynchronously(story)
    assert campus.told == [OPEN]


def test_an_edit_made_by_another_process_is_told_too(campus: Campus) -> None:
    async def story() -> None:
        scheduler = campus.scheduler()
        await scheduler.start()
        await scheduler.add_new_event(RACE)
        with Agenda(campus.url, time_zone="UTC", clock=campus.clock) as agenda:
            agenda.put(Event.from_record({**RACE, "registration_start_date": "2025-08-27 18:00"}))
        campus.clock.advance(SECOND)
        await scheduler.settled()
        assert campus.told == [OPEN]
        # What another process puts on hold and lifts again is a jump to the truth, not an announcement.
        with Agenda(campus.url, time_zone="UTC", clock=campus.clock) as agenda:
            agenda.set_hold("ARRCOSTU2025", Hold.POSTPONED)
            agenda.set_hold("ARRCOSTU2025", Hold.ACTIVE)
        campus.clock.advance(HOUR)
        await scheduler.settled()
        await scheduler.stop()

    asynchronously(story)
    assert campus.told == [OPEN]


def test_a_lost_owner_lock_silences_the_telling(campus: Campus) -> None:
    async def story() -> None:
        campus.records = [RACE]
        scheduler = campus.scheduler()
        await scheduler.start()
        with Agenda(campus.url, time_zone="UTC", clock=campus.clock) as agenda:
            (campus.folder / "duly.db.lock").unlink()
            agenda.put(Event.from_record({**RACE, "registration_start_date": "2025-08-27 18:00"}))
        campus.clock.advance(SECOND)
        with pytest.raises(WrongState, match="its lock file was removed"):
            await scheduler.settled()
        await scheduler.stop()

    asynchronously(story)
    assert campus.told == []


def test_what_was_told_is_not_told_again_if_only_the_note_of_it_failed(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def full(*_: object) -> None:
        refused.append("the note")
        monkeypatch.undo()
        raise StoreFull("no room")

    async def save_status_then_full(*said: Any) -> None:
        await campus.save_status(*said)
        monkeypatch.setattr(Outbox, "settle", full)

    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler(save_status=save_status_then_full)
        await scheduler.start()
        waiting = asyncio.ensure_future(scheduler.settled())
        while not waiting.done():
            # In little steps: were its lease to run out meanwhile, it would be told once more.
            campus.clock.advance(SECOND // 4)
            await asyncio.wait([waiting], timeout=1)
        await waiting
        await scheduler.stop()
        await campus.run()

    asynchronously(story)
    assert (refused, campus.told) == (["the note"], [OPEN])


def test_a_crash_between_the_telling_and_the_note_tells_once_more(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise StoreStopped("killed")

    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler()
        monkeypatch.setattr(Outbox, "settle", killed)
        await scheduler.start()
        with pytest.raises(WrongState, match="delivering has ended"):
            await scheduler.settled()
        await scheduler.stop()
        monkeypatch.undo()
        assert counts_of(await campus.run()) == [1, 1, 0, 0]

    asynchronously(story)
    assert campus.told == [OPEN, OPEN]


def test_an_event_whose_lifecycle_is_gone_is_still_told_what_had_fired(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(*EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        await campus.run(recovery_delay=60)
        connection = apsw.Connection(str(campus.folder / "duly.db"))
        connection.execute("UPDATE event SET lifecycle = 'gone', lifecycle_hash = 'gone' WHERE id = 'B'")
        connection.close()
        campus.clock.advance(MINUTE)
        await campus.run()

    asynchronously(story)
    assert [event_id for event_id, _ in campus.told] == ["A", "B", "B", "A"]


def test_the_window_may_be_changed_while_it_runs(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(RACE, *EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 20:15"))
        scheduler = campus.scheduler(recovery_delay=60)
        await scheduler.start()
        await scheduler.settled()
        assert campus.told == [("A", "ongoing/event_started")]
        scheduler.max_downtime_hours = 0
        campus.clock.advance(MINUTE)
        await scheduler.settled()
        # What had waited for its turn is too old by now, and so is what has been missed since.
        assert counts_of(await scheduler.get_status()) == [2, 2, 0, 1]
        campus.clock.advance(HOUR)
        await scheduler.settled()
        assert counts_of(await scheduler.get_status()) == [3, 3, 0, 3]
        scheduler.max_downtime_hours = None
        await scheduler.stop()
        campus.clock.set(at("2025-09-12 00:00"))
        await campus.run(max_downtime_hours=None)

    asynchronously(story)
    assert campus.told == [("A", "ongoing/event_started"), ("ARRCOSTU2025", "upcoming/registration_closed")]


def test_what_waits_behind_a_refused_one_is_told_however_long_that_takes(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(*EVENING, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        campus.broken = {"A"}
        await campus.run()
        campus.broken = set()
        campus.clock.advance(3 * DAY)
        await campus.run()

    asynchronously(story)
    assert [status for event_id, status in campus.told if event_id == "A"] == [
        "ongoing/event_started",
        "completed/event_ended",
    ]


def test_what_was_missed_just_before_the_start_does_not_overtake_what_was_missed_before(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(
            record("LAST", "2025-08-27 21:14:59", "2025-12-01"), *EVENING, when="2025-08-27 19:00"
        )
        campus.clock.set(at("2025-08-27 21:15"))
        await campus.run()

    asynchronously(story)
    assert [event_id for event_id, _ in campus.told] == ["A", "B", "B", "A", "LAST"]


def test_what_happens_on_time_does_not_wait_behind_what_was_missed(campus: Campus) -> None:
    async def story() -> None:
        await campus.put_by_an_earlier_run(
            record("NOW", "2025-08-27 21:16", "2025-12-01"), *EVENING, when="2025-08-27 19:00"
        )
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler(recovery_delay=3600)
        await scheduler.start()
        await scheduler.settled()
        campus.clock.advance(MINUTE)
        await scheduler.settled()
        await scheduler.stop()

    asynchronously(story)
    assert [event_id for event_id, _ in campus.told] == ["A", "NOW"]


def test_the_chronology_holds_over_a_stop_in_the_middle(campus: Campus) -> None:
    # Each event starts right before another one ends, so that telling event by event, or as they are woken, shows.
    def time_of(second: int) -> str:
        return f"2025-08-27 20:{second // 60:02}:{second % 60:02}"

    half = asyncio.Event()

    async def save_status(*said: Any) -> None:
        campus.clock.advance(1000)
        await campus.save_status(*said)
        if len(campus.told) == 150:
            half.set()

    async def story() -> None:
        campus.records = [record(f"E{n:03}", time_of(n), time_of(n + 1 + n % 7)) for n in range(200)]
        await campus.run()
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler(save_status=save_status)
        await scheduler.start()
        await half.wait()
        await scheduler.stop()
        assert len(campus.told) < 400
        assert counts_of(await campus.run(save_status=save_status)) == [400, 400, 0, 0]

    asynchronously(story)
    due = [entry.due_us for entry in campus.entries if entry.due_us is not None]
    assert len(due) == 400
    assert due == sorted(due)


@pytest.mark.parametrize("kind", ["asynchronous", "plain"])
def test_save_status_cannot_stop_the_scheduler_that_waits_for_it(campus: Campus, kind: str) -> None:
    refused: list[str] = []

    async def story() -> None:
        scheduler = campus.scheduler()

        async def stops(*_: object) -> None:
            for call in (scheduler.stop, scheduler.settled):
                with pytest.raises(WrongState, match="a handler cannot wait for it") as error:
                    await call()
                refused.append(str(error.value).partition(" ")[0])

        def stops_plainly(*said: object) -> Awaitable[None]:
            return stops(*said)

        await campus.put_by_an_earlier_run(RACE, when="2025-08-27 19:00")
        campus.clock.set(at("2025-08-27 21:15"))
        scheduler = campus.scheduler(save_status=stops if kind == "asynchronous" else stops_plainly)
        await scheduler.start()
        await scheduler.settled()
        assert scheduler.running
        assert counts_of(await scheduler.get_status()) == [1, 1, 0, 0]
        await scheduler.stop()

    asynchronously(story)
    assert refused == ["stop()", "settled()"]


def test_where_nobody_is_told_the_changed_window_counts_too(campus: Campus) -> None:
    async def story() -> None:
        campus.records = [RACE]
        scheduler = campus.scheduler(save_status=None)
        await scheduler.start()
        await scheduler.settled()
        scheduler.max_downtime_hours = 0
        campus.clock.advance(2 * HOUR)
        await scheduler.settled()
        assert counts_of(await scheduler.get_status()) == [1, 1, 0, 1]
        await scheduler.stop()

    asynchronously(story)
