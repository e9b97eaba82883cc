"""Backups of a SQLite store: a snapshot copied page by page, marked as a copy, verified, and only then named."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Never

import apsw

from duly.errors import StoreBusy, StoreError, StoreFull, StoreRefused
from duly.model.dates import to_datetime
from duly.model.history import iso
from duly.stores.copies import COPY_KEY, Copy
from duly.stores.sqlite_schema import DIALECT
from duly.stores.statements import statements
from duly.stores.verb import Statement

if TYPE_CHECKING:
    from duly.model.dates import Micros

Progress = Callable[[int, int], None]
# Between two steps a signal is noticed, and the bar moves: 4 MiB take some milliseconds.
PAGES_A_STEP: Final = 1024
# No file of SQLite's locks: nobody else knows of the unfinished copy, and a network disk may have none.
_NO_LOCKS: Final = "unix-none"
# What SQLite keeps beside a database; whatever stands there belongs to the database of that name.
_BESIDE: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that has been written and verified. `of`: the store's identity."""

    path: Path
    of: str
    made_us: Micros
    size_bytes: int
    events: int
    entries: int
    deliveries: int

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "file": str(self.path),
            "of": self.of,
            "made_at": iso(to_datetime(self.made_us)),
            "size_bytes": self.size_bytes,
            "events": self.events,
            "history": self.entries,
            "deliveries": self.deliveries,
        }


def back_up(
    source: apsw.Connection, store: Path, path: Path, mark: Copy, *, force: bool, progress: Progress | None
) -> Backup:
    """Write what `source`, a connection of its own to the file `store`, shows now. See `Store.backup`."""
    target = _target(store, path, force=force)
    try:
        source.execute("BEGIN")
        # From its first read on, the transaction shows one state, whatever is committed meanwhile: SQLite copies
        # that one, and never has to begin again because of a writer.
        sums = _sums(source)
        _check_room(source, target)
        with _part_of(target, store.stat().st_mode) as part:
            _copy(source, part, mark, progress or (lambda _done, _total: None))
            _verify(part, sums, target)
            size = part.stat().st_size
            _name(part, target, force=force)
    except (apsw.Error, OSError) as error:
        _explain(target, error)
    finally:
        if source.in_transaction:
            source.execute("ROLLBACK")
    assert mark.since_us is not None  # noqa: S101 - a backup is marked from its birth
    events, entries, deliveries, *_ = sums
    return Backup(
        path=target,
        of=mark.of,
        made_us=mark.since_us,
        size_bytes=size,
        events=events,
        entries=entries,
        deliveries=deliveries,
    )


def backup_mark(identity: str, now_us: Micros) -> Copy:
    """Return the mark by which a backup is known as a copy, wherever it is opened as a store."""
    return Copy(identity, f"it is a backup of {iso(to_datetime(now_us).replace(microsecond=0))}", now_us)


def damage(connection: apsw.Connection) -> list[str]:
    """Return what SQLite finds wrong with a database; an empty list for a sound one. Reads all of it."""
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
    except apsw.CorruptError as error:
        return [str(error)]
    return [] if found == ["ok"] else found


# -- where to -------------------------------------------------------------------------------------------


def _target(store: Path, path: Path, *, force: bool) -> Path:
    """Return the real path of a backup. Raises StoreRefused with the reason and the remedy."""
    if "\0" in str(path):
        _refuse(Path(repr(str(path))), "a path cannot contain NUL")
    try:
        target = path.expanduser().resolve()
        _check_name(store, path, target)
        _check_free(path, target, force=force)
    except (OSError, RuntimeError) as error:
        _refuse(path, f"the path leads nowhere ({error})")
    return target


def _check_name(store: Path, path: Path, target: Path) -> None:
    if target.is_dir():
        _refuse(path, f"it is a directory; name a file in it, such as {path / 'backup.db'}")
    if not target.parent.is_dir():
        _refuse(path, f"the directory {target.parent} does not exist; create it first")
    if target == store or (target.exists() and target.samefile(store)):
        _refuse(path, "it is the store itself; name another file")
    if target.name in {store.name + end for end in (*_BESIDE, ".lock")} and target.parent == store.parent:
        _refuse(path, "that name belongs to the store itself; name another file")


