"""Plain values or TOML → a lifecycle, strictly; and the lifecycles that ship."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Never

from duly.errors import InvalidInput, InvalidLifecycle, UnknownLifecycle
from duly.model.dates import Side
from duly.model.lifecycle import CatchUp, Headline, Lifecycle, Milestone, Policy, Track

# No definition that a person can oversee is larger, and a device or a pipe must not be read for ever.
_BYTES_MAX: Final = 1_000_000
_SHOWN_MAX: Final = 60
_MICROS_PER_HOUR: Final = 3_600_000_000

_Read = Callable[[object, str], object]


def lifecycle_from_plain(plain: Mapping[str, object], *, where: str = "lifecycle") -> Lifecycle:
    """Return the lifecycle of plain values in the shape of `Lifecycle.to_json()` and of the TOML files.

    Raises InvalidLifecycle, whose message begins with `where` and names the place: for an unknown key, for a
    value of the wrong type, and for a definition that contradicts itself. What is left out has its default.
    """
    fields = _read_table(plain, where, _LIFECYCLE, needs=("name", "tracks", "milestones"))
    fields.setdefault("headline", ())
    try:
        return Lifecycle(**fields)
    except InvalidInput as error:
        msg = str(error) if where == "lifecycle" else f"{where}: {error}"
        raise InvalidLifecycle(msg) from None


def lifecycle_from_toml(source: str | os.PathLike[str]) -> Lifecycle:
    """Return the lifecycle of a TOML file (a `Path`) or of TOML text (a `str`).

    Raises InvalidLifecycle, naming the file and the place in it.
    """
    import tomllib

    if isinstance(source, str):
        text, where = source, "lifecycle"
    else:
        text, where = _text_of(Path(source)), os.fspath(source)
    try:
        plain = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        hint = f"; to read a file, pass Path({text!r})" if _looks_like_path(text) else ""
        msg = f"{where}: this is not TOML: {error}{hint}"
        raise InvalidLifecycle(msg) from None
    return lifecycle_from_plain(plain, where=where)


@functools.cache
def built_in_names() -> tuple[str, ...]:
    """Return the names of the lifecycles that ship, in alphabetical order."""
    from importlib.resources import files

    found = (entry.name for entry in files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def built_in(name: str) -> Lifecycle:
    """Return the lifecycle of that name that ships, always the same object. Raises UnknownLifecycle."""
    if name not in built_in_names():
        msg = f"no lifecycle named {_shown(name)} ships with Duly{_suggestion(name, built_in_names())}"
        raise UnknownLifecycle(msg)
    return _load(name)


@functools.cache
def _load(name: str) -> Lifecycle:
    import tomllib
    from importlib.resources import files

    text = (files(__package__) / f"{name}.toml").read_text(encoding="utf-8")
    return lifecycle_from_plain(tomllib.loads(text), where=f"{name}.toml")


# ---------------------------------------------------------------------------------------------- the file


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        if len(content) > _BYTES_MAX:
            msg = f"{path}: larger than {_BYTES_MAX:,} bytes, so no lifecycle"
            raise InvalidLifecycle(msg)
        return content.decode("utf-8-sig")  # an editor may have put a byte order mark before it
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise InvalidLifecycle(msg) from None
    except UnicodeDecodeError as error:
        msg = f"{path}: byte {error.start} is not UTF-8, which TOML must be"
        raise InvalidLifecycle(msg) from None


def _looks_like_path(text: str) -> bool:
    return text.endswith(".toml") and "\n" not in text


# ----------------------------------------------------------------------------------------------- the parts


def _read_table(
    plain: object, where: str, readers: Mapping[str, _Read], *, needs: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return what each known key holds, read; refuse unknown keys and the lack of needed ones."""
    if not isinstance(plain, Mapping):
        _refuse(where, "must be a table of keys and values", plain)
    for key in plain:
        if key not in readers:
            msg = f"{where}: unknown key {_shown(key)}{_suggestion(key, readers)}"
            raise InvalidLifecycle(msg)
    for key in needs:
        if key not in plain:
            msg = f"{where}: '{key}' is missing"
            raise InvalidLifecycle(msg)
    return {key: readers[key](value, f"{where}, {key}") for key, value in plain.items()}


def _read_tracks(value: object, where: str) -> tuple[Track, ...]:
    if not isinstance(value, Mapping):
        _refuse(where, "must be a table of tracks, each with its 'before': [tracks.registration]", value)
    return tuple(
        Track(
            name=_text(name, f"{where}, name"),
            **_read_table(track, f"{where[:-1]} '{name}'", _TRACK, needs=("before",)),
        )
        for name, track in value.items()
    )


