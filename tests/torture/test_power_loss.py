"""The power goes, at every instant of a busy store's life (P1, P2): what was acknowledged is there, all of it.

`DULY_TORTURE=full` for the whole of it; `DULY_TORTURE_SEED=…` replays a run by the seed that it printed.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from duly.agenda import Agenda
from duly.clock import ManualClock
from duly.model.dates import to_datetime
from duly.model.event import Event
from duly.model.history import Kind as EntryKind
from duly.rules.edit import Outcome
from duly.stores.sqlite import SqliteStore
from tests.builders import HOUR, T0
from tests.torture.examiner import Examiner, Tally, lay_out
from tests.torture.power import (
    DATABASE,
    WAL,
    Acknowledged,
    Choice,
    Created,
    Disk,
    Files,
    Flushed,
    Kind,
    Moment,
    Recorder,
    Resized,
    Step,
    Written,
    crash_states,
    in_sectors,
    numbered,
    torn,
)
from tests.torture.season import (
    AFTER,
    BusyStore,
    EntryKey,
    Log,
    NormalStore,
    Season,
    content_of,
    entry_key,
    fire_on,
)

pytestmark = pytest.mark.torture


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is tried: seasons of so many operations each; the controls and second crashes look at fewer steps."""

    seasons: int
    operations: int
    states_least: int
    control_every: int
    second_crashes: int


SIZES: Final = {
    "full": Size(seasons=10, operations=30, states_least=13_500, control_every=1, second_crashes=40),
    "ci": Size(seasons=1, operations=16, states_least=900, control_every=9, second_crashes=4),
}
SIZE: Final = SIZES["full" if os.environ.get("DULY_TORTURE") == "full" else "ci"]
SEED: Final = os.environ.get("DULY_TORTURE_SEED", "every date kept")
# Crash points of each sort that a run must have seen, per season, or it has shown nothing.
LOOKS_LEAST: Final = {
    Moment.CREATION: 10,
    Moment.WAL_BEGUN: 4,
    Moment.WAL_RESTARTED: 2,
    Moment.COMMIT: 500,
    Moment.CHECKPOINT: 200,
    Moment.CLOSING: 2,
    Moment.IDLE: 10,
}
DEEDS_LEAST: Final = (EntryKind.CREATED, EntryKind.FIRED, EntryKind.EDITED, EntryKind.HELD, EntryKind.REMOVED)
Tell = Callable[[str], None]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of stores are opened in it, and none needs a real disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as made:
        yield Path(made)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Say something that is seen also when the test passes: a run is worth what its numbers are."""

    def said(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}\n")

    return said


def lived(folder: Path, seed: str, make_store: type[BusyStore] = BusyStore) -> tuple[list[Step], Log]:
    """Live a season; return its trace, and what its callers were told."""
    path = folder / f"{seed}.db"
    recorder = Recorder(path)
    season = Season(recorder, make_store(path, vfs=recorder.vfs), seed)
    season.live(SIZE.operations)
    recorder.unregister()
    return recorder.steps, season.log


def examined(
    folder: Path, start: Files, steps: list[Step], log: Log, choice: Choice, *, lies_about: str | None = None
) -> Tally:
    """Lose the power after the chosen steps, and open everything that this can leave."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        examiner = Examiner(Path(place), log)
        for state in crash_states(start, steps, choice, lies_about=lies_about):
            examiner.examine(state)
        return examiner.tally


def assert_unharmed(tally: Tally, seed: str) -> None:
    complaints = "\n".join(tally.complaints[:20])
    assert (tally.lost, tally.flawed) == (0, 0), f"seed {seed!r}:\n{complaints}"


def test_every_acknowledged_write_survives_a_power_loss_at_any_instant(folder: Path, tell: Tell) -> None:
    total = Tally()
    kinds: set[str] = set()
    for number in range(SIZE.seasons):
        seed = f"{SEED} {number}"
        steps, log = lived(folder, seed)
        tally = examined(folder, {}, steps, log, Choice(seed=seed))
        assert_unharmed(tally, seed)
        kinds |= set(log.kinds)
        total.add(tally)
    tell(f"power loss, seed {SEED!r}, {SIZE.seasons} seasons: {total.told()}")
    assert total.distinct >= SIZE.states_least
    assert {kind: least for kind, least in LOOKS_LEAST.items() if total.moments[kind] < least * SIZE.seasons} == {}
    assert {kind for kind in Kind if total.kinds[kind] < 200 * SIZE.seasons} == set()
    assert set(DEEDS_LEAST) <= kinds
    # The border of a commit was seen from both sides: an operation that had not returned was found done, and not.
    assert total.more_than_acknowledged > 0
    assert total.just_what_was_acknowledged > 0


