"""The season replayed: three real calendars from 2015 to 2027, once without a break and once with many.

The seed of the breaks is printed; DULY_SEED repeats it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from duly import Event, Lifecycle, Scheduler
from duly.clock import ManualClock, Micros
from duly.model.history import Entry
from duly.rules.status import status_at
from duly.sources.loading import load_events
from duly.stores.store import Store
from tests.builders import DAY, HOUR, SECOND, at
from tests.engine.stage import KeptStore, Stage, assert_store_sound

ROOT: Final = Path(__file__).parents[2]
DATA: Final = ROOT.parent / "shared" / "data"
CALENDARS: Final = {
    "pwc-ai-deadlines": "pwc-ai-deadlines/_data",
    "confs-tech": "confs-tech/conferences",
    "sportstimes": "sportstimes/_db",
}
BEGIN: Final = at("2015-01-01 00:00")
END: Final = at("2027-12-31 00:00")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here; CI has it")

# What is fired: everything of an entry that may not depend on when and by whom.
Told = tuple[str, int, str, str | None, int | None, Micros | None, str, str, str | None]


def calendars() -> tuple[list[Event], list[Lifecycle]]:
    """Return the good records of the three calendars, and the lifecycles that they bring along."""
    events: list[Event] = []
    lifecycles: list[Lifecycle] = []
    for name, folder in CALENDARS.items():
        loaded = load_events([DATA / folder], map=ROOT / "examples" / "maps" / f"{name}.toml")
        events += loaded.events
        lifecycles += loaded.lifecycles
    return events, lifecycles


def without_a_break(events: list[Event], lifecycles: list[Lifecycle]) -> Store:
    """Fire every trigger at its very instant."""
    stage = Stage(now=BEGIN)
    stage.store.declare_lifecycles(lifecycles, [], BEGIN)
    stage.put(*events)
    stage.fire()
    while (due := stage.store.next_due_us()) is not None and due <= END:
        stage.clock.advance(due - stage.clock.now())
        stage.fire()
    return stage.store


async def with_breaks(
    events: list[Event], lifecycles: list[Lifecycle], dice: random.Random
) -> tuple[Store, Counter[str]]:
    """Have schedulers up and down in turn, for an instant or for months; return the store, and what was done."""
    clock, store, done = ManualClock(BEGIN), KeptStore(), Counter[str]()
    scheduler = Scheduler(store, lifecycles=lifecycles, clock=clock)
    await scheduler.put(events, known_for=None)
    while clock.now() < END:
        report = await scheduler.start()
        done["starts"] += 1
        done["missed while down"] += report.detected
        for _ in range(dice.randrange(5)):
            clock.advance(min(_stride(dice, clock, store), END - clock.now()))
            await scheduler.settled()
        await scheduler.stop()
        if dice.random() < 0.3:
            scheduler = Scheduler(store, lifecycles=lifecycles, clock=clock)  # another process
        away = dice.choice([SECOND, HOUR, DAY, 30 * DAY, 60 * DAY])
        clock.advance(min(dice.randrange(away), max(0, END - clock.now())))
    await scheduler.start()
    await scheduler.stop()
    return store, done


def _stride(dice: random.Random, clock: ManualClock, store: Store) -> Micros:
    """Return how far the clock goes at once: to the next trigger, a few seconds, or a sleep of the host."""
    due = store.next_due_us()
    if due is not None and dice.random() < 0.6:
        return due - clock.now()
    return dice.randrange(dice.choice([10 * SECOND, HOUR, 12 * DAY]))


def told(store: Store) -> dict[str, list[Told]]:
    """Return each event's history without what a break may change: cause, instants of the firing, node, outage, hash."""
    found: dict[str, list[Told]] = {}
    for _, entry in store.history_after(0, most=1_000_000):
        found.setdefault(entry.event_id, []).append(_told(entry))
    return found


def _told(entry: Entry) -> Told:
    event_id, seq, kind, milestone, generation, due, _, before, after, _, _, _, detail, *_ = entry
    return event_id, seq, kind, milestone, generation, due, before, after, detail


def test_the_season_comes_to_the_same_whether_somebody_was_always_there_or_not() -> None:
    seed = os.environ.get("DULY_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"DULY_SEED={seed}")  # noqa: T201 - the way back to a failure
    events, lifecycles = calendars()
    assert len(events) > 6_800
    steady = without_a_break(events, lifecycles)
    broken, done = asyncio.run(with_breaks(events, lifecycles, random.Random(seed)))
    history = told(steady)
    assert told(broken) == history
    for store in (steady, broken):
        assert_store_sound(store, END)  # type: ignore[arg-type]  # a SqliteStore, as made above
        rows = store.list_events(most=100_000)
        assert len(rows) == len(events)
        assert {row.id: row.status for row in rows} == {
            row.id: status_at(row, store.lifecycle_of(row), END) for row in rows
        }
    causes = Counter(entry.cause for _, entry in broken.history_after(0, most=1_000_000) if entry.is_transition)
    fired = sum(causes.values())
    print(f"{len(events)} events, {fired} transitions, {dict(causes)}, {dict(done)}")  # noqa: T201
    assert fired > 15_000
    # A season without breaks, or with nothing but breaks, would show nothing.
    assert min(causes["caught_up"], causes["scheduled"]) > 300
    assert done["starts"] > 50
