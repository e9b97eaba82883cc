"""Whole lives of random events: however they are cut into firings and edits, they come to the same."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from duly.errors import InvalidEvent
from duly.model.dates import Micros, to_datetime
from duly.model.event import Event, Hold
from duly.model.history import Cause, Entry, Kind, broken_link
from duly.model.lifecycle import Lifecycle
from duly.rules.plan import Plan, plan
from duly.rules.status import status_at, triggers_to_come
from tests.builders import CAMPUS, CONFERENCE, CONTEST, MINUTE, T0, Life, assert_quiet, assert_sound, seminar

LIFECYCLES = (CAMPUS, CONFERENCE, CONTEST, seminar())
SPAN = 60  # minutes after T0 in which everything happens: short, so that instants coincide often
ROUNDS = 3

patient = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])


@st.composite
def instants(draw: st.DrawFn, *, earliest: int = 0) -> Micros:
    """Return an instant of the hour, nearly always at a full minute, sometimes a microsecond beside it."""
    return T0 + draw(st.integers(earliest, SPAN)) * MINUTE + draw(st.sampled_from((0, 0, 0, 1, -1)))


@st.composite
def dates_of(draw: st.DrawFn, lifecycle: Lifecycle) -> dict[str, Micros]:
    """Return dates for some milestones (rounds included), none of them inverted within its track."""
    names = [m.name for m in lifecycle.milestones if not m.manual]
    names += [f"{m.name}#{n}" for m in lifecycle.milestones if m.repeats for n in range(2, ROUNDS + 1)]
    chosen = [name for name in names if draw(st.booleans()) or lifecycle.milestone(name).required]
    dates = {name: draw(instants()) for name in chosen}
    for earlier, later in lifecycle.shape(tuple(dates)).pairs * len(dates):
        dates[later] = max(dates[earlier], dates[later])
    return dates


def event_with(dates: dict[str, Micros], lifecycle: Lifecycle, hold: Hold = Hold.ACTIVE) -> Event:
    given_dates: dict[str, object] = {name: to_datetime(due) for name, due in dates.items()}
    return Event("w1", lifecycle=lifecycle.name, dates=given_dates, hold=hold)


def plan_or_skip(event: Event, lifecycle: Lifecycle) -> Plan:
    try:
        return plan(event, lifecycle, zone="UTC")
    except InvalidEvent:  # a default of the lifecycle can fall behind a date that was drawn
        assume(False)
        raise


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Return an event of any lifecycle, just created, with nothing passed."""
    lifecycle = draw(st.sampled_from(LIFECYCLES))
    event = event_with(draw(dates_of(lifecycle)), lifecycle)
    plan_or_skip(event, lifecycle)
    life = Life(lifecycle)
    life.put(T0 - 9999 * MINUTE, event)
    return life


def copied(life: Life) -> Life:
    return Life(life.lifecycle, life.row, list(life.entries))


def timeless(entries: list[Entry]) -> list[Entry]:
    return [entry._replace(at_us=0, cause=None, hash=b"", node=None) for entry in entries]


@patient
@given(lives(), st.lists(st.tuples(instants(), st.none() | instants(), instants()), max_size=8))
def test_in_however_many_steps_an_event_is_advanced_its_history_and_its_status_are_the_same(
    life: Life, steps: list[tuple[Micros, Micros | None, Micros]]
) -> None:
    at_once = copied(life)
    end = T0 + (SPAN + 1) * MINUTE
    at_once.advance(end)
    assert_sound(at_once.now_row, at_once.entries, life.lifecycle)
    for now, bound, late_before in sorted(steps, key=lambda step: step[0]):
        before = triggers_to_come(life.now_row, life.lifecycle)
        horizon = None if bound is None else (bound, "w2")
        fired = life.advance(now, horizon=horizon, late_before=late_before)
        due = [t for t in before if t.due_us <= now and (bound is None or t.due_us <= bound)]
        assert [(e.due_us, e.milestone) for e in fired] == [(t.due_us, t.milestone) for t in due]
        assert_sound(life.now_row, life.entries, life.lifecycle)
        if horizon is None:
            assert_quiet(life.now_row, life.lifecycle, now)
    life.advance(end)
    assert timeless(life.entries) == timeless(at_once.entries)
    assert life.status == at_once.status == status_at(life.now_row, life.lifecycle, end)
    assert broken_link(life.entries) is None
    assert life.now_row.next_due_us is None


