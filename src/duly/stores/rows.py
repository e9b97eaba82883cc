"""Rows of the store ↔ words of the model: the one place that knows the order of the columns."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from duly.model.event import EventRow, Mark, Status
from duly.model.history import Entry, Outage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duly.model.dates import Micros

_dumps: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_loads: Final = json.loads


def claimed_row(columns: Sequence[Any]) -> EventRow:
    """Read the short form of an event row: what firing needs."""
    (id_, lifecycle, lifecycle_hash, hold, dates, marks, status, seq, hash_, next_due, error) = columns
    return EventRow(
        id=id_,
        lifecycle=lifecycle,
        lifecycle_hash=lifecycle_hash,
        hold=hold,
        dates=_loads(dates),
        marks={name: Mark(*mark) for name, mark in _loads(marks).items()},
        status=Status(status),
        seq=seq,
        hash=bytes(hash_),
        next_due_us=next_due,
        error=error,
    )


def unreadable_claim(columns: Sequence[Any]) -> EventRow:
    """Read only that of the short form which needs no understanding: enough to set the event aside."""
    (id_, lifecycle, lifecycle_hash, hold, _, _, status, seq, hash_, next_due, error) = columns
    return EventRow(
        id=id_,
        lifecycle=lifecycle,
        lifecycle_hash=lifecycle_hash,
        hold=hold,
        status=Status(status),
        seq=seq,
        hash=hash_,
        next_due_us=next_due,
        error=error,
    )


def readable_row(columns: Sequence[Any]) -> EventRow:
    """Read a whole event row to show it: one that makes no sense is bare, and says so in its `error`."""
    try:
        return event_row(columns)
    except (ValueError, TypeError, AttributeError) as error:
        bare = list(columns)
        bare[7] = bare[8] = bare[19] = bare[20] = "{}"  # dates, marks, given, data
        bare[11], bare[13] = b"", 0  # hash, pending
        said = columns[14] or f"its row cannot be read: {type(error).__name__}: {error}"
        return replace(event_row(bare), hash=columns[11], error=said)


def event_row(columns: Sequence[Any]) -> EventRow:
    """Read a whole event row."""
    (id_, name, lifecycle, lifecycle_hash, zone, hold, revision, dates, marks, status, seq, hash_, next_due,
     pending, error, removed, known_since, updated, tzdata, given, data) = columns  # fmt: skip
    return EventRow(
        id=id_,
        name=name,
        lifecycle=lifecycle,
        lifecycle_hash=lifecycle_hash,
        zone=zone,
        hold=hold,
        revision=revision,
        dates=_loads(dates),
        marks={name: Mark(*mark) for name, mark in _loads(marks).items()},
        status=Status(status),
        seq=seq,
        hash=bytes(hash_),
        next_due_us=next_due,
        pending=pending,
        error=error,
        removed=bool(removed),
        known_since_us=known_since,
        updated_us=updated,
        tzdata=tzdata,
        given=_loads(given),
        data=_loads(data),
    )


def judged_row(columns: Sequence[Any]) -> EventRow:
    """Read of a whole event row what a judgement asks: definition, hold, dates, marks, and whether it is removed."""
    return EventRow(
        id=columns[0],
        lifecycle=columns[2],
        lifecycle_hash=columns[3],
        hold=columns[5],
        dates=_loads(columns[7]),
        marks={name: Mark(*mark) for name, mark in _loads(columns[8]).items()},
        removed=bool(columns[15]),
    )


def event_columns(row: EventRow) -> tuple[object, ...]:
    """Return an event row as the columns of `upsert_event`."""
    return (
        row.id,
        row.name,
        row.lifecycle,
        row.lifecycle_hash,
        row.zone,
        row.hold,
        row.revision,
        _dumps(row.dates),
        marks_text(row.marks),
        str(row.status),
        row.seq,
        row.hash,
        row.next_due_us,
        row.pending,
        row.error,
        int(row.removed),
        row.known_since_us,
        row.updated_us,
        row.tzdata,
        _dumps(row.given),
        _dumps(row.data),
    )


def marks_text(marks: Mapping[str, tuple[int, Micros | None]]) -> str:
    """Return an event's marks as its row keeps them: JSON, milestone → [generation, due or null]."""
    return _dumps(marks)


def ids_text(ids: Sequence[object]) -> str:
    """Return ids, numbers or pairs as one JSON array, for statements that take a batch."""
    return _dumps(list(ids))


def entry_of(columns: Sequence[Any]) -> tuple[int, Entry]:
    """Read a history row: its number in the whole ledger, and the entry."""
    return columns[0], Entry._make([*columns[1:16], bytes(columns[16])])


def outage_of(columns: Sequence[Any]) -> Outage:
    """Read an outage row."""
    id_, began, ended, node, finished, detected, successful, failed, outside = columns
    return Outage(
        id=id_,
        began_us=began,
        ended_us=ended,
        node=node,
        finished_us=finished,
        detected=detected,
        successful=successful,
        failed=failed,
        outside_window=outside,
    )
