"""Misfires recovered per second on SQLite, beside the raw SQL floor of the very same rows; idle precision; a million.

    python benchmarks/recovery.py                 recovery, with and without a handler, floors, idle precision
    python benchmarks/recovery.py --million       also with a million pending triggers: put, start-up, memory, firing
    python benchmarks/recovery.py --profile       also what a recovery with a handler is spent on
    python benchmarks/recovery.py --json          the same as one JSON document

The floor runs the product's own statements with the product's own parameters, recorded from a recovery, against a
copy of the store as it was before: same reads, same rows written, same number of commits, no Duly. With a handler,
that includes the deliveries, their attempts and their settling. "Per cpu second" counts the processor time of the
whole process, which other work on the machine disturbs less than the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
from typing_extensions import override

from duly import Event, Scheduler
from duly.stores.sqlite import SqliteStore
from duly.stores.statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterator

MILESTONES = (
    "registration_open",
    "registration_close",
    "event_start",
    "event_end",
    "certificate_start",
    "certificate_end",
)


def events(count: int, first: datetime, *, spread: timedelta, prefix: str = "event") -> list[Event]:
    """Make events of six dates each, a minute apart within each, spread over a stretch of time."""
    step = spread / max(1, count)
    return [
        Event(
            f"{prefix}-{number:07d}",
            name=f"Event {number}",
            dates={name: first + step * number + timedelta(minutes=place) for place, name in enumerate(MILESTONES)},
        )
        for number in range(count)
    ]


class Recorder(SqliteStore):
    """A store that notes every statement of its firings and settlings, by transaction, with the parameters."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.noted: list[list[tuple[str, Any, bool]]] = []
        self._here = threading.local()

    @override
    def write(self, verb: Any) -> Any:
        """Begin a new list for each transaction; keep it if it was one that counts."""
        statements_here: list[tuple[str, Any, bool]] = []
        self._here.statements = statements_here
        try:
            return super().write(verb)
        finally:
            self._here.statements = None
            if any(name in COUNTED for name, _, _ in statements_here):
                self.noted.append(statements_here)

    @override
    def _drive(self, connection: apsw.Connection, verb: Any) -> Any:
        here = getattr(self._here, "statements", None)

        def noting() -> Any:
            statement = next(verb)
            while True:
                if here is not None:
                    here.append((statement.name, statement.params, statement.many))
                rows = yield statement
                try:
                    statement = verb.send(rows)
                except StopIteration as done:
                    return done.value

        return super()._drive(connection, noting())


COUNTED = ("claim_fresh", "claim_backlog", "insert_delivery", "open_tokens", "claim_deliveries")


def floor(path: Path, noted: list[list[tuple[str, Any, bool]]]) -> float:
    """Run the noted statements with nothing around them; return the seconds that they take."""
    sql = statements("sqlite")
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    gc.collect()
    began = time.perf_counter()
    for transaction in noted:
        connection.execute("BEGIN IMMEDIATE")
        for name, params, many in transaction:
            if many:
                connection.executemany(sql[name], params)
            else:
                connection.execute(sql[name], params).fetchall()
        connection.execute("COMMIT")
    took = time.perf_counter() - began
    connection.close()
    return took


async def told(store: str | SqliteStore, count: int) -> tuple[float, float]:
    """Start on a store full of misfires, with a handler that does nothing; return seconds and CPU seconds.

    Until the last delivery is settled.
    """
    scheduler = Scheduler(store)
    settled = 0
    done = asyncio.Event()

    @scheduler.on("*", name="nothing")
    async def nothing(_: object) -> None:
        pass

    def note_settled(tellings: Any) -> None:
        nonlocal settled
        settled += len(tellings)
        if settled >= count:
            done.set()

    scheduler.on_settled(note_settled)
    await scheduler.open()
    gc.collect()
    began, began_cpu = time.perf_counter(), time.process_time()
    await scheduler.start()
    await asyncio.wait_for(done.wait(), 300)
    took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    await scheduler.stop()
    return took, took_cpu


