"""The way in: arguments → one command; refusals → one sentence and an exit code."""

from __future__ import annotations

import difflib
import functools
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click
from typing_extensions import override

from duly.agenda import Agenda, open_store
from duly.cli.output import Output, OutputClosed, OutputFailed, flush
from duly.cli.wording import printable
from duly.clock import Clock
from duly.errors import DulyError, InvalidInput, InvalidSetting, NotFound, StoreRefused
from duly.settings import TRACEBACK, Settings, read_settings

P = ParamSpec("P")
R = TypeVar("R")

OK: Final = 0
FAILED: Final = 1
WRONG: Final = 2
INTERRUPTED: Final = 130
_ORDER: Final = (
    *("demo", "run", "put", "catch-up", "status", "events", "show", "upcoming", "history", "why", "outages"),
    *("deliveries", "replay", "park", "release", "webhook"),
    *("lifecycles", "hold", "cancel", "postpone", "approve", "fire", "remove", "check", "backup", "migrate"),
)
_MEMORY: Final = "sqlite:///:memory:"
_SECRET: Final = re.compile(r"://[^/@\s]*:[^/@\s]+@|[?&](password|secret|token)=", re.IGNORECASE)


@dataclass(slots=True)
class Door:
    """What every command is handed: the settings in force, where to print, and the clock."""

    settings: Settings
    out: Output
    clock: Clock | None

    def agenda(self, *, must_exist: bool = True, lifecycles: Sequence[Any] = ()) -> Agenda:
        """Return the agenda on the store, not yet opened. Raises StoreRefused where there must be one and is none."""
        url = self.settings.store
        if url == _MEMORY:
            raise InvalidSetting(f"store {url}: it ends with this command; name a file, such as sqlite:///events.db")
        path = self.path
        if must_exist and path is not None and not os.path.lexists(path):
            raise StoreRefused(f"store {url}: there is no such file; 'duly put' or 'duly run' make it")
        return Agenda(
            url,
            lifecycles=lifecycles,
            time_zone=self.settings.time_zone,
            clock=self.clock,
            environment=self.settings.environment,
        )

    @property
    def path(self) -> Path | None:
        """The store's file, None where it is in memory. Raises InvalidSetting for a URL that names no store."""
        open_store(self.settings.store)
        path = self.settings.store.removeprefix("sqlite:///")
        if self.settings.store == _MEMORY:
            return None
        try:
            path.encode()
        except UnicodeEncodeError:
            raise StoreRefused(f"store {path!a}: its path is not UTF-8, which SQLite needs; rename it") from None
        return Path(path).expanduser()


class Commands(click.Group):
    """The commands in the order in which one meets them; a slip of the keyboard is told what it may have meant."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=_ORDER.index)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.commands, n=1)
            path = ctx.command_path
            hint = f"did you mean '{path} {close[0]}'?" if close else f"see '{path} --help'"
            raise click.UsageError(f"there is no command {args[0]!a}; {hint}", ctx)
        return super().resolve_command(ctx, args)


class Actions(Commands):
    """The commands of a command, in the order in which they are written: `duly webhook add`."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's own
    if wanted:
        from duly import __version__

        Output().line(f"Duly {__version__}")
        context.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def duly(context: click.Context) -> None:
    """Every date kept: a durable scheduler of event lifecycles.

    Events carry dates; each date moves the event's status. What fell due while nothing was running is found
    at the start, fired in order, and reported. To see that happen: duly demo
    """
    if context.invoked_subcommand is None:
        Output().line(context.get_help())


