"""The time zone of the machine: what a naive datetime meant to programs that never thought of zones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from duly.errors import InvalidZone
from duly.model.dates import Micros, read_zone, to_datetime
from duly.model.zones import offset_text, wall_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DATABASE: Final = "zoneinfo/"
_VARIANTS: Final = ("posix/", "right/")
_NAME_BYTES_MAX: Final = 200


def host_zone(now_us: Micros, *, environment: Mapping[str, str] | None = None, root: Path = Path("/")) -> str:
    """Return the canonical name of the system's zone, as TZ, /etc/localtime or /etc/timezone tell it.

    A name counts only if its clocks show what the system's clock shows at `now_us`: a stale /etc/timezone does
    not. Where nobody tells a name, it is the offset of this instant (`UTC+2`), which knows no summer time.
    """
    offset = to_datetime(now_us).astimezone().utcoffset()
    assert offset is not None  # noqa: S101 - astimezone always gives one
    for told in _told(os.environ if environment is None else environment, root):
        try:
            name, _ = read_zone(told)
        except InvalidZone:
            continue
        if wall_of(now_us, name) == (to_datetime(now_us) + offset).replace(tzinfo=None):
            return name
    return offset_text(offset)


def _told(environment: Mapping[str, str], root: Path) -> Iterator[str]:
    """Yield what the system calls its zone, in the order in which the C library asks."""
    variable = environment.get("TZ")
    if variable is not None:
        # Set and empty means UTC. Whatever it says, the files do not count any more.
        yield _name_in(variable.removeprefix(":")) or "UTC"
        return
    link = root / "etc/localtime"
    if link.is_symlink():
        yield _name_in(str(link.readlink()))
        yield _name_in(str(link.resolve()))
    try:
        with (root / "etc/timezone").open(encoding="ascii", errors="replace") as file:
            yield file.read(_NAME_BYTES_MAX).strip()
    except OSError:
        return  # not every system has that file


def _name_in(text: str) -> str:
    """Return the zone's name out of a path into a tz database, or the text as it is."""
    name = text.rpartition(_DATABASE)[2]
    for variant in _VARIANTS:
        name = name.removeprefix(variant)
    return name
