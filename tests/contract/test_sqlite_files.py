"""SQLite: which files are taken, and which are refused, with a sentence, untouched."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import apsw
import pytest

from duly.errors import StoreBusy, StoreError, StoreFull, StoreRefused, WrongState
from duly.stores.files import check_path, file_system
from duly.stores.sqlite import BUSY_MS, SqliteStore
from duly.stores.sqlite_schema import APPLICATION_ID
from duly.stores.statements import migrations
from tests.builders import T0
from tests.contract.deeds import LIFECYCLES, lit, put


def refusal(path: Path | str, vfs: str | None = None) -> str:
    """Return why a store is refused, in words that name it."""
    store = SqliteStore(path, vfs=vfs)
    with pytest.raises(StoreRefused) as refused:
        store.open(T0)
    assert str(refused.value).startswith(f"store {path}: ")
    assert store._writer is None
    with pytest.raises(WrongState, match="it is not open"):
        store.meta("key")
    return str(refused.value).removeprefix(f"store {path}: ")


def made(path: Path) -> Path:
    """Make a store with one event in it, closed again."""
    store = SqliteStore(path)
    store.open(T0)
    store.declare_lifecycles([], LIFECYCLES, T0)
    put(store, *(lit(f"w{n}", T0) for n in range(200)))
    store.close()
    return path


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# -------------------------------------------------------------------------------------------- what is taken


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert made(tmp_path / "new.db").stat().st_size > 0


def test_a_file_of_no_bytes_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    made(tmp_path / "empty.db")


@pytest.mark.parametrize("name", ["with blank.db", "ünï-☃.db", "%41.db", "a?b=c.db", "#.db", "file:x.db", "'.db"])
def test_a_file_of_any_name_is_taken_literally(tmp_path: Path, name: str) -> None:
    made(tmp_path / name)
    assert (tmp_path / name).is_file()


def test_a_link_is_followed_so_that_both_names_share_one_lock(tmp_path: Path) -> None:
    made(tmp_path / "real.db")
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    real, link = SqliteStore(tmp_path / "real.db"), SqliteStore(tmp_path / "link.db")
    real.open(T0)
    link.open(T0)
    assert (real.own(), link.own()) == (True, False)
    link.put_meta("key", 1)
    assert real.meta("key") == 1
    link.close()
    real.close()


def test_a_path_in_the_home_folder_is_written_to_as_well_as_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = SqliteStore("~/events.db")
    store.open(T0)
    store.put_meta("key", 1)
    assert (tmp_path / "events.db").is_file()
    store.close()


def test_a_relative_path_is_still_the_same_file_after_the_process_has_changed_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("events.db")
    store.open(T0)
    monkeypatch.chdir("/")
    store.put_meta("key", 1)
    assert store.meta("key") == 1
    store.close()


def test_a_store_that_is_open_is_opened_again_without_effect_and_closed_twice_as_well(tmp_path: Path) -> None:
    store = SqliteStore(made(tmp_path / "events.db"))
    store.open(T0)
    writer = store._writer
    store.open(T0)
    assert store._writer is writer
    store.close()
    store.close()
    store.open(T0)
    assert len(store.list_events()) == 200
    store.close()


def test_sqlite_is_new_enough_not_to_corrupt_a_reset_log() -> None:
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


def test_what_makes_a_commit_durable_is_really_set_on_both_connections(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "events.db")
    store.open(T0)
    for connection in (store._writer, store._borrowed()):
        assert connection is not None
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == 2, "FULL"
        assert connection.pragma("busy_timeout") == BUSY_MS
    store.close()


def test_the_file_says_whose_it_is_and_which_schema_it_has(tmp_path: Path) -> None:
    made(tmp_path / "events.db")
    connection = apsw.Connection(str(tmp_path / "events.db"))
    assert connection.pragma("application_id") == APPLICATION_ID
    assert (
        connection.pragma("user_version")
        == SqliteStore(":memory:").schema_version
        == migrations("sqlite")[-1].version
    )
    connection.close()


# ------------------------------------------------------------------------------------------ what is refused


def test_a_database_of_another_application_is_refused_naming_what_is_in_it_and_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE customers (id); CREATE TABLE orders (id)")
    connection.close()
    before = everything_in(tmp_path)
    message = refusal(path)
    assert message == "it belongs to another application (it has customers, orders); Duly needs a file of its own"
    assert everything_in(tmp_path) == before, "not even its journal mode may be changed"


def test_a_database_with_another_applications_mark_is_refused_even_while_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.pragma("application_id", 0x0F055112)
    connection.close()
    assert "another application" in refusal(path)


def test_a_schema_of_a_later_version_is_refused_and_left_untouched(tmp_path: Path) -> None:
    path = made(tmp_path / "events.db")
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 999)
    connection.close()
    before = everything_in(tmp_path)
    known = migrations("sqlite")[-1].version
    assert refusal(path) == f"its schema is version 999, this Duly knows {known}; upgrade Duly"
    assert everything_in(tmp_path) == before


def test_a_file_of_one_byte_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(b"x")
    with pytest.raises(StoreRefused, match="it is not a SQLite database"):
        SqliteStore(path).open(T0)
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("size", [2, 15, 100, 512, 5_000])
def test_random_bytes_are_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "noise.db"
    path.write_bytes(random.Random(size).randbytes(size))
    before = path.read_bytes()
    assert refusal(path) == "it is not a SQLite database (or it is encrypted)"
    assert path.read_bytes() == before


def open_and_list(store: SqliteStore) -> None:
    store.open(T0)
    store.list_events()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_truncated_store_is_refused_or_ends_in_a_sentence_and_never_in_a_wrong_answer(
    tmp_path: Path, share: float
) -> None:
    path = made(tmp_path / "events.db")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=r"store .*(damaged|malformed|not a SQLite database)"):
        open_and_list(store)
    store.close()


def test_a_header_that_was_overwritten_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "events.db")
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])
    assert refusal(path) == "it is not a SQLite database (or it is encrypted)"


def test_a_directory_is_refused_with_a_name_that_would_do(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"it is a directory; name a file in it, such as {tmp_path / 'duly.db'}"


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "it is not a regular file"


def test_a_missing_folder_is_refused_and_not_made(tmp_path: Path) -> None:
    message = refusal(tmp_path / "no" / "such" / "events.db")
    assert message == f"the directory {tmp_path / 'no' / 'such'} does not exist; create it first"
    assert list(tmp_path.iterdir()) == []


def test_a_file_as_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "events.db") == "Not a directory"


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").symlink_to(tmp_path / "b.db")
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
    assert "leads nowhere" in refusal(tmp_path / "a.db")


def test_a_nul_in_the_path_is_refused_in_words_that_can_be_printed() -> None:
    with pytest.raises(StoreRefused, match="cannot contain NUL") as refused:
        SqliteStore("a\0b.db").open(T0)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(("what", "denied"), [("the directory", os.W_OK | os.X_OK), ("the file", os.R_OK | os.W_OK)])
def test_what_this_user_may_not_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, denied: int
) -> None:
    # Root may do everything, so the answer of the system is what is replaced.
    (tmp_path / "events.db").touch()
    monkeypatch.setattr(os, "access", lambda _, mode: mode != denied)
    assert what in refusal(tmp_path / "events.db")


def test_a_platform_that_is_not_proven_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert "not proven on Windows" in refusal(tmp_path / "events.db")


def test_a_virtual_file_system_without_a_write_ahead_log_is_refused(tmp_path: Path) -> None:
    assert "write-ahead log" in refusal(tmp_path / "events.db", vfs="unix-dotfile")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (apsw.BusyError, StoreBusy, "another program holds it locked"),
        (apsw.FullError, StoreFull, "there is no room on its disk"),
        (apsw.CantOpenError, StoreRefused, "it cannot be opened"),
        (apsw.ReadOnlyError, StoreRefused, "it cannot be written to"),
        (apsw.MisuseError, StoreRefused, "odd"),
    ],
)
def test_what_sqlite_says_when_it_cannot_open_becomes_a_sentence_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[apsw.Error], kind: type[StoreError], said: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error("odd")

    monkeypatch.setattr(apsw, "Connection", refuse)
    with pytest.raises(kind) as refused:
        SqliteStore(tmp_path / "events.db").open(T0)
    assert said in str(refused.value)


# ------------------------------------------------------------------------------------- network file systems


MOUNTS = """\
/dev/vda1 / ext4 rw 0 0
server:/export {0}/nfs nfs4 rw 0 0
//server/share {0}/a\\040blank cifs rw 0 0
me@host: {0}/ssh fuse.sshfs rw 0 0
thing {0}/plain-fuse fuse rw 0 0
tab {0}/a\\011tab nfs rw 0 0
back {0}/back\\134slash nfs rw 0 0
/dev/vdb {0}/nfs/local xfs rw 0 0
first {0}/twice nfs rw 0 0
second {0}/twice ext4 rw 0 0
broken
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mounts"
    file.write_text(MOUNTS.format(tmp_path), encoding="utf-8")
    return file


@pytest.mark.parametrize("folder", ["nfs", "nfs/deep/er", "a blank", "ssh", "plain-fuse", "a\ttab", "back\\slash"])
def test_a_file_system_over_the_network_or_in_user_space_is_refused_naming_it(
    tmp_path: Path, mounts: Path, folder: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(StoreRefused, match=r"network or user-space file system \([a-z0-9.]+\).*local disk"):
        check_path(tmp_path / folder / "events.db", mounts=mounts)


@pytest.mark.parametrize("folder", [".", "nfs/local", "nfs-like", "twice"])
def test_a_local_one_is_taken_wherever_it_is_mounted(tmp_path: Path, mounts: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    assert check_path(tmp_path / folder / "events.db", mounts=mounts).name == "events.db"


def test_where_mounts_cannot_be_told_nothing_is_refused_for_them(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "no-such-file") == ""
    assert check_path(tmp_path / "events.db", mounts=tmp_path / "no-such-file") == tmp_path.resolve() / "events.db"
