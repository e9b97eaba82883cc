"""The command line: each command parses, makes one call and prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from duly.clock import Clock

if TYPE_CHECKING:
    import click


def main(arguments: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """Run one command; what the `duly` script calls. Returns the exit code (see `door.enter`)."""
    from duly.cli.door import enter

    commands()
    return enter(sys.argv[1:] if arguments is None else arguments, clock=clock)


def commands() -> click.Group:
    """Return all commands. Each makes itself known where it is defined; they are loaded only for the command line."""
    from duly.cli import (  # noqa: F401
        backups,
        checking,
        deliveries,
        demo,
        editing,
        events,
        lists,
        putting,
        running,
        status,
        webhook,
        why,
    )
    from duly.cli.door import duly

    return duly
