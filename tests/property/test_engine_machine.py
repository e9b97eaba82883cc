"""Any life of a store, edits and firings and crashes in any order: after each step the invariants I1 to I6, I10 and I11 hold.

DULY_TORTURE=full runs ten times as many lives.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from duly.agenda import Agenda
from duly.clock import ManualClock, Micros, StepWatch
from duly.engine.firing import FiringStep
from duly.engine.recovery import Recovery
from duly.errors import RevisionConflict, UnknownEvent
from duly.model.dates import to_datetime
from duly.model.event import Event, Hold
from duly.model.history import Entry
from duly.stores.verb import Verb
from tests.builders import CAMPUS, MINUTE, SECOND, T0
from tests.engine.stage import InlineThreads, KeptStore
from tests.torture.checker import faults

T = TypeVar("T")

FULL: Final = os.environ.get("DULY_TORTURE") == "full"
NODES: Final = ("n1", "n2", "n3")
IDS: Final = ("a", "b", "c")
LAST_MINUTE: Final = 25  # few, so that instants coincide and lie beside each other
PAIRS: Final = (
    ("registration_open", "registration_close"),
    ("event_start", "event_end"),
    ("certificate_start", "certificate_end"),
)
Dates = dict[str, Micros]


# Whether the process dies in its next write, and if so after how many statements; None is after the commit.
Fate = tuple[bool, int | None]
LIVES: Final[Fate] = (False, None)
fates = st.one_of(st.just(LIVES), st.just(LIVES), st.tuples(st.just(True), st.one_of(st.none(), st.integers(0, 4))))


class Crash(BaseException):
    """The process died."""


class MortalStore(KeptStore):
    """A store whose process dies in its next write: after so many statements, or (None) after the commit."""

    def __init__(self) -> None:
        super().__init__()
        self.dies = False
        self.after_statements: int | None = None

    @override
    def write(self, verb: Verb[T]) -> T:
        if not self.dies:
            return super().write(verb)
        self.dies = False
        if self.after_statements is None:
            super().write(verb)
            raise Crash
        return super().write(_cut(verb, self.after_statements))


def _cut(verb: Verb[T], statements: int) -> Verb[T]:
    """Run a verb up to a statement, and die inside the transaction."""
    statement = next(verb)
    while statements > 0:
        rows = yield statement
        statements -= 1
        try:
            statement = verb.send(rows)
        except StopIteration:
            break
    raise Crash


@dataclass
class Known:
    """What whoever put an event was told that it is."""

    dates: Dates = field(default_factory=dict)
    hold: Hold = Hold.ACTIVE
    removed: bool = False


@st.composite
def dates(draw: st.DrawFn) -> Dates:
    """Return minutes from T0 for some milestones, in order along each track, often at equal instants."""
    found: Dates = {}
    for pair in PAIRS:
        places = sorted(draw(st.lists(st.integers(-5, LAST_MINUTE), min_size=2, max_size=2)))
        found |= {name: place for name, place in zip(pair, places, strict=True) if draw(st.booleans())}
    # Without a beginning of their own, certificates begin at the end of the event: which must not be after their end.
    if found.get("certificate_end", LAST_MINUTE) < found.get("certificate_start", found.get("event_end", -5)):
        del found["certificate_end"]
    return found


class Lives(RuleBasedStateMachine):
    """Three events, three nodes, one store."""

    @initialize(given_=st.lists(dates(), min_size=len(IDS), max_size=len(IDS)))
    def begin(self, given_: list[Dates]) -> None:
        self.clock = ManualClock(T0)
        self.latest = T0
        self.store = MortalStore()
        self.agenda = Agenda(self.store, clock=self.clock)
        self.agenda.open()
        self.known: dict[str, Known] = {}
        self.quiet = False
        self.nodes: dict[str, FiringStep] = {}
        for node in NODES:
            self._start(node)
        for id_, each in zip(IDS, given_, strict=True):
            self.put(id_, each, ever=True, name="")

    def _start(self, node: str) -> None:
        self.nodes[node] = FiringStep(
            store=self.store,
            clock=self.clock,
            node=node,
            grace=timedelta(seconds=60),
            strict=node == NODES[2],
            watch=StepWatch(self.clock, hold_steps=False),
            threads=InlineThreads(),
        )

    # -- edits ------------------------------------------------------------------------------------------

    @rule(id_=st.sampled_from(IDS), given_=dates(), ever=st.booleans(), name=st.sampled_from(("", "new")), fate=fates)
    def put(self, id_: str, given_: Dates, ever: bool, name: str, fate: Fate = LIVES) -> None:
        due = {milestone: T0 + minutes * MINUTE for milestone, minutes in given_.items()}
        hold = self.known[id_].hold if id_ in self.known else Hold.ACTIVE
        event = self._event(id_, due, hold, name)
        self._edit(lambda: self.agenda.put(event, known_for=None if ever else timedelta(0)), fate)
        self.known[id_] = Known(self._with_defaults(due), hold)
        # Whoever got no answer asks again: the same again changes nothing.
        before = len(self._history(id_))
        assert self.agenda.put(event).outcomes[id_] == "unchanged"
        assert len(self._history(id_)) == before

    def _event(self, id_: str, due: Dates, hold: Hold, name: str = "") -> Event:
        return Event(id_, name, dates={n: to_datetime(at) for n, at in due.items()}, hold=hold)

    @staticmethod
    def _with_defaults(due: Dates) -> Dates:
        if "certificate_end" in due and "event_end" in due:
            return {"certificate_start": due["event_end"], **due}
        return due

    @rule(id_=st.sampled_from(IDS), milestone=st.integers(0, 5), minutes=st.integers(-5, LAST_MINUTE), fate=fates)
    def move_one(self, id_: str, milestone: int, minutes: int, fate: Fate) -> None:
        """Give one milestone another date, and leave the others as they are."""
        pair, side = PAIRS[milestone // 2], milestone % 2
        due, moved = self.known[id_].dates, T0 + minutes * MINUTE
        other = due.get(pair[1 - side])
        if other is None or (moved <= other) == (side == 0):
            whole = {**due, pair[side]: moved}
            if "certificate_start" not in due and "certificate_end" in whole:
                del whole["certificate_end"]
            self.put(id_, {n: (at - T0) // MINUTE for n, at in whole.items()}, ever=False, name="", fate=fate)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), hold=st.sampled_from((Hold.ACTIVE, Hold.ACTIVE, Hold.CANCELLED)), fate=fates)
    def set_hold(self, data: st.DataObject, hold: Hold, fate: Fate) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[id_]
        if known.removed:
            with pytest.raises(UnknownEvent):
                self.agenda.set_hold(id_, hold)
            return
        self._edit(lambda: self.agenda.set_hold(id_, hold), fate)
        known.hold = hold

    @precondition(lambda self: self.known)
    @rule(data=st.data(), fate=fates)
    def remove(self, data: st.DataObject, fate: Fate) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[id_]
        if not known.removed:
            self._edit(lambda: self.agenda.remove(id_), fate, repeatable=False)
            known.removed, known.dates = True, {}
        with pytest.raises(UnknownEvent):
            self.agenda.remove(id_)

    @precondition(lambda self: any(not known.removed for known in self.known.values()))
    @rule(data=st.data())
    def put_with_a_stale_revision(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(id_ for id_, known in self.known.items() if not known.removed)))
        revision = self.store.get_event(id_).revision + 1
        before = self._history(id_)
        with pytest.raises(RevisionConflict):
            self.agenda.put(replace(self._event(id_, {}, Hold.ACTIVE), revision=revision))
        assert self._history(id_) == before

    # -- time and firing --------------------------------------------------------------------------------

    @rule(
        minutes=st.integers(0, 6),
        more=st.sampled_from((0, 0, 0, -1, 1, SECOND)),
        node=st.sampled_from((None, *NODES)),
        fate=fates,
    )
    def let_time_pass(self, minutes: int, more: Micros, node: str | None, fate: Fate) -> None:
        """Time passes; perhaps somebody is there to fire."""
        self.clock.advance(max(0, minutes * MINUTE + more))
        self.latest = max(self.latest, self.clock.now())
        self.quiet = False
        if node is not None:
            self.fire_all(node, fate)

    @rule(minutes=st.integers(1, 8))
    def step_back(self, minutes: int) -> None:
        self.clock.set(self.clock.now() - minutes * MINUTE)
        self.quiet = False  # what has fired stays fired, though its date is now to come

    @rule(node=st.sampled_from(NODES), fate=fates)
    def fire_a_batch(self, node: str, fate: Fate) -> None:
        self.quiet = False
        self._fire(lambda: asyncio.run(self.nodes[node].fire_batch()), fate)

    @rule(node=st.sampled_from(NODES), fate=fates)
    def fire_all(self, node: str, fate: Fate) -> None:
        if self._fire(lambda: asyncio.run(self.nodes[node].run_once()), fate):
            self.quiet = self.clock.now() >= self.latest

    @rule(node=st.sampled_from(NODES), silence=st.sampled_from((None, SECOND, 3600 * SECOND)), fate=fates)
    def restart(self, node: str, silence: Micros | None, fate: Fate) -> None:
        """The node comes back after a silence, and recovers."""
        self._start(node)
        recovery = Recovery(firing=self.nodes[node], window=timedelta(hours=24))
        since = None if silence is None else self.clock.now() - silence
        if self._fire(lambda: asyncio.run(recovery.run(since, starting=True)), fate):
            self.quiet = self.clock.now() >= self.latest
            assert all(outage.finished_us is not None for outage in self.store.outages())

    # -- dying ------------------------------------------------------------------------------------------

    def _edit(self, edit: Callable[[], Any], fate: Fate, *, repeatable: bool = True) -> None:
        """Make an edit; whoever gets no answer repeats it, where that is safe, or looks."""
        self.store.dies, self.store.after_statements = fate
        self.quiet = False
        before = len(self._all())
        try:
            edit()
        except Crash:
            if repeatable or len(self._all()) == before:
                edit()
        finally:
            self.store.dies = False

    def _fire(self, fire: Callable[[], Any], fate: Fate) -> bool:
        """Fire, hold that only what is known fires, and with its date; return False if the process died of it."""
        before = len(self._all())
        self.store.dies, self.store.after_statements = fate
        try:
            fire()
        except Crash:
            return False
        finally:
            self.store.dies = False
            for entry in self._all()[before:]:
                known = self.known[entry.event_id]
                assert entry.kind == "fired"
                assert (known.removed, known.hold) == (False, Hold.ACTIVE)
                assert entry.due_us == known.dates[str(entry.milestone)], "I11: an old date has fired"
        return True

    # -- what always holds ------------------------------------------------------------------------------

    def _all(self) -> list[Entry]:
        return [entry for _, entry in self.store.history_after(0, most=1_000_000)]

    def _history(self, id_: str) -> list[Entry]:
        return self.store.history(id_)

    @invariant()
    def every_invariant_holds(self) -> None:
        rows = self.store.list_events()
        histories: dict[str, list[Entry]] = {row.id: [] for row in rows}
        for entry in self._all():
            histories[entry.event_id].append(entry)
        quiet_at = self.clock.now() if self.quiet else None
        assert faults(rows, histories, lambda _: CAMPUS, quiet_at=quiet_at) == []
        assert not any(entry.kind in {"repaired", "set_aside"} for entries in histories.values() for entry in entries)
        # I10: whatever was acknowledged is there.
        assert {row.id: (dict(row.dates), row.hold, row.removed) for row in rows} == {
            id_: (known.dates, known.hold, known.removed) for id_, known in self.known.items()
        }
        assert [page.findings for page in self.agenda.check() if page.findings] == []


LivesTest = Lives.TestCase
LivesTest.settings = settings(
    max_examples=1500 if FULL else 200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