def _read_milestones(value: object, where: str) -> tuple[Milestone, ...]:
    return tuple(
        Milestone(**_read_table(item, place, _MILESTONE, needs=("name",)))
        for item, place in _items(value, where, "name")
    )


def _read_headline(value: object, where: str) -> tuple[Headline, ...]:
    return tuple(
        Headline(**_read_table(item, place, _HEADLINE, needs=("status",)))
        for item, place in _items(value, where, "status")
    )


def _items(value: object, where: str, label: str) -> Iterator[tuple[object, str]]:
    """Yield each item of a list with its place, which says its number and, where it has one, its name."""
    if not isinstance(value, list | tuple):
        _refuse(where, "must be a list of tables", value)
    for number, item in enumerate(value, start=1):
        said = item.get(label) if isinstance(item, Mapping) else None
        yield item, f"{where} {number} ('{said}')" if isinstance(said, str) else f"{where} {number}"


def _read_catch_up(value: object, where: str) -> CatchUp:
    fields = _read_table(value, where, _CATCH_UP)
    if "window_hours" in fields:
        fields["window"] = fields.pop("window_hours")
    return CatchUp(**fields)


def _read_when(value: object, where: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, Mapping):
        _refuse(where, 'must be a table of tracks and their states: { event = ["ended"] }', value)
    return {_text(track, where): _texts(states, f"{where}, {track}") for track, states in value.items()}


# ---------------------------------------------------------------------------------------- single values


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        _refuse(where, "must be a text", value)
    return value


def _zone(value: object, where: str) -> str | None:
    return None if value is None else _text(value, where)


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        _refuse(where, 'must be a list of texts: ["ended"]', value)
    return tuple(_text(item, f"{where} {number}") for number, item in enumerate(value, start=1))


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        _refuse(where, "must be true or false", value)
    return value


def _side(value: object, where: str) -> Side:
    return Side(_one_of(value, where, [side.value for side in Side]))


def _policy(value: object, where: str) -> Policy:
    return Policy(_one_of(value, where, [policy.value for policy in Policy]))


def _one_of(value: object, where: str, allowed: list[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        _refuse(where, f"must be one of {', '.join(allowed)}", value)
    return value


def _window(value: object, where: str) -> timedelta | None:
    if value == "unlimited":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        _refuse(where, 'must be a number of hours from zero up, or "unlimited"', value)
    # In whole numbers, since the hash of a definition must survive its being written and read again.
    hours, parts = value.as_integer_ratio()
    try:
        return timedelta(microseconds=(2 * hours * _MICROS_PER_HOUR + parts) // (2 * parts))
    except OverflowError:
        _refuse(where, 'is more hours than can be counted; write "unlimited"', value)


def _refuse(where: str, what: str, value: object) -> Never:
    msg = f"{where}: {what}, not {_shown(value)}"
    raise InvalidLifecycle(msg)


def _shown(value: object) -> str:
    """Return a value for a message: short, on one line, and harmless to a terminal."""
    try:
        text = ascii(value) if isinstance(value, str | int | float | None) else type(value).__name__
    except ValueError:  # Python refuses to write out integers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def _suggestion(wrong: object, known: Iterator[str] | Mapping[str, Any] | tuple[str, ...]) -> str:
    import difflib

    near = difflib.get_close_matches(str(wrong)[:_SHOWN_MAX], list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"


_TRACK: Final[Mapping[str, _Read]] = {"before": _text, "undated": _text}
_CATCH_UP: Final[Mapping[str, _Read]] = {"policy": _policy, "window_hours": _window, "born_late": _flag}
_HEADLINE: Final[Mapping[str, _Read]] = {"status": _text, "when": _read_when, "undated": _texts}
_MILESTONE: Final[Mapping[str, _Read]] = {
    "name": _text,
    "title": _text,
    "field": _text,
    "track": _text,
    "state": _text,
    "side": _side,
    "default": _text,
    "default_if": _text,
    "implied": _flag,
    "between": _text,
    "until": _text,
    "manual": _flag,
    "repeats": _flag,
    "required": _flag,
    "catch_up": _read_catch_up,
}
_LIFECYCLE: Final[Mapping[str, _Read]] = {
    "name": _text,
    "title": _text,
    "description": _text,
    "zone": _zone,
    "catch_up": _read_catch_up,
    "tracks": _read_tracks,
    "milestones": _read_milestones,
    "headline": _read_headline,
}
