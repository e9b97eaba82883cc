"""One node's turn: own or stand by, prepare, recover whenever nobody was there, and fire only on a clock that is believed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from typing_extensions import override

from duly.clock import STEADY_US
from duly.engine.recovery import SILENCE_US, Recovery, Report
from duly.engine.turn import Turn
from duly.errors import StoreBusy, StoreStopped
from duly.stores.sqlite import SqliteStore
from tests.builders import DAY, HOUR, MINUTE, SECOND, T0, event
from tests.engine.stage import FailingStore, KeptStore, Stage

NAP = SECOND // 5


class Shared(KeptStore):
    """A store that another node owns until `free`."""

    free = False

    @override
    def own(self) -> bool:
        return self.free


def turn_on(stage: Stage, prepare: Callable[[], object] = lambda: None) -> Turn:
    """Return another start of the stage's node."""
    stage.firing.outage, stage.firing.stopping = None, False
    return Turn(
        firing=stage.firing, recovery=Recovery(firing=stage.firing, window=timedelta(hours=24)), prepare=prepare
    )


def begin(turn: Turn) -> Report:
    return asyncio.run(turn.begin())


def go(turn: Turn, micros: int = 0) -> int | None:
    """Let time pass, then give the node its turn."""
    turn.firing.clock.advance(micros)  # type: ignore[attr-defined]  # the stage's clock is a manual one
    return asyncio.run(turn.run_once())


def started_event(stage: Stage) -> None:
    stage.put(event("w1", event_start=T0 + HOUR, event_end=T0 + 2 * HOUR))


def test_the_owner_fires_and_says_when_it_wants_its_next_turn() -> None:
    stage = Stage()
    started_event(stage)
    turn = turn_on(stage)
    assert begin(turn) == Report()
    assert turn.is_owner
    assert go(turn) == T0 + HOUR


def test_a_node_that_was_not_called_for_longer_than_a_silence_records_an_outage() -> None:
    stage = Stage()
    started_event(stage)
    turn = turn_on(stage)
    begin(turn)
    go(turn, 40 * MINUTE)  # suspended: the boot clock went on
    [outage] = stage.store.outages()
    assert (outage.began_us, outage.ended_us, outage.detected) == (T0, T0 + 40 * MINUTE, 0)
    go(turn, 40 * MINUTE)
    assert [o.detected for o in stage.store.outages()] == [1, 0]
    assert stage.fired() == [("w1", "event_start")]
    stage.assert_sound()


