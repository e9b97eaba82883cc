"""Who fires on a SQLite file: one owner process, known by a lock on a file beside it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import weakref
from typing import TYPE_CHECKING, Any, Final

from duly.errors import StoreRefused

if TYPE_CHECKING:
    from pathlib import Path

_LIVE: weakref.WeakSet[OwnerLock] = weakref.WeakSet()
_WITNESS: Final = "witness"
_BYTES_MOST: Final = 4096


class OwnerLock:
    """A `flock` on `<file>.lock`: at most one process (and one scheduler in it) holds it.

    Never on the database file itself, whose locks belong to SQLite. The kernel lets go of it when the process
    ends, however it ends; so a lock file that is lying about locks nothing. It keeps a witness: what the last owner
    knew of the store (see `residence.py`), which must never be ahead of what the store itself says.
    """

    def __init__(self, path: Path) -> None:
        """Name the lock; nothing is taken yet."""
        self._path = path
        self._fd: int | None = None
        # Whether the witness of before has been heard since we took the lock, and may be written over.
        self.is_heard = False
        _LIVE.add(self)

    def take(self) -> bool:
        """Try to take the lock. True if it is ours (already)."""
        if self._fd is not None:
            return self.is_held
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            msg = f"the lock file {self._path} cannot be opened: {error.strerror}"
            raise StoreRefused(msg) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError as error:
            os.close(fd)
            msg = f"the lock file {self._path} cannot be locked: {error.strerror}; put it on a local disk"
            raise StoreRefused(msg) from None
        self._fd = fd
        if not self.is_held:
            # Somebody removed the file between our opening and our locking it: that lock guards nothing.
            self.give_back()
            return False
        self._write(self.witness())
        return True

    def witness(self) -> Any:
        """Return the JSON value that the last owner left, None if it left none that can be read."""
        try:
            with self._path.open("rb") as file:
                kept = json.loads(file.read(_BYTES_MOST))
        except (OSError, ValueError, RecursionError):
            return None
        return kept.get(_WITNESS) if isinstance(kept, dict) else None

    def bear_witness(self, said: object) -> None:
        """Leave a JSON value for the next owner. Without the lock, or on a full disk, nothing is left."""
        if self.is_held:
            self._write(said)

    def _write(self, witness: object) -> None:
        """Write who we are, for who looks into the file, and the witness, which may be None.

        Not flushed to the disk: a witness of a little while ago is as true as that of now, only less telling. One
        that was cut off in the middle cannot be read, and says nothing.
        """
        said = {"pid": os.getpid()} if witness is None else {"pid": os.getpid(), _WITNESS: witness}
        text = json.dumps(said).encode()
        # On a full disk the lock is none the worse for being empty.
        with contextlib.suppress(OSError):
            assert self._fd is not None  # noqa: S101 - only called under the lock
            os.pwrite(self._fd, text, 0)
            os.ftruncate(self._fd, len(text))

    @property
    def is_held(self) -> bool:
        """Whether we hold the lock, on the file that goes by its name now."""
        if self._fd is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except OSError:
            return False

    @property
    def is_lost(self) -> bool:
        """Whether we took the lock, and somebody has removed or replaced its file since."""
        return self._fd is not None and not self.is_held

    def give_back(self) -> None:
        """Let another process have it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd, self.is_heard = None, False


def _forget_in_child() -> None:
    """Close a forked child's copies.

    A flock belongs to the open file, which parent and child share: a child that lived on with its copy would
    keep the lock after the owner's death. Closing the copy does not unlock the owner's.
    """
    for lock in list(_LIVE):
        lock.give_back()


os.register_at_fork(after_in_child=_forget_in_child)
