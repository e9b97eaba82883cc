"""SQLite: disks that are full, ill or gone: nothing half written, and a sentence that says what may be done."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest
from typing_extensions import override

from duly.errors import StoreBusy, StoreError, StoreFull, StoreRejected, StoreStopped, WrongState
from duly.stores.sqlite import READERS_KEPT, SqliteStore
from duly.stores.store import Store
from duly.stores.verb import Statement, Verb
from tests.builders import DAY, HOUR, T0
from tests.contract.deeds import LIFECYCLES, assert_all_sound, audit, fire, fire_all, ledger, lit, put


def opened(path: Path, vfs: str | None = None) -> SqliteStore:
    store = SqliteStore(path, vfs=vfs)
    store.open(T0)
    store.declare_lifecycles([], LIFECYCLES, T0)
    return store


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = opened(tmp_path / "events.db")
    yield store
    store.close()


def writer_of(store: SqliteStore) -> apsw.Connection:
    assert store._writer is not None
    return store._writer


# ------------------------------------------------------------------------------------------------ a full disk


def fill(store: SqliteStore) -> None:
    """Put events until the disk is full."""
    for batch in range(10_000):
        put(store, *(lit(f"filler-{batch}-{n}", T0 + DAY, T0 + 2 * DAY) for n in range(20)))


def hold_its_ground(store: SqliteStore) -> None:
    """Hold that a full store refuses to write, keeps what it has, and is not stopped."""
    before = (store.list_events(most=100_000), ledger(store))
    with pytest.raises(StoreFull, match=r"no room on its disk; nothing was written; make room, no restart is needed"):
        fill(store)
    written = (store.list_events(most=100_000), ledger(store))
    assert [row for row in written[0] if not row.id.startswith("filler")] == before[0]
    assert written[1][: len(before[1])] == before[1]
    assert audit(store).findings == ()
    assert_all_sound(store)
    assert store.stopped is None


def test_scenario_24_a_full_disk_refuses_writes_keeps_reading_and_needs_no_restart(file_store: SqliteStore) -> None:
    put(file_store, *(lit(f"a{n}", T0) for n in range(30)))
    pages = writer_of(file_store).pragma("page_count")
    writer_of(file_store).pragma("max_page_count", pages + 8)
    hold_its_ground(file_store)
    writer_of(file_store).pragma("max_page_count", 1_000_000)
    assert sum(len(batch.transitions) for batch in fire_all(file_store, T0)) == 30
    assert_all_sound(file_store)


def test_scenario_24_a_firing_that_finds_the_disk_full_has_not_happened_and_happens_later(
    file_store: SqliteStore,
) -> None:
    put(file_store, *(lit(f"a{n:03}", T0) for n in range(400)))
    writer_of(file_store).pragma("max_page_count", writer_of(file_store).pragma("page_count"))
    before = (file_store.list_events(), ledger(file_store))
    with pytest.raises(StoreFull):
        fire(file_store, T0)
    assert (file_store.list_events(), ledger(file_store)) == before
    assert file_store.list_set_aside() == [], "no event is to blame"
    writer_of(file_store).pragma("max_page_count", 1_000_000)
    assert len(fire(file_store, T0).transitions) == 400


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system of one megabyte")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this sandbox does not let root mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_scenario_24_a_disk_that_is_really_full_refuses_writes_and_needs_no_restart(tiny_disk: Path) -> None:
    store = opened(tiny_disk / "events.db")
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"\0" * 300_000)
    put(store, lit("a", T0), lit("b", T0 + HOUR))
    hold_its_ground(store)
    with pytest.raises(StoreFull):
        fill(store)
    ballast.unlink()
    assert len(fire(store, T0).transitions) == 1
    put(store, lit("c", T0 + HOUR))
    assert_all_sound(store)
    store.close()
    again = opened(tiny_disk / "events.db")
    assert len(fire(again, T0 + HOUR).transitions) == 2
    assert_all_sound(again)
    again.close()


# ------------------------------------------------------------------------------------------------ an ill disk


class IllFile(apsw.VFSFile):
    """A file whose disk can fall ill."""

    def __init__(self, disk: IllDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    @override
    def xSync(self, flags: int) -> None:
        self._disk.syncs += 1
        self._disk.check("sync")
        super().xSync(flags)

    @override
    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.check("write")
        super().xWrite(data, offset)

    @override
    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.check("read")
        return super().xRead(amount, offset)


class IllDisk(apsw.VFS):
    """SQLite's own disk, until it is told what fails from now on."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.name = name
        self.fails = ""
        self.syncs = 0

    def check(self, what: str) -> None:
        if what == self.fails:
            msg = f"{what} failed"
            raise apsw.IOError(msg)

    @override
    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> IllFile:
        return IllFile(self, name, flags)


