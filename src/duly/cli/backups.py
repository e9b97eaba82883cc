"""`duly backup`: a verified copy of the whole store, while others go on using it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from duly.cli.door import Door, command
from duly.cli.output import progress
from duly.cli.wording import count

# Some 8 MiB: below that it is over before a bar could be read.
_BAR_FROM: Final = 2000


@command("backup", example="duly backup /backups/duly-monday.db --store sqlite:////var/lib/duly/duly.db")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over FILE if it is there.")
def backup(door: Door, *, file: Path, force: bool) -> None:
    """Copy the whole store to FILE, and verify the copy. May run beside a scheduler, which is not held up.

    FILE is there only once it is whole. It can be read like any store; a scheduler that is started on it, or on
    what was restored from it, sends nothing until 'duly check --adopt'. It holds the secrets of webhooks, as the
    store does, and is readable by the same people.
    """
    with door.agenda() as agenda, progress("backing up", least=_BAR_FROM) as bar:
        made = agenda.store.backup(file, agenda.clock.now(), force=force, progress=bar)
    if door.out.as_json:
        door.out.json({"store": agenda.store.url, **made.to_json()})
        return
    what = f"{count(made.events, 'event')}, {made.entries:,} history entries, {made.deliveries:,} deliveries"
    door.out.line(f"{made.path}: {what}, {made.size_bytes:,} bytes; verified.")
