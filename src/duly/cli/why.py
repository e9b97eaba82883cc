"""`duly why`: what became of one milestone of one event, and why then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import click

from duly.agenda import Agenda
from duly.cli.delivery_lines import fate
from duly.cli.door import Door, command
from duly.cli.events import given_text, last_fired
from duly.cli.telling import zone_of
from duly.cli.wording import cause, clock, duration, planned, policy, relative
from duly.deliveries import Account, Deliveries
from duly.errors import UnknownEvent
from duly.model.dates import to_datetime
from duly.model.event import EventRow
from duly.model.history import Entry, Kind, Outage, iso
from duly.model.instants import Micros
from duly.model.lifecycle import Lifecycle
from duly.rules.catch_up import effective


@command("why", example="duly why ARRCOSTU2025 registration_open")
@click.argument("event")
@click.argument("milestone")
def why(door: Door, *, event: str, milestone: str) -> None:
    """Say why a milestone fired when it did, or why it has not, and who was told.

    Planned, fired, how late, what was in the way; and of each delivery what became of it, and what is next.
    """
    with door.agenda() as agenda:
        answer = _Answer.of(agenda, door, event, milestone)
    if door.out.as_json:
        door.out.json(answer.to_json())
    else:
        door.out.pairs(answer.lines(door))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """All that is known of one milestone of one event."""

    row: EventRow
    name: str
    lifecycle: Lifecycle
    entries: list[Entry]
    outage: Outage | None
    zone: str
    policy: str
    now: Micros
    told: list[Account]
    has_subscribers: bool

    @classmethod
    def of(cls, agenda: Agenda, door: Door, event: str, name: str) -> _Answer:
        row = agenda.store.get_events([event]).get(event)
        if row is None:
            raise UnknownEvent(f"there is no event '{event}'")
        lifecycle = agenda.store.lifecycle_of(row)
        milestone = lifecycle.milestone(name)
        entries = agenda.history(event)
        fired = last_fired(entries, name)
        levels = [door.settings.catch_up, milestone.catch_up, lifecycle.catch_up]
        return cls(
            row=row,
            name=name,
            lifecycle=lifecycle,
            entries=entries,
            outage=_outage(agenda, None if fired is None else fired.outage),
            zone=zone_of(row, agenda.time_zone),
            policy=policy(effective(levels)),
            now=agenda.clock.now(),
            told=_told(Deliveries(agenda), event, name, entries),
            has_subscribers=bool(agenda.store.outbox.subscribers()),
        )

    @property
    def due(self) -> Micros | None:
        return None if self.row.removed else self.row.dates.get(self.name)

    @property
    def fired(self) -> Entry | None:
        """The firing of the current generation: what was revoked since has not fired."""
        mark = self.row.marks.get(self.name)
        return last_fired(self.entries, self.name) if mark is not None and mark.is_fired else None

    @property
    def rounds(self) -> list[str]:
        """The other rounds of a milestone that repeats."""
        first = self.name.partition("#")[0]
        return [name for name in self.row.dates if name.partition("#")[0] == first and name != self.name]

    def lines(self, door: Door) -> Iterator[tuple[str, str]]:
        due, fired = self.due, self.fired
        if due is not None:
            yield "planned", planned(due, self.zone)
            given = given_text(self.row, self.name)
            yield "as given", "not given: the lifecycle dates it" if given == "by default" else given
        if fired is not None:
            yield "fired", self._fired(fired, door)
        else:
            yield "not fired", self._not_fired()
        yield from self._past()
        if self.rounds:
            yield "rounds", ", ".join(f"{name} {relative(self.row.dates[name], self.now)}" for name in self.rounds)
        yield "policy", self.policy
        for account in self.told:
            yield fate(account, self.name, self.zone, self.now)
        if fired is not None and self.has_subscribers and not self._is_told(fired):
            remedy = f"duly replay --event {self.row.id} --milestone {self.name} --to SUBSCRIBER"
            yield "told", f"nobody; if somebody should be: {remedy}"

    def _is_told(self, fired: Entry) -> bool:
        return any(account.delivery.seq == fired.seq for account in self.told)

    def _fired(self, fired: Entry, door: Door) -> str:
        grace = door.settings.misfire_grace
        late = _late(fired)
        reason = cause(fired, self.outage, self.zone, grace)
        at = clock(fired.at_us, self.zone, beside=fired.due_us)
        said = f"{at} {self.zone}, {late}" if late else f"{at} {self.zone}"
        return f"{said}: {reason}" if reason else said

    def _not_fired(self) -> str:
        row, due = self.row, self.due
        if row.removed:
            return "the event was removed; nothing of it fires any more"
        if row.hold != "active":
            return f"the event is on hold ({row.hold}); nothing of it fires until that is lifted"
        if due is None:
            if self.lifecycle.milestone(self.name).manual:
                return "it has no date: a person fires it"
            return "it has no date"
        if row.error is not None:
            return f"the event is set aside: {row.error}"
        if due > self.now:
            return f"due {relative(due, self.now)}"
        return f"overdue since {duration(self.now - due)}: nobody is running who would fire it, or it is about to"

    def _past(self) -> Iterator[tuple[str, str]]:
        """What happened to it before: earlier generations, and dates that were taken back."""
        current = self.fired
        for entry in self.entries:
            if entry.milestone != self.name or entry is current:
                continue
            at = f"{clock(entry.at_us, self.zone)} {self.zone}"
            reason = f": {entry.reason}" if entry.reason else ""
            if entry.kind == Kind.FIRED:
                yield "before", f"fired {at}, {_late(entry)}"
            elif entry.kind in (Kind.REVOKED, Kind.WITHDRAWN, Kind.CORRECTED):
                yield entry.kind, f"{at}{reason}"

    def to_json(self) -> dict[str, object]:
        fired = self.fired
        return {
            "event": self.row.id,
            "milestone": self.name,
            "zone": self.zone,
            "due_at": None if self.due is None else iso(to_datetime(self.due)),
            "given": self.row.given.get(self.name),
            "hold": self.row.hold,
            "removed": self.row.removed,
            "fired": None if fired is None else fired.to_json(),
            "not_fired_because": None if fired is not None else self._not_fired(),
            "outage": None if self.outage is None else self.outage.to_json(),
            "rounds": self.rounds,
            "policy": self.policy,
            "history": [entry.to_json() for entry in self.entries if entry.milestone == self.name],
            "deliveries": [account.to_json() for account in self.told],
        }


def _late(entry: Entry) -> str:
    late = entry.lateness
    if late is None:
        return ""
    return "on time" if late < timedelta(seconds=1) else f"{duration(late)} late"


def _told(deliveries: Deliveries, event: str, name: str, entries: list[Entry]) -> list[Account]:
    """Return the deliveries about a milestone: that it fired, was revoked, and whatever else happened to it."""
    about = {entry.seq for entry in entries if entry.milestone == name}
    return [account for account in deliveries.of_event(event) if account.delivery.seq in about]


def _outage(agenda: Agenda, number: int | None) -> Outage | None:
    if number is None:
        return None
    found = agenda.store.outages(before=number + 1, most=1)
    return found[0] if found and found[0].id == number else None
