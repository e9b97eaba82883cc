"""The self-audit: a store's rows against what their own history and rules say. One page of events at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import NamedTuple

from duly.model.event import EventRow, Mark
from duly.model.history import Entry, Kind, broken_link
from duly.rules.advance import Firing, Ledger
from duly.rules.edit import REMOVED
from duly.rules.status import announced_status, triggers_to_come
from duly.stores.rows import entry_of, event_row, ids_text
from duly.stores.verb import Statement, Verb
from duly.stores.verbs import STORE_TROUBLE, LifecycleOf, error_text, write_events


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
    """Check up to `most` events after an id: stored status, alarm, and (`history`) marks and the whole chain.

    With `repair`, what can be known is set right, with a `repaired` entry: status and alarm from the dates and the
    marks, marks and the row's end of the chain from the history. A history itself is never touched.
    """
    found = yield Statement("list_events", {"after": after, "most": most})
    findings: list[Finding] = []
    rows = _readable(found, findings)
    told: dict[str, list[Entry]] | None = None
    # A repair always asks the history, so that its entry leads on from where that ends.
    if (history or repair) and rows:
        entries = yield Statement("history_of_events", {"ids": ids_text([row.id for row in rows])})
        told = {row.id: [] for row in rows}
        for columns in entries:
            entry = entry_of(columns)[1]
            told[entry.event_id].append(entry)
    mended: list[EventRow] = []
    written: list[Entry] = []
    for row in rows:
        mine = None if told is None else told[row.id]
        right, said = _inspected(row, mine, lifecycle_of)
        findings += said
        if repair and mine is not None and any(finding.repairable for finding in said):
            row_after, entry = _repaired(row, right, mine, said, firing)
            mended.append(row_after)
            written.append(entry)
    yield from write_events(mended, written, lambda _: None)
    return AuditPage(len(found), found[-1][0] if found else None, tuple(findings))


def _readable(found: list[tuple[object, ...]], findings: list[Finding]) -> list[EventRow]:
    rows = []
    for columns in found:
        try:
            rows.append(event_row(columns))
        except (ValueError, TypeError, AttributeError) as error:
            findings.append(Finding(str(columns[0]), f"its row cannot be read: {error_text(error)}"))
    return rows


def _inspected(row: EventRow, told: list[Entry] | None, lifecycle_of: LifecycleOf) -> tuple[EventRow, list[Finding]]:
    """Return the row as it must be, as far as that can be known, and what was wrong with it."""
    findings: list[Finding] = []
    right = row if told is None else _by_history(row, told, findings)
    if row.error is not None:
        return right, findings
    try:
        right = _by_rules(right, lifecycle_of)
    except STORE_TROUBLE:
        raise
    except Exception as error:  # noqa: BLE001 - an event that raises is a finding, not the end of the audit
        return right, [*findings, Finding(row.id, f"cannot be derived: {error_text(error)}")]
    if row.status != right.status:
        findings.append(Finding(row.id, f"its status is '{row.status}', must be '{right.status}'", repairable=True))
    alarm = (right.next_due_us, right.pending)
    if (row.next_due_us, row.pending) != alarm:
        said = f"its alarm is {row.next_due_us} for {row.pending}, must be {alarm[0]} for {alarm[1]} triggers"
        findings.append(Finding(row.id, said, repairable=True))
    return right, findings


def _by_rules(row: EventRow, lifecycle_of: LifecycleOf) -> EventRow:
    """Return the row with the status and the alarm that its dates and marks amount to."""
    if row.removed:
        return replace(row, status=REMOVED, next_due_us=None, pending=0)
    lifecycle = lifecycle_of(row)
    left = triggers_to_come(row, lifecycle)
    return replace(
        row,
        status=announced_status(row, lifecycle),
        next_due_us=left[0].due_us if left else None,
        pending=len(left),
    )


def _by_history(row: EventRow, told: list[Entry], findings: list[Finding]) -> EventRow:
    """Return the row with the marks and the end of the chain that its history tells, if that is whole."""
    broken = broken_link(told) if told else "it has no history"
    if broken is not None:
        findings.append(Finding(row.id, broken))
        return row
    last, marks = told[-1], _marks_told(told)
    if (row.seq, row.hash) != (last.seq, last.hash):
        # An entry that the row knows of and the history does not is lost: nothing can bring it back.
        lost = row.seq > last.seq
        said = f"its row ends at entry {row.seq}, its history at {last.seq}"
        said += ", with another hash" if row.seq == last.seq else ""
        findings.append(Finding(row.id, said, repairable=not lost))
        if lost:
            return row
    if row.marks != marks:
        findings.append(Finding(row.id, f"its marks say {dict(row.marks)}, its history {marks}", repairable=True))
    return replace(row, marks=marks, seq=last.seq, hash=last.hash)


def _repaired(
    row: EventRow, right: EventRow, told: list[Entry], findings: list[Finding], firing: Firing
) -> tuple[EventRow, Entry]:
    """Return the row set right, and the entry that says so. It follows on the last one that there is."""
    last = told[-1] if told and told[-1].seq >= row.seq else None
    if last is not None:
        right = replace(right, seq=last.seq, hash=last.hash)
    ledger = Ledger(right, firing._replace(told=row.status if last is None else last.status))
    what = [finding.what for finding in findings if finding.repairable]
    ledger.write(Kind.REPAIRED, right.status, detail=json.dumps({"found": str(row.status), "what": what}))
    return replace(right, status=ledger.status, seq=ledger.seq, hash=ledger.hash), ledger.entries[0]


def _marks_told(entries: list[Entry]) -> dict[str, Mark]:
    """Return the marks that a history amounts to: what has fired, and which generation is to come."""
    marks: dict[str, Mark] = {}
    for entry in entries:
        if entry.milestone is None or entry.generation is None:
            continue
        if entry.kind in (Kind.FIRED, Kind.CORRECTED):
            marks[entry.milestone] = Mark(entry.generation, entry.due_us)
        elif entry.kind == Kind.REVOKED:
            marks[entry.milestone] = Mark(entry.generation + 1, None)
    return marks