def test_synchronous_normal_is_caught_losing_acknowledged_writes(folder: Path, tell: Tell) -> None:
    seed = f"{SEED} 0"
    steps, log = lived(folder, seed, NormalStore)
    tally = examined(folder, {}, steps, log, Choice(seed=seed, every=SIZE.control_every))
    tell(f"control, synchronous=NORMAL: {tally.told()}")
    assert tally.lost > tally.looks // 10
    # It loses what was acknowledged, but never tears: a complaint of another sort would be the examiner's mistake.
    assert tally.flawed == 0


def test_a_disk_that_lies_about_flushing_the_database_is_caught(folder: Path, tell: Tell) -> None:
    """The other half of the examiner: what is torn, not only what is lost, is seen."""
    seed = f"{SEED} 0"
    steps, log = lived(folder, seed)
    tally = examined(folder, {}, steps, log, Choice(seed=seed, every=SIZE.control_every), lies_about=DATABASE)
    tell(f"control, a lying disk: {tally.told()}")
    assert tally.flawed > 0
    assert tally.lost + tally.flawed > tally.looks // 10


def test_a_second_power_loss_while_recovering_loses_nothing(folder: Path, tell: Tell) -> None:
    seed = f"{SEED} again"
    chance = random.Random(seed)
    steps, told = lived(folder, seed)
    states = [state for state in crash_states({}, steps, Choice(seed=seed)) if state.acknowledged]
    total = Tally()
    for state in chance.sample(states, SIZE.second_crashes):
        recorder = Recorder(folder / "again" / "duly.db", numbers=numbered(state.files))
        log, _ = recovered(recorder, state.files, told, state.acknowledged)
        tally = examined(folder, state.files, recorder.steps, log, Choice(seed=seed, every=4))
        assert_unharmed(tally, f"{seed}, step {state.step}")
        total.add(tally)
    tell(f"power lost again while recovering, {SIZE.second_crashes} times: {total.told()}")
    assert total.distinct >= 20 * SIZE.second_crashes
    assert total.moments[Moment.CHECKPOINT] > 0


def test_a_kill_and_then_a_power_loss_lose_nothing(folder: Path, tell: Tell) -> None:
    """What a killed process wrote and never flushed is seen, and built upon, by the next: that makes it certain."""
    seed = f"{SEED} killed"
    chance = random.Random(seed)
    steps, told = lived(folder, seed)
    first_acknowledged = steps.index(Acknowledged())
    writes = [at for at, step in enumerate(steps) if isinstance(step, Written) and at > first_acknowledged]
    # Half of the kills strike between the last write of a flush and the flush: there a commit can be cut off.
    edges = [at for at in writes if isinstance(steps[at + 1], Flushed)]
    half = SIZE.second_crashes // 2
    total = Tally()
    cut_off = 0
    for killed_at in chance.sample(edges, half) + chance.sample(writes, SIZE.second_crashes - half):
        before = steps[: killed_at + 1]
        disk = Disk.holding({})
        for step in before:
            disk.take(step)
        seen, numbers = disk.seen()
        recorder = Recorder(folder / "next" / "duly.db", before=before, numbers=numbers)
        log, found_done = recovered(recorder, seen, told, before.count(Acknowledged()))
        cut_off += found_done
        tally = examined(folder, {}, recorder.steps, log, Choice(seed=seed, first=killed_at + 1, every=4))
        assert_unharmed(tally, f"{seed}, killed after step {killed_at}")
        total.add(tally)
    tell(f"killed, then power lost, {SIZE.second_crashes} times, {cut_off} on a commit cut off: {total.told()}")
    assert total.distinct >= 20 * SIZE.second_crashes
    assert cut_off > 0


