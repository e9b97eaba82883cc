"""Where a store lives: what can be told of it that differs for a copy, and not for a restarted container."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from duly.stores.ownership import OwnerLock

Fingerprint = Mapping[str, int | None]

# Of <linux/stat.h>: `struct statx`, in which the birth time stands 80 bytes from the start, as seconds and
# nanoseconds. Python has os.statx from 3.15 on.
_STATX_BYTES: Final = 256
_STATX_BTIME: Final = 0x800
_BIRTH_AT: Final = 80
_AT_FDCWD: Final = -100


class Surroundings:
    """What is known of where a store lives: here nothing. Such a store is never taken for a copy of another."""

    @property
    def is_heard(self) -> bool:
        """Whether the witness of before has been heard since this process became the owner, and may be replaced."""
        return False

    def hear(self) -> None:
        """Say that the witness of before has been heard."""

    def fingerprint(self) -> Fingerprint | None:
        """Return what this place has that a copy elsewhere has not, None if nothing can be told."""
        return None

    def witness(self) -> Any:
        """Return what the last owner left beside the store, None if that is nothing."""
        return None

    def bear_witness(self, said: object) -> None:
        """Leave a JSON value beside the store for the next owner."""


class FileSurroundings(Surroundings):
    """The surroundings of a store in a file: the file's birth, and the witness in the lock file beside it."""

    def __init__(self, path: Path, lock: OwnerLock) -> None:
        """Name the file, by its real path."""
        self._path = path
        self._lock = lock

    @property
    @override
    def is_heard(self) -> bool:
        return self._lock.is_heard

    @override
    def hear(self) -> None:
        self._lock.is_heard = True

    @override
    def fingerprint(self) -> Fingerprint:
        return {"inode": self._path.stat().st_ino, "born_ns": born_ns(self._path)}

    @override
    def witness(self) -> Any:
        return self._lock.witness()

    @override
    def bear_witness(self, said: object) -> None:
        self._lock.bear_witness(said)


def same_file(one: Fingerprint, other: Fingerprint) -> bool:
    """Tell whether two fingerprints are those of one file.

    The birth decides: no copy can have that of its original, while it outlives a move on the same disk, another
    host, another mount and a change of owner. Some file systems number their files anew at each mount: the inode
    is asked only where no birth is known.
    """
    if one.get("born_ns") is not None and other.get("born_ns") is not None:
        return one["born_ns"] == other["born_ns"]
    return one.get("inode") == other.get("inode")


def born_ns(path: Path) -> int | None:
    """Return when a file was made, in nanoseconds since 1970; None where the system does not keep that."""
    born = getattr(path.stat(), "st_birthtime", None)
    if born is not None:
        return int(born * 1_000_000_000)
    return _linux_born_ns(path) if sys.platform == "linux" else None


def _linux_born_ns(path: Path) -> int | None:
    import ctypes

    try:
        statx = ctypes.CDLL(None).statx
    except (OSError, AttributeError):  # a C library that is older than the call
        return None
    found = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, found) != 0:
        return None
    (mask,) = struct.unpack_from("=I", found.raw)
    seconds, nanoseconds = struct.unpack_from("=qI", found.raw, _BIRTH_AT)
    return int(seconds) * 1_000_000_000 + int(nanoseconds) if mask & _STATX_BTIME else None
