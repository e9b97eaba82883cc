"""Handlers from `module:function`: imported from where the command is run, and called with the scheduler."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from duly.channels.channel import said_of
from duly.errors import DulyError, InvalidSetting

if TYPE_CHECKING:
    from duly.scheduler import Scheduler


def declare_handlers(name: str, scheduler: Scheduler) -> None:
    """Call the function of that name, which declares its handlers. Raises InvalidSetting, naming what is wrong."""
    declare = _found(name)
    try:
        declare(scheduler)
    except DulyError:
        raise
    except Exception as error:
        raise InvalidSetting(f"handlers {name}: it raised {said_of(error)}") from error


def _found(name: str) -> Callable[[Scheduler], object]:
    module_name, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        # As `python -m` would: the application stands in the folder in which the command is run.
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidSetting(f"handlers {name}: {error}; it is looked for from {here} on") from None
    except Exception as error:
        raise InvalidSetting(f"handlers {name}: importing {module_name} raised {said_of(error)}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise InvalidSetting(f"handlers {name}: {module_name} has no '{path}'")
        found = getattr(found, part)
    if not callable(found):
        raise InvalidSetting(f"handlers {name}: it is no function, so it cannot be called with the scheduler")
    return found
