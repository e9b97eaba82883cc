"""Ten thousand triggers due at one instant, the process up: how long after it the last handler has started.

    python benchmarks/spike.py                    rounds of the spike, on SQLite
    python benchmarks/spike.py --json             the same as one JSON document

Every event has one trigger and one async handler. "Committed" is when the last transition was, "started" when the
last handler was called, "settled" when the last delivery was written as delivered; all after the due instant. "Ready
before" is how long before it the last event had been put.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from duly import Event, Scheduler


async def spike(path: Path, count: int, *, lead: float) -> dict[str, float]:
    """Let `count` triggers fall due at one instant; return seconds after it."""
    scheduler = Scheduler(f"sqlite:///{path}")
    started: list[float] = []
    committed: list[float] = []
    settled: list[float] = []
    done = asyncio.Event()

    # As many at once as there can be: what is measured is the way to the handler, not how many are let in at a time.
    @scheduler.on("registration_open", name="announce", concurrency=1000)
    async def announce(_: object) -> None:
        started.append(time.time())

    def note_settled(told: Any) -> None:
        settled.extend([time.time()] * len(told))
        if len(settled) >= count:
            done.set()

    scheduler.on_commit(lambda entries: committed.extend([time.time()] * len(entries)))
    scheduler.on_settled(note_settled)
    async with scheduler:
        due = datetime.now(UTC) + timedelta(seconds=lead)
        events = [Event(f"spike-{n:06d}", dates={"registration_open": due}) for n in range(count)]
        for first in range(0, count, 1000):
            await scheduler.put(events[first : first + 1000])
        committed.clear()
        margin = due.timestamp() - time.time()
        await asyncio.wait_for(done.wait(), lead + 120)
    at = due.timestamp()
    return {
        "ready_before_s": margin,
        "first_started_s": min(started) - at,
        "last_committed_s": max(committed) - at,
        "last_started_s": max(started) - at,
        "last_settled_s": max(settled) - at,
        "handled": len(started),
    }


def main() -> None:
    """Run the rounds and print what they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--triggers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            path = Path(folder) / f"spike-{number}.db"
            found.append(asyncio.run(spike(path, given.triggers, lead=2 + given.triggers / 5000)))
    median = {name: round(statistics.median(each[name] for each in found), 3) for name in found[0]}
    if given.as_json:
        print(json.dumps({"triggers": given.triggers, "rounds": found, "median": median}))
        return
    print(f"{given.triggers} triggers due at one instant, {given.rounds} rounds, median seconds after it:")
    for name, seconds in median.items():
        print(f"  {name:<18} {seconds}")
    print(f"  last started, each round: {', '.join(str(round(each['last_started_s'], 3)) for each in found)}")


if __name__ == "__main__":
    main()
