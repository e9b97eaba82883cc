"""kill -9, errors and stalls at every named point of a delivery's life: none lost, none made up, in order, each under one id.

DULY_TORTURE=full   100 kills, and every point stalled, instead of a kill and an error at each
DULY_SEED=…         the same random choices again (the seed of each run is printed)
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from duly.model.delivery import State
from tests.builders import SECOND, event
from tests.torture.nodes import CLOCK, Node
from tests.torture.sabotage import AT_THE_START, IN_A_TRANSACTION, KILL, POINTS, RAISE, STALL, TAKING_OVER
from tests.torture.telling_node import DEADLY, RETRY
from tests.torture.telling_stage import PATIENCE, Stage, stage_on, stolen

pytestmark = pytest.mark.torture

FULL: Final = os.environ.get("DULY_TORTURE") == "full"
KILLS: Final = 100 if FULL else len(POINTS) + 3
# A point that is not reached within so long is tried again later, in another life.
REACHED_WITHIN: Final = 4 * SECOND
SHORT_LEASE: Final = SECOND
AT_RANDOM: Final = "at random"
# At the start a node that fails ends; it is for whoever starts it to start it again.
IN_THE_LOOP: Final = tuple(point for point in POINTS if point not in (*AT_THE_START, *TAKING_OVER))


def seed_for(test: str) -> int:
    seed = int(os.environ.get("DULY_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"{test}: DULY_SEED={seed}")  # noqa: T201 - the way back to a failure
    return seed


def killed(stage: Stage, node: Node, point: str) -> bool:
    """Live until the process has killed itself at a point, or kill it; return whether it was as planned."""
    dice = stage.feed.dice
    if point == AT_RANDOM:
        stage.go_on(lambda: not node.is_alive, within=dice.randrange(50_000, 900_000))
    elif stage.go_on(lambda: not node.is_alive, within=REACHED_WITHIN):
        assert stage.struck(node, point), "it ended by itself"
        stage.hits["kills"] += 1
        stage.hits[point] += 1
        return True
    node.kill()
    stage.hits["kills"] += 1
    return point == AT_RANDOM


def plan_of(dice: random.Random, count: int) -> list[str]:
    """Return at least so many points, each of the named ones at least once, in random order."""
    rest = count - len(POINTS)
    plan = [*POINTS, *(AT_RANDOM if dice.random() < 0.5 else dice.choice(POINTS) for _ in range(rest))]
    dice.shuffle(plan)
    return plan


def kill_again_and_again(stage: Stage, plan: Sequence[str]) -> None:
    dice, left = stage.feed.dice, list(plan)
    standby: Node | None = None
    for _ in range(2 * len(plan)):
        if not left:
            break
        point = left.pop(0)
        node = standby or stage.start({point: (KILL, 1 if point in AT_THE_START else dice.randint(1, 4))})
        if standby is not None:
            left.insert(0, point)
            point = AT_RANDOM
        # Now and then somebody stands by, and takes over from whoever is killed.
        standby = stage.start() if standby is None and dice.random() < 0.15 else None
        if not killed(stage, node, point):
            left.append(point)
        stage.note(node)
        if standby is not None:
            stage.hits["standbys"] += 1
            assert stage.go_on(lambda node=standby: node.said("owns"), within=PATIENCE)  # type: ignore[misc]
    assert not left, f"never reached: {left}"
    if standby is not None:
        standby.kill()


def test_a_delivering_node_killed_at_every_point_loses_nothing_makes_nothing_up_and_keeps_the_order(
    tmp_path: Path,
) -> None:
    seed = seed_for("test_kill_deliveries")
    with stage_on(tmp_path, seed) as stage:
        kill_again_and_again(stage, plan_of(stage.feed.dice, KILLS))
        stage.drain(stage.start())
        found = stage.judged()
    hits = stage.hits
    print(f"{dict(hits)}; {stage.feed.put} events, edits {dict(stage.feed.edits)}")  # noqa: T201
    assert found == []
    # A run that hit nothing shows nothing.
    assert hits["kills"] >= KILLS
    assert {point for point in POINTS if hits[point]} == set(POINTS)
    assert hits["receiver died"] >= KILLS // 10
    assert min(hits["retries"], hits["dead"], hits["withdrawn"], hits["heard twice"]) > 0
    assert hits["lost attempts"] >= KILLS // 4
    assert hits["delivered"] > 30 * KILLS
    assert all(stage.feed.edits[what] for what in ("move", "cancel", "resume", "remove"))


def test_an_error_at_every_point_is_outlived_and_nothing_is_lost_by_it(tmp_path: Path) -> None:
    seed = seed_for("test_errors")
    with stage_on(tmp_path, seed) as stage:
        dice = stage.feed.dice
        for point in AT_THE_START:
            # Something is overdue, so that there is something to recover.
            stage.go_on(lambda: False, within=SECOND // 4)
            node = stage.start({point: (RAISE, 1)})
            assert stage.go_on(lambda node=node: not node.is_alive, within=PATIENCE)  # type: ignore[misc]
            assert stage.struck(node, point)
            stage.note(node)
        # What a killed node had begun is there to be taken over.
        victim = stage.start({"send.after": (KILL, 1)})
        assert stage.go_on(lambda: not victim.is_alive, within=PATIENCE)
        heir = stage.start(dict.fromkeys(TAKING_OVER, (RAISE, 1)))
        assert stage.go_on(lambda: all(stage.struck(heir, point) for point in TAKING_OVER), within=PATIENCE)
        assert heir.stop() == 0
        stage.note(heir)
        faults = {point: (RAISE, dice.randint(1, 8)) for point in IN_THE_LOOP}
        node = stage.start(faults, from_the_start=False, lease_us=SHORT_LEASE)
        hit = stage.go_on(lambda: all(stage.struck(node, point) for point in IN_THE_LOOP), within=PATIENCE)
        assert hit, f"never reached: {[point for point in IN_THE_LOOP if not stage.struck(node, point)]}"
        # The very process in which all that was raised tells everything in the end.
        assert node.is_alive
        stage.drain(node)
        found = stage.judged()
    print(f"{dict(stage.hits)}; {stage.feed.put} events")  # noqa: T201
    assert found == []


def stall(stage: Stage, point: str) -> int:
    """Have a node stop itself at a point for longer than its lease, and another one take over what it held.

    Returns how many deliveries the other one made. The node goes on then, and lives.
    """
    node = stage.start({point: (STALL, 2 if point not in AT_THE_START else 1)}, lease_us=SHORT_LEASE)
    assert stage.go_on(lambda: stage.struck(node, point), within=PATIENCE), f"never reached: {point}"
    stage.hits[point] += 1
    stage.nodes.pause(SHORT_LEASE + SECOND // 10)
    count = 0 if point in IN_A_TRANSACTION else stolen(stage)
    node.thaw()
    stage.go_on(lambda: False, within=SECOND // 2)
    stage.drain(node)
    stage.witness.misbehaves = True
    return count


def test_a_node_that_stalls_past_its_lease_changes_nothing_of_what_another_has_told(tmp_path: Path) -> None:
    seed = seed_for("test_stalls")
    points = [point for point in POINTS if point not in TAKING_OVER] if FULL else ["send.before"]
    with stage_on(tmp_path, seed) as stage:
        taken = sum(stall(stage, point) for point in points)
        # In the end, whatever chance has made of the others: one that has lost its leases for certain.
        while not stage.hits["stale settles"]:
            taken += stall(stage, "send.before")
        found = stage.judged()
    print(f"{dict(stage.hits)}; {taken} deliveries were taken over")  # noqa: T201
    assert found == []
    assert taken > 0
    assert stage.hits["stale settles"] > 0


def test_a_delivery_that_kills_its_process_again_and_again_ends_dead_and_takes_no_other_along(tmp_path: Path) -> None:
    with stage_on(tmp_path, seed_for("test_deadly")) as stage:
        stage.witness.misbehaves = False
        now = CLOCK.now()
        others = [event(f"w{n:03}", event_start=now, event_end=now + 1) for n in range(100)]
        stage.agenda.put([event(f"{DEADLY}-1", event_start=now, event_end=now + 1), *others], known_for=None)
        node = stage.start()
        while not stage.is_quiet():
            assert stage.hits["kills"] < 5 * RETRY.attempts
            assert stage.nodes.hear(lambda node=node: not node.is_alive or stage.is_quiet(), within=PATIENCE)  # type: ignore[misc]
            if not node.is_alive:
                stage.hits["kills"] += 1
                node = stage.start()
        stage.drain(node)
        found = stage.judged()
        dead = stage.agenda.store.outbox.deliveries(state=State.DEAD, most=1000)
        lost = stage.agenda.store.outbox.attempts([each.number for each in dead])
    print(f"{dict(stage.hits)}")  # noqa: T201
    assert found == []
    innocent = [each for each in dead if each.event_id != f"{DEADLY}-1"]
    assert innocent == [], [[attempt.outcome for attempt in tries] for tries in lost.values()]
    assert stage.hits["kills"] >= RETRY.attempts


def mutated(folder: Path, mutant: str) -> list[str]:
    """Return what the judge finds wrong with a mutant, after a short run."""
    with stage_on(folder, seed_for(mutant), mutant=mutant) as stage:
        if mutant == "no_fence":
            # Whoever stalls with the write lock held is not robbed of anything: then it is tried once more.
            for point in ("transact.before_begin", "send.before", "transact.before_begin", "send.before"):
                stall(stage, point)
                if found := stage.judged():
                    return found
        else:
            point = "mutant.gap" if mutant == "late_births" else AT_RANDOM
            node = stage.start({point: (KILL, 3)})
            stage.go_on(lambda: not node.is_alive, within=2 * SECOND)
            node.kill()
            stage.note(node)
            stage.drain(stage.start())
        return stage.judged()


MUTANTS: Final = {
    "no_order": ("I12: ",),
    "no_fence": ("I9: ", "P11: ", "I8: "),
    "late_births": ("I7: ",),
    "settled_first": ("P8: ",),
    "new_ids": ("P8: ",),
}


@pytest.mark.parametrize("mutant", MUTANTS if FULL else ["no_order", "no_fence"])
def test_a_broken_product_is_caught(mutant: str, tmp_path: Path) -> None:
    found = mutated(tmp_path, mutant)
    print(f"{mutant}: {len(found)} faults, as {found[:1]}")  # noqa: T201
    assert any(rule in sentence for rule in MUTANTS[mutant] for sentence in found), found
