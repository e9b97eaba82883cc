"""A disk that loses its power: every write and flush of SQLite is traced, and replayed to what a crash may leave.

The rules of the disk are those of POSIX, no kinder: what was written to a file is certain once that file has been
flushed, until then each write (and each sector of it) may be there or not, in any order; a file's name is certain
once its folder has been flushed. The shared memory of the WAL is no file that survives, and is not traced.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import apsw
from typing_extensions import override

SECTOR: Final = 512
DATABASE: Final = ""
WAL: Final = "-wal"
# On opening one of these with leave to create it, SQLite's unix VFS flushes the folder with the first flush of the
# file (UNIXFILE_DIRSYNC). That happens below the recorder, which therefore notes it by the same rule.
_FLUSHES_FOLDER: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
_RECORDERS: Final = itertools.count()  # VFS names are the process's: each recorder needs its own


# -- the trace ------------------------------------------------------------------------------------------------


class Written(NamedTuple):
    """Bytes handed to the operating system. `file` is a number, because one name may be given to two files."""

    file: int
    offset: int
    data: bytes


class Resized(NamedTuple):
    """A file cut (or stretched) to a length."""

    file: int
    size: int


class Flushed(NamedTuple):
    """Everything written to the file so far is certain; with `folder`, all names in it too."""

    file: int
    folder: bool


class Created(NamedTuple):
    """A new, empty file under a name."""

    name: str
    file: int


class Deleted(NamedTuple):
    """A name taken away; with `folder`, certainly."""

    name: str
    folder: bool


class Acknowledged(NamedTuple):
    """One more operation has returned to its caller, who now relies on it."""


Change = Written | Resized
Naming = Created | Deleted
Step = Change | Naming | Flushed | Acknowledged
# What is in the folder: the end of each file's name (`""`, `-wal`, `-journal`) and its bytes.
Files = Mapping[str, bytes]


class Recorder(apsw.VFS):
    """A SQLite VFS that does what the default one does, and writes down every step that a power loss could undo.

    The real disk is never flushed: only the trace says what would have survived.
    """

    def __init__(self, path: Path, *, before: Sequence[Step] = (), numbers: Mapping[str, int] | None = None) -> None:
        """Record the database at `path` and the files beside it.

        `before`: a trace that this one goes on with; `numbers`: those that it gave to the files that are there.
        """
        self.vfs = f"power-{next(_RECORDERS)}"
        self.steps: list[Step] = list(before)
        self._numbers = dict(numbers or {})
        self.path = path
        self._count = max((step.file + 1 for step in before if isinstance(step, Created)), default=0)
        self._count = max([self._count, *(number + 1 for number in self._numbers.values())])
        super().__init__(self.vfs, "")

    @override
    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open a file; note it if that creates it. What has no name of ours is not traced."""
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        if text is None or not text.startswith(str(self.path)):
            return apsw.VFSFile("", name, flags)
        end = text.removeprefix(str(self.path))
        is_new = not Path(text).exists()
        file = RecordedFile(name, flags, self.steps)
        if is_new:
            self._numbers[end] = self._count
            self.steps.append(Created(end, self._count))
            self._count += 1
        file.number = self._numbers[end]
        return file

    @override
    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Delete a file, and note it."""
        super().xDelete(filename, syncdir)
        self.steps.append(Deleted(filename.removeprefix(str(self.path)), syncdir))

    def acknowledge(self) -> None:
        """Note that an operation has returned."""
        self.steps.append(Acknowledged())


class RecordedFile(apsw.VFSFile):
    """An open file of the recorder."""

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], steps: list[Step]) -> None:
        super().__init__("", name, flags)
        self.number = -1
        self._steps = steps
        self._flushes_folder = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _FLUSHES_FOLDER)

    @override
    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._steps.append(Written(self.number, offset, bytes(data)))

    @override
    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._steps.append(Resized(self.number, newsize))

    @override
    def xSync(self, flags: int) -> None:
        self._steps.append(Flushed(self.number, self._flushes_folder))
        self._flushes_folder = False


# -- the crashes ----------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """What becomes of that which was written and not flushed."""

    NONE = "none of it is there"
    PREFIX = "all of it is there"
    TORN = "all, but only the first half of the last write"
    SUBSET = "some writes, in no order"
    SECTORS = "some sectors, in no order"


class Moment(StrEnum):
    """What SQLite was doing when the power went."""

    CREATION = "creation"
    WAL_BEGUN = "beginning a WAL"
    WAL_RESTARTED = "restarting the WAL from its head"
    COMMIT = "commit"
    CHECKPOINT = "checkpoint"
    CLOSING = "removal of the WAL"
    IDLE = "between two operations"


@dataclass(frozen=True, slots=True)
class CrashState:
    """What a power loss after step `step` may leave, and how many operations had been acknowledged by then."""

    step: int
    kind: Kind
    moment: Moment
    acknowledged: int
    files: Files

    @property
    def digest(self) -> bytes:
        """Tells files apart by their content."""
        hash_ = hashlib.blake2b(digest_size=16)
        for name, data in sorted(self.files.items()):
            hash_.update(f"{name}\0{len(data)}\0".encode() + data)
        return hash_.digest()


@dataclass(slots=True)
class Disk:
    """What is certain (`contents`, `names`), and what is not yet: changes and namings, in the order of the trace.

    Namings reach the disk in their order, as the journals of file systems have it; changes in none.
    """

    contents: dict[int, bytearray]
    names: dict[str, int]
    changes: list[Change] = field(default_factory=list)
    namings: list[Naming] = field(default_factory=list)

    @classmethod
    def holding(cls, files: Files) -> Disk:
        """Return a disk on which these files are certain."""
        names = numbered(files)
        return cls({names[name]: bytearray(data) for name, data in files.items()}, names)

    def seen(self) -> tuple[Files, dict[str, int]]:
        """Return the files as the running system sees them, flushed or not, and their numbers."""
        names = dict(self.names)
        _rename(self.namings, names)
        return self.left(self.changes, len(self.namings)), names

    def take(self, step: Step) -> None:
        """Go one step on."""
        match step:
            case Written() | Resized():
                self.changes.append(step)
            case Created() | Deleted():
                self.namings.append(step)
                if isinstance(step, Deleted) and step.folder:
                    self._flush_folder()
            case Flushed():
                self._flush(step.file)
                if step.folder:
                    self._flush_folder()
            case Acknowledged():
                pass

    def _flush(self, file: int) -> None:
        content = self.contents.setdefault(file, bytearray())
        for change in self.changes:
            if change.file == file:
                _apply(change, content)
        self.changes = [change for change in self.changes if change.file != file]

    def _flush_folder(self) -> None:
        _rename(self.namings, self.names)
        self.namings = []

    def left(self, changes: Sequence[Change], namings: int) -> Files:
        """Return the files if just these changes, and that many of the namings, have reached the disk."""
        names = dict(self.names)
        _rename(self.namings[:namings], names)
        found = {file: bytearray(self.contents.get(file, b"")) for file in names.values()}
        for change in changes:
            if change.file in found:
                _apply(change, found[change.file])
        return {name: bytes(found[file]) for name, file in names.items()}

    def crashes(self, chance: random.Random, draws: int) -> Iterator[tuple[Kind, Files]]:
        """Yield what a power loss now may leave; `draws` of each kind that is left to chance."""
        everything = len(self.namings)
        yield Kind.PREFIX, self.left(self.changes, everything)
        if not self.changes and not self.namings:
            return
        yield Kind.NONE, self.left([], 0)
        if self.changes and (half := torn(self.changes[-1])) is not None:
            yield Kind.TORN, self.left([*self.changes[:-1], half], everything)
        sectors = [piece for change in self.changes for piece in in_sectors(change)]
        pieces: tuple[tuple[Kind, Sequence[Change]], ...] = ((Kind.SUBSET, self.changes), (Kind.SECTORS, sectors))
        for kind, of in pieces:
            for _ in range(draws if len(of) + everything > 1 else 0):
                share = chance.random()
                drawn = [each for each in of if chance.random() < share]
                yield kind, self.left(drawn, chance.randint(0, everything))


def numbered(files: Files) -> dict[str, int]:
    """Return the numbers of files that were there before a trace began."""
    return {name: number for number, name in enumerate(files)}


def _apply(change: Change, content: bytearray) -> None:
    if isinstance(change, Resized):
        size = change.size
        content[size:] = b"\0" * max(0, size - len(content))
        return
    end = change.offset + len(change.data)
    if len(content) < end:
        content.extend(b"\0" * (end - len(content)))  # what lies before a write beyond the end reads as zeros
    content[change.offset : end] = change.data


def _rename(namings: Sequence[Naming], names: dict[str, int]) -> None:
    for naming in namings:
        if isinstance(naming, Created):
            names[naming.name] = naming.file
        else:
            names.pop(naming.name, None)


def torn(change: Change) -> Change | None:
    """Return the first half of a write, up to a border between sectors; None for what fits into one sector."""
    if isinstance(change, Resized):
        return None
    middle = change.offset + len(change.data) // 2
    first = (change.offset // SECTOR + 1) * SECTOR
    border = max(middle // SECTOR * SECTOR, first)
    if border >= change.offset + len(change.data):
        return None
    return change._replace(data=change.data[: border - change.offset])


def in_sectors(change: Change) -> Iterator[Change]:
    """Yield the pieces of a write that a disk writes as a whole."""
    if isinstance(change, Resized):
        yield change
        return
    begin, end = change.offset, change.offset + len(change.data)
    while begin < end:
        border = min((begin // SECTOR + 1) * SECTOR, end)
        yield Written(change.file, begin, change.data[begin - change.offset : border - change.offset])
        begin = border


@dataclass(slots=True)
class _Observer:
    """Tells what SQLite is doing from the files that it touches."""

    names: dict[int, str]
    begun: set[int] = field(default_factory=set)
    has_wal: bool = False

    def moment(self, step: Step) -> Moment:
        match step:
            case Created():
                self.names[step.file] = step.name
                self.has_wal = self.has_wal or step.name == WAL
                return Moment.WAL_BEGUN if step.name == WAL else Moment.CREATION
            case Deleted():
                return Moment.CLOSING if step.name == WAL else Moment.CREATION
            case Written() | Resized() | Flushed():
                return self._touching(step)
            case Acknowledged():
                return Moment.IDLE

    def _touching(self, step: Change | Flushed) -> Moment:
        if self.names[step.file] != WAL:
            return Moment.CHECKPOINT if self.has_wal else Moment.CREATION
        if isinstance(step, Written) and step.offset == 0:
            again = step.file in self.begun
            self.begun.add(step.file)
            return Moment.WAL_RESTARTED if again else Moment.WAL_BEGUN
        return Moment.COMMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which crashes to look at: after every so many steps from the first on; per step, `draws` of what is chance."""

    seed: str
    draws: int = 1
    every: int = 1
    first: int = 0


def crash_states(
    start: Files, steps: Sequence[Step], chosen: Choice, *, lies_about: str | None = None
) -> Iterator[CrashState]:
    """Yield what a power loss after a step of a trace may leave, replayable by its seed.

    `lies_about`: the end of the name of files that the disk only pretends to flush.
    """
    chance = random.Random(chosen.seed)
    disk = Disk.holding(start)
    observer = _Observer({number: name for name, number in numbered(start).items()}, has_wal=WAL in start)
    acknowledged = 0
    for number, step in enumerate(steps):
        moment = observer.moment(step)
        acknowledged += isinstance(step, Acknowledged)
        if isinstance(step, Flushed) and observer.names[step.file] == lies_about:
            continue
        disk.take(step)
        if number < chosen.first or (number - chosen.first) % chosen.every:
            continue
        for kind, files in disk.crashes(chance, chosen.draws):
            yield CrashState(number, kind, moment, acknowledged, files)
