"""SQLite: a store that the version before deliveries wrote is brought up to date with all that is in it, and goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from duly.lifecycles.reader import built_in
from duly.model.delivery import State
from duly.model.event import Hold
from duly.model.history import broken_link
from duly.stores.sqlite import SqliteStore
from tests.builders import CAMPUS, HOUR, T0, editing, event, planned
from tests.contract.deeds import audit, fire_all, ledger, whats
from tests.contract.processes import running
from tests.contract.telling import claim, delivered, everything, listener, settle, topics

# Made by the code of commit f0f7fa3, and written down as SQL; see the head of the file.
DUMP: Final = Path(__file__).parent / "data" / "version_1.sql"
IDS: Final = ("ARRCOSTU2025", "broken", "cancelled", "moved", "pending", "removed")
TABLES: Final = ("meta", "lifecycle", "event", "history", "node", "outage")
NOW: Final = T0 + 4 * HOUR
Content = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file as that version left it."""
    found = tmp_path / "events.db"
    connection = apsw.Connection(str(found))
    connection.pragma("journal_mode", "wal")
    connection.execute(DUMP.read_text(encoding="utf-8"))
    connection.close()
    return found


@pytest.fixture
def migrated(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    store.open(NOW)
    store.declare_lifecycles([], [built_in(name) for name in ("campus_event", "conference", "contest")], NOW)
    yield store
    store.close()


def content(path: Path) -> Content:
    """Return all that is in the tables of version 1."""
    connection = apsw.Connection(str(path))
    found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    connection.close()
    return found


def marks(path: Path) -> tuple[object, object, list[str]]:
    """Return the file's application id, its schema version, and the names of all that is in its schema."""
    connection = apsw.Connection(str(path))
    names = [str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]
    found = (connection.pragma("application_id"), connection.pragma("user_version"), names)
    connection.close()
    return found


def schema(path: Path) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(path))
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
    connection.close()
    return found


def test_the_file_is_what_the_earlier_version_left(path: Path) -> None:
    application, version, names = marks(path)
    assert (application, version) == (0x44554C59, 1)
    assert "event_alarm" in names
    assert "delivery" not in names
    counts = {table: len(rows) for table, rows in content(path).items()}
    assert counts == {"meta": 1, "lifecycle": 3, "event": 6, "history": 15, "node": 2, "outage": 1}


def test_everything_that_was_in_it_is_in_it_afterwards(path: Path) -> None:
    before = content(path)
    store = SqliteStore(path)
    store.open(NOW)
    store.close()
    assert content(path) == before
    assert marks(path)[:2] == (0x44554C59, store.schema_version)


def test_its_schema_is_then_that_of_a_new_store(path: Path, tmp_path: Path) -> None:
    for each in (path, tmp_path / "new.db"):
        store = SqliteStore(each)
        store.open(NOW)
        store.close()
    assert schema(path) == schema(tmp_path / "new.db")


def test_what_it_tells_is_read_as_before(migrated: SqliteStore) -> None:
    rows = {row.id: row for row in migrated.list_events()}
    assert tuple(rows) == IDS
    assert rows["ARRCOSTU2025"].data == {"tags": ["race"], "room": "Halle 7 – Nürnberg"}
    assert str(rows["ARRCOSTU2025"].status) == "upcoming/registration_closed"
    assert [broken_link(migrated.history(id_)) for id_ in IDS] == [None] * 6
    assert whats(audit(migrated, now=NOW)) == {
        "broken": ["its row cannot be read: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"]
    }
    assert [outage.detected for outage in migrated.outages()] == [2]
    assert {node.id for node in migrated.nodes()} == {"node-a", "node-b"}
    assert migrated.last_alive_us() == NOW


def test_what_the_drop_in_had_written_down_is_there(migrated: SqliteStore) -> None:
    kept = migrated.meta("dynamic_event_scheduler")
    assert (kept["cursor"], kept["owed"]) == (14, {"ARRCOSTU2025": [15]})


def test_nobody_is_told_of_what_had_happened_before_unless_a_person_says_so(migrated: SqliteStore) -> None:
    migrated.outbox.declare([listener("a:b", "*", "revoked", "cancelled", "removed")], NOW)
    assert everything(migrated) == []
    assert migrated.outbox.next_wakes() == {}
    assert migrated.outbox.count_of_outage(1) == {}
    migrated.outbox.announce("ARRCOSTU2025", 3, "a:b", NOW)
    assert topics(migrated) == ["registration_close"]


def test_it_goes_on_where_it_was_and_tells_what_happens_from_now_on(migrated: SqliteStore) -> None:
    migrated.outbox.declare([listener("a:b", "*", "resumed", "restored")], NOW)
    fire_all(migrated, T0 + 5 * HOUR)
    assert [(d.event_id, d.topic, d.seq) for d in everything(migrated)] == [("moved", "event_start", 5)]
    assert migrated.history("moved")[-1].generation == 2
    migrated.set_hold("pending", Hold.ACTIVE, lambda: editing(T0 + 5 * HOUR))
    plan = planned(event("removed", event_start=T0 + 6 * HOUR))
    migrated.put_events([plan], lambda _: editing(T0 + 5 * HOUR))
    fire_all(migrated, T0 + 6 * HOUR)
    assert [(d.event_id, d.topic) for d in everything(migrated)][1:] == [
        ("pending", "resumed"), ("removed", "restored"), ("removed", "event_start"),
    ]  # fmt: skip
    assert [entry.seq for entry in migrated.history("removed")] == [1, 2, 3, 4]
    for _ in range(2):
        settle(migrated, *map(delivered, claim(migrated, T0 + 6 * HOUR)), now=T0 + 6 * HOUR)
    assert {d.state for d in everything(migrated)} == {State.DELIVERED}
    assert len(migrated.outbox.identity) == 8
    assert len(ledger(migrated)) == 15 + 5
    assert CAMPUS.hash in {row.lifecycle_hash for row in migrated.list_events()}


@pytest.mark.parametrize("at", ["subscriber", "delivery", "delivery_once", "attempt", "user_version", "COMMIT"])
def test_killed_in_the_middle_of_it_the_store_is_whole_and_of_version_1_and_the_next_start_does_it(
    path: Path, at: str
) -> None:
    script = """
        import apsw
        def authorize(action, name, value, *_):
            # Asked while a statement is prepared: all that stand before it have been run, and none after it has.
            changes = action != apsw.SQLITE_PRAGMA or value is not None
            makes = action in (apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_TRANSACTION, apsw.SQLITE_PRAGMA)
            if makes and changes and name == sys.argv[2]:
                os.kill(os.getpid(), signal.SIGKILL)
            return apsw.SQLITE_OK
        apsw.connection_hooks.append(lambda connection: setattr(connection, "authorizer", authorize))
        SqliteStore(sys.argv[1]).open(0)
        say("survived")
    """
    before, marks_before = content(path), marks(path)
    with running(script, path, at) as process:
        said, _ = process.communicate()
        assert (process.returncode, said) == (-signal.SIGKILL, "")
    assert (content(path), marks(path)) == (before, marks_before)
    store = SqliteStore(path)
    store.open(NOW)
    store.close()
    assert content(path) == before
    assert marks(path)[1] == store.schema_version
