"""The self-audit: a store's rows against what their own history and rules say. One page of events at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from duly.model.event import EventRow, Mark
from duly.model.history import Entry, Kind, broken_link
from duly.rules.advance import Firing, Ledger
from duly.rules.status import announced_status, triggers_to_come
from duly.stores.rows import entry_of, event_row, ids_text
from duly.stores.verbs import LifecycleOf, Statement, Verb, error_text, write_events

if TYPE_CHECKING:
    from collections.abc import Iterable


class Finding(NamedTuple):
    """Something that is not as it must be. `repairable`: the audit can put it right by itself."""

    event_id: str
    what: str
    repairable: bool = False


@dataclass(frozen=True, slots=True)
class AuditPage:
    """One page's result: how many events were checked, the last id (where to go on), and the findings."""

    checked: int
    last: str | None
    findings: tuple[Finding, ...]


def audit(
    after: str, most: int, lifecycle_of: LifecycleOf, firing: Firing, *, history: bool, repair: bool
) -> Verb[AuditPage]:
    """Check up to `most` events after an id: stored status, alarm, marks, and (`history`) the whole chain.

    With `repair`, status and alarm are set right, the status with a `repaired` entry.
    """
    found = yield Statement("list_events", {"after": after, "most": most})
    findings: list[Finding] = []
    rows = _readable(found, findings)
    if history and rows:
        told = yield Statement("history_of_events", {"ids": ids_text([row.id for row in rows])})
        findings += _compare_with_history(rows, [entry_of(columns)[1] for columns in told])
    repaired, entries = [], []
    for row in rows:
        if row.removed or row.error is not None:
            continue
        mended, written, said = _inspected(row, lifecycle_of, firing)
        findings += said
        if repair and mended is not None:
            repaired.append(mended)
            entries += written
    yield from write_events(repaired, entries)
    return AuditPage(len(found), found[-1][0] if found else None, tuple(findings))


def _readable(found: list[tuple[object, ...]], findings: list[Finding]) -> list[EventRow]:
    rows = []
    for columns in found:
        try:
            rows.append(event_row(columns))
        except (ValueError, TypeError, AttributeError) as error:
            findings.append(Finding(str(columns[0]), f"its row cannot be read: {error_text(error)}"))
    return rows


def _inspected(
    row: EventRow, lifecycle_of: LifecycleOf, firing: Firing
) -> tuple[EventRow | None, list[Entry], list[Finding]]:
    """Return the row set right (None if it was), the entries that say so, and what was wrong."""
    try:
        lifecycle = lifecycle_of(row)
        expected = announced_status(row, lifecycle)
        left = triggers_to_come(row, lifecycle)
    except Exception as error:  # noqa: BLE001 - an event that raises is a finding, not the end of the audit
        return None, [], [Finding(row.id, f"cannot be derived: {error_text(error)}")]
    findings = []
    ledger = Ledger(row, firing)
    if row.status != expected:
        findings.append(Finding(row.id, f"its status is '{row.status}', must be '{expected}'", repairable=True))
        ledger.verify(expected)
    alarm = left[0].due_us if left else None
    if (row.next_due_us, row.pending) != (alarm, len(left)):
        said = f"its alarm is {row.next_due_us} for {row.pending}, must be {alarm} for {len(left)} triggers"
        findings.append(Finding(row.id, said, repairable=True))
    if not findings:
        return None, [], []
    mended = replace(
        row, status=ledger.status, seq=ledger.seq, hash=ledger.hash, next_due_us=alarm, pending=len(left)
    )
    return mended, ledger.entries, findings


def _compare_with_history(rows: list[EventRow], entries: list[Entry]) -> Iterable[Finding]:
    told = {id_: list(group) for id_, group in groupby(entries, key=lambda entry: entry.event_id)}
    for row in rows:
        mine = told.get(row.id, [])
        broken = broken_link(mine)
        if broken is not None:
            yield Finding(row.id, broken)
        elif not mine:
            yield Finding(row.id, "it has no history")
        elif (row.seq, row.hash) != (mine[-1].seq, mine[-1].hash):
            yield Finding(row.id, f"its row ends at entry {row.seq}, its history at {mine[-1].seq}")
        elif (expected := _marks_told(mine)) != (found := _fired_only(row)):
            yield Finding(row.id, f"its marks say {found} fired, its history {expected}")


def _fired_only(row: EventRow) -> dict[str, Mark]:
    return {name: mark for name, mark in row.marks.items() if mark.is_fired}


def _marks_told(entries: list[Entry]) -> dict[str, Mark]:
    """Return the marks of what has fired, as the history tells it."""
    marks: dict[str, Mark] = {}
    for entry in entries:
        if entry.milestone is None or entry.generation is None:
            continue
        if entry.kind in (Kind.FIRED, Kind.CORRECTED):
            marks[entry.milestone] = Mark(entry.generation, entry.due_us)
        elif entry.kind == Kind.REVOKED:
            marks.pop(entry.milestone, None)
    return marks