@pytest.fixture
def ill_disk(request: pytest.FixtureRequest) -> Iterator[IllDisk]:
    disk = IllDisk(f"ill-{id(request)}")
    yield disk
    disk.fails = ""
    disk.unregister()


@pytest.mark.parametrize("what", ["sync", "write"])
def test_after_an_error_of_the_disk_nothing_more_is_written_also_when_it_seems_well_again(
    tmp_path: Path, ill_disk: IllDisk, what: str
) -> None:
    store = opened(tmp_path / "events.db", vfs=ill_disk.name)
    assert store.own()
    put(store, lit("w1", T0))
    ill_disk.fails = what
    with pytest.raises(StoreStopped, match=f"stopped: SQLite reported: .*{what} failed"):
        fire(store, T0)
    ill_disk.fails = ""
    assert "SQLite reported" in str(store.stopped)
    for _ in range(2):
        with pytest.raises(StoreStopped, match="nothing more is written since SQLite reported"):
            fire(store, T0)
    assert not store.own(), "a store that has stopped is nobody's to fire on"
    assert store.get_event("w1").status == "dark/dark", "it can still be read"
    store.close()


def test_what_an_ill_disk_refused_to_sync_fires_once_after_a_restart(tmp_path: Path, ill_disk: IllDisk) -> None:
    store = opened(tmp_path / "events.db", vfs=ill_disk.name)
    put(store, lit("w1", T0))
    ill_disk.fails = "sync"
    with pytest.raises(StoreStopped):
        fire(store, T0)
    ill_disk.fails = ""
    store.close()
    again = opened(tmp_path / "events.db")
    fire_all(again, T0)
    assert [entry.kind for entry in again.history("w1")] == ["created", "fired"]
    assert_all_sound(again)
    again.close()


def test_a_read_that_fails_stops_the_writing_too(tmp_path: Path, ill_disk: IllDisk) -> None:
    store = opened(tmp_path / "events.db", vfs=ill_disk.name)
    put(store, *(lit(f"w{n}", T0) for n in range(300)))
    store.close()
    store.open(T0)
    ill_disk.fails = "read"
    with pytest.raises(StoreStopped):
        store.list_events()
    with pytest.raises(StoreStopped):
        store.put_meta("key", 1)
    ill_disk.fails = ""
    store.close()


def open_and_fire(store: SqliteStore) -> None:
    store.open(T0)
    fire(store, T0)


def test_a_damaged_page_ends_in_a_sentence_and_stops_the_writing(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    store = opened(path)
    put(store, *(lit(f"w{n}", T0) for n in range(300)))
    store.close()
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=r"damaged|SQLite reported: .*malformed"):
        open_and_fire(store)
    store.close()


# ------------------------------------------------------------------------------ a file that is not the same


