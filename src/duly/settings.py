"""Settings: from a flag, the environment, `duly.toml` or the default, in that order; each with its origin."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, Never

from duly.agenda import DEFAULT_STORE
from duly.errors import DulyError, InvalidSetting
from duly.model.dates import read_zone
from duly.model.lifecycle import CatchUp
from duly.rules.catch_up import DEFAULT_GRACE, DEFAULT_WINDOW

FILE: Final = "duly.toml"
PREFIX: Final = "DULY_"
TRACEBACK: Final = "DULY_TRACEBACK"
UNLIMITED: Final = "unlimited"
DURATION_MAX: Final = timedelta(days=36_500)

_FILE_BYTES_MAX: Final = 100_000
_SHOWN_MAX: Final = 60
_PART: Final = r"([0-9]+(?:\.[0-9]+)?) *([A-Za-z]+)"
_DURATION: Final = rf"{_PART}(?:(?: *, *| and | )? *{_PART})*"
_UNITS: Final[Mapping[str, timedelta]] = {
    name: length
    for names, length in (
        ("s sec second seconds", timedelta(seconds=1)),
        ("m min minute minutes", timedelta(minutes=1)),
        ("h hour hours", timedelta(hours=1)),
        ("d day days", timedelta(days=1)),
        ("w week weeks", timedelta(weeks=1)),
    )
    for name in names.split()
}


def read_duration(text: object, *, what: str) -> timedelta:
    """Return a duration like `24h`, `90m`, `2 days` or `1 h 30 min`. Raises InvalidSetting, naming `what`.

    A number without a unit is refused, save for 0, which is the same in all of them.
    """
    said = " ".join(str(text).split())
    if said == "0":
        return timedelta(0)
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", said):
        _refuse(what, text, f"has no unit; write {said}h, {said}m or {said}s")
    if said.startswith(("-", "−")):
        _refuse(what, text, "is negative; use a duration from zero up")
    if not re.fullmatch(_DURATION, said):
        _refuse(what, text, "is no duration; write for example 24h, 90m or 2 days")
    total = timedelta(0)
    for amount, unit in re.findall(_PART, said):
        length = _UNITS.get(unit if len(unit) == 1 else unit.lower())
        if length is None:
            _refuse(what, text, f"has an unknown unit '{unit}'; use s, min, h, days or weeks")
        if float(amount) * length.total_seconds() > DURATION_MAX.total_seconds():
            _refuse(what, text, f"is longer than {DURATION_MAX.days:,} days")
        total += float(amount) * length
    return total if total <= DURATION_MAX else _refuse(what, text, f"is longer than {DURATION_MAX.days:,} days")


def _refuse(what: str, given: object, why: str) -> Never:
    shown = ascii(given)
    shown = shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}…"
    raise InvalidSetting(f"{what} {shown} {why}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its value, and where it comes from: a flag, a variable, the file, or `default`."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Known:
    """What can be set: its name, how its text is read, its default, and what it is for."""

    name: str
    read: Callable[[object, str], Any]
    default: Any
    default_text: str
    meaning: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The option that sets it."""
        return "--" + self.name.replace("_", "-")


def _store(given: object, what: str) -> str:
    return given if isinstance(given, str) else _refuse(what, given, "is not a URL; write sqlite:///events.db")


def _zone(given: object, what: str) -> str:
    try:
        return read_zone(given)[0]
    except DulyError as error:
        raise InvalidSetting(f"{what}: {error}") from None


def _window(given: object, what: str) -> timedelta | None:
    if isinstance(given, str) and given.strip().lower() == UNLIMITED:
        return None
    return read_duration(given, what=what)


def _grace(given: object, what: str) -> timedelta:
    return read_duration(given, what=what)


def _one_of(*words: str) -> Callable[[object, str], str]:
    def read(given: object, what: str) -> str:
        said = " nor ".join(f"'{word}'" for word in words)
        return str(given) if given in words else _refuse(what, given, f"is neither {said}")

    return read


def _environment(given: object, what: str) -> str:
    if not isinstance(given, str) or not re.fullmatch(r"\S(?:[^\x00-\x1f\x7f]{0,62}\S)?", given):
        _refuse(what, given, "is no name; write for example production or staging (at most 64 characters)")
    return given


