"""`duly check` and `duly migrate`: whether the store is sound, and of this version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click

from duly.agenda import Agenda
from duly.cli.copies import CopyReport
from duly.cli.door import FAILED, OK, Door, command
from duly.cli.output import Output, progress
from duly.cli.status import alive
from duly.cli.wording import count, duration, printable
from duly.model.dates import tzdata_version
from duly.stores.audit import Finding
from duly.stores.sqlite import SqliteStore

_BAR_FROM: Final = 2000
# Where SQLite's file format keeps `user_version`: https://sqlite.org/fileformat.html, section 1.3.
_VERSION_AT: Final = 60
_HEADER_LENGTH: Final = 100


@dataclass(slots=True)
class _Audit:
    """What a check found."""

    checked: int = 0
    repaired: list[Finding] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)


@command("check", example="duly check --repair")
@click.option("--repair", is_flag=True, help="Set right what can be: statuses and alarms. Kept in the history.")
@click.option("--adopt", is_flag=True, help="Confirm that a store which is a copy may send, under a name of its own.")
def check(door: Door, *, repair: bool, adopt: bool) -> int:
    """Audit the store: every status, alarm and mark against the rules, and every event's whole chain of history.

    Says whether the store is a copy of another (a backup restored, a file copied to another place), and what it
    would send: a copy's deliveries are parked, until --adopt. What is parked then stays parked.
    Exits 1 if anything is wrong that was not repaired, or the store is a copy. May run beside a scheduler.
    """
    with door.agenda() as agenda:
        copy = CopyReport.of(agenda, adopt=adopt)
        damage = [Finding("", said) for said in agenda.store.damage()]
        audit = _audited(agenda, repair=repair)
        audit.left += damage
        audit.left += _set_aside(agenda)
        audit.left += _unclaimed(agenda, door)
        facts = _facts(agenda)
    if door.out.as_json:
        door.out.json(
            {
                **facts,
                "copy": copy and copy.to_json(),
                "events_checked": audit.checked,
                "findings": [{**finding._asdict(), "repaired": False} for finding in audit.left]
                + [{**finding._asdict(), "repaired": True} for finding in audit.repaired],
            }
        )
    else:
        _tell(door.out, audit, facts)
        if copy is not None:
            copy.tell(door.out)
    return FAILED if audit.left or (copy is not None and copy.adopted_as is None) else OK


def _audited(agenda: Agenda, *, repair: bool) -> _Audit:
    audit = _Audit()
    total = agenda.counts().events
    with progress("checking", least=_BAR_FROM) as bar:
        for page in agenda.check(repair=repair):
            audit.checked += page.checked
            bar(min(audit.checked, total), total)
            for finding in page.findings:
                (audit.repaired if repair and finding.repairable else audit.left).append(finding)
    return audit


def _set_aside(agenda: Agenda) -> Iterator[Finding]:
    for row in agenda.set_aside():
        yield Finding(row.id, f"is set aside, and tried again every hour: {row.error}", repairable=False)


def _unclaimed(agenda: Agenda, door: Door) -> Iterator[Finding]:
    """Find what a living scheduler should have fired. While nobody runs, being overdue is no fault of the store."""
    if alive(agenda) is None:
        return
    for overdue in agenda.overdue(most=100):
        late = agenda.clock.now() - overdue.trigger.due_us
        if late > door.settings.misfire_grace.total_seconds() * 1_000_000:
            what = f"{overdue.trigger.milestone} is overdue since {duration(late)}, though a scheduler is alive"
            yield Finding(overdue.trigger.event_id, what, repairable=False)


def _facts(agenda: Agenda) -> dict[str, object]:
    store = agenda.store
    schema = store.schema_version if isinstance(store, SqliteStore) else None
    # apsw is versioned by the SQLite that it brings: 3.51.3.0 is SQLite 3.51.3.
    sqlite = version("apsw").rpartition(".")[0]
    return {"store": store.url, "schema": schema, "sqlite": sqlite, "tzdata": tzdata_version()}


def _tell(out: Output, audit: _Audit, facts: dict[str, object]) -> None:
    out.line(f"{facts['store']}: schema {facts['schema']}, SQLite {facts['sqlite']}, time zones {facts['tzdata']}")
    for finding in audit.repaired:
        out.line(f"{out.paint('repaired', 'green')}  {finding.event_id}: {printable(finding.what)}")
    for finding in audit.left:
        remedy = " (--repair sets it right)" if finding.repairable else ""
        where = finding.event_id or "the file"
        out.line(f"{out.paint('wrong', 'red')}  {where}: {printable(finding.what)}{remedy}")
    said = f"{count(audit.checked, 'event')} checked, with every entry of their history"
    if audit.left:
        out.line(f"{said}: {count(len(audit.left), 'finding')}.")
    else:
        out.line(f"{said}: all {'is well again' if audit.repaired else 'is well'}.")


@command("migrate", example="duly migrate --store sqlite:///events.db")
def migrate(door: Door) -> None:
    """Bring the store's schema up to date. Every other command that writes does so too; this one only says it."""
    path = door.path
    before = 0 if path is None else _schema_of(path)
    with door.agenda(must_exist=False) as agenda:
        after = agenda.store.schema_version if isinstance(agenda.store, SqliteStore) else before
        url = agenda.store.url
    if door.out.as_json:
        door.out.json({"store": url, "from": before, "to": after})
    elif not before:
        door.out.line(f"{url}: a new store, of schema version {after}.")
    elif before == after:
        door.out.line(f"{url}: nothing to do, its schema is version {after}.")
    else:
        door.out.line(f"{url}: from schema version {before} to {after}.")


def _schema_of(path: Path) -> int:
    """Return the schema's version as the file has it before it is opened; 0 for none."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        header = file.read(_HEADER_LENGTH)
    return int.from_bytes(header[_VERSION_AT : _VERSION_AT + 4], "big")
