"""What a running scheduler says: its report after a recovery, each transition and each delivery as it happens."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from duly.agenda import Agenda
from duly.cli.delivery_lines import telling_json, telling_text
from duly.cli.output import Colour, Output, OutputClosed, OutputFailed, flush
from duly.cli.wording import clock, count, duration, lateness, moment, printable, span
from duly.engine.recovery import Report
from duly.engine.telling import Telling
from duly.errors import DulyError
from duly.model.event import EventRow
from duly.model.history import Entry, Kind
from duly.model.instants import Micros
from duly.model.zones import wall_of
from duly.stores.store import Counts, Store

TOLD_MOST: Final = 50
_WAITING_MOST: Final = 200
_ZONES_MOST: Final = 10_000
_LISTEN_WITHIN: Final = 5.0
_MARKS: Final[Mapping[str, Colour]] = {"✓": "green", "!": "yellow", "✘": "red", "·": "dim"}


def zone_of(row: EventRow | None, fallback: str | None) -> str:
    """Return the zone in which an event's times are shown: its own, the configured one, else UTC."""
    return (row.zone if row is not None else None) or fallback or "UTC"


def zones_of(store: Store, ids: Iterable[str], fallback: str | None) -> dict[str, str]:
    """Return the zone of each of these events, by id."""
    wanted = list(dict.fromkeys(ids))
    rows = store.get_events(wanted)
    return {id_: zone_of(rows.get(id_), fallback) for id_ in wanted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """All that is told after a recovery: the report, how much is to come, and the zones of the events in it."""

    report: Report
    counts: Counts
    next: tuple[str, Micros, str] | None  # what is next, when, in which zone
    zones: Mapping[str, str]
    zone: str
    now: Micros

    @classmethod
    def of(cls, report: Report, agenda: Agenda) -> Recovered:
        """Read what belongs to a report from the store."""
        ids = [entry.event_id for entry in report.transitions]
        soonest = agenda.upcoming(1)
        zones = zones_of(agenda.store, [*ids, *(trigger.event_id for trigger in soonest)], agenda.time_zone)
        told = {zones[id_] for id_ in ids}
        upcoming = None
        if soonest:
            trigger = soonest[0]
            upcoming = (f"{trigger.milestone} of {trigger.event_id}", trigger.due_us, zones[trigger.event_id])
        return cls(
            report=report,
            counts=agenda.counts(),
            next=upcoming,
            zones=zones,
            # The report's own times are in the zone that was set, or the one that all its events share.
            zone=agenda.time_zone or (told.pop() if len(told) == 1 else "UTC"),
            now=agenda.clock.now(),
        )

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        counts = self.counts
        return {
            **self.report.to_json(),
            "withheld": self.report.outside_window,
            "triggers_to_come": counts.pending,
            "events_with_triggers": counts.armed,
        }


def report_lines(recovered: Recovered, out: Output) -> list[str]:
    """Return a report as it stands on a terminal."""
    report = recovered.report
    lines = [_headline(recovered)]
    lines += _table(recovered, out)
    left = report.successful - min(len(report.transitions), TOLD_MOST)
    if left > 0 and report.outage is not None:
        lines.append(f"    … and {left:,} more: duly outages {report.outage.id}")
    for event_id, error in report.set_aside.items():
        lines.append(f"  {out.paint('✘', 'red')} {event_id}  set aside: {printable(error)}")
    if report.held is not None:
        lines.append(f"{out.paint('Firing is held', 'yellow')}: {report.held}.")
        return lines
    counts = recovered.counts
    to_come = f"{count(counts.pending, 'trigger')} to come from {count(counts.armed, 'event')}."
    said = "" if report.outage is None else (
        f"Caught up: {report.successful:,} successful, {report.failed:,} failed, {report.outside_window:,} withheld. "
    )  # fmt: skip
    lines.append(f"{said}{to_come[:1].upper()}{to_come[1:]}")
    if recovered.next is not None:
        what, due, zone = recovered.next
        lines.append(f"Next: {what} {moment(due, zone, recovered.now)}")
    return lines


def _headline(recovered: Recovered) -> str:
    report = recovered.report
    outage = report.outage
    if outage is None:
        return "Nothing was missed."
    missed = "No trigger was missed." if not report.detected else (
        f"{count(report.detected, 'trigger was', 'triggers were')} missed."
    )  # fmt: skip
    if outage.began_us is None or outage.length is None:
        return f"Nothing had ever run on this store. {missed}"
    when = span(outage.began_us, outage.ended_us, recovered.zone)
    return f"Was down {duration(outage.length)} ({when}). {missed}"


def _table(recovered: Recovered, out: Output) -> list[str]:
    told = recovered.report.transitions[:TOLD_MOST]
    rows = []
    for entry in told:
        zone = recovered.zones[entry.event_id]
        due = "" if entry.due_us is None else clock(entry.due_us, zone, beside=entry.at_us)
        elsewhere = "" if zone == recovered.zone else f" {zone}"
        late = "" if entry.lateness is None else f"late {duration(entry.lateness)}"
        rows.append((entry.milestone or "", entry.event_id, f"due {due}{elsewhere}", late))
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(4)]
    return [
        f"  {out.paint('✔', 'green')} {'  '.join(map(str.ljust, row, widths))}  {_moved(entry)}"
        for row, entry in zip(rows, told, strict=True)
    ]