def _check_free(path: Path, target: Path, *, force: bool) -> None:
    if target.exists() and not target.is_file():
        _refuse(path, "it is not a regular file")
    if target.exists() and not force:
        _refuse_existing(target)
    for end in _BESIDE:
        left = target.with_name(target.name + end)
        if left.exists():
            # SQLite would take it for this database's own, and play it into the backup.
            _refuse(path, f"{left.name} lies beside it: a database of that name is in use, or was not closed")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        _refuse(path, f"the directory {target.parent} cannot be written to")


def _check_room(source: apsw.Connection, target: Path) -> None:
    needed = source.pragma("page_count") * source.pragma("page_size")
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise StoreFull(f"backup {target}: it takes {needed:,} bytes, and its disk has {free:,} left")


@contextmanager
def _part_of(target: Path, mode: int) -> Iterator[Path]:
    """Yield an empty file beside the target, to be filled; what was left of it by a backup that was cut off is gone.

    It is as closed to others as the store: the secrets of endpoints are in it.
    """
    part = target.with_name(f".{target.name}.unfinished")
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor, part, target)
        try:
            os.ftruncate(descriptor, 0)
            os.fchmod(descriptor, stat.S_IMODE(mode))
            _remove(*(part.with_name(part.name + end) for end in _BESIDE))
            yield part
        except BaseException:
            _remove(part, *(part.with_name(part.name + end) for end in _BESIDE))
            raise
    finally:
        os.close(descriptor)


def _lock(descriptor: int, part: Path, target: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Named in the meantime by the other one: then this is a finished backup, not to be touched.
        taken = not (part.exists() and os.path.samestat(os.fstat(descriptor), part.stat()))
    except BlockingIOError:
        taken = True
    except OSError:  # a disk that knows no locks: then it is the caller's to make one backup at a time
        taken = False
    if taken:
        raise StoreBusy(f"backup {target}: another one to the same file is under way")


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


# -- what is written ------------------------------------------------------------------------------------


def _copy(source: apsw.Connection, part: Path, mark: Copy, progress: Progress) -> None:
    copy = apsw.Connection(str(part), vfs=_NO_LOCKS)
    try:
        # Nobody else opens it: without this, SQLite would want shared memory for a file that says it has a WAL.
        copy.pragma("locking_mode", "exclusive")
        copy.pragma("journal_mode", "off")
        with copy.backup("main", source, "main") as work:
            while not work.done:
                work.step(PAGES_A_STEP)
                progress(work.page_count - work.remaining, work.page_count)
        # A backup is one file, with no log beside it.
        copy.pragma("journal_mode", "delete")
        copy.execute(statements(DIALECT)["put_meta"], {"key": COPY_KEY, "value": json.dumps(mark._asdict())})
    finally:
        copy.close()
    _flush(part)


def _verify(part: Path, sums: tuple[Any, ...], target: Path) -> None:
    copy = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READONLY, vfs=_NO_LOCKS)
    try:
        found = damage(copy)
        if not found and _sums(copy) != sums:
            found = [f"it has {_sums(copy)}, the store {sums}"]
    finally:
        copy.close()
    if found:
        raise StoreError(f"backup {target}: the copy is not sound ({found[0]}); see 'duly check' for the store")


def _sums(connection: apsw.Connection) -> tuple[Any, ...]:
    """Return how much there is, and the number and the hash of the last history entry."""
    rows: list[tuple[Any, ...]] = connection.execute(statements(DIALECT)[Statement("sums").name]).fetchall()
    return rows[0]


def _name(part: Path, target: Path, *, force: bool) -> None:
    """Give the finished backup its name, durably; without `force` never over another file."""
    if force:
        part.replace(target)
    else:
        try:
            os.link(part, target)
        except FileExistsError:
            _refuse_existing(target)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK}:
                raise
            # A disk without hard links leaves a moment between looking and naming.
            if target.exists():
                _refuse_existing(target)
            part.replace(target)
        else:
            part.unlink()
    _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- what is said ---------------------------------------------------------------------------------------


def _refuse(path: Path, why: str) -> Never:
    raise StoreRefused(f"backup {path}: {why}")


def _refuse_existing(path: Path) -> Never:
    _refuse(path, "there is such a file already; name another, or write over it with --force")


def _explain(target: Path, error: apsw.Error | OSError) -> Never:
    full = isinstance(error, apsw.FullError) or getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}
    if full:
        raise StoreFull(f"backup {target}: there is no room for it on its disk") from error
    said = error.strerror if isinstance(error, OSError) else f"SQLite reported: {error}"
    raise StoreError(f"backup {target}: {said}") from error
