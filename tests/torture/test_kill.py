"""kill -9 and SIGSTOP of real `duly run` processes while triggers fall due all along: once, in order, never early, none lost.

DULY_TORTURE=full   100 kills instead of 15
DULY_SEED=…         the same random choices again (the seed of each run is printed)
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from duly import Event
from duly.agenda import Agenda
from duly.clock import Micros
from duly.model.dates import to_datetime
from duly.model.history import Entry
from tests.builders import CAMPUS, DAY, SECOND, event
from tests.torture.checker import Trigger, missing
from tests.torture.nodes import CLOCK, Node, Nodes, agenda_on, judged, nodes_on

pytestmark = pytest.mark.torture

FULL: Final = os.environ.get("DULY_TORTURE") == "full"
KILLS: Final = 100 if FULL else 15
MILESTONES: Final = tuple(CAMPUS.by_name)

# Every so often so many triggers fall due at one instant: more than a batch, so that a kill can land between two.
BURST_EVERY: Final[Micros] = 7 * SECOND // 10
BURST: Final = 1300
# In between, one trigger after the other.
SINGLE_EVERY: Final[Micros] = 20_000
# Every so many kills, so many events are found with all their triggers missed: a recovery long enough to be hit.
BACKLOG_EVERY: Final = 7
BACKLOG: Final = 2500


@dataclass
class Calendar:
    """Triggers without end: bursts, and single ones in between. `planned`: every trigger with its instant."""

    began: Micros
    dice: random.Random
    planned: dict[Trigger, Micros] = field(default_factory=dict)
    bursts: list[Micros] = field(default_factory=list)

    def events(self, until: Micros) -> list[Event]:
        """Return events whose triggers fill the time until then."""
        self.bursts = list(range(self.began, until, BURST_EVERY))
        found = []
        for first in range(0, len(self.bursts), len(MILESTONES)):
            dates = dict(zip(MILESTONES, self.bursts[first : first + len(MILESTONES)], strict=False))
            found += [self._event(f"burst{first:03}-{n:04}", dates) for n in range(BURST)]
        singles = [due + self.dice.randrange(SINGLE_EVERY) for due in range(self.began, until, SINGLE_EVERY)]
        rows = len(singles) // len(MILESTONES)
        for n in range(rows):
            # each row's own triggers lie far apart, those of different rows beside each other
            dates = dict(zip(MILESTONES, singles[n::rows], strict=False))
            found.append(self._event(f"single{n:04}", dates))
        return found

    def backlog(self, number: int, now: Micros) -> list[Event]:
        """Return events all of whose triggers have been missed."""
        return [
            self._event(
                f"old{number:03}-{n:04}", {name: now - DAY + n * 1000 + k for k, name in enumerate(MILESTONES)}
            )
            for n in range(BACKLOG)
        ]

    def _event(self, id_: str, dates: dict[str, Micros]) -> Event:
        self.planned |= {(id_, name, 1): due for name, due in dates.items()}
        return Event(id_, dates={name: to_datetime(due) for name, due in dates.items()})

    def next_burst(self, after: Micros) -> Micros:
        return next((due for due in self.bursts if due > after), after)


@dataclass
class Run:
    """One torture: what was done, and where it hit."""

    nodes: Nodes
    agenda: Agenda
    calendar: Calendar
    dice: random.Random
    hits: Counter[str] = field(default_factory=Counter)

    def kill_one(self) -> None:
        """Start a node, let it live for a random while, kill it, and note what it was doing."""
        kills = self.hits["kills"]
        if kills % BACKLOG_EVERY == 0:
            self.agenda.put(self.calendar.backlog(kills, CLOCK.now()), known_for=None)
        node = self.nodes.start()
        if kills % BACKLOG_EVERY == 0:
            assert self.nodes.hear(self._is_recovering, within=30 * SECOND)
            self.nodes.pause(self.dice.randrange(150_000))
        elif self.dice.random() < 0.35:
            self.nodes.pause(self.dice.randrange(150_000, 700_000))  # while it starts, or recovers
        else:
            assert self.nodes.hear(lambda: node.said("recovered"), within=30 * SECOND)
            moment = self.calendar.next_burst(CLOCK.now()) + self.dice.randrange(80_000)
            self.nodes.pause(moment - CLOCK.now())
        node.kill()
        self._note(CLOCK.now())

    def _note(self, killed_at: Micros) -> None:
        store = self.agenda.store
        self.hits["kills"] += 1
        self.hits["while triggers were overdue"] += store.count_overdue(killed_at) > 0
        self.hits["in the middle of a burst"] += any(
            0 < self._unfired_of(due) < BURST
            for due in self.calendar.bursts
            if killed_at - 2 * SECOND < due <= killed_at
        )
        self.hits["in the middle of a recovery"] += self._is_recovering()

    def _is_recovering(self) -> bool:
        return any(outage.finished_us is None for outage in self.agenda.store.outages(most=1))

    def _unfired_of(self, due: Micros) -> int:
        rows = self.agenda.store.list_by_alarm(until_us=due, most=100_000)
        return sum(row.next_due_us == due and row.id.startswith("burst") for row in rows)

    def finish(self, node: Node) -> Micros:
        """Let a node catch up and then stop it; return until when everything must have fired."""
        assert self.nodes.hear(lambda: node.said("recovered") or node.said("entry"), within=30 * SECOND)
        until = CLOCK.now()
        settled = lambda: self.agenda.store.count_overdue(until) == 0  # noqa: E731 - said once, used once
        assert self.nodes.hear(settled, within=30 * SECOND)
        assert node.stop() == 0
        return until


def dice_for(test: str) -> random.Random:
    seed = os.environ.get("DULY_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"{test}: DULY_SEED={seed}")  # noqa: T201 - the way back to a failure
    return random.Random(seed)


def assert_all_fired(store: Path, planned: dict[Trigger, Micros], until: Micros) -> int:
    """Hold that whatever was due until then fired once and with its date; return how many that were."""
    due = {trigger: instant for trigger, instant in planned.items() if instant <= until}
    histories: dict[str, list[Entry]] = {}
    with agenda_on(store) as agenda:
        for _, entry in agenda.store.history_after(0, most=10_000_000):
            if entry.kind != "fired" or (entry.due_us or 0) <= until:
                histories.setdefault(entry.event_id, []).append(entry)
    assert missing(histories, due) == []
    return len(due)


def test_a_node_killed_again_and_again_loses_nothing_repeats_nothing_and_is_never_early(tmp_path: Path) -> None:
    store = tmp_path / "events.db"
    dice = dice_for("test_kill")
    began = CLOCK.now()
    with agenda_on(store) as agenda, nodes_on(store) as nodes:
        calendar = Calendar(began, dice)
        agenda.put(calendar.events(began + KILLS * 3 * SECOND // 2), known_for=None)
        run = Run(nodes, agenda, calendar, dice)
        for _ in range(KILLS):
            run.kill_one()
        until = run.finish(nodes.start())
        outages = agenda.outages(most=1000)
    fired = assert_all_fired(store, calendar.planned, until)
    assert judged(store, quiet=False) == []
    hits = run.hits
    seconds = (CLOCK.now() - began) // SECOND
    print(f"{dict(hits)}; {fired} triggers fell due and fired, {len(outages)} outages, {seconds} s")  # noqa: T201
    # A run that hit nothing shows nothing.
    assert hits["kills"] == KILLS
    assert hits["while triggers were overdue"] >= KILLS // 3
    assert hits["in the middle of a burst"] >= max(1, KILLS // 15)
    assert hits["in the middle of a recovery"] >= KILLS // BACKLOG_EVERY // 2
    assert fired > KILLS * 500


def test_a_frozen_owner_keeps_its_lock_and_fires_nothing_twice_when_it_thaws(tmp_path: Path) -> None:
    store = tmp_path / "events.db"
    freezes = 5 if FULL else 2
    with agenda_on(store) as agenda, nodes_on(store) as nodes:
        owner = nodes.start()
        assert nodes.hear(lambda: owner.said("recovered"), within=30 * SECOND)
        standby = nodes.start()
        assert nodes.hear(lambda: standby.said("standby"), within=30 * SECOND)
        first = CLOCK.now() + SECOND
        count = freezes * 200
        agenda.put([event(f"w{n:04}", event_start=first + n * 10_000, event_end=first + DAY) for n in range(count)])
        nodes.pause(first - CLOCK.now())
        while_frozen = 0
        for _ in range(freezes):
            owner.freeze()
            frozen_at = CLOCK.now()
            nodes.pause(SECOND)  # five naps of the standby
            overdue = agenda.store.count_overdue(CLOCK.now())
            while_frozen += overdue
            assert overdue > 20, "nobody may fire while the owner holds the lock"
            owner.thaw()
            assert nodes.hear(lambda at=frozen_at: agenda.store.count_overdue(at + SECOND) == 0, within=20 * SECOND)  # type: ignore[misc]
        assert nodes.hear(lambda: agenda.counts().pending == count, within=20 * SECOND)
        # And it gives way as soon as it ends, frozen or not.
        owner.freeze()
        owner.kill()
        assert nodes.hear(lambda: standby.said("recovered"), within=10 * SECOND)
        assert standby.stop() == 0
        fired = [entry for _, entry in agenda.store.history_after(0, most=100_000) if entry.is_transition]
    assert len(fired) == len({entry.event_id for entry in fired}) == count
    assert {entry.node for entry in fired} == {owner.name}
    assert judged(store, quiet=True) == []
    print(f"{freezes} freezes of 1 s, {while_frozen} triggers fell due in them")  # noqa: T201
