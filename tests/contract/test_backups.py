"""Backups: one state of the whole store, verified, marked as a copy, and under its name only once it is whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

from duly.errors import StoreBusy, StoreError, StoreFull, StoreRefused, WrongState
from duly.model.delivery import State, Subscriber
from duly.stores import backups
from duly.stores.residence import adopt, copy_of, take_up
from duly.stores.sqlite import SqliteStore
from tests.builders import SECOND, T0
from tests.contract.deeds import LIFECYCLES, fire, lit, put
from tests.contract.processes import heard, running

EVENTS = 300


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteStore]:
    """A store of some hundred pages, backed up a few at a time."""
    monkeypatch.setattr(backups, "PAGES_A_STEP", 8)
    found = SqliteStore(tmp_path / "events.db")
    found.open(T0)
    found.declare_lifecycles([], LIFECYCLES, T0)
    found.outbox.put_subscriber(Subscriber(name="webhook:crm", channel="webhook", topics=("*",)), T0)
    put(found, *(lit(f"w{n:03}", T0 + SECOND) for n in range(EVENTS)))
    fire(found, T0 + SECOND)
    yield found
    found.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "monday.db"


def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    store.open(T0)
    return store


def beside(target: Path) -> list[str]:
    return sorted(each.name for each in target.parent.iterdir())


def test_a_backup_has_all_that_the_store_has_and_is_one_file(store: SqliteStore, target: Path) -> None:
    made = store.backup(target, T0)
    assert beside(target) == ["monday.db"]
    assert (made.path, made.events, made.entries, made.deliveries) == (target, EVENTS, 2 * EVENTS, EVENTS)
    assert made.size_bytes == target.stat().st_size
    copy = opened(target)
    assert copy.history("w007") == store.history("w007")
    assert copy.history_end() == store.history_end()
    assert copy.outbox.identity == store.outbox.identity == made.of
    assert [d.id for d in copy.outbox.deliveries()] == [d.id for d in store.outbox.deliveries()]
    copy.close()


def test_a_backup_is_one_state_of_the_store_however_much_is_written_meanwhile(
    store: SqliteStore, target: Path
) -> None:
    others = opened(Path(store.url.removeprefix("sqlite:///")))
    steps: list[tuple[int, int]] = []

    def write_on(done: int, total: int) -> None:
        steps.append((done, total))
        put(others, lit(f"x{len(steps):03}", T0 + SECOND))
        put(store, lit(f"y{len(steps):03}", T0 + SECOND))

    made = store.backup(target, T0, progress=write_on)
    others.close()
    assert len(steps) > 10, "it went page by page"
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1], "no writer made it begin again"
    assert (made.events, store.counts(T0).events) == (EVENTS, EVENTS + 2 * len(steps))
    copy = opened(target)
    assert copy.counts(T0).events == EVENTS
    copy.close()


def test_a_backup_that_is_taken_up_is_a_copy_and_sends_nothing_until_it_is_adopted(
    store: SqliteStore, target: Path
) -> None:
    store.backup(target, T0)
    assert copy_of(store) is None
    copy = opened(target)
    said = f"this store is a copy of {store.outbox.identity} (it is a backup of 2026-05-01T08:00:00Z)"
    assert str(copy_of(copy)).startswith(said)
    assert copy.own()
    take_up(copy, None, T0)
    assert copy.outbox.counts().pending == 0
    assert {each.state for each in copy.outbox.deliveries(most=EVENTS)} == {State.PARKED}
    adopt(copy, None, T0)
    assert copy_of(copy) is None
    copy.close()


def test_a_backup_put_in_the_place_of_its_own_store_is_a_copy(store: SqliteStore, target: Path) -> None:
    path = Path(store.url.removeprefix("sqlite:///"))
    assert store.own()
    take_up(store, None, T0)
    store.backup(target, T0)
    store.close()
    target.replace(path)
    restored = opened(path)
    assert restored.own()
    assert take_up(restored, None, T0) is not None
    restored.close()


def test_a_backup_of_a_backup_and_of_a_store_that_is_owned_elsewhere_can_be_made(
    store: SqliteStore, target: Path
) -> None:
    store.backup(target, T0)
    copy = opened(target)
    assert copy.own()
    reader = opened(target)
    reader.backup(target.with_name("again.db"), T0)
    reader.close()
    copy.close()
    assert target.with_name("again.db").exists()


def test_a_backup_is_as_closed_to_others_as_the_store(store: SqliteStore, target: Path) -> None:
    Path(store.url.removeprefix("sqlite:///")).chmod(0o640)
    store.backup(target, T0)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


# -- what is refused ------------------------------------------------------------------------------------


class Refused(NamedTuple):
    """A path that cannot be a backup's, what is there before, and what is said."""

    name: str
    said: str
    prepare: Callable[[Path], object] = lambda _: None
    force: bool = True