def test_a_node_that_is_called_in_time_records_no_outage() -> None:
    stage = Stage()
    started_event(stage)
    turn = turn_on(stage)
    begin(turn)
    for _ in range(HOUR // SILENCE_US + 1):
        go(turn, SILENCE_US)
    assert stage.store.outages() == []
    assert [e.cause for e in stage.entries() if e.is_transition] == ["scheduled"]


def test_a_node_that_starts_again_under_its_own_name_knows_since_when_it_was_away() -> None:
    stage = Stage()
    started_event(stage)
    begin(turn_on(stage))
    stage.store.heartbeat("n1", "host", 1, T0)
    stage.clock.advance(90 * MINUTE)
    report = begin(turn_on(stage))
    assert report.outage is not None
    assert (report.outage.began_us, report.outage.length, report.detected) == (T0, timedelta(minutes=90), 1)


def test_a_node_that_starts_again_under_its_own_name_after_a_silence_without_misfires_records_it_too() -> None:
    stage = Stage()
    begin(turn_on(stage))
    stage.store.heartbeat("n1", "host", 1, T0)
    stage.clock.advance(90 * MINUTE)
    report = begin(turn_on(stage))
    assert report.outage is not None
    assert report.outage.length == timedelta(minutes=90)


def test_a_standby_fires_nothing_until_the_store_is_free_and_then_takes_over() -> None:
    store = Shared()
    stage = Stage(store=store)
    stage.put_one("w1", event_start=T0 - SECOND, event_end=T0 + HOUR)
    prepared: list[int] = []
    turn = turn_on(stage, lambda: prepared.append(1))
    assert begin(turn) == Report()
    assert go(turn, NAP) is None
    assert (turn.is_owner, stage.fired(), prepared) == (False, [], [])
    store.free = True
    assert go(turn, NAP) == T0 + HOUR
    assert (turn.is_owner, stage.fired(), prepared) == (True, [("w1", "event_start")], [1])
    assert stage.store.outages() == []  # a node was alive all along
    go(turn, NAP)
    assert prepared == [1]


def test_a_standby_that_was_suspended_together_with_the_owner_records_the_outage() -> None:
    store = Shared()
    stage = Stage(store=store)
    stage.put_one("w1", event_start=T0 + MINUTE, event_end=T0 + 3 * HOUR)
    stage.store.heartbeat("owner", "host", 1, T0)
    turn = turn_on(stage)
    begin(turn)
    store.free = True
    go(turn, 2 * HOUR)
    [outage] = stage.store.outages()
    assert (outage.began_us, outage.detected) == (T0, 1)


def test_what_must_be_prepared_at_a_take_over_is_tried_until_it_succeeds() -> None:
    store = Shared()
    stage = Stage(store=store)
    stage.put_one("w1", event_start=T0 - SECOND, event_end=T0 + HOUR)
    tries: list[int] = []

    def prepare() -> None:
        tries.append(len(stage.fired()))
        if len(tries) == 1:
            raise StoreBusy("another process held the write lock")

    turn = turn_on(stage, prepare)
    begin(turn)
    store.free = True
    with pytest.raises(StoreBusy):
        go(turn, NAP)
    assert not turn.is_owner
    go(turn, NAP)
    assert tries == [0, 0]
    assert turn.is_owner
    assert stage.fired() == [("w1", "event_start")]


def behind(stage: Stage, micros: int) -> None:
    """Leave an entry in the history that is from the future of the stage's clock."""
    stage.clock.set(T0 + micros)
    stage.put_one("future", event_start=T0 + DAY, event_end=T0 + 2 * DAY)
    stage.clock.set(T0)


def test_a_clock_behind_the_last_entry_at_the_start_is_held_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 - SECOND, event_end=T0 + HOUR)
    behind(stage, 90 * SECOND)
    turn = turn_on(stage)
    with caplog.at_level(logging.WARNING, logger="duly.engine"):
        report = begin(turn)
        assert report.held is not None
        assert "the clock is 90 s behind the last entry of the history" in report.held
        for _ in range(STEADY_US // NAP - 1):
            go(turn, NAP)
        assert stage.fired() == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    go(turn, NAP)
    assert stage.fired() == [("w1", "event_start")]
    assert turn.report is not None
    assert (turn.report.detected, turn.report.held) == (1, None)
    stage.assert_sound()


def test_a_clock_behind_by_a_second_is_believed() -> None:
    stage = Stage()
    behind(stage, SECOND)
    assert begin(turn_on(stage)).held is None


def test_with_clock_jump_fire_a_clock_behind_is_believed() -> None:
    stage = Stage(hold_steps=False)
    behind(stage, DAY)
    assert begin(turn_on(stage)).held is None


def test_a_clock_stepped_forward_under_way_is_held_told_once_and_fires_nothing_early(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    started_event(stage)
    turn = turn_on(stage)
    begin(turn)
    go(turn)
    stage.clock.set(T0 + 2 * HOUR)
    with caplog.at_level(logging.WARNING, logger="duly.engine"):
        for _ in range(100):
            assert go(turn, NAP) is None
    assert [record.getMessage() for record in caplog.records] == [
        "the clock was set forward by 120 min; firing is held until it is steady for 60 s"
    ]
    stage.clock.set(T0 + 20 * SECOND)
    assert go(turn, NAP) == T0 + HOUR
    assert stage.fired() == []
    assert stage.store.outages() == []


def test_a_clock_that_stays_where_it_was_set_is_believed_after_a_minute_and_what_it_missed_is_fired() -> None:
    stage = Stage()
    started_event(stage)
    turn = turn_on(stage)
    begin(turn)
    go(turn)
    stage.clock.set(T0 + 90 * MINUTE)
    go(turn)
    for _ in range(STEADY_US // NAP):
        assert stage.fired() == []
        go(turn, NAP)
    assert stage.fired() == [("w1", "event_start")]
    stage.assert_sound()


def test_two_hours_forward_and_two_hours_back_fire_nothing_early_and_nothing_twice() -> None:
    stage = Stage()
    started_event(stage)
    turn = turn_on(stage)
    begin(turn)
    go(turn, HOUR)
    stage.clock.set(T0 + 3 * HOUR)
    go(turn, NAP)
    stage.clock.set(T0 + HOUR)
    for _ in range(10):
        go(turn, NAP)
    assert stage.fired() == [("w1", "event_start")]
    stage.assert_sound()


def test_after_a_step_back_a_node_that_goes_on_is_not_silent() -> None:
    stage = Stage()
    turn = turn_on(stage)
    begin(turn)
    go(turn, NAP)
    stage.clock.set(T0 - 2 * HOUR)
    for _ in range(200):
        go(turn, NAP)
    assert stage.store.outages() == []


def test_a_lost_lock_ends_all_firing_and_is_named(tmp_path: Path) -> None:
    stage = Stage(store=SqliteStore(tmp_path / "events.db"))
    stage.put_one("w1", event_start=T0 + SECOND, event_end=T0 + HOUR)
    turn = turn_on(stage)
    begin(turn)
    (tmp_path / "events.db.lock").unlink()
    for _ in range(3):
        with pytest.raises(StoreStopped, match="its lock file was removed or replaced"):
            go(turn, SECOND)
    assert stage.fired() == []
    stage.agenda.close()


def test_a_file_that_is_taken_away_is_a_stopped_store_and_not_a_lost_lock(tmp_path: Path) -> None:
    stage = Stage(store=SqliteStore(tmp_path / "events.db"))
    stage.put_one("w1", event_start=T0 + SECOND, event_end=T0 + HOUR)
    turn = turn_on(stage)
    begin(turn)
    (tmp_path / "events.db").rename(tmp_path / "elsewhere.db")
    for _ in range(2):
        with pytest.raises(StoreStopped, match="its file was moved, removed or replaced"):
            go(turn, SECOND)
    stage.agenda.close()


def test_an_error_in_a_recovery_leaves_it_to_the_next_turn() -> None:
    store = FailingStore(finish_outage=[OSError("disk")])
    stage = Stage(store=store)
    stage.put_one("w1", event_start=T0 - SECOND, event_end=T0 + HOUR)
    turn = turn_on(stage)
    with pytest.raises(OSError, match="disk"):
        begin(turn)
    go(turn, NAP)
    [outage] = stage.store.outages()
    assert (outage.detected, outage.finished_us) == (1, T0 + NAP)


def test_progress_is_told_of_the_start_only() -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 - SECOND, event_end=T0 + HOUR)
    told: list[tuple[int, int]] = []
    turn = turn_on(stage)
    turn.recovery.progress = lambda done, of: told.append((done, of))
    begin(turn)
    assert told == [(1, 1)]
    go(turn, HOUR)
    assert told == [(1, 1)]
    assert len(stage.fired()) == 2