def handled(folder: Path, triggers: int, rounds: int) -> dict[str, object]:
    """Recover the same misfires with a handler each, durable; and run the floor of the same rows beside it."""
    seed = folder / "told-seed.db"
    now = datetime.now(UTC)
    count = triggers // 6 * 6
    scheduler = Scheduler(f"sqlite:///{seed}")
    asyncio.run(fill(scheduler, events(triggers // 6, now - timedelta(hours=20), spread=timedelta(hours=18))))
    ours, raw, cpu = [], [], []
    for number in range(rounds):
        recorder = Recorder(copied(seed, folder / f"told-note-{number}.db"))
        asyncio.run(told(recorder, count))
        took, took_cpu = asyncio.run(told(f"sqlite:///{copied(seed, folder / f'told-{number}.db')}", count))
        ours.append(count / took)
        cpu.append(count / took_cpu)
        raw.append(count / floor(copied(seed, folder / f"told-floor-{number}.db"), recorder.noted))
    return {
        "triggers": count,
        "told_per_second": round(statistics.median(ours)),
        "told_per_cpu_second": round(statistics.median(cpu)),
        "floor_per_second": round(statistics.median(raw)),
        "ratio_to_floor": round(statistics.median(a / b for a, b in zip(ours, raw, strict=True)), 3),
    }


def profiled(folder: Path, triggers: int) -> dict[str, object]:
    """Recover once more with a handler each, and say on what the processor's time is spent, by room of the house.

    Every thread is profiled by its own processor time. Profiling itself costs something, more where functions are
    small: the shares are a guide, not a measurement.
    """
    seed = folder / "profile-seed.db"
    now = datetime.now(UTC)
    asyncio.run(
        fill(
            Scheduler(f"sqlite:///{seed}"),
            events(triggers // 6, now - timedelta(hours=20), spread=timedelta(hours=18)),
        )
    )
    profiles = [cProfile.Profile(time.thread_time)]
    run = threading.Thread.run

    def profiled_run(thread: threading.Thread) -> None:
        profiles.append(cProfile.Profile(time.thread_time))
        profiles[-1].runcall(run, thread)

    setattr(threading.Thread, "run", profiled_run)  # noqa: B010 - for this one run
    try:
        profiles[0].runcall(asyncio.run, told(f"sqlite:///{seed}", triggers // 6 * 6))
    finally:
        setattr(threading.Thread, "run", run)  # noqa: B010
    seconds: dict[str, float] = defaultdict(float)
    for profile in profiles:
        for entry in profile.getstats():
            seconds[room_of(entry.code)] += entry.inlinetime
    total = sum(seconds.values())
    most = sorted(seconds.items(), key=lambda item: -item[1])[:16]
    return {room: f"{100 * spent / total:.1f} %" for room, spent in most}


def room_of(code: Any) -> str:
    """Return where a profiled function lives: a module of Duly's, SQLite, asyncio, or the rest of Python."""
    if isinstance(code, str):
        return "SQLite (apsw)" if "apsw" in code else "built-in functions"
    path = Path(code.co_filename)
    if "duly" in path.parts:
        return "/".join(path.parts[len(path.parts) - path.parts[::-1].index("duly") :])
    return path.parent.name if path.parent.name in {"asyncio", "json", "concurrent"} else "the rest of Python"


async def recover(path: Path) -> tuple[float, int]:
    """Start a scheduler on a store full of misfires; return seconds until `start` returned, and what it fired."""
    scheduler = Scheduler(f"sqlite:///{path}")
    await scheduler.open()
    gc.collect()
    began = time.perf_counter()
    report = await scheduler.start()
    took = time.perf_counter() - began
    await scheduler.stop()
    return took, report.successful


def recovery(folder: Path, triggers: int, rounds: int) -> dict[str, object]:
    """Recover the same misfires several times, and run the floor each time beside it."""
    seed = folder / "seed.db"
    now = datetime.now(UTC)
    scheduler = Scheduler(f"sqlite:///{seed}")
    asyncio.run(fill(scheduler, events(triggers // 6, now - timedelta(hours=20), spread=timedelta(hours=18))))
    ours, raw = [], []
    fired = 0
    for number in range(rounds):
        noted = note(copied(seed, folder / f"note-{number}.db"))
        took, fired = asyncio.run(recover(copied(seed, folder / f"ours-{number}.db")))
        ours.append(fired / took)
        raw.append(fired / floor(copied(seed, folder / f"floor-{number}.db"), noted))
    return {
        "triggers": fired,
        "recovered_per_second": round(statistics.median(ours)),
        "floor_per_second": round(statistics.median(raw)),
        "ratio_to_floor": round(statistics.median(a / b for a, b in zip(ours, raw, strict=True)), 3),
    }


def note(path: Path) -> list[list[tuple[str, Any, bool]]]:
    """Recover once, noting the statements."""

    async def run() -> list[list[tuple[str, Any, bool]]]:
        store = Recorder(path)
        scheduler = Scheduler(store)
        await scheduler.start()
        await scheduler.stop()
        return [transaction for transaction in store.noted if transaction]

    return asyncio.run(run())


def copied(source: Path, target: Path) -> Path:
    """Copy a store that nobody has open."""
    shutil.copy(source, target)
    return target


async def fill(scheduler: Scheduler, batch: list[Event]) -> float:
    """Put events and close; return the seconds of the put alone."""
    await scheduler.open()
    began = time.perf_counter()
    await scheduler.put(batch, known_for=None)
    took = time.perf_counter() - began
    await scheduler.stop()
    return took


async def idle(folder: Path, triggers: int) -> dict[str, object]:
    """Let triggers fall due one by one on an idle scheduler; return the lateness at commit."""
    scheduler = Scheduler(f"sqlite:///{folder / 'idle.db'}")
    lateness: list[float] = []
    done = asyncio.Event()

    def note_lateness(entries: Any) -> None:
        committed = time.time()
        lateness.extend(committed - entry.due_us / 1_000_000 for entry in entries if entry.is_transition)
        if len(lateness) >= triggers:
            done.set()

    await scheduler.start()
    scheduler.on_commit(note_lateness)
    first = datetime.now(UTC) + timedelta(seconds=1)
    await scheduler.put(
        [
            Event(f"idle-{n:04d}", dates={"registration_open": first + timedelta(milliseconds=53 * n)})
            for n in range(triggers)
        ]
    )
    await asyncio.wait_for(done.wait(), 60 + triggers)
    await scheduler.stop()
    lateness.sort()
    return {
        "triggers": len(lateness),
        "early": sum(1 for late in lateness if late < 0),
        "lateness_p50_ms": round(statistics.median(lateness) * 1000, 2),
        "lateness_p99_ms": round(lateness[int(len(lateness) * 0.99) - 1] * 1000, 2),
        "lateness_most_ms": round(lateness[-1] * 1000, 2),
    }


def million(folder: Path, triggers: int) -> dict[str, object]:
    """Put a million triggers, start on them, fire some: rates, seconds, memory."""
    path = folder / "million.db"
    count = triggers // 6
    soon = datetime.now(UTC) + timedelta(days=2)
    took = sum(asyncio.run(fill(Scheduler(f"sqlite:///{path}"), batch)) for batch in many(count, soon))
    start, memory = asyncio.run(started(path))
    among: list[float] = []
    alone: list[float] = []
    for number in range(5):
        # The same late events beside the million and beside ten thousand, in turn.
        now = datetime.now(UTC)
        late = events(20_000 // 6, now - timedelta(hours=2), spread=timedelta(hours=1), prefix=f"late-{number}")
        small = folder / f"small-{number}.db"
        asyncio.run(fill(Scheduler(f"sqlite:///{small}"), next(many(10_000 // 6, soon))))
        for store, rates in ((path, among), (small, alone)):
            asyncio.run(fill(Scheduler(f"sqlite:///{store}"), late))
            seconds, fired = asyncio.run(recover(store))
            rates.append(fired / seconds)
    return {
        "triggers": count * 6,
        "put_per_second": round(count * 6 / took),
        "start_seconds": round(start, 3),
        "resident_mb": round(memory, 1),
        "fired_per_second_among_them": round(statistics.median(among)),
        "fired_per_second_among_10_000": round(statistics.median(alone)),
        "ratio": round(statistics.median(a / b for a, b in zip(among, alone, strict=True)), 3),
    }


def many(count: int, first: datetime) -> Iterator[list[Event]]:
    """Yield events in batches of ten thousand, all their dates to come."""
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        yield events(size, first + timedelta(seconds=start), spread=timedelta(days=300), prefix=f"m{start:07d}")


async def started(path: Path) -> tuple[float, float]:
    """Start on a full store in this process; return the seconds, and the resident memory of a fresh process."""
    scheduler = Scheduler(f"sqlite:///{path}")
    began = time.perf_counter()
    await scheduler.start()
    took = time.perf_counter() - began
    await scheduler.stop()
    code = (
        "import asyncio, resource\nfrom duly import Scheduler\n"
        f"async def main():\n    s = Scheduler('sqlite:///{path}')\n    await s.start()\n"
        "    await s.status()\n    await s.stop()\n"
        "asyncio.run(main())\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return took, float(out)


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triggers", type=int, default=20_000, help="misfires to recover (six per event)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle", type=int, default=200, help="triggers that fall due one by one")
    parser.add_argument("--profile", action="store_true", help="also what a recovery with a handler is spent on")
    parser.add_argument("--million", action="store_true", help="also with a million pending triggers")
    parser.add_argument("--pending", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="duly-benchmark-") as name:
        folder = Path(name)
        result: dict[str, object] = {"recovery": recovery(folder, asked.triggers, asked.rounds)}
        result["recovery_with_a_handler"] = handled(folder, asked.triggers, asked.rounds)
        result["idle"] = asyncio.run(idle(folder, asked.idle))
        if asked.profile:
            result["profile"] = profiled(folder, asked.triggers)
        if asked.million:
            result["million"] = million(folder, asked.pending)
    if asked.json:
        print(json.dumps(result, indent=2))
        return
    for part, figures in result.items():
        print(part)
        for key, value in figures.items():  # type: ignore[attr-defined]
            print(f"  {key.replace('_', ' '):36} {value:>12}")


if __name__ == "__main__":
    main()
