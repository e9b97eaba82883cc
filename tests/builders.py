"""What the tests of rules and stores are built of: instants, events, plans, and an event's life without a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from duly.lifecycles.reader import built_in
from duly.model.dates import Micros, to_datetime, to_micros
from duly.model.event import Event, EventRow, Hold, Mark, Status
from duly.model.history import Entry, Kind, broken_link
from duly.model.lifecycle import Headline, Lifecycle, Milestone, Track
from duly.rules.advance import Advanced, Firing, advance
from duly.rules.by_hand import fired_by_hand, held, released, removal
from duly.rules.edit import Edited, Editing, consequences
from duly.rules.plan import Plan, plan
from duly.rules.status import status_at, triggers_to_come

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

CAMPUS: Final = built_in("campus_event")
CONFERENCE: Final = built_in("conference")
CONTEST: Final = built_in("contest")


def at(text: str) -> Micros:
    """Return an instant: `2026-05-01 10:00`, in UTC."""
    return to_micros(datetime.fromisoformat(text + "+00:00"))


T0: Final = at("2026-05-01 08:00")
FOR_EVER: Final = -(1 << 62)  # as known_since: nothing had passed before the event was known


def event(id_: str = "w1", *, lifecycle: Lifecycle = CAMPUS, hold: Hold = Hold.ACTIVE, **dates: Any) -> Event:
    """Return an event whose dates are instants, or texts as a user would write them. `x_2` is round `x#2`."""
    given = {name.replace("_2", "#2").replace("_3", "#3"): _date(value) for name, value in dates.items()}
    return Event(id_, lifecycle=lifecycle.name, dates=given, hold=hold)


def _date(value: Micros | str) -> object:
    return value if isinstance(value, str) else to_datetime(value)


def planned(event_: Event, lifecycle: Lifecycle = CAMPUS, *, zone: str | None = "UTC") -> Plan:
    """Return an event with its dates resolved."""
    return plan(event_, lifecycle, zone=zone)


def editing(
    now: Micros, *, known_since: Micros = FOR_EVER, actor: str | None = None, reason: str | None = None
) -> Editing:
    """Return the circumstances of an edit; unless said otherwise the event has been known for ever."""
    return Editing(now_us=now, known_since_us=known_since, actor=actor, reason=reason, tzdata="2026a")


def row_of(dates: Mapping[str, Micros], lifecycle: Lifecycle = CAMPUS, **fields: Any) -> EventRow:
    """Return a bare row with these dates and nothing fired."""
    row = EventRow(id="w1", lifecycle=lifecycle.name, lifecycle_hash=lifecycle.hash, dates=dict(dates))
    return replace(row, **fields)


def advanced(row: EventRow, result: Advanced) -> EventRow:
    """Return the row as the store would write it after a firing."""
    _, marks, status, seq, hash_, next_due, pending = result
    return replace(row, marks=marks, status=status, seq=seq, hash=hash_, next_due_us=next_due, pending=pending)


@dataclass
class Life:
    """One event from its first put on: what a store would keep of it, kept in two fields."""

    lifecycle: Lifecycle = CAMPUS
    row: EventRow | None = None
    entries: list[Entry] = field(default_factory=list)
    told_status: Status | None = None  # what somebody who looked says that the history ends in

    def put(self, now: Micros, event_: Event, *, known_since: Micros = FOR_EVER, actor: str | None = None) -> Edited:
        """Create or edit it."""
        edited = consequences(
            self.row, planned(event_, self.lifecycle), editing(now, known_since=known_since, actor=actor)
        )
        self.row = edited.row
        self.entries += edited.entries
        return edited

    def hold(self, now: Micros, hold: Hold) -> Edited:
        """Set or lift a hold by hand."""
        if hold is Hold.ACTIVE:
            edited = released(self.now_row, self.lifecycle, self._editing(now, "ada"))
        else:
            edited = held(self.now_row, hold, self._editing(now, "ada"))
        self.row = edited.row
        self.entries += edited.entries
        return edited

    def remove(self, now: Micros) -> Edited:
        """Leave a tombstone."""
        edited = removal(self.now_row, self._editing(now, None))
        self.row = edited.row
        self.entries += edited.entries
        return edited

    def advance(
        self, now: Micros, *, late_before: Micros = 0, horizon: tuple[Micros, str] | None = None
    ) -> list[Entry]:
        """Fire what is due; return what that wrote."""
        result = advance(self.now_row, self.lifecycle, Firing(now, late_before, "node", None, horizon))
        self.row = advanced(self.now_row, result)
        self.entries += result.entries
        return result.entries

    def fire_by_hand(self, now: Micros, milestone: str) -> list[Entry]:
        """Fire a manual milestone; return what that wrote."""
        edited = fired_by_hand(self.now_row, self.lifecycle, milestone, self._editing(now, "jury"))
        self.row = edited.row
        self.entries += edited.entries
        return edited.entries

    def _editing(self, now: Micros, actor: str | None) -> Editing:
        return replace(editing(now, actor=actor), told=self.told_status)

    @property
    def now_row(self) -> EventRow:
        """The row as it is."""
        assert self.row is not None
        return self.row

    @property
    def status(self) -> Status:
        """The status that has been announced."""
        return self.now_row.status

    def told(self) -> list[tuple[str, str | None, int | None, str]]:
        """Return the history, short: kind, milestone, generation, status that it led to."""
        return [(e.kind, e.milestone, e.generation, e.to_status) for e in self.entries]

    def kinds(self) -> list[str]:
        """Return the history, shortest."""
        return [e.kind if e.milestone is None else f"{e.kind} {e.milestone}" for e in self.entries]


def told_marks(entries: list[Entry]) -> dict[str, Mark]:
    """Return the marks that a history amounts to, worked out apart from the code under test."""
    marks: dict[str, Mark] = {}
    for entry in entries:
        if entry.milestone is None or entry.generation is None:
            continue
        if entry.kind in {Kind.FIRED, Kind.CORRECTED}:
            marks[entry.milestone] = Mark(entry.generation, entry.due_us)
        elif entry.kind == Kind.REVOKED:
            marks[entry.milestone] = Mark(entry.generation + 1, None)
    return marks


def assert_sound(row: EventRow, entries: list[Entry], lifecycle: Lifecycle) -> None:
    """Hold the invariants I1, I2, I3, I5 and I6 (its alarm) of PROMISES.md over one event's row and history."""
    fired = [(e.milestone, e.generation) for e in entries if e.kind == Kind.FIRED]
    assert len(fired) == len(set(fired)), f"I1: fired twice: {fired}"
    for entry in entries:
        if entry.kind == Kind.FIRED and entry.due_us is not None:
            assert entry.at_us >= entry.due_us, f"I2: early: {entry}"
    assert dict(row.marks) == told_marks(entries), "I3: marks are not what the history tells"
    assert broken_link(entries) is None, f"I5: {broken_link(entries)}"
    assert (row.seq, row.hash, row.status) == (len(entries), entries[-1].hash, entries[-1].to_status), (
        "I5: the row's end"
    )
    left = triggers_to_come(row, lifecycle)
    assert (row.next_due_us, row.pending) == (left[0].due_us if left else None, len(left)), "I6: the alarm"


