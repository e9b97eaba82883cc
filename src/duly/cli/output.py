"""Where results go: lines, tables and JSON, coloured on a terminal and plain in a pipe."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Literal, TextIO

from duly.cli.wording import printable

_PAGE: Final = 500
_WIDTH_MIN: Final = 40
_CODES: Final = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}
Colour = Literal["green", "red", "yellow", "dim", "bold"]
Progress = Callable[[int, int], None]


class Output:
    """Standard output and standard error of one command. Text is escaped; a closed stream swallows it."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.coloured = _is_terminal(sys.stdout) and _may_colour()

    def line(self, text: str = "") -> None:
        """Write one line."""
        _write(sys.stdout, text)

    def warn(self, text: str) -> None:
        """Write one warning, on standard error."""
        # A warning that cannot be written is no reason to end.
        with suppress(OutputClosed, OutputFailed):
            _write(sys.stderr, f"duly: warning: {printable(text)}")

    def paint(self, text: str, colour: Colour) -> str:
        """Return text in a colour, if there are colours."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.coloured else text

    def json(self, value: object) -> None:
        """Write one JSON document, or one line of a stream of them."""
        _write(sys.stdout, json.dumps(value, ensure_ascii=True))

    def json_list(self, values: Iterable[object]) -> None:
        """Write one JSON document that is a list, item by item as they come."""
        separator = "[\n"
        for value in values:
            _write(sys.stdout, separator + json.dumps(value, ensure_ascii=True), end="")
            separator = ",\n"
        _write(sys.stdout, "[]" if separator == "[\n" else "\n]")

    def pairs(self, rows: Iterable[tuple[str, str]]) -> None:
        """Write names and what belongs to them, one below the other."""
        listed = list(rows)
        width = max((len(name) for name, _ in listed), default=0)
        for name, text in listed:
            self.line(f"{self.paint(name.ljust(width), 'dim')}  {printable(text)}".rstrip())

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
        """Write a table as its rows come, page by page: folded to the terminal's width, or plain and whole."""
        cells = ([printable(cell) for cell in row] for row in rows)
        first = True
        widths = [len(header) for header in headers]
        while page := list(itertools.islice(cells, _PAGE)):
            shown = [list(headers), *page] if first else page
            if _is_terminal(sys.stdout):
                self._fold(headers, page, widths, heads=first)
            else:
                _align(shown, widths)
            first = False
        if first:
            self.line(empty)

    def _fold(self, headers: Sequence[str], page: list[list[str]], widths: list[int], *, heads: bool) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=heads, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for place, header in enumerate(headers):
            # Later pages are at least as wide as the first, so that columns stay where they were.
            widths[place] = max(widths[place], *(len(row[place]) for row in page))
            table.add_column(header, overflow="fold", width=None, min_width=min(widths[place], 12))
        for row in page:
            table.add_row(*(Text(cell) for cell in row))
        Console(width=terminal_width(), color_system="auto" if self.coloured else None, highlight=False).print(table)


def _align(rows: list[list[str]], widths: list[int]) -> None:
    for place in range(len(widths)):
        widths[place] = max(widths[place], *(len(row[place]) for row in rows))
    for row in rows:
        _write(sys.stdout, "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class OutputClosed(Exception):
    """Nobody reads standard output any more (`| head`): a reason to end, not an error.

    Neither this nor OutputFailed is an OSError, which click would take for its own to handle.
    """


class OutputFailed(Exception):
    """Standard output cannot be written: a full disk, most of all."""


def _write(stream: TextIO | None, text: str, end: str = "\n") -> None:
    # A stream is None where the descriptor was closed before the program began: nobody is listening.
    if stream is not None:
        with _told_apart():
            stream.write(text + end)


def flush() -> None:
    """Hand over everything written. Raises OutputClosed, OutputFailed."""
    if sys.stdout is not None:
        with _told_apart():
            sys.stdout.flush()


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise OutputFailed(f"output cannot be written: {error.strerror or error}") from None


def terminal_width() -> int:
    """Return how many columns there are; at least 40, whatever COLUMNS says."""
    return max(_WIDTH_MIN, shutil.get_terminal_size().columns)


@contextmanager
def progress(what: str, *, least: int) -> Iterator[Progress]:
    """Show a bar on standard error while something long is done, if that is a terminal.

    What is yielded is called with (done, of all); a total below `least` is not worth a bar.
    """
    if not _is_terminal(sys.stderr) or os.environ.get("TERM") == "dumb":
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(
        stderr=True, width=terminal_width(), color_system="auto" if _may_colour() else None, highlight=False
    )
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=console, transient=True)
    task = bar.add_task(what, total=None)
    started = False

    def tell(done: int, total: int) -> None:
        nonlocal started
        if total < least:
            return
        if not started:
            bar.start()
            started = True
        bar.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        if started:
            bar.stop()


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _may_colour() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
