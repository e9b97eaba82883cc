"""SQLite, scenario 34: a forked child of the owner, whatever becomes of it, harms neither lock nor file."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from duly.errors import WrongState
from duly.stores import ownership, sqlite
from duly.stores.sqlite import SqliteStore
from tests.builders import T0
from tests.contract.processes import go, heard, running

# The owner forks; what the child does is put in its place. The parent goes on when it is told to.
FORKING = """
    path = sys.argv[1]
    store = SqliteStore(path)
    store.open(0)
    assert store.own()
    store.put_meta("before", 1)
    reader, writer = os.pipe()
    def attempt(deed):
        try:
            return f"did {{deed()}}"
        except Exception as error:
            return f"{{type(error).__name__}}: {{error}}"
    child = os.fork()
    if child == 0:
        os.close(writer)
        {child}
        os._exit(0)
    os.close(reader)
    {parent}
"""


def forking(child: str, parent: str) -> str:
    return FORKING.format(child=child, parent=parent)


def indented(*lines: str, by: int) -> str:
    return ("\n" + " " * by).join(lines)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def test_scenario_34_a_child_that_exits_leaves_the_owners_lock_and_writing_unharmed(path: Path) -> None:
    parent = indented(
        "os.waitpid(child, 0)", 'store.put_meta("after", 2)', 'say(store.own(), store.meta("after"))', "wait()", by=4
    )
    with running(forking("pass", parent), path) as owner:
        assert heard(owner) == "True 2"
        mine = SqliteStore(path)
        mine.open(T0)
        assert not mine.own()
        assert (mine.meta("before"), mine.meta("after")) == (1, 2)
        owner.kill()
        owner.wait()
        assert mine.own()
        mine.close()


def test_scenario_34_a_child_that_exits_like_any_program_does_no_harm_either(path: Path) -> None:
    # sys.exit runs what is registered for the end, and collects the store with its connections.
    child = indented("del store", "import gc; gc.collect()", "sys.exit(0)", by=8)
    parent = indented(
        "os.waitpid(child, 0)", 'store.put_meta("after", 2)', 'say(store.own(), store.meta("after"))', "wait()", by=4
    )
    with running(forking(child, parent), path) as owner:
        assert heard(owner) == "True 2"
        assert Path(f"{path}-wal").exists()


def test_scenario_34_while_the_child_lives_on_a_standby_takes_over_when_the_owner_ends_and_not_before(
    path: Path,
) -> None:
    child = indented('say("child lives")', "os.read(0, 1)", by=8)
    parent = indented("os.read(0, 0)", 'say("parent", store.own())', "signal.pause()", by=4)
    with running(forking(child, parent), path) as owner:
        said = {heard(owner), heard(owner)}
        assert said == {"child lives", "parent True"}
        mine = SqliteStore(path)
        mine.open(T0)
        assert not mine.own()
        owner.kill()
        owner.wait()
        assert mine.own(), "the child keeps no copy of the lock"
        mine.put_meta("mine", 3)
        go(owner)  # only now the child may end
        mine.close()


@pytest.mark.parametrize(
    "deed",
    ['store.put_meta("x", 1)', 'store.meta("before")', "store.next_due_us()", "store.heartbeat('n', 'h', 1, 1)"],
)
def test_scenario_34_a_child_that_uses_the_store_is_told_that_it_cannot(path: Path, deed: str) -> None:
    child = indented(f"say(attempt(lambda: {deed}))", "say(store.own())", "store.close()", by=8)
    parent = indented("os.waitpid(child, 0)", 'say(store.own(), store.meta("before"))', "wait()", by=4)
    with running(forking(child, parent), path) as owner:
        told = heard(owner)
        assert told.startswith(f"WrongState: store {path}: this is a forked child of the process that opened it")
        assert heard(owner) == "False", "nor is it an owner"
        assert heard(owner) == "True 1", "and the parent is"


@pytest.mark.parametrize("which", ["store", "SqliteStore(path)"])
def test_scenario_34_a_child_may_not_even_open_the_file_anew_for_sqlite_would_share_locks_that_it_has_not(
    path: Path, which: str
) -> None:
    # SQLite keeps its locks in memory per file: in the child they look taken, and nobody holds them. The owner's
    # end would then delete the log under the child, and with it all that the child was told is safe.
    child = f"say(attempt(lambda: {which}.open(0)))"
    parent = indented(
        "os.waitpid(child, 0)", 'store.put_meta("after", 2)', 'say(store.own(), store.meta("after"))', "wait()", by=4
    )
    with running(forking(child, parent), path) as owner:
        told = heard(owner)
        assert told.startswith(f"WrongState: store {path}: ")
        assert "fork" in told
        assert heard(owner) == "True 2"


def test_scenario_34_a_child_may_open_another_file_or_one_that_was_closed_before_the_fork(tmp_path: Path) -> None:
    script = """
        first, second = SqliteStore(sys.argv[1]), SqliteStore(sys.argv[2])
        first.open(0); first.close(); second.open(0)
        if os.fork() == 0:
            first.open(0); first.put_meta("key", 1)
            third = SqliteStore(sys.argv[3]); third.open(0); third.put_meta("key", 3)
            say(first.own(), first.meta("key"), third.own(), third.meta("key"))
            first.close(); third.close()
            os._exit(0)
        os.wait()
        wait()
    """
    with running(script, *(tmp_path / f"{n}.db" for n in range(3))) as parent:
        assert heard(parent) == "True 1 True 3"


def test_scenario_34_a_store_in_memory_is_the_parents_too(tmp_path: Path) -> None:
    script = """
        store = SqliteStore(":memory:"); store.open(0)
        if os.fork() == 0:
            try:
                store.meta("key")
            except Exception as error:
                say(type(error).__name__, error)
            os._exit(0)
        os.wait()
        store.put_meta("key", 1); say(store.meta("key"))
        wait()
    """
    with running(script) as parent:
        assert heard(parent).startswith("WrongState store :memory:: this is a forked child")
        assert heard(parent) == "1"


def test_scenario_34_what_happens_in_a_child_step_by_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same without a fork, since what a child does is seen by no debugger and no measurement.
    monkeypatch.setattr(sqlite, "_ORPHANED_FILES", set())
    monkeypatch.setattr(sqlite, "_LIVE", set())
    monkeypatch.setattr(sqlite, "_ORPHANS", [])
    store, never_opened = SqliteStore(path), SqliteStore(path)
    sqlite._LIVE.update((store, never_opened))
    store.open(T0)
    assert store.own()
    ownership._forget_in_child()
    sqlite._orphan_all()
    with pytest.raises(WrongState, match="forked child"):
        store.put_meta("key", 1)
    with pytest.raises(WrongState, match="SQLite's locks do not survive a fork"):
        store.open(T0)
    with pytest.raises(WrongState, match="SQLite's locks do not survive a fork"):
        never_opened.open(T0)
    with pytest.raises(WrongState, match="it is not open"):
        never_opened.meta("key")
    store.close()
    for connection in sqlite._ORPHANS:
        if isinstance(connection, apsw.Connection):
            connection.close()


def test_scenario_34_a_fork_in_the_middle_of_a_transaction_harms_it_not(path: Path) -> None:
    script = """
        from duly.stores.verb import Statement
        store = SqliteStore(sys.argv[1]); store.open(0); store.own()
        def verb():
            yield Statement("put_meta", {"key": "first", "value": "1"})
            child = os.fork()
            if child == 0:
                store.close()
                os._exit(0)
            os.waitpid(child, 0)
            yield Statement("put_meta", {"key": "second", "value": "2"})
        store.write(verb())
        say(store.meta("first"), store.meta("second"), store.own())
        wait()
    """
    with running(script, path) as owner:
        assert heard(owner) == "1 2 True"
        mine = SqliteStore(path)
        mine.open(T0)
        assert (mine.meta("first"), mine.meta("second"), mine.own()) == (1, 2, False)
        mine.close()