@pytest.mark.parametrize("how", ["replaced", "removed", "moved"])
def test_a_file_that_goes_away_under_the_running_program_stops_the_writing(
    file_store: SqliteStore, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "events.db"
    put(file_store, lit("w1", T0))
    if how == "replaced":
        shutil.copy(path, tmp_path / "copy.db")
        (tmp_path / "copy.db").replace(path)
    elif how == "removed":
        path.unlink()
    else:
        path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(StoreStopped, match="moved, removed or replaced under the running program"):
        fire(file_store, T0)
    if how != "removed":
        (tmp_path / "elsewhere.db").exists() and (tmp_path / "elsewhere.db").rename(path)
    with pytest.raises(StoreStopped, match="nothing more is written since"):
        put(file_store, lit("w2", T0))
    assert file_store.get_event("w1").status == "dark/dark"


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_an_owner_whose_lock_file_goes_away_writes_nothing_more(
    file_store: SqliteStore, tmp_path: Path, how: str
) -> None:
    assert file_store.own()
    put(file_store, lit("w1", T0))
    lock = tmp_path / "events.db.lock"
    lock.unlink()
    if how == "replaced":
        lock.touch()
    with pytest.raises(StoreStopped, match="its lock file was removed or replaced"):
        fire(file_store, T0)
    assert not file_store.own()


def test_who_does_not_own_the_file_does_not_mind_about_the_lock(file_store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "events.db.lock").unlink(missing_ok=True)
    put(file_store, lit("w1", T0))
    assert file_store.stopped is None


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_nothing_is_read_from_another_file_that_took_the_place_of_ours(
    file_store: SqliteStore, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "events.db"
    put(file_store, lit("ours", T0))
    busy = [file_store._borrowed() for _ in range(len(file_store._idle))]
    path.unlink()
    if how == "replaced":
        other = opened(tmp_path / "other.db")
        put(other, lit("theirs", T0))
        other.close()
        (tmp_path / "other.db").rename(path)
    with pytest.raises(StoreStopped, match="moved, removed or replaced under the running program"):
        file_store.list_events()
    assert path.exists() == (how == "replaced"), "nor is an empty one made in its place"
    for connection in busy:
        connection.close()


# --------------------------------------------------------------------------------------- what can be tried again


def test_a_write_lock_that_somebody_keeps_too_long_is_said_so_and_may_be_tried_again(
    file_store: SqliteStore, tmp_path: Path
) -> None:
    other = apsw.Connection(str(tmp_path / "events.db"))
    other.execute("BEGIN IMMEDIATE")
    writer_of(file_store).set_busy_timeout(1)
    with pytest.raises(StoreBusy, match="another process held the write lock for over 5 s"):
        put(file_store, lit("w1", T0))
    assert file_store.meta("key") is None, "reading goes on meanwhile"
    other.execute("ROLLBACK")
    other.close()
    assert put(file_store, lit("w1", T0)).outcomes == {"w1": "created"}


def test_a_verb_that_raises_leaves_nothing_behind_and_the_store_goes_on(store: Store) -> None:
    def half() -> Verb[None]:
        yield Statement("put_meta", {"key": "half", "value": "1"})
        msg = "in the middle"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="in the middle"):
        store.write(half())
    assert store.meta("half") is None
    store.put_meta("half", 2)
    assert store.meta("half") == 2


def test_a_verb_that_is_interrupted_leaves_nothing_behind(store: Store) -> None:
    def interrupted() -> Verb[None]:
        yield Statement("put_meta", {"key": "half", "value": "1"})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(interrupted())
    assert store.meta("half") is None


def test_a_verb_within_a_verb_is_part_of_the_same_transaction(store: Store) -> None:
    def inner() -> Verb[int]:
        yield Statement("put_meta", {"key": "inner", "value": "1"})
        return 7

    def outer() -> Verb[int]:
        yield Statement("put_meta", {"key": "outer", "value": "1"})
        assert store.write(inner()) == 7
        msg = "after the inner one"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError):
        store.write(outer())
    assert (store.meta("inner"), store.meta("outer")) == (None, None)


def test_a_read_sees_one_snapshot_whatever_is_written_meanwhile(file_store: SqliteStore, tmp_path: Path) -> None:
    other = SqliteStore(tmp_path / "events.db")
    other.open(T0)
    file_store.put_meta("key", 1)

    def reading() -> Verb[list[object]]:
        first = yield Statement("get_meta", {"key": "key"})
        other.put_meta("key", 2)
        file_store.put_meta("key", 3)
        return [first, (yield Statement("get_meta", {"key": "key"}))]

    assert file_store.read(reading()) == [[("1",)], [("1",)]]
    assert file_store.meta("key") == other.meta("key") == 3
    other.close()


def test_as_many_may_read_at_once_as_like_and_none_waits_for_another(file_store: SqliteStore) -> None:
    file_store.put_meta("key", 1)

    def nested(depth: int) -> Verb[int]:
        rows = yield Statement("get_meta", {"key": "key"})
        return len(rows) + (file_store.read(nested(depth - 1)) if depth else 0)

    assert file_store.read(nested(20)) == 21
    assert len(file_store._idle) == READERS_KEPT


def test_a_read_that_ends_after_the_store_was_closed_leaves_no_connection_open(
    file_store: SqliteStore, tmp_path: Path
) -> None:
    file_store.put_meta("key", 1)

    def closing() -> Verb[int]:
        rows = yield Statement("get_meta", {"key": "key"})
        file_store.close()
        return len(rows)

    assert file_store.read(closing()) == 1
    assert not (tmp_path / "events.db-wal").exists(), "the last connection has cleaned up"


