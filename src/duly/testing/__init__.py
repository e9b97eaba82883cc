"""For the tests of those who use Duly, and for its own: a clock that is moved by hand, and what is told by it.

With pytest its fixtures are there by themselves (`duly.testing.plugin`); docs/guide/testing.md shows how.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duly.testing.memory import MemoryStore
    from duly.testing.receiver import Received, Receiver
    from duly.testing.recorder import Heard, Recorder
    from duly.testing.schedulers import AsyncManualScheduler, ManualScheduler
    from duly.testing.walking import WalkingClock

__all__ = [
    "AsyncManualScheduler",
    "Heard",
    "ManualScheduler",
    "MemoryStore",
    "Received",
    "Receiver",
    "Recorder",
    "WalkingClock",
]

# Imported when they are first asked for: pytest loads this package in every run of anyone who has Duly installed.
_ROOMS = {
    "duly.testing.memory": ("MemoryStore",),
    "duly.testing.receiver": ("Received", "Receiver"),
    "duly.testing.recorder": ("Heard", "Recorder"),
    "duly.testing.schedulers": ("AsyncManualScheduler", "ManualScheduler"),
    "duly.testing.walking": ("WalkingClock",),
}


def __getattr__(name: str) -> object:
    """Import a public name from the room where it lives."""
    for room, names in _ROOMS.items():
        if name in names:
            found: object = getattr(import_module(room), name)
            globals()[name] = found
            return found
    msg = f"module 'duly.testing' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted([*globals(), *__all__])
