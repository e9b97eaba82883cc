"""SQLite: the schema comes into being once, whoever and however many open the file at the same time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw
import pytest
from typing_extensions import override

from duly.errors import StoreRefused
from duly.stores import sqlite_schema
from duly.stores.sqlite import SqliteStore
from duly.stores.statements import Migration, migrations
from tests.builders import T0
from tests.contract.processes import go, heard, running


def schema(path: Path) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path))
    found: list[tuple[object, ...]] = [*connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name")]
    connection.close()
    return found


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [migration.version for migration in migrations("sqlite")] == list(range(1, len(migrations("sqlite")) + 1))


def test_opening_again_migrates_nothing(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        store = SqliteStore(tmp_path / "events.db")
        store.open(T0)
        store.close()
        found.append(schema(tmp_path / "events.db"))
    assert found[0] == found[1]


def test_a_later_migration_is_applied_to_an_earlier_store_and_keeps_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "events.db")
    store.open(T0)
    store.put_meta("key", 1)
    store.close()
    later = (*migrations("sqlite"), Migration(99, "0099_test", "CREATE TABLE more (id TEXT);"))
    monkeypatch.setattr(sqlite_schema, "migrations", lambda _: later)
    store.open(T0)
    assert store.meta("key") == 1
    assert store.schema_version == 99
    store.close()
    assert ("more", "CREATE TABLE more (id TEXT)") in schema(tmp_path / "events.db")


def test_a_migration_that_fails_in_its_middle_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "events.db")
    store.open(T0)
    store.close()
    before = schema(tmp_path / "events.db")
    broken = Migration(99, "0099_test", "CREATE TABLE more (id TEXT); CREATE TABLE more (id TEXT);")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_schema, "migrations", lambda _: (*migrations("sqlite"), broken))
        with pytest.raises(StoreRefused, match="already exists"):
            store.open(T0)
    assert schema(tmp_path / "events.db") == before
    store.open(T0)
    store.close()


def test_who_migrates_while_another_is_looking_does_not_make_the_file_look_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.db"
    other = SqliteStore(path)
    plain = apsw.Connection

    class Interrupted(apsw.Connection):
        @override
        def pragma(self, name: str, *values: Any, **more: Any) -> Any:
            found = super().pragma(name, *values, **more)
            if name == "application_id" and not values and other._writer is None:
                # Just now another process opens the same new file, and is quicker.
                monkeypatch.setattr(apsw, "Connection", plain)
                other.open(T0)
            return found

    monkeypatch.setattr(apsw, "Connection", Interrupted)
    store = SqliteStore(path)
    store.open(T0)
    store.put_meta("key", 1)
    assert other.meta("key") == 1
    store.close()
    other.close()


def test_four_processes_that_start_at_once_on_a_new_file_all_come_up(tmp_path: Path) -> None:
    script = """
        say("ready"); wait()
        store = SqliteStore(sys.argv[1])
        try:
            store.open(0)
            store.put_meta(sys.argv[2], True)
        except Exception as error:
            say(type(error).__name__, error)
        else:
            say("up")
        wait()
    """
    with ExitStack() as stack:
        started = [stack.enter_context(running(script, tmp_path / "events.db", f"p{n}")) for n in range(4)]
        assert [heard(process) for process in started] == ["ready"] * 4
        for process in started:
            go(process)
        assert [heard(process) for process in started] == ["up"] * 4
    store = SqliteStore(tmp_path / "events.db")
    store.open(T0)
    assert [store.meta(f"p{n}") for n in range(4)] == [True] * 4
    store.close()