def test_a_repeated_put_that_finds_its_work_done_is_as_certain_as_the_first(folder: Path) -> None:
    """Killed between the commit's writes and their flush, a put is repeated, and acknowledged as unchanged."""
    first = Recorder(folder / "first" / "duly.db")
    first.path.parent.mkdir()
    event = Event("w1", dates={"event_start": to_datetime(T0), "event_end": to_datetime(T0 + HOUR)})
    with Agenda(SqliteStore(first.path, vfs=first.vfs), time_zone="UTC", clock=ManualClock(T0)) as agenda:
        nothing_yet = content_of(agenda.store)
        agenda.put(event)
        before = first.steps[:-1]
        assert isinstance(first.steps[-1], Flushed)
    first.unregister()
    disk = Disk.holding({})
    for step in before:
        disk.take(step)
    seen, numbers = disk.seen()
    second = Recorder(folder / "second" / "duly.db", before=before, numbers=numbers)
    lay_out(second.path, seen)
    log = Log()
    with Agenda(SqliteStore(second.path, vfs=second.vfs), time_zone="UTC", clock=ManualClock(T0)) as agenda:
        empty, there = frozenset[EntryKey](), frozenset(map(entry_key, agenda.history("w1")))
        assert agenda.put(event).outcomes == {"w1": Outcome.UNCHANGED}
        second.acknowledge()
        log.written, log.content = [empty, there], [nothing_yet, content_of(agenda.store)]
        steps = list(second.steps)
    second.unregister()
    tally = examined(folder, {}, steps, log, Choice(seed=SEED, first=len(steps) - 1))
    assert tally.looks > 0
    assert_unharmed(tally, SEED)


def recovered(recorder: Recorder, found: Files, told: Log, acknowledged: int) -> tuple[Log, bool]:
    """Start again, recorded, on the files that a first crash left, and fire all that is due.

    Returns what callers have been told by then, from what was there at the start on or (if the recorder goes on
    with a trace) from the trace's begin; and whether the operation that the crash cut off was found done.
    """
    lay_out(recorder.path, found)
    clock = ManualClock(AFTER)
    goes_on = bool(recorder.steps)
    with Agenda(BusyStore(recorder.path, vfs=recorder.vfs), time_zone="UTC", clock=clock) as agenda:
        store = agenda.store
        place = acknowledged + (content_of(store) != told.content[acknowledged])
        assert content_of(store) == told.content[place]
        since = 0 if goes_on else place
        log = Log(told.written[since : place + 1], told.content[since : place + 1])
        store.heartbeat("next", "host", 2, AFTER)
        # The operation found done was certain, and counts as acknowledged, once the next commit was flushed.
        for _ in range(place + 1 - acknowledged if goes_on else 1):
            recorder.acknowledge()
        log.add((), store)
        while entries := fire_on(store, AFTER, most=4):
            recorder.acknowledge()
            log.add(entries, store)
    recorder.unregister()
    return log, place > acknowledged


# -- the machinery itself -------------------------------------------------------------------------------------


def test_what_was_flushed_is_certain_and_the_rest_is_not() -> None:
    disk = Disk.holding({DATABASE: b"old!"})
    disk.take(Written(0, 0, b"new"))
    disk.take(Flushed(0, folder=False))
    disk.take(Written(0, 3, b"?or not"))
    assert disk.left([], 0) == {DATABASE: b"new!"}
    assert disk.left(disk.changes, 0) == {DATABASE: b"new?or not"}


def test_a_write_beyond_the_end_leaves_zeros_before_it_and_a_cut_takes_the_rest() -> None:
    disk = Disk.holding({DATABASE: b"ab"})
    assert disk.left([Written(0, 4, b"e")], 0) == {DATABASE: b"ab\0\0e"}
    assert disk.left([Resized(0, 1)], 0) == {DATABASE: b"a"}
    assert disk.left([Resized(0, 3)], 0) == {DATABASE: b"ab\0"}


def test_a_new_file_has_no_name_until_its_folder_is_flushed() -> None:
    disk = Disk.holding({WAL: b"the old one"})
    for step in (Created(WAL, 7), Written(7, 0, b"the new one"), Flushed(7, folder=False)):
        disk.take(step)
    assert disk.left([], 0) == {WAL: b"the old one"}
    disk.take(Flushed(7, folder=True))
    assert disk.left([], 0) == {WAL: b"the new one"}


def test_a_torn_write_ends_at_the_border_of_a_sector() -> None:
    assert torn(Written(0, 0, bytes(4096))) == Written(0, 0, bytes(2048))
    assert torn(Written(0, 56, bytes(4096))) == Written(0, 56, bytes(2048 - 56))
    assert torn(Written(0, 500, bytes(24))) == Written(0, 500, bytes(12))
    assert torn(Written(0, 32, bytes(24))) is None


def test_the_sectors_of_a_write_are_the_write() -> None:
    write = Written(3, 500, random.Random(SEED).randbytes(1100))
    pieces = [piece for piece in in_sectors(write) if isinstance(piece, Written)]
    assert [piece.offset for piece in pieces] == [500, 512, 1024, 1536]
    assert b"".join(piece.data for piece in pieces) == write.data
