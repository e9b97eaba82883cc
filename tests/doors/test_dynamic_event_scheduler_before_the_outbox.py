"""What a version before the outbox had left to be told, by its cursor into the ledger, becomes deliveries."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from duly.agenda import Agenda
from duly.model.delivery import State
from tests.contract.processes import running
from tests.doors.campus import Campus, asynchronously, at, record

# Made by the code of commit f0f7fa3, and written down as SQL; see the head of the file.
DUMP: Final = Path(__file__).parent / "data" / "drop_in_before_the_outbox.sql"
KEY: Final = "dynamic_event_scheduler"
REFUSED: Final = [
    ("A", "ongoing/event_started"),
    ("HALF", "ongoing/event_started"),
    ("A", "completed/event_ended"),
]
REVOKED: Final = ("MOVED", "upcoming/registration_not_required")
UNTOLD: Final = [("LATER", "ongoing/event_started"), ("HALF", "completed/event_ended")]
ALL: Final = [*REFUSED, REVOKED, *UNTOLD]


@pytest.fixture
def campus(tmp_path: Path) -> Campus:
    """The application, ten minutes after that version was killed."""
    connection = apsw.Connection(str(tmp_path / "duly.db"))
    connection.pragma("journal_mode", "wal")
    connection.execute(DUMP.read_text(encoding="utf-8"))
    connection.close()
    found = Campus(tmp_path)
    found.clock.set(at("2025-08-27 22:10"))
    return found


def kept(campus: Campus) -> dict[str, Any]:
    with Agenda(campus.url, clock=campus.clock) as agenda:
        found: dict[str, Any] = agenda.store.meta(KEY)
    return found


def counts_of(status: dict[str, Any]) -> list[int]:
    return [status[f"missed_{what}"] for what in ("detected", "successful", "failed", "outside_window")]


def test_what_it_owed_and_what_it_had_not_come_to_is_told_in_order_and_once(campus: Campus) -> None:
    async def story() -> None:
        assert counts_of(await campus.run()) == [2, 2, 0, 0]
        assert campus.told == ALL
        assert counts_of(await campus.run()) == [0, 0, 0, 0]

    asynchronously(story)
    assert campus.told == ALL
    assert [entry.kind for entry in campus.entries] == ["fired"] * 3 + ["revoked"] + ["fired"] * 2
    assert kept(campus).keys() == {"recovery"}
    with Agenda(campus.url, clock=campus.clock) as agenda:
        withdrawn = agenda.store.outbox.deliveries(state=State.WITHDRAWN)
        assert {(each.event_id, each.reason) for each in withdrawn} == {
            ("GONE", "the event was removed"),
            ("PAUSED", "the event is cancelled"),
        }
        assert agenda.store.outbox.counts().pending == 0


def test_what_was_refused_is_asked_for_however_old_and_the_window_is_for_the_rest(campus: Campus) -> None:
    async def story() -> None:
        assert counts_of(await campus.run(max_downtime_hours=0.1)) == [2, 2, 0, 2]

    asynchronously(story)
    assert campus.told == [*REFUSED, REVOKED]
    with Agenda(campus.url, clock=campus.clock) as agenda:
        missed = agenda.store.outbox.deliveries(state=State.MISSED)
        assert [(each.event_id, each.topic) for each in missed] == [("HALF", "event_end"), ("LATER", "event_start")]


def test_a_recovery_that_was_not_told_to_its_end_is_still_counted(campus: Campus) -> None:
    connection = apsw.Connection(str(campus.folder / "duly.db"))
    connection.execute(
        "UPDATE meta SET value = json_set(value, '$.recovery.done', json('false'), '$.recovery.detected', 10, "
        "'$.recovery.outage', 2)"
    )
    connection.close()

    async def story() -> None:
        assert counts_of(await campus.run()) == [10, 10, 0, 0]

    asynchronously(story)


def test_of_two_processes_that_start_at_once_one_tells_and_the_other_knows(campus: Campus) -> None:
    other = Campus(campus.folder, campus.clock)

    async def story() -> None:
        schedulers = [campus.scheduler(), other.scheduler()]
        await asyncio.gather(*(scheduler.start() for scheduler in schedulers))
        for scheduler in schedulers:
            await scheduler.settled()
        for scheduler in schedulers:
            assert counts_of(await scheduler.get_status()) == [2, 2, 0, 0]
        for scheduler in schedulers:
            await scheduler.stop()

    asynchronously(story)
    assert sorted([campus.told, other.told]) == [[], ALL]


def test_as_long_as_nobody_asks_to_be_told_it_stays_as_it_is_and_what_fires_meanwhile_comes_behind(
    campus: Campus,
) -> None:
    async def story() -> None:
        await campus.scheduler(save_status=None).add_new_event(record("NEW", "2025-08-27 22:11", "2025-12-01"))
        campus.clock.set(at("2025-08-27 22:20"))
        assert counts_of(await campus.run(save_status=None))[:2] == [3, 3]
        assert (kept(campus)["cursor"], len(kept(campus)["owed"])) == (17, 4)
        # Nor does reading, or putting, before the start that takes it over.
        await campus.scheduler().add_new_event(record("MOVED", "2025-08-27 22:15", "2025-12-01"))
        assert kept(campus)["cursor"] == 17
        await campus.run()

    asynchronously(story)
    assert campus.told == [*ALL, ("NEW", "ongoing/event_started"), ("MOVED", "ongoing/event_started")]


@pytest.mark.parametrize(
    "at_statement", ["INSERT INTO subscriber", "INSERT INTO delivery", "INSERT INTO meta", "COMMIT"]
)
def test_killed_in_the_middle_of_it_nothing_is_changed_and_the_next_start_does_it(
    campus: Campus, at_statement: str
) -> None:
    script = """
        import apsw
        from duly.dynamic_event_scheduler.standing import take_over
        from duly.model.lifecycle import CatchUp
        def trace(cursor, sql, bindings):
            if watched and sql.startswith(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            return True
        watched = []
        apsw.connection_hooks.append(lambda connection: setattr(connection, "exec_trace", trace))
        store = SqliteStore(sys.argv[1])
        store.open(0)
        watched.append("from here on")
        take_over(store, CatchUp(), int(sys.argv[3]), tells=True)
        say("survived")
    """
    with running(script, campus.folder / "duly.db", at_statement, campus.clock.now()) as process:
        said, _ = process.communicate()
        assert (process.returncode, said) == (-signal.SIGKILL, "")
    assert kept(campus)["cursor"] == 17
    with Agenda(campus.url, clock=campus.clock) as agenda:
        assert agenda.store.outbox.subscribers() == []
        assert agenda.store.outbox.deliveries() == []

    async def story() -> None:
        await campus.run()

    asynchronously(story)
    assert campus.told == ALL
