"""`duly status`: how the store is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from duly.agenda import Agenda
from duly.cli.delivery_lines import PENDING_HEADERS, counts_json, pending_rows, status_lines
from duly.cli.door import Door, command
from duly.cli.telling import zones_of
from duly.cli.wording import count, moment, outage_line, relative
from duly.clock import SECOND
from duly.deliveries import Deliveries
from duly.model.dates import to_datetime
from duly.model.delivery import Subscriber
from duly.model.history import Outage, iso
from duly.model.instants import Micros
from duly.rules.status import status_at
from duly.stores import residence
from duly.stores.copies import Copy
from duly.stores.outbox import DeliveryCounts
from duly.stores.store import NodeRow

# A node says that it is alive every 5 s; one that has been silent for longer than this is gone.
_ALIVE_US: Final = 15 * SECOND


@command("status", example="duly status --store sqlite:///events.db")
def status(door: Door) -> None:
    """Show how the store is: who fires, what is to come, how many events have which status, who is owed what."""
    with door.agenda() as agenda:
        state = _State.of(agenda)
    if door.out.as_json:
        door.out.json(state.to_json())
        return
    door.out.pairs(state.lines())
    if state.statuses:
        door.out.line()
        rows = ([name, f"{number:,}"] for name, number in sorted(state.statuses.items()))
        door.out.table(("status", "events"), rows, empty="")
    if state.deliveries.open:
        door.out.line()
        door.out.table(PENDING_HEADERS, pending_rows(state.deliveries, state.now), empty="")


def alive(agenda: Agenda, *, other_than: str | None = None) -> NodeRow | None:
    """Return the node that fires, None if none is alive. `other_than`: a node that does not count."""
    now = agenda.clock.now()
    nodes = (
        node for node in agenda.store.nodes() if node.owner and node.stopped_us is None and node.id != other_than
    )
    return next((node for node in nodes if now - node.seen_us <= _ALIVE_US), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """All that `status` shows."""

    store: str
    now: Micros
    zone: str
    node: NodeRow | None
    last_seen: Micros | None
    events: int
    armed: int
    pending: int
    overdue: int
    oldest_us: Micros | None
    set_aside: int
    next: tuple[str, str, Micros, str] | None  # milestone, event, when, zone
    outage: Outage | None
    statuses: Counter[str]
    deliveries: DeliveryCounts
    subscribers: list[Subscriber]
    copy: Copy | None

    @classmethod
    def of(cls, agenda: Agenda) -> _State:
        counts = agenda.counts()
        nodes = agenda.store.nodes(most=1)
        coming = agenda.upcoming(1)
        zones = zones_of(agenda.store, (trigger.event_id for trigger in coming), agenda.time_zone)
        outages = agenda.outages(most=1)
        first = coming[0] if coming else None
        return cls(
            store=agenda.store.url,
            now=agenda.clock.now(),
            zone=agenda.time_zone or "UTC",
            node=alive(agenda),
            last_seen=nodes[0].seen_us if nodes else None,
            events=counts.events,
            armed=counts.armed,
            pending=counts.pending,
            overdue=counts.overdue,
            oldest_us=counts.oldest_overdue_us,
            set_aside=counts.set_aside,
            next=first and (first.milestone, first.event_id, first.due_us, zones[first.event_id]),
            outage=outages[0] if outages else None,
            statuses=_derived(agenda, counts.by_status, counts.overdue),
            deliveries=Deliveries(agenda).counts(),
            subscribers=Deliveries(agenda).subscribers(),
            copy=residence.look(agenda.store, agenda.environment),
        )

    def lines(self) -> Iterator[tuple[str, str]]:
        now = self.now
        yield "store", self.store
        yield "fired by", self._fired_by()
        yield "events", f"{self.events:,}, {count(self.pending, 'trigger')} to come from {self.armed:,} of them"
        if self.overdue and self.oldest_us is not None:
            oldest = moment(self.oldest_us, self.zone, now)
            remedy = "" if self.node else "; 'duly run' or 'duly catch-up' fires them"
            yield "overdue", f"{count(self.overdue, 'event')}, the oldest {oldest}{remedy}"
        if self.set_aside:
            yield "set aside", f"{count(self.set_aside, 'event')}: see 'duly check'"
        if self.next is not None:
            milestone, event_id, due, zone = self.next
            yield "next", f"{milestone} of {event_id} {moment(due, zone, now)}"
        if self.outage is not None:
            yield "last outage", outage_line(self.outage, self.zone)
        yield from status_lines(self.deliveries, self.subscribers)
        if self.copy is not None:
            yield "copy", f"{self.copy.sentence}; see 'duly check'"

    def _fired_by(self) -> str:
        if self.node is not None:
            seen = relative(self.node.seen_us, self.now)
            return f"node {self.node.id}, pid {self.node.pid} on {self.node.host}, seen {seen}"
        if self.last_seen is None:
            return "nobody, ever; 'duly run' does"
        return f"nobody; the last sign of life was {moment(self.last_seen, self.zone, self.now)}"

    def to_json(self) -> dict[str, object]:
        coming = self.next
        return {
            "store": self.store,
            "node": None if self.node is None else self.node.id,
            "last_seen_at": None if self.last_seen is None else iso(to_datetime(self.last_seen)),
            "events": self.events,
            "triggers_to_come": self.pending,
            "events_with_triggers": self.armed,
            "events_overdue": self.overdue,
            "oldest_overdue_at": None if self.oldest_us is None else iso(to_datetime(self.oldest_us)),
            "events_set_aside": self.set_aside,
            "next": coming
            and {
                "milestone": coming[0],
                "event": coming[1],
                "due_at": iso(to_datetime(coming[2])),
                "zone": coming[3],
            },
            "last_outage": None if self.outage is None else self.outage.to_json(),
            "by_status": dict(sorted(self.statuses.items())),
            "copy": self.copy and self.copy.to_json(),
            "deliveries": counts_json(self.deliveries),
            "subscribers": {
                each.name: {"standing": each.standing.value, "reason": each.reason} for each in self.subscribers
            },
        }


def _derived(agenda: Agenda, announced: Mapping[str, int], overdue: int) -> Counter[str]:
    """Return events by status as it is now: what is announced, set right for those that are overdue."""
    statuses = Counter(announced)
    now = agenda.clock.now()
    for row in agenda.store.list_by_alarm(until_us=now, most=overdue) if overdue else ():
        if row.error is None:
            statuses[row.status] -= 1
            statuses[status_at(row, agenda.store.lifecycle_of(row), now)] += 1
    return +statuses