def assert_quiet(row: EventRow, lifecycle: Lifecycle, now: Micros) -> None:
    """Hold the rest of I6: nothing is due any more, and the status is the derived one."""
    assert row.next_due_us is None or row.next_due_us > now
    if not row.removed:
        assert row.status == status_at(row, lifecycle, now)


def lamp(name: str = "lamp", *, catch_up: str = "") -> Lifecycle:
    """Return the smallest useful lifecycle: one track, on and off, no headline rules."""
    return Lifecycle(
        name=name,
        description=catch_up,
        tracks=(Track("light", before="dark"),),
        milestones=(
            Milestone(name="switch_on", track="light", state="lit"),
            Milestone(name="switch_off", track="light", state="out"),
        ),
    )


def seminar() -> Lifecycle:
    """Return a lifecycle with everything in it: two tracks, notices, rounds, implied, required, manual, defaults."""
    return Lifecycle(
        name="seminar",
        tracks=(Track("papers", before="closed", undated="none"), Track("talks", before="planned")),
        milestones=(
            Milestone(name="call", track="papers", state="open", implied=True),
            Milestone(name="warning", default="deadline - 1 day", repeats=True),
            Milestone(name="deadline", track="papers", state="over", between="extended", repeats=True),
            Milestone(name="doors", default="first_talk - 1 hour", until="last_talk"),
            Milestone(name="first_talk", track="talks", state="running", required=True),
            Milestone(name="last_talk", track="talks", state="done"),
            Milestone(name="proceedings", track="talks", state="printed", manual=True),
        ),
        headline=(
            Headline("draft/draft", undated=("last_talk",)),
            Headline("over/done", when={"talks": ("done", "printed")}),
            Headline("on/talking", when={"talks": ("running",)}),
            Headline("soon/papers", when={"papers": ("open", "extended")}),
            Headline("soon/waiting"),
        ),
    )