def test_a_reader_that_cannot_be_opened_is_told_in_a_sentence(
    file_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = [file_store._borrowed() for _ in range(len(file_store._idle))]

    def refuse(*_: object, **__: object) -> None:
        msg = "no"
        raise apsw.CantOpenError(msg)

    monkeypatch.setattr(apsw, "Connection", refuse)
    with pytest.raises(StoreError, match="SQLite reported: no"):
        file_store.meta("key")
    monkeypatch.undo()
    for connection in busy:
        connection.close()


def test_shared_memory_that_cannot_grow_is_a_full_disk_and_no_broken_one(
    file_store: SqliteStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    short = apsw.IOError("no room for the index of the log")
    setattr(short, "extendedresult", apsw.SQLITE_IOERR_SHMSIZE)  # noqa: B010 - as SQLite does; apsw's stubs are silent

    def refused() -> Verb[None]:
        yield Statement("get_meta", {"key": "key"})
        raise short

    with pytest.raises(StoreFull):
        file_store.write(refused())
    assert file_store.stopped is None

    def refuse(*_: object, **__: object) -> None:
        raise short

    monkeypatch.setattr(apsw, "Connection", refuse)
    with pytest.raises(StoreFull, match="there is no room on its disk"):
        SqliteStore(tmp_path / "new.db").open(T0)


def test_whatever_else_sqlite_reports_is_an_error_of_ours_that_may_be_tried_again(file_store: SqliteStore) -> None:
    def odd() -> Verb[None]:
        yield Statement("get_meta", {"key": "key"})
        msg = "odd"
        raise apsw.SchemaChangeError(msg)

    with pytest.raises(StoreError, match="SQLite reported: odd; nothing was written"):
        file_store.write(odd())
    assert file_store.stopped is None


def test_a_put_that_finds_its_work_done_by_another_flushes_what_it_found(tmp_path: Path, ill_disk: IllDisk) -> None:
    store, other = opened(tmp_path / "events.db", vfs=ill_disk.name), opened(tmp_path / "events.db")
    put(store, lit("w0", T0))
    put(other, lit("w1", T0))
    syncs = ill_disk.syncs
    assert put(store, lit("w1", T0)).outcomes == {"w1": "unchanged"}
    assert ill_disk.syncs > syncs, "what another wrote may be visible and not yet flushed"
    syncs = ill_disk.syncs
    assert put(store, lit("w1", T0)).outcomes == {"w1": "unchanged"}
    assert ill_disk.syncs == syncs, "and once is enough"
    other.close()
    store.close()


def test_a_row_that_the_schema_refuses_is_an_error_of_ours_and_leaves_nothing(store: Store) -> None:
    entry = put(store, lit("w1", T0)).entries[0]

    def twice() -> Verb[None]:
        yield Statement("put_meta", {"key": "half", "value": "1"})
        yield Statement("insert_history", [entry], many=True)

    with pytest.raises(StoreRejected, match=r"refuses that .*; nothing was written"):
        store.write(twice())
    assert store.meta("half") is None
    assert store.stopped is None


def test_any_thread_may_call(store: Store) -> None:
    def busy(number: int) -> int:
        for turn in range(10):
            put(store, lit(f"w{number}-{turn}", T0))
            store.counts(T0)
        return fire(store, T0, most=5).claimed

    with ThreadPoolExecutor(6) as threads:
        claimed = sum(threads.map(busy, range(6)))
    assert claimed + sum(batch.claimed for batch in fire_all(store, T0)) == 60
    assert_all_sound(store)


def test_a_store_that_is_closed_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(WrongState, match="it is not open"):
        store.put_meta("key", 1)
    with pytest.raises(WrongState, match="it is not open"):
        store.meta("key")


def test_a_rollback_that_fails_stops_the_writing(file_store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> Verb[None]:
        yield Statement("put_meta", {"key": "half", "value": "1"})
        writer_of(file_store).set_exec_trace(forbid)
        msg = "in the middle"
        raise RuntimeError(msg)

    def forbid(_: apsw.Cursor, sql: str, __: object) -> bool:
        if "ROLLBACK" in sql:
            msg = "no"
            raise apsw.SQLError(msg)
        return True

    with pytest.raises(RuntimeError):
        file_store.write(failing())
    writer_of(file_store).set_exec_trace(None)
    assert file_store.stopped == "a rollback failed: no"
