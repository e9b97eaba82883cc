"""SQLite: one process fires on a file, known by a lock beside it, which ends with the process however that ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from duly.errors import StoreRefused
from duly.stores.ownership import OwnerLock
from duly.stores.sqlite import SqliteStore
from duly.stores.store import Store
from tests.builders import T0
from tests.contract.processes import go, heard, running

OWNING = """
    store = SqliteStore(sys.argv[1])
    store.open(0)
    say(store.own())
    wait()
    say(store.own())
    wait()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def mine(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    store.open(T0)
    yield store
    store.close()


def test_a_store_can_be_owned_owned_again_and_given_back(store: Store) -> None:
    assert store.own()
    assert store.own()
    store.disown()
    assert store.own()


def test_a_store_that_is_closed_is_owned_by_nobody(store: Store) -> None:
    assert store.own()
    store.close()
    assert not store.own()


def test_two_stores_of_one_process_exclude_each_other(mine: SqliteStore, path: Path) -> None:
    other = SqliteStore(path)
    other.open(T0)
    assert (mine.own(), other.own()) == (True, False)
    mine.disown()
    assert (other.own(), mine.own()) == (True, False)
    other.close()
    assert mine.own()


def test_who_does_not_own_the_file_may_still_read_and_write(mine: SqliteStore, path: Path) -> None:
    other = SqliteStore(path)
    other.open(T0)
    assert mine.own()
    other.put_meta("key", 1)
    assert mine.meta("key") == 1
    other.close()


def test_another_process_cannot_own_what_is_owned_and_can_once_it_is_given_back(
    mine: SqliteStore, path: Path
) -> None:
    assert mine.own()
    with running(OWNING, path) as other:
        assert heard(other) == "False"
        mine.disown()
        go(other)
        assert heard(other) == "True"
        assert not mine.own()
    assert mine.own()


def test_a_kill_frees_the_file_at_once(mine: SqliteStore, path: Path) -> None:
    with running(OWNING, path) as other:
        assert heard(other) == "True"
        assert not mine.own()
        other.kill()
        other.wait()
        assert mine.own()


def test_the_lock_file_of_a_process_that_is_dead_means_nothing(path: Path) -> None:
    Path(f"{path}.lock").write_text(json.dumps({"pid": 999_999_999}), encoding="utf-8")
    store = SqliteStore(path)
    store.open(T0)
    assert store.own()
    store.close()


def test_the_lock_says_whose_it_is(mine: SqliteStore, path: Path) -> None:
    Path(f"{path}.lock").write_text("x" * 500, encoding="utf-8")
    assert mine.own()
    assert json.loads(Path(f"{path}.lock").read_text(encoding="utf-8")) == {"pid": os.getpid()}


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_lock_whose_file_goes_away_is_no_longer_held(tmp_path: Path, how: str) -> None:
    lock = OwnerLock(tmp_path / "lock")
    assert lock.take()
    (tmp_path / "lock").unlink()
    if how == "replaced":
        (tmp_path / "lock").touch()
    assert not lock.is_held
    assert not lock.take(), "it is not taken anew behind the back of who may have it now"
    lock.give_back()
    assert lock.take()
    lock.give_back()


def test_a_lock_on_a_file_that_is_removed_between_opening_and_locking_guards_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def removed_first(fd: int, operation: int) -> None:
        (tmp_path / "lock").unlink()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    lock = OwnerLock(tmp_path / "lock")
    assert not lock.take()
    monkeypatch.undo()
    assert lock.take()
    lock.give_back()
    assert not lock.is_held


def test_a_lock_file_that_cannot_be_opened_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StoreRefused, match=r"the lock file .* cannot be opened: Is a directory"):
        OwnerLock(tmp_path / "lock").take()


def test_a_file_system_that_cannot_lock_is_refused_and_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unable)
    with pytest.raises(StoreRefused, match=r"the lock file .* cannot be locked: No locks available"):
        OwnerLock(tmp_path / "lock").take()


def test_on_a_full_disk_the_lock_is_held_even_if_its_owner_cannot_be_written_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock, other = OwnerLock(tmp_path / "lock"), OwnerLock(tmp_path / "lock")
    assert lock.take()
    assert not other.take()
    lock.give_back()
    assert other.take()
    other.give_back()


def test_the_lock_is_never_on_the_database_itself(mine: SqliteStore, path: Path) -> None:
    assert mine.own()
    with path.open("rb") as database:
        fcntl.flock(database, fcntl.LOCK_EX | fcntl.LOCK_NB)
