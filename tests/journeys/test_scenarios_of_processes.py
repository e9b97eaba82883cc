"""The scenarios of SCENARIOS.md that need real processes and real time, judged by the history that they leave."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duly import Event, Scheduler
from duly.model.history import Entry
from tests.builders import DAY, HOUR, SECOND, event
from tests.engine.stage import in_a_loop
from tests.torture.nodes import CLOCK, ROOT, Nodes, agenda_on, entries_in, judged, nodes_on

MISFIRES = 102_000 if os.environ.get("DULY_TORTURE") == "full" else 30_000
LATENESS_MOST = 250_000
MILESTONES = (
    "registration_open",
    "registration_close",
    "event_start",
    "event_end",
    "certificate_start",
    "certificate_end",
)


def best_of(tries: int, measured: Callable[[int], int], *, most: int) -> None:
    """Measure until it is good enough, a few times at most: a busy machine may spoil one, a defect spoils all."""
    found = []
    for attempt in range(tries):
        found.append(measured(attempt))
        if found[-1] <= most:
            return
    pytest.fail(f"at best {min(found)} µs, at most {most} are allowed: {found}")


def lateness(entry: Entry) -> int:
    assert entry.due_us is not None
    return entry.at_us - entry.due_us


def test_scenario_20_a_trigger_that_another_process_adds_fires_within_250_ms(tmp_path: Path) -> None:
    def measured(attempt: int) -> int:
        store = tmp_path / f"{attempt}.db"
        with agenda_on(store) as agenda, nodes_on(store) as nodes:
            now = CLOCK.now()
            agenda.put(event("far", event_start=now + 5 * HOUR, event_end=now + 6 * HOUR))
            owner = nodes.start()
            assert nodes.hear(lambda: owner.said("recovered"), within=20 * SECOND)
            nodes.pause(SECOND // 2)  # by now it naps
            agenda.put(event("near", event_start=CLOCK.now() + SECOND // 5, event_end=now + 5 * HOUR))
            assert nodes.hear(lambda: owner.said("entry"), within=10 * SECOND)
            assert owner.stop() == 0
            fired = agenda.store.history("near")[-1]
        assert (fired.milestone, fired.cause, fired.node) == ("event_start", "scheduled", owner.name)
        assert lateness(fired) >= 0
        return lateness(fired)

    best_of(3, measured, most=LATENESS_MOST)


def all_fired(nodes: Nodes, count: int) -> Callable[[], bool]:
    """Say whether so many transitions have been told by whichever nodes."""

    def told() -> bool:
        said = {
            (line["event"], line["milestone"])
            for node in nodes.nodes
            for line in node.lines
            if line["line"] == "entry"
        }
        return len(said) >= count

    return told


def test_scenario_25_four_workers_on_one_file_and_the_owner_killed(tmp_path: Path) -> None:
    def measured(attempt: int) -> int:
        store = tmp_path / f"{attempt}.db"
        with agenda_on(store) as agenda, nodes_on(store) as nodes:
            workers = [nodes.start() for _ in range(4)]
            assert nodes.hear(lambda: sum(w.said("recovered") for w in workers) == 1, within=30 * SECOND)
            assert nodes.hear(lambda: sum(w.said("standby") for w in workers) == 3, within=30 * SECOND)
            [owner] = [worker for worker in workers if worker.said("recovered")]
            first = CLOCK.now() + SECOND // 2
            # one trigger every 3 ms
            agenda.put([event(f"w{n:04}", event_start=first + n * 3000, event_end=first + DAY) for n in range(1000)])
            assert nodes.hear(all_fired(nodes, 300), within=20 * SECOND)
            owner.kill()
            killed_at = CLOCK.now()
            left = agenda.counts().events * 2 - 1000  # the ends, tomorrow, are all that must remain
            assert nodes.hear(lambda: agenda.counts().pending == left, within=20 * SECOND)
            standbys = {worker.name: worker for worker in workers if worker is not owner}
            for worker in standbys.values():
                assert worker.stop() == 0
        fired = [entry for entry in entries_in(store) if entry.is_transition]
        assert len(fired) == len({entry.event_id for entry in fired}) == 1000
        assert judged(store, quiet=True) == []
        after = [entry for entry in fired if entry.node != owner.name]
        assert {entry.node for entry in after} <= set(standbys)
        assert len({entry.node for entry in after}) == 1, "one standby goes on, not several"
        assert len(after) < 1000, "the owner had fired some"
        return after[0].at_us - killed_at

    best_of(3, measured, most=SECOND)


def backlog(count: int, before: int) -> list[Event]:
    """Return events of six misfires each, from some days ago."""

    def dates(n: int) -> dict[str, Any]:
        return {name: before - 3 * DAY + n * 1000 + place * HOUR for place, name in enumerate(MILESTONES)}

    return [event(f"old{n:06}", **dates(n)) for n in range(count // len(MILESTONES))]


async def recover_beside_fresh_ones(scheduler: Scheduler, misfires: int) -> None:
    """Start on a backlog of so many misfires, while ten events begin; return when all of them have."""
    await scheduler.put(backlog(misfires, CLOCK.now()), known_for=None)
    soon = CLOCK.now() + SECOND // 5
    await scheduler.put([event(f"fresh{n}", event_start=soon + n * 30_000, event_end=soon + DAY) for n in range(10)])
    report = await scheduler.start()
    assert (report.detected, report.failed) == (misfires, 0)
    await scheduler.settled()
    while (due := (await scheduler.status()).counts.next_due_us) is not None and due < soon + HOUR:
        await scheduler.settled()


def test_scenario_28_triggers_that_fall_due_during_a_large_recovery_do_not_wait_for_it(tmp_path: Path) -> None:
    @in_a_loop
    async def recovery(store: Path) -> None:
        scheduler = Scheduler(f"sqlite:///{store}")
        await recover_beside_fresh_ones(scheduler, MISFIRES)
        await scheduler.stop()

    def measured(attempt: int) -> int:
        store = tmp_path / f"{attempt}.db"
        recovery(store)
        fired = [entry for entry in entries_in(store) if entry.is_transition]
        fresh = [place for place, entry in enumerate(fired) if entry.event_id.startswith("fresh")]
        old = [entry for entry in fired if entry.event_id.startswith("old")]
        assert (len(fresh), len(old)) == (10, MISFIRES)
        assert fresh[0] < len(old), "at least the first must fall into the recovery, or nothing is shown"
        assert judged(store, quiet=True) == []
        # The events of a backlog are taken by their alarms, and within a batch all goes by the instant.
        assert_chronological(old)
        worst = max(lateness(fired[place]) for place in fresh)
        among = sum(place < len(old) for place in fresh)
        print(f"{MISFIRES} misfires; {among} of 10 fell into the recovery; the latest was {worst} µs late")  # noqa: T201
        return worst

    best_of(3, measured, most=LATENESS_MOST)


def assert_chronological(old: list[Entry]) -> None:
    firsts = [entry.due_us or 0 for entry in old if entry.milestone == MILESTONES[0]]
    assert firsts == sorted(firsts)
    batches: dict[int, list[tuple[int, str]]] = {}
    for entry in old:
        batches.setdefault(entry.at_us, []).append((entry.due_us or 0, entry.event_id))
    assert len(batches) > 1
    for batch in batches.values():
        assert batch == sorted(batch)


FORKING = """
    import asyncio, os, signal, sys
    from duly import BlockingScheduler, Event, Scheduler
    from duly.errors import WrongState

    url, lives_on = sys.argv[1], sys.argv[2] == "lives on"
    say = lambda *words: os.write(1, (" ".join(map(str, words)) + "\\n").encode())

    async def child(scheduler):
        for name, call in (("get", scheduler.get("w1")), ("put", scheduler.put(Event("w2"))), ("stop", scheduler.stop())):
            try:
                await asyncio.wait_for(call, 5)
                say("child", name, "went through")
            except WrongState as error:
                say("child", name, "refused")
            except TimeoutError:
                say("child", name, "hangs")
        another = Scheduler(url)
        try:
            await another.start()
            say("child", "another", "owner" if another.is_owner else "standby")
        except WrongState:
            say("child", "another refused")  # SQLite's locks do not survive a fork
        await another.stop()

    async def main():
        scheduler = Scheduler(url)
        await scheduler.start()
        say("started", os.getpid())
        pid = os.fork()
        if pid == 0:
            asyncio.run(child(scheduler))
            if lives_on:
                sys.stdin.readline()
            os._exit(0)
        if not lives_on:
            os.waitpid(pid, 0)
        say("forked", pid)
        await scheduler.put(Event("w1", dates={"event_start": "2020-01-01T00:00Z", "event_end": "2099-01-01T00:00Z"}),
                            known_for=None)
        await scheduler.settled()
        say("fired", len(await scheduler.history("w1")) - 1, "owner" if scheduler.is_owner else "standby")
        await asyncio.Event().wait()

    asyncio.run(main())
