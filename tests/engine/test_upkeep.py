"""Upkeep: signs of life, and an audit that goes round the store page by page and sets right what it can."""

from __future__ import annotations

import asyncio
import logging
import os
import platform

import pytest
from typing_extensions import override

from duly.engine.upkeep import AUDIT_PAGE, FINDINGS_KEPT, FORGET_NODES_US, HEARTBEAT_US, UpkeepStep
from duly.stores.audit import AuditPage
from duly.stores.store import NodeRow
from tests.builders import DAY, HOUR, MINUTE, T0, event
from tests.engine.stage import KeptStore, Stage, falsify


def upkeep(stage: Stage, *, audits: bool = True) -> UpkeepStep:
    return UpkeepStep(
        store=stage.store,
        clock=stage.clock,
        node="n1",
        threads=stage.firing.threads,
        watch=stage.watch,
        audits=lambda: audits,
    )


def beat(step: UpkeepStep) -> int | None:
    return asyncio.run(step.run_once())


def started(count: int = 1) -> Stage:
    """Return a stage on which so many events have started."""
    stage = Stage()
    stage.put(*(event(f"w{n:04}", event_start=T0 - HOUR, event_end=T0 + HOUR) for n in range(count)))
    stage.fire()
    return stage


def test_every_beat_says_that_the_node_is_alive() -> None:
    stage = Stage()
    step = upkeep(stage)
    assert beat(step) == T0 + HEARTBEAT_US
    stage.clock.advance(HEARTBEAT_US)
    assert beat(step) == T0 + 2 * HEARTBEAT_US
    [node] = stage.store.nodes()
    assert node == NodeRow("n1", platform.node(), os.getpid(), T0, T0 + HEARTBEAT_US, None, owner=True)


def test_an_audit_of_a_sound_store_finds_nothing_and_writes_nothing() -> None:
    stage = started(3)
    entries = stage.entries()
    step = upkeep(stage)
    for _ in range(3):
        beat(step)
    assert list(step.findings) == []
    assert stage.entries() == entries


def test_the_audit_goes_round_page_by_page_for_ever() -> None:
    stage = started(AUDIT_PAGE + 1)
    step = upkeep(stage)
    falsify(stage.store, "UPDATE event SET status = 'completed/event_ended' WHERE id = 'w0200'")
    beat(step)
    assert (list(step.findings), step.rounds) == ([], 0)
    beat(step)
    assert [finding.event_id for finding in step.findings] == ["w0200"]
    beat(step)
    assert step.rounds == 1
    falsify(stage.store, "UPDATE event SET status = 'completed/event_ended' WHERE id = 'w0000'")
    beat(step)
    assert [finding.event_id for finding in step.findings] == ["w0200", "w0000"]
    stage.assert_sound()


def test_a_falsified_status_is_repaired_recorded_and_told(caplog: pytest.LogCaptureFixture) -> None:
    stage = started()
    falsify(stage.store, "UPDATE event SET status = 'completed/event_ended'")
    step = upkeep(stage)
    with caplog.at_level(logging.ERROR, logger="duly.engine"):
        beat(step)
    assert "its status is 'completed/event_ended', must be 'ongoing/event_started'" in caplog.text
    entry = stage.entries()[-1]
    assert (entry.kind, entry.to_status, entry.node) == ("repaired", "ongoing/event_started", "n1")
    assert entry.details["found"] == "completed/event_ended"
    stage.assert_sound()


@pytest.mark.parametrize("alarm", ["NULL", str(T0 + DAY), "0"])
def test_a_falsified_alarm_is_repaired_so_that_the_trigger_fires_on_time(alarm: str) -> None:
    stage = started()
    falsify(stage.store, f"UPDATE event SET next_due_at = {alarm}, pending = 7")
    beat(upkeep(stage))
    row = stage.store.get_event("w0000")
    assert (row.next_due_us, row.pending) == (T0 + HOUR, 1)
    stage.clock.advance(HOUR)
    stage.fire()
    stage.assert_sound()


def test_what_cannot_be_repaired_is_told_and_left_alone() -> None:
    stage = started(2)
    falsify(stage.store, "UPDATE event SET lifecycle_hash = 'unheard of' WHERE id = 'w0000'")
    falsify(stage.store, "UPDATE event SET dates = 'no json' WHERE id = 'w0001'")
    step = upkeep(stage)
    beat(step)
    assert {finding.event_id for finding in step.findings} == {"w0000", "w0001"}
    assert not any(finding.repairable for finding in step.findings)


class FiringMeanwhile(KeptStore):
    """The trigger fires between the audit's first look and its second, under the write lock."""

    stage: Stage | None = None

    @override
    def audit(self, *args: object, repair: bool, **kwargs: object) -> AuditPage:
        page = super().audit(*args, repair=repair, **kwargs)  # type: ignore[arg-type]
        if self.stage is not None:
            falsify(self, "UPDATE event SET status = 'ongoing/event_started'")
            self.stage = None
        return page


def test_what_has_righted_itself_by_the_second_look_is_neither_repaired_nor_told() -> None:
    store = FiringMeanwhile()
    stage = Stage(store=store)
    stage.put_one("w1", event_start=T0 - HOUR, event_end=T0 + HOUR)
    stage.fire()
    falsify(store, "UPDATE event SET status = 'completed/event_ended'")
    store.stage = stage
    step = upkeep(stage)
    beat(step)
    assert list(step.findings) == []
    assert [entry.kind for entry in stage.entries()] == ["created", "fired"]
    stage.assert_sound()


def test_a_node_that_does_not_audit_only_beats() -> None:
    stage = started()
    falsify(stage.store, "UPDATE event SET status = 'completed/event_ended'")
    step = upkeep(stage, audits=False)
    beat(step)
    assert (list(step.findings), step.rounds) == ([], 0)
    assert stage.store.nodes()[0].seen_us == T0


def test_an_event_that_is_set_aside_is_not_touched_by_the_audit() -> None:
    stage = started()
    falsify(stage.store, "UPDATE event SET lifecycle_hash = 'unheard of'")
    stage.clock.advance(HOUR)
    stage.fire()
    step = upkeep(stage)
    beat(step)
    assert list(step.findings) == []


def test_nodes_are_forgotten_a_week_after_they_were_last_seen() -> None:
    stage = Stage()
    stage.store.heartbeat("old", "host", 1, T0 - FORGET_NODES_US - 1)
    stage.store.heartbeat("recent", "host", 2, T0 - FORGET_NODES_US)
    beat(upkeep(stage))
    assert {node.id for node in stage.store.nodes()} == {"n1", "recent"}


def test_a_wrong_clock_forgets_no_nodes_and_leaves_no_signs_of_life_from_the_future() -> None:
    stage = Stage()
    stage.store.heartbeat("other", "host", 1, T0)
    step = upkeep(stage)
    stage.watch.look()
    beat(step)
    stage.clock.set(T0 + 30 * DAY)
    stage.watch.look()
    assert beat(step) is None
    assert {(node.id, node.seen_us) for node in stage.store.nodes()} == {("n1", T0), ("other", T0)}


def test_only_the_latest_findings_are_kept() -> None:
    stage = started(FINDINGS_KEPT + 20)
    falsify(stage.store, "UPDATE event SET status = 'completed/event_ended'")
    step = upkeep(stage)
    beat(step)
    assert len(step.findings) == FINDINGS_KEPT
    stage.clock.advance(MINUTE)
    stage.assert_sound()