def _handlers(given: object, what: str) -> tuple[str, ...]:
    names = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else [given]
    found = tuple(name.strip() if isinstance(name, str) else "" for name in names)
    if not all(re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", name) for name in found):
        _refuse(what, given, "is not module:function, such as myapp.handlers:register")
    return found


def _rate(given: object, what: str) -> float:
    try:
        rate = float(str(given))
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        _refuse(what, given, "is no number of deliveries a second above zero")
    return rate


KNOWN: Final = (
    Known("store", _store, DEFAULT_STORE, DEFAULT_STORE, "where the events are kept"),
    Known("time_zone", _zone, None, "none", "in which dates are read that name no zone, and shown where none fits"),
    Known(
        "catch_up_window",
        _window,
        DEFAULT_WINDOW,
        "24h",
        "how old a missed trigger may be to be announced still; `unlimited`, or 0 for not at all",
    ),
    Known("misfire_grace", _grace, DEFAULT_GRACE, "60s", "up to how late a trigger is merely late, not missed"),
    Known(
        "chronology",
        _one_of("event", "strict"),
        "event",
        "event",
        "`strict`: in a backlog, no event overtakes another; `event`: each event keeps its own order",
    ),
    Known(
        "clock_jump",
        _one_of("hold", "fire"),
        "hold",
        "hold",
        "when the clock is set forward: hold firing until it has been steady for a minute, or fire",
    ),
    Known(
        "handlers",
        _handlers,
        (),
        "none",
        "`module:function`, called with the scheduler before it starts, to declare handlers; several with commas",
    ),
    Known(
        "recovery_rate",
        _rate,
        None,
        "none",
        "of what was missed, no more deliveries a second than this; by default as fast as it goes",
    ),
    Known(
        "environment",
        _environment,
        None,
        "none",
        "the name of this environment (`staging`); a store that has lived in another one is taken for a copy",
    ),
)
_BY_NAME: Final = {known.name: known for known in KNOWN}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings by name, and warnings about what looks like one and is none."""

    by_name: Mapping[str, Setting]
    warnings: tuple[str, ...]

    @property
    def store(self) -> str:
        """The store's URL."""
        return str(self.by_name["store"].value)

    @property
    def time_zone(self) -> str | None:
        """The canonical name of the zone, None if none is set."""
        value: str | None = self.by_name["time_zone"].value
        return value

    @property
    def catch_up_window(self) -> timedelta | None:
        """The catch-up window; None is unlimited."""
        value: timedelta | None = self.by_name["catch_up_window"].value
        return value

    @property
    def misfire_grace(self) -> timedelta:
        """The misfire grace."""
        value: timedelta = self.by_name["misfire_grace"].value
        return value

    @property
    def chronology(self) -> Literal["event", "strict"]:
        """How the backlog of different events is ordered."""
        return "strict" if self.by_name["chronology"].value == "strict" else "event"

    @property
    def clock_jump(self) -> Literal["hold", "fire"]:
        """What to do when the clock is set forward."""
        return "fire" if self.by_name["clock_jump"].value == "fire" else "hold"

    @property
    def handlers(self) -> tuple[str, ...]:
        """Functions that declare handlers, as `module:function`."""
        value: tuple[str, ...] = self.by_name["handlers"].value
        return value

    @property
    def recovery_rate(self) -> float | None:
        """How many deliveries of what was missed are made a second at most; None: as many as can be."""
        value: float | None = self.by_name["recovery_rate"].value
        return value

    @property
    def environment(self) -> str | None:
        """The name of this environment, None if nobody has named it."""
        value: str | None = self.by_name["environment"].value
        return value

    @property
    def catch_up(self) -> CatchUp:
        """What the scheduler itself says about misfires: only what somebody set, else milestones would be mute."""
        setting = self.by_name["catch_up_window"]
        return CatchUp() if setting.origin == "default" else CatchUp(window=setting.value)


def read_settings(
    flags: Mapping[str, str | None] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Return the settings in force. Raises InvalidSetting, naming the flag, the variable or the file's key.

    `flags`: by setting's name, None where not given. `environment`: default `os.environ`. `folder`: where
    `duly.toml` is looked for, by default here. An empty variable is one that is not set.
    """
    variables = os.environ if environment is None else environment
    found = _of_file((folder or Path()) / FILE)
    found |= _of_environment(variables)
    found |= {
        name: Setting(_BY_NAME[name].read(text, _BY_NAME[name].flag), _BY_NAME[name].flag)
        for name, text in (flags or {}).items()
        if text is not None
    }
    by_name = {known.name: found.get(known.name, Setting(known.default, "default")) for known in KNOWN}
    return Settings(by_name, tuple(_unknown_variables(variables)))


def _of_environment(variables: Mapping[str, str]) -> dict[str, Setting]:
    return {
        known.name: Setting(known.read(text, known.variable), known.variable)
        for known in KNOWN
        if (text := variables.get(known.variable, "").strip())
    }


def _of_file(path: Path) -> dict[str, Setting]:
    import tomllib

    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            content = tomllib.loads(file.read(_FILE_BYTES_MAX).decode("utf-8-sig"))
    except OSError as error:
        raise InvalidSetting(f"{FILE}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidSetting(f"{FILE}: this is not TOML: {error}") from None
    for key in content:
        if key not in _BY_NAME:
            raise InvalidSetting(f"{FILE}: unknown key {key!a}{_suggestion(key, list(_BY_NAME))}")
    return {key: Setting(_BY_NAME[key].read(value, f"{FILE}: {key}"), FILE) for key, value in content.items()}


def _unknown_variables(variables: Mapping[str, str]) -> Iterator[str]:
    known = [TRACEBACK, *(each.variable for each in KNOWN)]
    for name in sorted(variables):
        if name.startswith(PREFIX) and name not in known:
            yield f"{ascii(name)[1:-1]} is not a setting of Duly{_suggestion(name, known)}"


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
