"""The clone guard (P18): a store knows where it lives; a copy of it is noticed, and does not speak until confirmed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from duly.errors import WrongState
from duly.model.delivery import State, Subscriber
from duly.stores import surroundings
from duly.stores.copies import Copy
from duly.stores.residence import RESIDENCE_KEY, adopt, copy_of, look, take_up, would_send
from duly.stores.sqlite import SqliteStore
from tests.builders import SECOND, T0
from tests.contract.deeds import LIFECYCLES, fire, lit, put

CRM = Subscriber(name="webhook:crm", channel="webhook", topics=("*",))
OTHER_FILE = "its file is not the one that it lived in"
PUT_BACK = "its file has been put back to an earlier state"


@contextmanager
def opened(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    store.open(T0)
    store.declare_lifecycles([], LIFECYCLES, T0)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def owned(path: Path, environment: str | None = None) -> Iterator[tuple[SqliteStore, Copy | None]]:
    """Yield a store as its owner has it, and what it was found to be a copy of."""
    with opened(path) as store:
        assert store.own()
        yield store, take_up(store, environment, T0)


def lived(path: Path, *, beats: int = 1, environment: str | None = None) -> None:
    """Let a scheduler live in a store for a while."""
    with owned(path, environment) as (store, copy):
        assert copy is None
        for _ in range(beats):
            beat(store)


def beat(store: SqliteStore) -> None:
    store.heartbeat("a1", "here", 1, T0)


def found(path: Path, environment: str | None = None) -> str | None:
    """Return why a store is taken for a copy by who becomes its owner, None if it is not."""
    with owned(path, environment) as (_, copy):
        return None if copy is None else copy.why


def owe(store: SqliteStore, *ids: str) -> None:
    """Let transitions happen that a subscriber is to be told of."""
    store.outbox.put_subscriber(CRM, T0)
    put(store, *(lit(id_, T0 + SECOND) for id_ in ids))
    fire(store, T0 + SECOND)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "events.db"


@pytest.fixture
def copied(path: Path, tmp_path: Path) -> Path:
    """A store that owes two deliveries, copied with its whole folder as `cp -a` does it."""
    lived(path)
    with owned(path) as (store, _):
        owe(store, "w1", "w2")
    shutil.copytree(path.parent, tmp_path / "staging")
    return tmp_path / "staging" / path.name


# -- what is no copy ------------------------------------------------------------------------------------


def test_a_store_that_is_taken_up_where_it_lived_is_no_copy(path: Path) -> None:
    lived(path, beats=3)
    assert found(path) is None
    assert found(path) is None


def test_what_a_recreated_container_and_a_new_host_change_makes_no_copy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(path)
    monkeypatch.setattr(os, "uname", lambda: pytest.fail("the host is not asked"))
    # An entrypoint that sets owner and mode anew, and a volume that is mounted elsewhere.
    path.chmod(0o600)
    os.chown(path, os.getuid(), os.getgid())
    os.utime(path, ns=(0, 0))
    mounted = path.parent.rename(path.parents[1] / "mnt") / path.name
    assert found(mounted) is None


def test_a_store_that_was_moved_on_its_disk_is_no_copy_though_its_lock_file_stayed_behind(path: Path) -> None:
    lived(path)
    moved = path.rename(path.parents[1] / "moved.db")
    assert not Path(f"{moved}.lock").exists()
    assert found(moved) is None


def test_a_store_moved_to_where_another_had_its_lock_file_is_no_copy(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    lived(other, beats=9)
    other.unlink()
    lived(path)
    assert found(path.rename(other)) is None


@pytest.mark.parametrize(
    "left", ["", '{"pid": 1, "witness": {"home"', "[]", '{"witness": 7}', '{"witness": {"file": 7}}']
)
def test_a_witness_that_is_lost_or_torn_says_nothing(path: Path, left: str) -> None:
    lived(path)
    lock = Path(f"{path}.lock")
    lock.write_text(left, encoding="utf-8")
    assert found(path) is None
    lock.unlink()
    assert found(path) is None


def test_a_node_killed_between_a_commit_and_its_witness_leaves_no_copy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(path)
    with owned(path) as (store, _), monkeypatch.context() as killed:
        killed.setattr(store.surroundings, "bear_witness", lambda _: None)
        beat(store)
    assert found(path) is None


def test_a_standby_that_takes_over_finds_the_store_that_it_knows(path: Path) -> None:
    with opened(path) as standby:
        lived(path, beats=3)
        assert standby.own()
        assert take_up(standby, None, T0) is None


def test_a_file_system_that_numbers_its_files_anew_makes_no_copy(path: Path) -> None:
    lived(path)
    with opened(path) as store:
        residence = store.meta(RESIDENCE_KEY)
        if residence["file"]["born_ns"] is None:
            pytest.skip("this file system does not keep the birth of files; then the inode decides")
        store.put_meta(RESIDENCE_KEY, {**residence, "file": {**residence["file"], "inode": 1}})
    assert found(path) is None


def test_a_store_in_memory_and_one_that_is_new_are_no_copies(path: Path) -> None:
    memory = SqliteStore(":memory:")
    memory.open(T0)
    assert take_up(memory, "staging", T0) is None
    assert take_up(memory, "production", T0) is None
    assert look(memory, "staging") is None
    memory.close()
    assert found(path) is None


# -- what is one ----------------------------------------------------------------------------------------


def test_a_file_that_was_copied_with_all_that_lies_beside_it_is_a_copy(copied: Path, path: Path) -> None:
    assert found(copied) == OTHER_FILE
    assert found(path) is None, "the original has not noticed anything"


def test_where_no_birth_is_known_the_inode_tells_a_copy(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "born_ns", lambda _: None)
    lived(path)
    assert found(path) is None
    shutil.copy2(path, tmp_path / "copy.db")
    assert found(tmp_path / "copy.db") == OTHER_FILE
    monkeypatch.undo()
    assert found(path) is None, "a birth that becomes known is no other one"


def test_an_older_file_written_over_the_store_is_noticed(path: Path, tmp_path: Path) -> None:
    lived(path)
    shutil.copyfile(path, tmp_path / "monday.db")
    inode = path.stat().st_ino
    assert found(path) is None
    shutil.copyfile(tmp_path / "monday.db", path)
    assert path.stat().st_ino == inode
    assert found(path) == PUT_BACK


def test_a_state_of_a_few_seconds_ago_of_the_same_run_is_noticed(path: Path, tmp_path: Path) -> None:
    with owned(path) as (store, _):
        beat(store)
        store.backup(tmp_path / "snapshot.db", T0)
        beat(store)
    # As it would be without the mark of a backup: with `cp`, or through another program.
    with opened(tmp_path / "snapshot.db") as snapshot:
        snapshot.put_meta("copy", None)
    shutil.copyfile(tmp_path / "snapshot.db", path)
    assert found(path) == PUT_BACK


def test_a_backup_of_before_an_adoption_is_noticed_on_the_same_file(copied: Path, tmp_path: Path) -> None:
    with opened(copied) as store:
        adopt(store, None, T0)
    shutil.copyfile(copied, tmp_path / "old.db")
    with opened(copied) as store:
        store.put_meta("copy", {"of": "00000000", "why": "a test says so", "since_us": T0})
        adopt(store, None, T0)
    lived(copied)
    shutil.copyfile(tmp_path / "old.db", copied)
    assert found(copied) == PUT_BACK


def test_a_heartbeat_before_the_store_is_taken_up_destroys_no_evidence(path: Path, tmp_path: Path) -> None:
    lived(path)
    shutil.copyfile(path, tmp_path / "monday.db")
    lived(path, beats=2)
    shutil.copyfile(tmp_path / "monday.db", path)
    with opened(path) as store:
        assert store.own()
        for _ in range(9):
            beat(store)
        copy = take_up(store, None, T0)
    assert copy is not None
    assert copy.why == PUT_BACK


# -- environments ---------------------------------------------------------------------------------------


def test_an_environment_of_another_name_makes_a_copy_of_the_very_same_file(path: Path) -> None:
    lived(path, environment="production")
    assert found(path, "staging") == "it lived in the environment 'production', and this one is 'staging'"
    assert found(path, "production") is not None, "and it stays one, until a person has confirmed it"


def test_an_environment_that_is_named_for_the_first_time_is_no_other_one(path: Path) -> None:
    lived(path)
    assert found(path, "production") is None
    assert found(path) is None, "one that is not named is not compared"
    assert found(path, "staging") is not None, "and the name is kept meanwhile"


def test_the_same_name_does_not_make_a_copy_the_original(copied: Path) -> None:
    assert found(copied, "production") == OTHER_FILE


# -- what becomes of a copy -----------------------------------------------------------------------------


def test_of_a_copy_all_that_is_open_is_parked_and_the_statuses_go_on_being_true(copied: Path) -> None:
    with owned(copied) as (store, copy):
        assert copy is not None
        assert copy_of(store) == copy.sentence
        assert {(each.event_id, each.state) for each in would_send(store, copy)} == {
            ("w1", State.PARKED),
            ("w2", State.PARKED),
        }
        put(store, lit("w3", T0 + SECOND, T0 + 2 * SECOND))
        fire(store, T0 + SECOND)
        assert str(store.get_event("w3").status) == "lit/lit"
        assert store.outbox.counts().pending == 0
        assert store.outbox.claim("a1", T0 + 9 * SECOND, T0 + 99 * SECOND, {1: 10}) == []
        reasons = {each.reason for each in store.outbox.deliveries()}
        assert reasons == {f"this store is a copy of {store.outbox.identity}; confirm it with 'duly check --adopt'"}


def test_a_copy_that_no_owner_has_noticed_yet_is_seen_by_who_looks_and_nothing_is_changed(copied: Path) -> None:
    with opened(copied) as store:
        copy = look(store, None)
        assert copy is not None
        assert (copy.why, copy.since_us, copy_of(store)) == (OTHER_FILE, None, None)
        assert [each.state for each in would_send(store, copy)] == [State.PENDING, State.PENDING]
        assert store.outbox.counts().pending == 2


def test_what_a_copy_would_send_cannot_be_released_before_it_is_confirmed(copied: Path) -> None:
    with owned(copied) as (store, copy):
        assert copy is not None
        refused = store.outbox.replay([1, 2], T0)
        assert (refused.made, set(refused.refused.values())) == ({}, {copy.reason})
        adopt(store, None, T0)
        assert list(store.outbox.replay([1, 2], T0).made) == [1, 2]
        assert store.outbox.counts().pending == 2


# -- adopting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noticed", [False, True], ids=["nobody noticed yet", "parked by its owner"])
def test_an_adopted_copy_is_a_store_of_its_own_and_sends_what_is_born_from_then_on(
    copied: Path, *, noticed: bool
) -> None:
    if noticed:
        assert found(copied) == OTHER_FILE
    with opened(copied) as store:
        before = store.outbox.identity
        copy = adopt(store, None, T0)
        assert copy is not None
        assert copy.of == before != store.outbox.identity
        assert store.outbox.counts().pending == 0
        assert len(list(would_send(store, copy))) == 2, "what was parked stays parked"
    with owned(copied) as (store, nothing):
        assert nothing is None
        put(store, lit("w3", T0 + SECOND))
        fire(store, T0 + SECOND)
        (born,) = store.outbox.deliveries(state=State.PENDING)
        assert born.id.startswith(store.outbox.identity)
    assert found(copied) is None


def test_adopting_what_is_no_copy_changes_nothing(path: Path) -> None:
    lived(path)
    with opened(path) as store:
        before = store.outbox.identity
        assert adopt(store, None, T0) is None
        assert store.outbox.identity == before


def test_a_copy_is_adopted_beside_the_owner_that_parked_it_and_that_goes_on_under_the_new_name(copied: Path) -> None:
    with owned(copied) as (store, copy), opened(copied) as beside:
        assert copy is not None
        assert store.outbox.identity == copy.of
        adopt(beside, None, T0)
        assert copy_of(store) is None
        put(store, lit("w3", T0 + SECOND))
        fire(store, T0 + SECOND)
        leases = store.outbox.claim("a1", T0 + 9 * SECOND, T0 + 99 * SECOND, {1: 10})
        assert len(leases) == 1
        store.outbox.told_of(leases, {})
        assert store.outbox.delivery_id(leases[0].number).startswith(beside.outbox.identity)
        beat(store)
    assert found(copied) is None


def test_the_store_of_a_scheduler_in_another_environment_is_not_adopted_under_its_hands(path: Path) -> None:
    with owned(path, "production") as (store, _), opened(path) as beside:
        owe(store, "w1")
        assert look(beside, "staging") is not None
        with pytest.raises(WrongState, match="a scheduler that does not take it for a copy fires on it"):
            adopt(beside, "staging", T0)
        assert store.outbox.counts().pending == 1


def test_the_lock_file_tells_who_owns_and_keeps_the_witness_of_before(path: Path) -> None:
    lived(path, beats=2)
    with opened(path) as store:
        assert store.own()
        kept = json.loads(Path(f"{path}.lock").read_text(encoding="utf-8"))
        assert kept["pid"] == os.getpid()
        assert kept["witness"]["beats"] == store.meta(RESIDENCE_KEY)["beats"] == 3
