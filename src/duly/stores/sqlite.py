"""The embedded store: one SQLite file, through apsw, which brings its own current SQLite.

One connection writes, one reads; each has a lock, so that any thread may call. WAL with `synchronous=FULL`
(`NORMAL` lost acknowledged transactions in 71–80 % of simulated power losses) and `BEGIN IMMEDIATE`, always.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar

import apsw
from typing_extensions import override

from duly.errors import StoreBusy, StoreError, StoreFull, StoreRefused, StoreStopped, WrongState
from duly.stores.files import check_path
from duly.stores.ownership import OwnerLock
from duly.stores.statements import migrations, statements
from duly.stores.store import Store

if TYPE_CHECKING:
    from duly.stores.verbs import Verb

T = TypeVar("T")
DIALECT: Final = "sqlite"
APPLICATION_ID: Final = 0x44554C59  # "DULY": tells our files from those of other applications
BUSY_MS: Final = 5_000
MEMORY: Final = ":memory:"
# Connections of a parent process, in a forked child: kept, never closed. Closing one there would run SQLite's
# clean-up (checkpoint, removal of the WAL) under the living owner.
_ORPHANS: list[object] = []
_LIVE: weakref.WeakSet[SqliteStore] = weakref.WeakSet()


class SqliteStore(Store):
    """A store in one file (or, for tests and simulations, in memory)."""

    def __init__(self, path: str | Path, *, vfs: str | None = None) -> None:
        """Name the file; nothing is touched yet. `vfs`: a SQLite VFS to go through, for tests that break disks."""
        super().__init__()
        self._path = None if str(path) == MEMORY else Path(path)
        self.shared = self._path is not None
        self.url = f"sqlite:///{path}"
        self._vfs = vfs
        self._writer: apsw.Connection | None = None
        self._reader: apsw.Connection | None = None
        self._write_lock = threading.RLock()
        self._read_lock = self._write_lock if self._path is None else threading.RLock()
        self._lock: OwnerLock | None = None
        self._stopped: str | None = None
        self._forked = False
        self._inode: os.stat_result | None = None
        self._sql = statements(DIALECT)
        _LIVE.add(self)

    # -- opening and closing ----------------------------------------------------------------------------

    @override
    def open(self, now_us: int) -> None:
        """Connect, and bring the schema up to date. Raises StoreRefused for a file that is not ours to use."""
        del now_us
        if self._writer is not None:
            return
        self._forked, self._stopped = False, None
        target = MEMORY if self._path is None else str(check_path(self._path))
        try:
            writer = self._connect(target)
            self._writer = writer
            self._check_ours(writer)
            self._migrate(writer)
            self._reader = writer if self._path is None else self._connect(target)
        except apsw.Error as error:
            self.close()
            self._refuse(error)
        except StoreError:
            self.close()
            raise
        if self._path is not None:
            self._inode = Path(target).stat()
            self._lock = OwnerLock(Path(target + ".lock"))

    def _connect(self, target: str) -> apsw.Connection:
        connection = apsw.Connection(target, vfs=self._vfs, statementcachesize=64)
        connection.set_busy_timeout(BUSY_MS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("foreign_keys", "on")
        connection.pragma("temp_store", "memory")
        return connection

    def _check_ours(self, connection: apsw.Connection) -> None:
        """Refuse a database that belongs to something else, or to a later version of Duly."""
        ours = connection.pragma("application_id") == APPLICATION_ID
        foreign = connection.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
        if not ours and foreign:
            names = ", ".join(str(name) for (name,) in foreign[:3])
            msg = (
                f"store {self._path}: it belongs to another application (it has {names}); "
                "Duly needs a file of its own"
            )
            raise StoreRefused(msg)
        known = migrations(DIALECT)[-1].version
        found = connection.pragma("user_version")
        if found > known:
            msg = f"store {self._path}: its schema is version {found}, this Duly knows {known}; upgrade Duly"
            raise StoreRefused(msg)

    def _migrate(self, connection: apsw.Connection) -> None:
        """Apply the migrations that are missing, each in its own transaction, whoever else does the same."""
        for migration in migrations(DIALECT):
            if connection.pragma("user_version") >= migration.version:
                continue
            connection.execute("BEGIN IMMEDIATE")
            # Asked again under the lock: another process may have been quicker.
            if connection.pragma("user_version") < migration.version:
                connection.execute(migration.sql)
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", migration.version)
            connection.execute("COMMIT")

    def _refuse(self, error: apsw.Error) -> Never:
        said = {
            apsw.NotADBError: "it is not a SQLite database (or it is encrypted)",
            apsw.CorruptError: "it is damaged; restore it from a backup",
            apsw.CantOpenError: "it cannot be opened",
            apsw.ReadOnlyError: "it cannot be written to",
            apsw.BusyError: "another program holds it locked",
            apsw.FullError: "there is no room on its disk",
        }.get(type(error), str(error))
        kind = StoreBusy if isinstance(error, apsw.BusyError) else StoreRefused
        msg = f"store {self._path}: {said}"
        raise kind(msg) from error

    @override
    def close(self) -> None:
        """Disconnect, and give the ownership back."""
        self.disown()
        with self._write_lock, self._read_lock:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None

    @property
    def schema_version(self) -> int:
        """The version of the schema that this Duly writes."""
        return migrations(DIALECT)[-1].version

    # -- ownership --------------------------------------------------------------------------------------

    @override
    def own(self) -> bool:
        """Try to become the process that fires on this file. A store in memory is always one's own."""
        if self._writer is None or self._stopped is not None:
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
        with self._write_lock:
            connection = self._usable(self._writer)
            self._check_untouched()
            if connection.in_transaction:
                return self._drive(connection, verb)
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = self._drive(connection, verb)
                # This commit makes what the verb did happen; nothing before it has.
                connection.execute("COMMIT")
            except BaseException as error:
                self._roll_back(connection)
                self._explain(error)
                raise
            else:
                return result

    @override
    def read(self, verb: Verb[T]) -> T:
        """Run a verb on one snapshot of the database."""
        with self._read_lock:
            connection = self._usable(self._reader)
            if connection.in_transaction:
                return self._drive(connection, verb)
            try:
                connection.execute("BEGIN")
                return self._drive(connection, verb)
            except apsw.Error as error:
                self._explain(error)
                raise
            finally:
                self._roll_back(connection)

    def _drive(self, connection: apsw.Connection, verb: Verb[T]) -> T:
        """Feed a verb the rows of each statement that it yields, until it returns."""
        try:
            statement = next(verb)
            while True:
                sql = self._sql[statement.name]
                if statement.many:
                    connection.executemany(sql, statement.params)
                    rows: list[tuple[Any, ...]] = []
                else:
                    rows = connection.execute(sql, statement.params).fetchall()
                statement = verb.send(rows)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # the verb's own type says what it returns

    def _usable(self, connection: apsw.Connection | None) -> apsw.Connection:
        if self._forked:
            msg = f"store {self._path}: this is a forked child of the process that opened it; open it anew here"
            raise WrongState(msg)
        if connection is None:
            msg = f"store {self._path}: it is not open"
            raise WrongState(msg)
        return connection

    def _check_untouched(self) -> None:
        """Refuse to write if the file has been replaced, or the lock lost: the end of all certainty (P15)."""
        if self._stopped is not None:
            msg = f"store {self._path}: nothing more is written since {self._stopped}"
            raise StoreStopped(msg)
        if self._inode is None:
            return
        try:
            same = os.path.samestat(self._inode, (self._path or Path(MEMORY)).stat())
        except OSError:
            same = False
        if not same:
            self._stop("its file was moved, removed or replaced under the running program")

    def _stop(self, why: str) -> Never:
        self._stopped = why
        msg = f"store {self._path}: stopped: {why}; restart once that is mended"
        raise StoreStopped(msg)

    def _roll_back(self, connection: apsw.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except apsw.Error as error:  # the transaction is gone either way; the cause is told by the caller
                self._stopped = self._stopped or f"a rollback failed: {error}"

    def _explain(self, error: BaseException) -> None:
        """Turn SQLite's errors into ours: what can be tried again, and what ends all writing."""
        if isinstance(error, apsw.FullError):
            msg = f"store {self._path}: no room on its disk; nothing was written; make room, no restart is needed"
            raise StoreFull(msg) from error
        if isinstance(error, apsw.BusyError):
            msg = f"store {self._path}: another process held the write lock for over {BUSY_MS / 1000:g} s"
            raise StoreBusy(msg) from error
        if isinstance(error, (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError)):
            self._stop(f"SQLite reported: {error}")

    def _orphan(self) -> None:
        """Let go, in a forked child, of what belongs to the parent (see `_ORPHANS`)."""
        _ORPHANS.extend((self._writer, self._reader))
        self._writer = self._reader = None
        self._forked = True
        self._write_lock = threading.RLock()
        self._read_lock = self._write_lock if self._path is None else threading.RLock()


def _orphan_all() -> None:
    for store in list(_LIVE):
        store._orphan()  # noqa: SLF001 - the same class, at the one moment that only this module knows


os.register_at_fork(after_in_child=_orphan_all)