@patient
@given(lives(), st.lists(instants(), min_size=1, max_size=20))
def test_between_two_due_instants_the_status_stands_still(life: Life, moments: list[Micros]) -> None:
    row, lifecycle = life.now_row, life.lifecycle
    turns = sorted({T0 - 9999 * MINUTE, *row.dates.values()})
    for moment in moments:
        last = max(turn for turn in turns if turn <= moment)
        assert status_at(row, lifecycle, moment) == status_at(row, lifecycle, last)


@patient
@given(lives())
def test_what_is_announced_one_by_one_are_the_statuses_that_hold_at_those_instants(life: Life) -> None:
    life.advance(T0 + (SPAN + 1) * MINUTE)
    fired = [entry for entry in life.entries if entry.is_transition]
    for entry, following in zip(fired, [*fired[1:], None], strict=False):
        # Of several at one instant only the last one tells what holds at that instant.
        if following is None or following.due_us != entry.due_us:
            assert entry.to_status == status_at(life.now_row, life.lifecycle, entry.due_us or 0)


# ------------------------------------------------------------------------------------------ edits and firings


class Deed(NamedTuple):
    """One thing that happens to an event, so many minutes after the one before."""

    what: str
    minutes: int
    dates: dict[str, Micros]
    hold: Hold


@st.composite
def stories(draw: st.DrawFn) -> tuple[Lifecycle, list[Deed]]:
    """Return a lifecycle and what happens to an event of it: edits, holds, removals, firings."""
    lifecycle = draw(st.sampled_from(LIFECYCLES))
    holds = st.sampled_from((Hold.ACTIVE, Hold.ACTIVE, Hold.ACTIVE, Hold.CANCELLED, Hold.POSTPONED))
    kinds = st.sampled_from(("put", "put", "put", "again", "remove", "advance", "advance", "partly"))
    minutes = st.integers(0, 15)
    deeds = [
        Deed(draw(kinds), draw(minutes), draw(dates_of(lifecycle)), draw(holds))
        for _ in range(draw(st.integers(1, 9)))
    ]
    return lifecycle, deeds


def edit(life: Life, now: Micros, event: Event) -> None:
    """Put an event and hold what must hold of every edit."""
    before = life.row
    edited = life.put(now, event, known_since=now)
    assert all(entry.at_us == now for entry in edited.entries)
    again = life.put(now, event, known_since=now)
    assert again.entries == [], "putting the same again changes nothing"
    if before is None or before.removed or before.hold != Hold.ACTIVE or life.now_row.hold != Hold.ACTIVE:
        return
    for entry in edited.entries:
        moved = before.dates.get(entry.milestone or "") != entry.due_us
        if entry.kind == Kind.FIRED and (entry.milestone or "") in before.dates and moved:
            assert entry.cause == Cause.EDITED, "what was moved into the past fires because it was edited"
    for name, due in life.now_row.dates.items():
        if due <= now and name in before.dates and before.dates[name] > now:
            mark = life.now_row.marks.get(name)
            assert mark is not None, "what was moved into the past fires at once"
            assert mark.is_fired


def assert_nothing_overtook(life: Life, entries: list[Entry]) -> None:
    """Hold I4: nothing that fired did so before something of the same event that was due earlier."""
    fired = [(e.due_us or 0, life.lifecycle.order(e.milestone or "")) for e in entries if e.is_transition]
    assert fired == sorted(fired)
    left = triggers_to_come(life.now_row, life.lifecycle)
    if fired and left:
        assert fired[-1] < (left[0].due_us, left[0].order)


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.filter_too_much])
@given(stories())
def test_whatever_happens_to_an_event_its_marks_its_alarm_and_its_chain_stay_true(
    story: tuple[Lifecycle, list[Deed]],
) -> None:
    lifecycle, deeds = story
    life, now = Life(lifecycle), T0
    latest: Event | None = None
    for what, minutes, dates, hold in deeds:
        now += minutes * MINUTE
        begun = len(life.entries)
        if what == "put" or life.row is None:
            latest = event_with(dates, lifecycle, hold)
            plan_or_skip(latest, lifecycle)
            edit(life, now, latest)
        elif what == "again" and latest is not None:
            edit(life, now, latest)
        elif what == "remove" and not life.row.removed:
            life.remove(now)
        elif not life.row.removed:
            life.advance(now, horizon=(now - 5 * MINUTE, "") if what == "partly" else None)
            if what == "advance":
                assert_quiet(life.now_row, lifecycle, now)
        assert_sound(life.now_row, life.entries, lifecycle)
        assert_nothing_overtook(life, life.entries[begun:])
    if not life.now_row.removed:
        life.advance(now)
        assert_quiet(life.now_row, lifecycle, now)
    assert_sound(life.now_row, life.entries, lifecycle)