def _moved(entry: Entry) -> str:
    if entry.from_status == entry.to_status:
        return f"still {entry.to_status}"
    return f"{entry.from_status} → {entry.to_status}"


def entry_line(entry: Entry, zone: str, grace: timedelta, out: Output) -> str:
    """Return one new entry as a line of the log: when, what, of which event, how late, from → to."""
    at = f"{wall_of(entry.at_us, zone):%H:%M:%S} {zone}"
    if entry.kind == Kind.FIRED:
        what = f"{entry.milestone:<18}  {entry.event_id:<12}  {lateness(entry.lateness, grace)}"
        return f"{out.paint('✔', 'green')} {at}  {what}  {_moved(entry)}"
    mark = out.paint("✘", "red") if entry.kind == Kind.SET_ASIDE else out.paint("·", "dim")
    why = f"  {printable(entry.reason)}" if entry.reason else ""
    return f"{mark} {at}  {entry.kind.replace('_', ' '):<18}  {entry.event_id}{why}"


class Teller:
    """Tells in a thread of its own, so that whoever reads slowly (or not at all) never holds up firing.

    What piles up beyond measure is counted and left out: the history has it. `on_broken` is called, in that
    thread, once nobody reads any more.
    """

    def __init__(self, on_broken: Callable[[Exception], None]) -> None:
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(_WAITING_MOST)
        self._left_out = 0
        self._on_broken = on_broken
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="duly-teller", daemon=True)
        self._thread.start()

    def say(self, telling: Callable[[], None]) -> None:
        """Have something told. Never waits."""
        try:
            self._waiting.put_nowait(telling)
        except queue.Full:
            self._left_out += 1

    def close(self) -> bool:
        """Tell what is left and end. False if the reader is stuck, so that it could not be told."""
        self._closing = True
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(_LISTEN_WITHIN)
        return not self._thread.is_alive()

    def _run(self) -> None:
        broken = False
        while (telling := self._waiting.get()) is not None:
            if not broken:
                try:
                    self._tell(telling)
                except (OutputClosed, OutputFailed) as error:
                    broken = True
                    self._on_broken(error)
                except DulyError as error:
                    Output().warn(f"something could not be told: {error}")
            if self._closing and self._waiting.empty():
                return

    def _tell(self, telling: Callable[[], None]) -> None:
        telling()
        flush()
        if self._left_out:
            left, self._left_out = self._left_out, 0
            Output().warn(f"{count(left, 'batch', 'batches')} of lines left out: nobody read them in time")


@dataclass(frozen=True, slots=True)
class Listener:
    """What a scheduler calls with its new entries: has each told on a line, as text or as JSON."""

    teller: Teller
    agenda: Agenda
    grace: timedelta
    out: Output
    _zones: dict[str, str] = field(default_factory=dict)

    def __call__(self, entries: Sequence[Entry]) -> None:
        """Hand the entries over. Called in the event loop's thread: must not wait."""
        if entries:
            self.teller.say(partial(self._tell, list(entries)))

    def _tell(self, entries: list[Entry]) -> None:
        if self.out.as_json:
            for entry in entries:
                self.out.json({"line": "entry", **entry.to_json()})
            return
        self._look_up({entry.event_id for entry in entries})
        for entry in entries:
            zone = self._zones.get(entry.event_id, "UTC")
            self.out.line(entry_line(entry, zone, self.grace, self.out))

    def _look_up(self, ids: set[str]) -> None:
        if len(self._zones) > _ZONES_MOST:
            self._zones.clear()
        # A store that is closed already, or in trouble, keeps no line from being told: it is then told in UTC.
        with contextlib.suppress(DulyError):
            self._zones.update(zones_of(self.agenda.store, ids - self._zones.keys(), self.agenda.time_zone))


@dataclass(frozen=True, slots=True)
class DeliveryListener:
    """What a scheduler calls with what came of deliveries: has each told on a line, as text or as JSON."""

    teller: Teller
    agenda: Agenda
    out: Output

    def __call__(self, tellings: Sequence[Telling]) -> None:
        """Hand them over. Called in the event loop's thread: must not wait."""
        if tellings:
            self.teller.say(partial(self._tell, list(tellings), self.agenda.clock.now()))

    def _tell(self, tellings: list[Telling], now: Micros) -> None:
        zone = self.agenda.time_zone or "UTC"
        for telling in tellings:
            said = telling_text(telling)
            if said is None:
                continue
            if self.out.as_json:
                self.out.json({"line": "delivery", **telling_json(telling)})
                continue
            mark, text = said
            self.out.line(f"{self.out.paint(mark, _MARKS[mark])} {wall_of(now, zone):%H:%M:%S} {zone}  {text}")
