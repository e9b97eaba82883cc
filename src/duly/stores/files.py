"""Whether a path can be a store: refusals before SQLite ever sees the file."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import Final, Never

from duly.errors import StoreRefused

# File systems on which SQLite's locks or its shared memory cannot be trusted.
_REMOTE: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs",
     "ocfs2", "gfs2", "beegfs", "davfs", "virtiofs"}
)  # fmt: skip
SMALLEST_DATABASE: Final = 512
_MOUNTS: Final = Path("/proc/self/mounts")


def check_path(path: Path, *, mounts: Path = _MOUNTS) -> Path:
    """Return the real path of a store's file. Raises StoreRefused with the reason and the remedy."""
    if sys.platform == "win32":
        _refuse(path, "Duly's SQLite store is not proven on Windows yet; use Linux, macOS or a container")
    if "\0" in str(path):
        _refuse(Path(repr(str(path))), "a path cannot contain NUL")
    try:
        real = path.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        _refuse(path, f"the path leads nowhere ({error})")
    _check_kind(path, real)
    _check_access(path, real)
    kind = file_system(real.parent, mounts)
    if kind in _REMOTE or kind.partition(".")[0] == "fuse":
        said = f"it lies on a network or user-space file system ({kind}), where SQLite's locks cannot be trusted"
        _refuse(path, f"{said}; put it on a local disk, or use PostgreSQL")
    return real


def _check_kind(path: Path, real: Path) -> None:
    try:
        found = real.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        _refuse(path, f"{error.strerror}")
    if stat.S_ISDIR(found.st_mode):
        _refuse(path, f"it is a directory; name a file in it, such as {path / 'duly.db'}")
    if not stat.S_ISREG(found.st_mode):
        _refuse(path, "it is not a regular file")
    if 0 < found.st_size < SMALLEST_DATABASE:
        # SQLite takes a file of one byte for an empty one, and would write over it.
        _refuse(path, "it is not a SQLite database (or it is encrypted)")


def _check_access(path: Path, real: Path) -> None:
    if not real.parent.is_dir():
        _refuse(path, f"the directory {real.parent} does not exist; create it first")
    if not os.access(real.parent, os.W_OK | os.X_OK):
        _refuse(path, f"the directory {real.parent} cannot be written to (SQLite keeps files beside the store)")
    if real.exists() and not os.access(real, os.R_OK | os.W_OK):
        _refuse(path, "the file cannot be read and written by this user")


def file_system(folder: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that a folder lies on; "" where it cannot be told."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004 - device, mount point, type
            continue
        # The kernel writes blanks, tabs, line ends and backslashes in octal.
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1]))
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def _refuse(path: Path, why: str) -> Never:
    msg = f"store {path}: {why}"
    raise StoreRefused(msg)
