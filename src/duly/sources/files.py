"""YAML, JSON, TOML and CSV files → plain values, each strictly: what is odd is refused, never guessed."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple

from duly.errors import InvalidSource

BYTES_MAX: Final = 256 * 1024 * 1024
_SUFFIXES: Final[Mapping[str, str]] = {
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".toml": "toml",
    ".csv": "csv",
    ".tsv": "csv",
}
FORMATS: Final = ("yaml", "json", "toml", "csv")
STDIN: Final = "-"
_PACKED: Final[Mapping[bytes, str]] = {
    b"PK\x03\x04": "a zip archive or spreadsheet",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"SQLite format 3": "a database",
}
_UTF_16_AND_32: Final = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


class Document(NamedTuple):
    """What one file says. `shown` is how messages name it; `path` is None for standard input."""

    shown: str
    path: Path | None
    format: str
    content: object


class Row(NamedTuple):
    """One row of a CSV file: its line, and its cells by column; or why it cannot be read."""

    line: int
    cells: dict[str, str | None] | None
    refusal: str = ""


def find_files(
    paths: Iterable[str | os.PathLike[str]], *, match: tuple[str, ...] = ()
) -> Iterator[Path | Literal["-"]]:
    """Yield the files that are meant: those given, and those within directories, sorted. `-` is stdin.

    `match`: which files of a directory are meant, as patterns of the ends of their paths (`*/2026.json`);
    without it, those of a known format. Raises InvalidSource for a path that is not there or leads nowhere.
    """
    for given in paths:
        if os.fspath(given) == STDIN:
            yield STDIN
        elif Path(given).is_dir():
            yield from _files_within(Path(given), match)
        elif Path(given).exists():
            yield Path(given)
        else:
            raise InvalidSource(f"{shown(Path(given))}: there is no such file or directory")


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path for a message: on one line, and without what no terminal could show."""
    if os.fspath(path) == STDIN:
        return "standard input"
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else ascii(text)


def read_document(path: str | os.PathLike[str], *, format: str | None = None) -> Document:  # noqa: A002
    """Read one file as a whole. Raises InvalidSource, naming the file and the line."""
    name = shown(path)
    place = None if os.fspath(path) == STDIN else Path(path)
    kind = format or _format_of(place, name)
    content = _stdin_content(name) if place is None else _content_of(place, name)
    text = _text_of(content, name)
    readers: Mapping[str, Callable[[str, str], object]] = {
        "yaml": _read_yaml,
        "json": _read_json,
        "toml": _read_toml,
        "csv": _read_csv,
    }
    if kind not in readers:
        raise InvalidSource(f"{name}: unknown format {kind!r}; it is one of: {', '.join(FORMATS)}")
    return Document(name, place, kind, readers[kind](text, name))


# ---------------------------------------------------------------------------------------------- the files


def _files_within(path: Path, match: tuple[str, ...]) -> Iterator[Path]:
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    wanted = [file for file in sorted(found) if _is_wanted(file, match)]
    if not wanted:
        said = f"matches {' or '.join(match)}" if match else f"ends in {', '.join(_SUFFIXES)}"
        raise InvalidSource(f"{shown(path)}: no file in this directory {said}")
    yield from wanted


def _is_wanted(file: Path, match: tuple[str, ...]) -> bool:
    if not match:
        return file.suffix.lower() in _SUFFIXES
    return any(file.match(pattern) for pattern in match)


def _format_of(path: Path | None, name: str) -> str:
    if path is None:
        return "yaml"  # of which JSON is a part
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise InvalidSource(
            f"{name}: what kind of file this is, its name does not say; "
            f"it should end in {', '.join(_SUFFIXES)}, or the format be given: {', '.join(FORMATS)}"
        )
    return kind


def _stdin_content(name: str) -> bytes:
    if sys.stdin is None:  # closed by whoever started this process
        raise InvalidSource(f"{name}: is closed")
    return _bytes_of(sys.stdin.buffer, name)


def _content_of(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            content = _bytes_of(file, name)
            after = os.fstat(file.fileno())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidSource(f"{name}: cannot be read: {why}") from None
    # Half of the old content and half of the new would be records that nobody wrote.
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise InvalidSource(f"{name}: the file changed while it was read; read it again")
    return content


def _bytes_of(file: IO[bytes], name: str) -> bytes:
    content = file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise InvalidSource(f"{name}: larger than {BYTES_MAX // 1024**2} MB; split it into several files")
    return content


def _text_of(content: bytes, name: str) -> str:
    for magic, said in _PACKED.items():
        if content.startswith(magic):
            raise InvalidSource(f"{name}: this is {said}; unpack or export it to {', '.join(FORMATS)} first")
    if content.startswith(_UTF_16_AND_32):
        raise InvalidSource(f"{name}: this is UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02X}"
        raise InvalidSource(
            f"{name}: line {line} is not UTF-8 (byte {byte}); it may be Windows-1252 or Latin-1: save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidSource(f"{name}: line {line} has a NUL character; this is no text, or UTF-16")
    return text


# -------------------------------------------------------------------------------------------- the formats


def _read_yaml(text: str, name: str) -> object:
    from duly.sources.yaml_text import read_yaml

    return read_yaml(text, what=name)


def _read_toml(text: str, name: str) -> object:
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSource(f"{name}: this is not TOML: {error}") from None


def _read_json(text: str, name: str) -> object:
    from duly.sources.json_text import read_json

    return read_json(text, what=name)


def _read_csv(text: str, name: str) -> list[Row]:
    """Return the rows below the header. One delimiter of `,`, `;` and tab: the header line shows which."""
    delimiter = _delimiter_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                pass  # an empty line, as spreadsheets leave at the end
            elif header is None:
                header = _header_of(cells, f"{name}: line {line}")
            else:
                rows.append(_row_of(cells, header, line))
            line = reader.line_num + 1
    except csv.Error as error:
        said = "a quote is opened and never closed" if "unexpected end" in str(error) else str(error)
        raise InvalidSource(f"{name}: line {line}: {said}") from None
    if header is None:
        raise InvalidSource(f"{name}: is empty; its first line must name the columns")
    return rows


def _delimiter_of(text: str) -> str:
    line = text.lstrip("\r\n").partition("\n")[0]
    unquoted = "".join(line.split('"')[::2])
    return max(",;\t", key=unquoted.count)


def _header_of(cells: list[str], where: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    for column, name in enumerate(header, start=1):
        if not name:
            raise InvalidSource(f"{where}: column {column} has no name; is this a title above the header?")
        if header.index(name) < column - 1:
            raise InvalidSource(f"{where}: the column {name!a} is there twice; is this a title above the header?")
    return header


def _row_of(cells: list[str], header: list[str], line: int) -> Row:
    if [cell.strip() for cell in cells] == header:
        return Row(line, None, "repeats the header")
    if len(cells) != len(header):
        return Row(line, None, f"has {len(cells)} cells where the header has {len(header)}")
    return Row(line, {name: cell or None for name, cell in zip(header, cells, strict=True)})