def command(
    name: str, *, example: str, settings: Sequence[str] = (), of: click.Group | None = None
) -> Callable[[Callable[Concatenate[Door, P], int | None]], Callable[P, int]]:
    """Make a function a command: it takes the Door first, and returns the exit code (None: 0).

    `example` ends its help. `settings`: those that have a flag of their own here, besides the store. `of`: the
    command whose command it is, None for `duly` itself.
    """

    def make(function: Callable[Concatenate[Door, P], int | None]) -> Callable[P, int]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            flags = {each: _text(kwargs.pop(each, None)) for each in ("store", *settings)}
            out = Output(as_json=bool(kwargs.pop("as_json", False)))
            if flags["store"] is not None and _SECRET.search(flags["store"]):
                # Whoever lists the processes of this machine reads it; it is not said again here either.
                raise InvalidSetting("--store: a password on the command line can be seen by others; set DULY_STORE")
            found = read_settings(flags)
            for warning in found.warnings:
                out.warn(warning)
            door = Door(found, out, click.get_current_context().obj)
            return function(door, *args, **kwargs) or OK

        for option in (_json_option, _store_option):
            option(run)
        # The backspace keeps click from wrapping what is to be typed as it stands.
        return (of or duly).command(name, epilog=f"\b\nExample:\n  {example}")(run)

    return make


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


_store_option = click.option(
    "--store", metavar="URL", help="Where the events are kept (DULY_STORE). [default: sqlite:///duly.db]"
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def enter(arguments: Sequence[str], *, clock: Clock | None = None) -> int:
    """Run one command. Returns 0 if all went well, 1 if something failed or falls short, 2 for wrong input.

    `clock`: for tests; by default the host's.
    """
    _occupy_descriptors()
    _make_streams_forgiving()
    try:
        with _logged_in_sentences():
            code = _run(list(arguments), clock)
        flush()
    except OutputClosed:
        # Whoever read us has enough (`| head`). Python would complain about it once more at its exit.
        _abandon_output()
        return OK
    except OutputFailed as error:
        _abandon_output()
        return _say(str(error), FAILED)
    return code


def _run(arguments: list[str], clock: Clock | None) -> int:
    try:
        result = duly.main(arguments, prog_name="duly", standalone_mode=False, obj=clock)
        return result if isinstance(result, int) else OK
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (OutputClosed, OutputFailed):
        raise
    except SystemExit as ending:
        # click's way of saying that nobody reads the help that it prints itself.
        raise OutputClosed from ending
    except Exception as error:  # noqa: BLE001 - whatever it is, a person reads one sentence, and a script the code
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        return _say(*_told(error))


def _told(error: Exception) -> tuple[str, int]:
    """Return an error as its sentence and its exit code."""
    match error:
        case click.ClickException():
            return _usage(error), WRONG
        case InvalidInput() | NotFound() | StoreRefused():
            return str(error), WRONG
        case DulyError():
            return str(error), FAILED
        case OSError():
            named = f"{error.filename}: " if error.filename is not None else ""
            return f"{named}{error.strerror or error}", FAILED
        case MemoryError():
            return "there is not enough memory", FAILED
        case _:
            said = f"{type(error).__name__}: {error}"
            return f"this is a defect of Duly's ({said}); set {TRACEBACK}=1 to see where, and report it", FAILED


def _usage(error: click.ClickException) -> str:
    said = error.format_message().rstrip(".")
    said = said[:1].lower() + said[1:] if said[1:2].islower() else said
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or "--help" in said:
        return said
    return f"{said}; see '{context.command_path} --help'"


def _say(sentence: str, code: int) -> int:
    if sys.stderr is not None:
        # Where even that cannot be written, the exit code still tells.
        with suppress(OSError):
            sys.stderr.write(f"duly: {printable(' '.join(sentence.splitlines()))}\n")
            sys.stderr.flush()
    return code


# -- the streams that we were given ----------------------------------------------------------------------


def _occupy_descriptors() -> None:
    """Open /dev/null where a standard stream was closed, so that no file of ours gets its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _make_streams_forgiving() -> None:
    """Let a terminal that knows no arrows show escapes instead, rather than end the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _abandon_output() -> None:
    try:
        target = sys.stdout.fileno()
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is all that is wanted
            os.dup2(nowhere.fileno(), target)
    except (OSError, ValueError, AttributeError):
        pass  # it has no descriptor, or is closed already: then nobody can complain either


class _Sentences(logging.Formatter):
    """A log record as one line, without the traceback that a program would keep."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return f"duly: {printable(' '.join(record.getMessage().splitlines()))}"


@contextmanager
def _logged_in_sentences() -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr) if sys.stderr is not None else logging.NullHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Sentences())
    logger = logging.getLogger("duly")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
