"""The embedded store: one SQLite file, through apsw, which brings its own current SQLite.

One connection writes, under a lock; each read that is under way has one of its own, so any thread may call. WAL
with `synchronous=FULL` (`NORMAL` lost acknowledged transactions in 71–80 % of simulated power losses) and
`BEGIN IMMEDIATE`, always.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final, Never, TypeVar

import apsw
from typing_extensions import override

from duly.clock import SystemClock, pause
from duly.errors import StoreRefused, StoreStopped, WrongState
from duly.stores.backups import Backup, back_up, backup_mark, damage
from duly.stores.files import check_path
from duly.stores.ownership import OwnerLock
from duly.stores.sqlite_driving import drive, flush_what_was_found
from duly.stores.sqlite_errors import explain, is_fatal, refuse_to_open
from duly.stores.sqlite_guard import run_guarded
from duly.stores.sqlite_lending import Lending, WriteTurn
from duly.stores.sqlite_schema import DIALECT, check_ours, latest_version, migrate
from duly.stores.statements import statements
from duly.stores.store import Store
from duly.stores.surroundings import FileSurroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from duly.stores.loan import Loan
    from duly.stores.verb import Verb

T = TypeVar("T")
BUSY_MS: Final = 5_000
OPENING_PAUSE_US: Final = 20_000
READERS_KEPT: Final = 4
WAL_KEPT_BYTES: Final = 16 * 1024 * 1024
MEMORY: Final = ":memory:"
# Connections of a parent process, in a forked child: kept, never closed. Closing one there would run SQLite's
# clean-up (checkpoint, removal of the WAL) under the living owner.
_ORPHANS: list[object] = []
# The files of those connections, by device and inode. SQLite keeps its locks in memory per file: in a child they
# look taken and nobody holds them, so that a new connection there would not be protected from the owner's end.
_ORPHANED_FILES: set[tuple[int, int]] = set()
_LIVE: weakref.WeakSet[SqliteStore] = weakref.WeakSet()


class SqliteStore(Store):
    """A store in one file (or, for tests and simulations, in memory)."""

    def __init__(self, path: str | Path, *, vfs: str | None = None) -> None:
        """Name the file; nothing is touched yet. `vfs`: a SQLite VFS to go through, for tests that break disks."""
        super().__init__()
        self._path = None if str(path) == MEMORY else Path(path)
        self._real = self._path  # once it is open: absolute, links followed
        self._label = str(path)
        self.shared = self._path is not None
        self.url = f"sqlite:///{path}"
        self._vfs = vfs
        self._writer: apsw.Connection | None = None
        self._idle: list[apsw.Connection] = []
        self._new_locks()
        self._lock: OwnerLock | None = None
        self._stopped: str | None = None
        self._forked = False
        self._inode: os.stat_result | None = None
        # The `data_version` of the database when we last flushed it: all that it showed then is durable.
        self._flushed: object = None
        self._sql = statements(DIALECT)
        _LIVE.add(self)

    def _new_locks(self) -> None:
        self._write_lock = threading.RLock()
        self._writing: int | None = None  # the thread that is in a transaction
        self._turn = WriteTurn(self._label, BUSY_MS / 1000)
        self._lending = Lending(self._turn, self._another, self._drive, self._explain)

    # -- opening and closing ----------------------------------------------------------------------------

    @override
    def open(self, now_us: int) -> None:
        """Connect, and bring the schema up to date. Raises StoreRefused for a file that is not ours to use."""
        del now_us
        if self._writer is not None:
            return
        target = MEMORY
        if self._path is not None:
            self._real = check_path(self._path)
            self._check_not_inherited(self._real)
            target = str(self._real)
        self._forked, self._stopped, self._flushed = False, None, None
        try:
            self._writer = self._patiently_migrated(target)
        except apsw.Error as error:
            refuse_to_open(self._label, error)
        if self._path is not None:
            self._inode = Path(target).stat()
            self._lock = OwnerLock(Path(target + ".lock"))
            self.surroundings = FileSurroundings(Path(target), self._lock)

    def _patiently_migrated(self, target: str) -> apsw.Connection:
        """Connect and migrate. Where several processes start at once, SQLite does not always wait by itself."""
        clock = SystemClock()
        until = clock.since_boot() + BUSY_MS * 1000
        while True:
            try:
                return self._migrated(target)
            except apsw.BusyError:
                if clock.since_boot() > until:
                    raise
            pause(OPENING_PAUSE_US)

    def _migrated(self, target: str) -> apsw.Connection:
        connection = self._connect(target)
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, target: str) -> apsw.Connection:
        connection = apsw.Connection(target, vfs=self._vfs, statementcachesize=64)
        try:
            connection.set_busy_timeout(BUSY_MS)
            # Before anything is set: the journal mode is kept in the file, and the file may be somebody else's.
            check_ours(connection, self._label)
            mode = connection.pragma("journal_mode", "wal")
            if self._path is not None and mode != "wal":
                msg = f"store {self._label}: SQLite can keep no write-ahead log there (its journal is '{mode}')"
                raise StoreRefused(msg)
            connection.pragma("synchronous", "full")
            connection.pragma("journal_size_limit", WAL_KEPT_BYTES)
            connection.pragma("foreign_keys", "on")
            connection.pragma("temp_store", "memory")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_not_inherited(self, real: Path) -> None:
        """Refuse, in a forked child, a file that the parent had open at the fork (see `_ORPHANED_FILES`)."""
        if real.exists() and _file_key(real.stat()) in _ORPHANED_FILES:
            msg = (
                f"store {self._label}: the process that forked this one had it open, and SQLite's locks do not "
                "survive a fork; open it after the fork, or start a new process"
            )
            raise WrongState(msg)

    @override
    def close(self) -> None:
        """Disconnect, and give the ownership back."""
        self.disown()
        self._lending.close()
        with self._write_lock:
            writer, self._writer = self._writer, None
            while self._idle:
                self._idle.pop().close()
            if writer is not None:
                writer.close()

    @property
    def schema_version(self) -> int:
        """The version of the schema that this Duly writes."""
        return latest_version()

    # -- ownership --------------------------------------------------------------------------------------

    @override
    def own(self) -> bool:
        """Try to become the process that fires on this file. A store in memory is always one's own."""
        if self._writer is None:
            return False
        try:
            self._check_untouched()
        except StoreStopped:
            return False
        return self._lock is None or self._lock.take()

    @override
    def disown(self) -> None:
        """Let a standby take over."""
        if self._lock is not None:
            self._lock.give_back()

    @property
    @override
    def stopped(self) -> str | None:
        """Why nothing more is written, None while all is well."""
        return self._stopped

    # -- transactions -----------------------------------------------------------------------------------

    @override
    def write(self, verb: Verb[T]) -> T:
        """Run a verb between BEGIN IMMEDIATE and COMMIT. An error of any kind leaves nothing behind."""
        lent = self._lending.connection
        # What code that was lent a transaction has the store do is a part of it.
        return self._write(verb, None) if lent is None else self._drive(lent, verb)

    @override
    def write_with(self, verb: Verb[T], then: Callable[[T, apsw.Connection], None], loan: Loan | None = None) -> T:
        """Run a verb and `then`, which can neither commit nor roll back. In memory it cannot be called in."""
        if loan is None or self._path is None:
            return self._write(verb, then)
        self._check_untouched()
        return self._lending.run(verb, then, loan)

    def _write(self, verb: Verb[T], then: Callable[[T, apsw.Connection], None] | None) -> T:
        if self._writing == threading.get_ident():
            if then is not None:
                raise WrongState("a transactional handler cannot be run inside another transaction")
            return self._drive(self._usable(self._writer), verb)
        with self._turn.taken(), self._write_lock:
            connection = self._usable(self._writer)
            self._check_untouched()
            self._writing = threading.get_ident()
            try:
                return self._transact(connection, verb, then)
            finally:
                self._writing = None

    def _transact(
        self, connection: apsw.Connection, verb: Verb[T], then: Callable[[T, apsw.Connection], None] | None
    ) -> T:
        try:
            connection.execute("BEGIN IMMEDIATE")
            before = connection.total_changes()
            result = self._drive(connection, verb)
            if then is not None:
                run_guarded(connection, result, then)
            seen = connection.pragma("data_version")
            if connection.total_changes() == before and seen != self._flushed:
                flush_what_was_found(connection)
            # This commit makes what the verb did happen; nothing before it has.
            connection.execute("COMMIT")
            self._flushed = seen
        except BaseException as error:
            self._roll_back(connection)
            self._explain(error)
            raise
        else:
            return result

    @override
    def read(self, verb: Verb[T]) -> T:
        """Run a verb on one snapshot of the database."""
        writer = self._usable(self._writer)
        if self._path is None:
            with self._write_lock:
                # What is in memory is seen by one connection only; inside a write, as a part of it.
                return self._drive(writer, verb) if writer.in_transaction else self._read_on(writer, verb)
        # One connection for each read that is under way: the firing loop never waits behind anybody's long list.
        if self._stopped is not None and not self._idle:
            # No new connection can be had any more; what the writer's shows is as far as we had got.
            with self._write_lock:
                return self._drive(writer, verb) if writer.in_transaction else self._read_on(writer, verb)
        connection = self._borrowed()
        try:
            return self._read_on(connection, verb)
        finally:
            if self._writer is None or len(self._idle) >= READERS_KEPT:
                connection.close()
            else:
                self._idle.append(connection)

    def _borrowed(self) -> apsw.Connection:
        try:
            return self._idle.pop()
        except IndexError:  # all are in use, by other threads
            return self._another()

    def _another(self) -> apsw.Connection:
        self._usable(self._writer)
        # A connection goes by the name of the file: it must not read another one, nor make an empty one.
        self._check_same_file()
        try:
            return self._connect(str(self._real))
        except apsw.Error as error:
            self._explain(error)
            raise

    def _read_on(self, connection: apsw.Connection, verb: Verb[T]) -> T:
        try:
            connection.execute("BEGIN")
            return self._drive(connection, verb)
        except apsw.Error as error:
            self._explain(error)
            raise
        finally:
            self._roll_back(connection)

    def _drive(self, connection: apsw.Connection, verb: Verb[T]) -> T:
        return drive(self._sql, connection, verb)

    # -- upkeep -----------------------------------------------------------------------------------------

    @override
    def backup(
        self, path: Path, now_us: int, *, force: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Backup:
        """Write a verified copy to a new file through SQLite's backup API, beside whoever reads and writes."""
        if self._real is None:
            raise StoreRefused(f"store {self._label}: it is in memory, and ends with its process; it has no backup")
        mark = backup_mark(self.outbox.identity, now_us)
        connection = self._another()
        try:
            return back_up(connection, self._real, path, mark, force=force, progress=progress)
        finally:
            connection.close()

    @override
    def damage(self) -> list[str]:
        """Return what SQLite's own check of the whole file finds, at most twenty things."""
        if self._real is None:
            return []
        connection = self._another()
        try:
            return damage(connection)
        finally:
            connection.close()

    def _usable(self, connection: apsw.Connection | None) -> apsw.Connection:
        if self._forked:
            msg = (
                f"store {self._label}: this is a forked child of the process that opened it; "
                "open it after the fork, or start a new process"
            )
            raise WrongState(msg)
        if connection is None:
            msg = f"store {self._label}: it is not open"
            raise WrongState(msg)
        return connection

    def _check_untouched(self) -> None:
        """Refuse to write if the file has been replaced, or the lock lost: the end of all certainty (P15)."""
        if self._stopped is not None:
            msg = f"store {self._label}: nothing more is written since {self._stopped}"
            raise StoreStopped(msg)
        self._check_same_file()
        if self._lock is not None and self._lock.is_lost:
            self._stop("its lock file was removed or replaced while this process was the owner")

    def _check_same_file(self) -> None:
        if self._inode is None:
            return
        try:
            same = os.path.samestat(self._inode, (self._real or Path(MEMORY)).stat())
        except OSError:
            same = False
        if not same:
            self._stop("its file was moved, removed or replaced under the running program")

    def _stop(self, why: str) -> Never:
        self._stopped = why
        msg = f"store {self._label}: stopped: {why}; restart once that is mended"
        raise StoreStopped(msg)

    def _roll_back(self, connection: apsw.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except apsw.Error as error:  # the transaction is gone either way; the cause is told by the caller
                self._stopped = self._stopped or f"a rollback failed: {error}"

    def _explain(self, error: BaseException) -> None:
        """Turn SQLite's errors into ours: what can be tried again, and what ends all writing."""
        if is_fatal(error):
            self._stop(f"SQLite reported: {error}")
        explain(self._label, error, waited_seconds=BUSY_MS / 1000)

    def _orphan(self) -> None:
        """Let go, in a forked child, of what belongs to the parent (see `_ORPHANS`)."""
        if self._writer is not None:
            self._forked = True
            if self._inode is not None:
                _ORPHANED_FILES.add(_file_key(self._inode))
        _ORPHANS.extend((self._writer, *self._idle, self._lending))
        self._writer, self._idle = None, []
        self._new_locks()


def _file_key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _orphan_all() -> None:
    for store in list(_LIVE):
        store._orphan()  # noqa: SLF001 - the same class, at the one moment that only this module knows


os.register_at_fork(after_in_child=_orphan_all)