"""


@pytest.mark.parametrize("lives_on", ["exits", "lives on"])
def test_scenario_34_a_forked_child_harms_nothing_and_takes_nothing(tmp_path: Path, lives_on: str) -> None:
    store = tmp_path / "events.db"
    command = [sys.executable, "-c", textwrap.dedent(FORKING), f"sqlite:///{store}", lives_on]
    environment = {"PYTHONPATH": str(ROOT / "src")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    owner = subprocess.Popen(command, text=True, env=environment, **pipes)  # type: ignore[call-overload]
    try:
        said = [owner.stdout.readline().strip() for _ in range(7)]
        assert sorted(line for line in said if line.startswith("child")) == [
            "child another refused",
            "child get refused",
            "child put refused",
            "child stop refused",
        ]
        assert [line for line in said if line.startswith("fired")] == ["fired 1 owner"]
        with nodes_on(store) as nodes:
            standby = nodes.start()
            assert nodes.hear(lambda: standby.said("standby"), within=20 * SECOND)
            owner.kill()
            owner.wait()
            # whether the child lives on or not: the lock was the owner's alone
            assert nodes.hear(lambda: standby.said("recovered"), within=10 * SECOND)
            assert standby.stop() == 0
        assert judged(store, quiet=True) == []
    finally:
        owner.kill()
        owner.communicate()  # which lets a child that lives on read the end of its input


BLOCKING_FORK = """
    import os, sys
    from duly import BlockingScheduler
    from duly.errors import WrongState

    with BlockingScheduler(sys.argv[1]) as scheduler:
        pid = os.fork()
        if pid == 0:
            try:
                scheduler.events()
            except WrongState as error:
                print("refused:", error, flush=True)
            scheduler.stop()
            os._exit(0)
        os.waitpid(pid, 0)
        print(scheduler.status().role, flush=True)
"""


def test_scenario_34_a_forked_child_of_a_synchronous_program_is_refused_instead_of_hanging(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(BLOCKING_FORK), f"sqlite:///{tmp_path}/events.db"]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=30, env={"PYTHONPATH": str(ROOT / "src")}, check=True
    )
    refused, role = run.stdout.splitlines()
    assert "forked child" in refused
    assert role == "owner"
