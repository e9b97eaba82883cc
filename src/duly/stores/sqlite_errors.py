"""SQLite's errors in words of ours: what may be tried again, what ends all writing, what was never a store."""

from __future__ import annotations

from typing import Never

import apsw

from duly.errors import StoreBusy, StoreError, StoreFull, StoreRefused, StoreRejected


def refuse_to_open(label: str, error: apsw.Error) -> Never:
    """Raise what says why a store cannot be opened: StoreFull, StoreBusy or StoreRefused."""
    said = {
        apsw.NotADBError: "it is not a SQLite database (or it is encrypted)",
        apsw.CorruptError: "it is damaged; restore it from a backup",
        apsw.CantOpenError: "it cannot be opened",
        apsw.ReadOnlyError: "it cannot be written to",
        apsw.BusyError: "another program holds it locked",
        apsw.FullError: "there is no room on its disk",
    }.get(type(error), str(error))
    kinds = {apsw.BusyError: StoreBusy, apsw.FullError: StoreFull}
    kind: type[StoreError] = kinds.get(type(error), StoreRefused)
    if _is_short_of_room(error):
        said, kind = "there is no room on its disk", StoreFull
    msg = f"store {label}: {said}"
    raise kind(msg) from error


def is_fatal(error: BaseException) -> bool:
    """Return whether a store with such an error can no longer be trusted (P15)."""
    ill = (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError)
    return isinstance(error, ill) and not _is_short_of_room(error)


def explain(label: str, error: BaseException, *, waited_seconds: float) -> None:
    """Raise an error of SQLite's as one of ours; any other is the caller's to raise again."""
    if isinstance(error, apsw.FullError) or _is_short_of_room(error):
        msg = f"store {label}: no room on its disk; nothing was written; make room, no restart is needed"
        raise StoreFull(msg) from error
    if isinstance(error, apsw.BusyError):
        msg = f"store {label}: another process held the write lock for over {waited_seconds:g} s"
        raise StoreBusy(msg) from error
    if isinstance(error, (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError, OverflowError)):
        msg = f"store {label}: SQLite refuses that ({error}); nothing was written"
        raise StoreRejected(msg) from error
    if isinstance(error, apsw.Error):
        msg = f"store {label}: SQLite reported: {error}; nothing was written"
        raise StoreError(msg) from error


def _is_short_of_room(error: BaseException) -> bool:
    """Tell a full disk from a broken one where SQLite calls both an I/O error: its shared memory cannot grow."""
    return getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
