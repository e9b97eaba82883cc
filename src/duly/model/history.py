"""What happened: entries of an event's history, chained by hash, and the outages of the whole store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from duly.model.dates import Micros, to_datetime
from duly.model.event import Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

GENESIS: Final = b"\0" * 32


class Kind(StrEnum):
    """What an entry tells. Past participles: it has happened."""

    CREATED = "created"
    FIRED = "fired"
    EDITED = "edited"
    REVOKED = "revoked"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"
    HELD = "held"
    REMOVED = "removed"
    RESTORED = "restored"
    REPAIRED = "repaired"
    REDEFINED = "redefined"
    SET_ASIDE = "set_aside"


class Cause(StrEnum):
    """Why a trigger fired when it did."""

    SCHEDULED = "scheduled"
    CAUGHT_UP = "caught_up"
    EDITED = "edited"
    MANUAL = "manual"
    BORN_LATE = "born_late"


class Entry(NamedTuple):
    """One entry of an event's history. A transition is an entry of kind `fired`.

    The fields stand in the order of the store's columns. Instants are microseconds UTC (`…_us`);
    the properties give them as aware datetimes. `seq` counts the event's entries from 1 without gaps;
    `hash` is `sha256(hash of the one before + this one's payload)`.
    """

    event_id: str
    seq: int
    kind: str
    milestone: str | None
    generation: int | None
    due_us: Micros | None
    at_us: Micros
    from_status: str
    to_status: str
    cause: str | None
    actor: str | None
    reason: str | None
    detail: str | None
    node: str | None
    outage: int | None
    hash: bytes

    @property
    def status(self) -> Status:
        """The status that it led to."""
        return Status(self.to_status)

    @property
    def is_transition(self) -> bool:
        """Whether it is a trigger that fired."""
        return self.kind == Kind.FIRED

    @property
    def due_at(self) -> datetime | None:
        """When it was due, aware, UTC; None for what has no date."""
        return None if self.due_us is None else to_datetime(self.due_us)

    @property
    def at(self) -> datetime:
        """When it happened, aware, UTC."""
        return to_datetime(self.at_us)

    @property
    def fired_at(self) -> datetime:
        """Return the same as `at`, in the words of a transition."""
        return self.at

    @property
    def lateness(self) -> timedelta | None:
        """How long after its due instant it happened."""
        return None if self.due_us is None else self.at - to_datetime(self.due_us)

    @property
    def details(self) -> dict[str, object]:
        """The rest of what is known of it, by name."""
        return {} if self.detail is None else dict(json.loads(self.detail))

    def to_json(self) -> dict[str, object]:
        """Return plain values, instants as ISO 8601 UTC text, lateness in seconds."""
        lateness = self.lateness
        return {
            "event": self.event_id,
            "seq": self.seq,
            "kind": self.kind,
            "milestone": self.milestone,
            "generation": self.generation,
            "due_at": None if self.due_at is None else iso(self.due_at),
            "at": iso(self.at),
            "lateness_seconds": None if lateness is None else lateness.total_seconds(),
            "from_status": self.from_status,
            "to_status": self.to_status,
            "cause": self.cause,
            "actor": self.actor,
            "reason": self.reason,
            "detail": self.details,
            "node": self.node,
            "outage": self.outage,
            "hash": self.hash.hex(),
        }


def iso(at: datetime) -> str:
    """Return an aware UTC datetime as ISO 8601 text with a Z: `2025-08-27T20:30:00Z`."""
    return at.isoformat().replace("+00:00", "Z")


def link(previous: bytes, entry: Entry) -> bytes:
    """Return the hash that an entry must carry after one with the hash `previous`.

    The fields are joined by the unit separator, which no id, name or JSON text can contain; node and outage
    are left out, so that the same life on another node or after an import has the same hashes.
    """
    (event_id, seq, kind, milestone, generation, due, at, before, after, cause, actor, reason, detail, *_) = entry
    free = "" if actor is None and reason is None else json.dumps([actor, reason])
    payload = (
        f"{event_id}\x1f{seq}\x1f{kind}\x1f{milestone}\x1f{generation}\x1f{due}\x1f{at}"
        f"\x1f{before}\x1f{after}\x1f{cause}\x1f{free}\x1f{detail}"
    )
    return hashlib.sha256(previous + payload.encode()).digest()


def broken_link(entries: Iterable[Entry]) -> str | None:
    """Return the first break in one event's whole chain as a sentence, None if there is none."""
    previous, status, expected = GENESIS, "", 1
    for entry in entries:
        if entry.seq != expected:
            return f"event '{entry.event_id}': entry {expected} is missing (found {entry.seq})"
        if entry.from_status != status:
            return (
                f"event '{entry.event_id}': entry {entry.seq} starts from '{entry.from_status}', "
                f"but the one before ended in '{status}'"
            )
        if entry.hash != link(previous, entry):
            return f"event '{entry.event_id}': entry {entry.seq} does not carry the hash that its content gives"
        previous, status, expected = entry.hash, entry.to_status, expected + 1
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A stretch in which no node was alive, and what became of the triggers that fell due in it.

    `began_us` is None where nothing is known of a time before (a store's first start).
    `finished_us` is None while its triggers are still being caught up.
    """

    id: int
    began_us: Micros | None
    ended_us: Micros
    node: str
    finished_us: Micros | None = None
    detected: int = 0
    successful: int = 0
    failed: int = 0
    outside_window: int = 0

    @property
    def began_at(self) -> datetime | None:
        """The last sign of life before it, aware, UTC."""
        return None if self.began_us is None else to_datetime(self.began_us)

    @property
    def ended_at(self) -> datetime:
        """The start that ended it, aware, UTC."""
        return to_datetime(self.ended_us)

    @property
    def length(self) -> timedelta | None:
        """How long nobody was there."""
        return None if self.began_at is None else self.ended_at - self.began_at

    def to_json(self) -> dict[str, object]:
        """Return plain values, instants as ISO 8601 UTC text."""
        return {
            "id": self.id,
            "began_at": None if self.began_at is None else iso(self.began_at),
            "ended_at": iso(self.ended_at),
            "length_seconds": None if self.length is None else self.length.total_seconds(),
            "node": self.node,
            "finished": self.finished_us is not None,
            "detected": self.detected,
            "successful": self.successful,
            "failed": self.failed,
            "outside_window": self.outside_window,
        }