@pytest.mark.parametrize(
    "case",
    [
        Refused("../events.db", "it is the store itself"),
        Refused("link.db", "it is the store itself", lambda folder: (folder / "link.db").symlink_to("../events.db")),
        Refused(
            "same.db",
            "it is the store itself",
            lambda folder: os.link(folder.parent / "events.db", folder / "same.db"),
        ),
        Refused("../events.db-wal", "that name belongs to the store itself"),
        Refused("../events.db.lock", "that name belongs to the store itself"),
        Refused(".", "it is a directory; name a file in it"),
        Refused("there/is/none.db", "does not exist; create it first"),
        Refused("pipe", "it is not a regular file", lambda folder: os.mkfifo(folder / "pipe")),
        Refused("old.db", "there is such a file already", lambda folder: (folder / "old.db").touch(), force=False),
        Refused("old.db", "old.db-wal lies beside it", lambda folder: (folder / "old.db-wal").touch()),
        Refused("loop", "the path leads nowhere", lambda folder: (folder / "loop").symlink_to("loop")),
        Refused("a\0b", "a path cannot contain NUL"),
        Refused("x" * 300, "the path leads nowhere"),
    ],
    ids=lambda case: case.name[:20].replace("\0", " "),
)
def test_a_path_that_cannot_be_a_backup_is_refused_and_what_was_there_is_left(
    store: SqliteStore, target: Path, case: Refused
) -> None:
    case.prepare(target.parent)
    before = beside(target)
    with pytest.raises(StoreRefused, match=r"^backup ") as refusal:
        store.backup(target.parent / case.name, T0, force=case.force)
    assert case.said in str(refusal.value)
    assert beside(target) == before
    store.backup(target, T0)


def test_force_writes_over_a_file_and_only_once_the_backup_is_whole(store: SqliteStore, target: Path) -> None:
    target.write_text("the last one", encoding="utf-8")

    def look(_done: int, _total: int) -> None:
        assert target.read_text(encoding="utf-8") == "the last one"

    store.backup(target, T0, force=True, progress=look)
    assert beside(target) == ["monday.db"]
    opened(target).close()


def test_a_file_that_appears_under_the_name_meanwhile_is_not_written_over(store: SqliteStore, target: Path) -> None:
    def appear(_done: int, _total: int) -> None:
        target.write_text("somebody's", encoding="utf-8")

    with pytest.raises(StoreRefused, match="there is such a file already"):
        store.backup(target, T0, progress=appear)
    assert target.read_text(encoding="utf-8") == "somebody's"
    assert beside(target) == ["monday.db"]


def test_what_has_no_file_has_no_backup_and_what_is_closed_neither(target: Path, tmp_path: Path) -> None:
    memory = SqliteStore(":memory:")
    memory.open(T0)
    with pytest.raises(StoreRefused, match="it is in memory"):
        memory.backup(target, T0)
    memory.close()
    with pytest.raises(WrongState, match="it is not open"):
        SqliteStore(tmp_path / "events.db").backup(target, T0)
    assert beside(target) == []


# -- what goes wrong ------------------------------------------------------------------------------------


def test_a_disk_without_room_is_found_out_before_anything_is_written(
    store: SqliteStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(target.parent)._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreFull, match=r"it takes [\d,]+ bytes, and its disk has 4,096 left"):
        store.backup(target, T0)
    assert beside(target) == []


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (apsw.FullError("full"), StoreFull, "there is no room for it on its disk"),
        (apsw.IOError("disk I/O error"), StoreError, "SQLite reported: disk I/O error"),
        (OSError(5, "Input/output error"), StoreError, "Input/output error"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
    ids=["full", "broken for SQLite", "broken", "interrupted"],
)
def test_a_backup_that_fails_leaves_nothing_and_the_store_as_it_was(
    store: SqliteStore, target: Path, error: BaseException, raised: type[BaseException], said: str
) -> None:
    def fail(_done: int, _total: int) -> None:
        raise error

    with pytest.raises(raised, match=said):
        store.backup(target, T0, progress=fail)
    assert beside(target) == []
    assert store.stopped is None
    put(store, lit("x", T0 + SECOND))
    store.backup(target, T0)


def test_a_copy_that_differs_from_the_store_is_not_given_its_name(
    store: SqliteStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = backups._copy

    def lossy(source: apsw.Connection, part: Path, *rest: Any) -> None:
        real(source, part, *rest)
        with apsw.Connection(str(part)) as copy:
            copy.execute("DELETE FROM history WHERE entry = (SELECT max(entry) FROM history)")

    monkeypatch.setattr(backups, "_copy", lossy)
    with pytest.raises(StoreError, match=r"the copy is not sound \(it has "):
        store.backup(target, T0)
    assert beside(target) == []


def test_a_copy_with_a_damaged_page_is_not_given_its_name_and_check_finds_it_in_the_store(
    store: SqliteStore, target: Path
) -> None:
    assert store.damage() == []
    path = Path(store.url.removeprefix("sqlite:///"))
    store.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 2 * 4096)
        file.write(b"\xff" * 4096)
    store.open(T0)
    assert store.damage() != []
    with pytest.raises(StoreError, match=r"the copy is not sound|SQLite reported"):
        store.backup(target, T0)
    assert beside(target) == []


def test_killed_in_the_middle_there_is_no_file_under_its_name_and_the_next_backup_goes_through(
    store: SqliteStore, target: Path
) -> None:
    path = store.url.removeprefix("sqlite:///")
    script = """
        from pathlib import Path
        from duly.stores import backups
        backups.PAGES_A_STEP = 8
        def tell(done, total):
            if done < total:
                say("at", done)
                wait()
        store = SqliteStore(sys.argv[1])
        store.open(0)
        store.backup(Path(sys.argv[2]), 0, progress=tell)
    """
    with running(script, path, target) as process:
        assert heard(process).startswith("at ")
        with pytest.raises(StoreBusy, match="another one to the same file is under way"):
            store.backup(target, T0)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert beside(target) == [".monday.db.unfinished"]
    store.backup(target, T0)
    assert beside(target) == ["monday.db"]
    opened(target).close()


def test_a_disk_that_knows_neither_locks_nor_links_takes_a_backup_too(
    store: SqliteStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unable)
    monkeypatch.setattr(os, "link", unable)
    store.backup(target, T0)
    assert beside(target) == ["monday.db"]
    with pytest.raises(StoreRefused, match="there is such a file already"):
        store.backup(target, T0)
