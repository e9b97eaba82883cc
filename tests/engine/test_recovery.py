"""Recovery: the outage that ends now is found, everything missed in it fires in order, and the record says so."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from typing_extensions import override

from duly.engine.firing import BATCH
from duly.engine.recovery import SILENCE_US, TOLD_MOST, Report
from duly.model.history import Outage
from duly.stores.verbs import Fired
from tests.builders import DAY, HOUR, MINUTE, SECOND, T0, event
from tests.engine.stage import FailingStore, KeptStore, Stage, falsify

NOTHING = Report()


def missed(stage: Stage, count: int, *, prefix: str = "w") -> None:
    """Put events that started an hour ago, a microsecond after each other, and end tomorrow."""
    stage.put(*(event(f"{prefix}{n:04}", event_start=T0 - HOUR + n, event_end=T0 + DAY) for n in range(count)))


def outages(stage: Stage) -> list[Outage]:
    return stage.store.outages()


def test_an_outage_began_at_the_last_sign_of_life() -> None:
    stage = Stage()
    missed(stage, 3)
    report = stage.recover(T0 - 2 * HOUR)
    assert report.outage is not None
    assert (report.outage.began_us, report.outage.ended_us, report.outage.finished_us) == (T0 - 2 * HOUR, T0, T0)
    assert report.outage.length == timedelta(hours=2)
    assert (report.detected, report.successful, report.failed, report.outside_window) == (3, 3, 0, 0)
    assert outages(stage) == [report.outage]
    assert [e.event_id for e in report.transitions] == ["w0000", "w0001", "w0002"]
    assert {(e.cause, e.outage, e.at_us) for e in report.transitions} == {("caught_up", report.outage.id, T0)}
    stage.assert_sound()


def test_the_very_first_start_of_an_empty_store_is_no_outage() -> None:
    stage = Stage()
    assert stage.recover(None) == NOTHING
    assert outages(stage) == []


def test_a_first_start_that_finds_misfires_records_an_outage_of_unknown_beginning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    missed(stage, 1)
    with caplog.at_level(logging.INFO, logger="duly.engine"):
        report = stage.recover(None)
    assert report.outage is not None
    assert (report.outage.began_at, report.outage.length, report.detected) == (None, None, 1)
    assert "caught up after the first start: 1 detected, 1 successful" in caplog.text


def test_a_short_silence_in_which_nothing_fell_due_is_no_outage() -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 + HOUR, event_end=T0 + DAY)
    assert stage.recover(T0 - SILENCE_US + 1) == NOTHING
    assert outages(stage) == []


def test_a_short_silence_in_which_something_fell_due_is_an_outage_at_a_start_only() -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 - 1, event_end=T0 + DAY)
    assert stage.recover(T0 - SECOND, starting=False) == NOTHING
    report = stage.recover(T0 - SECOND, starting=True)
    assert (report.detected, report.transitions[0].cause) == (1, "caught_up")


def test_a_long_silence_is_an_outage_even_if_nothing_was_missed() -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 + HOUR, event_end=T0 + DAY)
    for starting in (True, False):
        report = stage.recover(T0 - SILENCE_US, starting=starting)
        assert report.outage is not None
        assert (report.detected, report.outage.finished_us) == (0, T0)


def test_what_falls_due_at_the_very_end_of_the_outage_is_on_schedule() -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 - 1, event_end=T0)
    report = stage.recover(T0 - HOUR)
    assert [e.cause for e in stage.entries() if e.is_transition] == ["caught_up", "scheduled"]
    assert [e.milestone for e in report.transitions] == ["event_start"]
    assert (report.detected, report.successful) == (1, 1)


def test_a_clock_that_is_behind_the_last_sign_of_life_makes_an_outage_of_no_length() -> None:
    stage = Stage()
    missed(stage, 1)
    report = stage.recover(T0 + HOUR)
    assert report.outage is not None
    assert report.outage.length == timedelta(0)


def test_what_is_older_than_the_window_fires_and_is_counted_apart() -> None:
    stage = Stage()
    stage.put_one(
        "w1", registration_open=T0 - DAY - 1, registration_close=T0 - DAY, event_start=T0 - 1, event_end=T0 + 1
    )
    report = stage.recover(T0 - 2 * DAY)
    assert (report.detected, report.successful, report.outside_window) == (3, 3, 1)
    stage.assert_sound()


@pytest.mark.parametrize(
    ("window", "outside"),
    [(None, 0), (timedelta(0), 2), (timedelta(hours=2), 1), (timedelta.max, 0)],
)
def test_the_window_may_be_unlimited_or_nothing(window: timedelta | None, outside: int) -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 - 400 * DAY, event_end=T0 - HOUR)
    report = stage.recover(None, window=window)
    assert (report.successful, report.outside_window) == (2, outside)


def test_progress_is_told_after_each_batch_and_ends_at_all() -> None:
    stage = Stage()
    missed(stage, 2 * BATCH + 1)
    told: list[tuple[int, int]] = []
    stage.recover(T0 - DAY, progress=lambda done, of: told.append((done, of)))
    total = 2 * BATCH + 1
    assert told == [(BATCH, total), (2 * BATCH, total), (total, total)]


def test_progress_never_says_more_than_all() -> None:
    stage = Stage(strict=True)
    # in strict chronology an event is looked at more than once
    stage.put(*(event(f"w{n:04}", event_start=T0 - DAY + n, event_end=T0 - HOUR + n) for n in range(BATCH + 1)))
    told: list[tuple[int, int]] = []
    stage.recover(T0 - 2 * DAY, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (BATCH + 1, BATCH + 1)
    assert all(done <= of for done, of in told)


def test_the_report_tells_the_first_thousand_and_the_outage_has_all() -> None:
    stage = Stage()
    missed(stage, TOLD_MOST + 2)
    report = stage.recover(T0 - DAY)
    assert report.outage is not None
    assert len(report.transitions) == TOLD_MOST
    assert report.detected == TOLD_MOST + 2
    told = stage.store.history_of_outage(report.outage.id, most=2 * TOLD_MOST)
    assert tuple(told[:TOLD_MOST]) == report.transitions
    assert len(told) == TOLD_MOST + 2


def test_an_event_that_is_set_aside_is_counted_as_failed_and_named() -> None:
    stage = Stage()
    missed(stage, 3)
    falsify(stage.store, "UPDATE event SET lifecycle_hash = 'unheard of' WHERE id = 'w0001'")
    report = stage.recover(T0 - DAY)
    assert (report.detected, report.successful, report.failed) == (3, 2, 1)
    assert list(report.set_aside) == ["w0001"]
    assert "lifecycle 'campus_event' is unknown here" in report.set_aside["w0001"]
    assert report.to_json()["failed"] == 1


class Dying(KeptStore):
    """The process dies after the first batch of a recovery: the commit was made, and then nothing more."""

    left = 1

    @override
    def fire_due(self, request: object) -> Fired:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().fire_due(request)  # type: ignore[arg-type]


def test_a_recovery_that_was_killed_in_the_middle_is_gone_on_with_under_the_same_record() -> None:
    store = Dying()
    stage = Stage(store=store)
    missed(stage, BATCH + 7)
    with pytest.raises(KeyboardInterrupt):
        stage.recover(T0 - 2 * HOUR)
    [cut_off] = outages(stage)
    assert (cut_off.began_us, cut_off.finished_us) == (T0 - 2 * HOUR, None)
    assert len(stage.fired()) == BATCH

    store.left = 99
    stage.clock.advance(3 * SECOND)
    report = stage.recover(T0, starting=True)
    assert report.outage is not None
    assert (report.outage.id, report.outage.began_us) == (cut_off.id, T0 - 2 * HOUR)
    assert report.outage.ended_us == T0 + 3 * SECOND
    assert (report.detected, report.successful, report.failed) == (BATCH + 7, BATCH + 7, 0)
    assert len(report.transitions) == 7
    assert len(outages(stage)) == 1
    stage.assert_sound()


def test_a_recovery_killed_after_everything_fired_is_only_finished() -> None:
    store = FailingStore(finish_outage=[KeyboardInterrupt()])  # type: ignore[list-item]  # the process dies there
    stage = Stage(store=store)
    missed(stage, 4)
    with pytest.raises(KeyboardInterrupt):
        stage.recover(T0 - HOUR)
    report = stage.recover(T0 - SECOND)
    assert (report.detected, report.transitions) == (4, ())
    assert [o.finished_us for o in outages(stage)] == [T0]


def test_a_recovery_killed_in_the_middle_still_counts_what_it_had_set_aside() -> None:
    store = Dying()
    stage = Stage(store=store)
    missed(stage, BATCH + 7)
    falsify(stage.store, "UPDATE event SET lifecycle_hash = 'unheard of' WHERE id = 'w0001'")
    with pytest.raises(KeyboardInterrupt):
        stage.recover(T0 - 2 * HOUR)
    store.left = 99
    stage.clock.advance(3 * SECOND)
    report = stage.recover(T0)
    assert (report.detected, report.successful, report.failed) == (BATCH + 7, BATCH + 6, 1)
    assert list(report.set_aside) == ["w0001"]


def test_what_was_set_aside_before_an_outage_is_none_of_its_failures() -> None:
    stage = Stage()
    missed(stage, 1)
    falsify(stage.store, "UPDATE event SET lifecycle_hash = 'unheard of'")
    assert stage.recover(T0 - 2 * HOUR).failed == 1
    stage.clock.advance(20 * MINUTE)
    missed(stage, 1, prefix="later")
    report = stage.recover(T0)
    assert (report.detected, report.failed) == (1, 0)


def test_a_held_clock_fires_nothing_and_records_no_outage_until_it_is_believed() -> None:
    stage = Stage()
    missed(stage, 2)
    stage.watch.distrust("the clock is 90 s behind the last entry of the history")
    report = stage.recover(T0 - HOUR)
    assert report.held is not None
    assert report.detected == 0
    assert (outages(stage), stage.fired()) == ([], [])
    stage.clock.advance(MINUTE)
    report = stage.recover(T0 - HOUR)
    assert (report.held, report.detected) == (None, 2)
    assert report.outage is not None
    assert report.outage.began_us == T0 - HOUR


class SteppedMeanwhile(KeptStore):
    """Somebody sets the clock forward after the first batch."""

    stage: Stage | None = None

    @override
    def fire_due(self, request: object) -> Fired:
        fired = super().fire_due(request)  # type: ignore[arg-type]
        if self.stage is not None:
            self.stage.clock.set(self.stage.clock.now() + 2 * HOUR)
            self.stage = None
        return fired


def test_a_clock_stepped_in_the_middle_stops_a_recovery_which_later_goes_on_under_the_same_record() -> None:
    store = SteppedMeanwhile()
    stage = Stage(store=store)
    missed(stage, BATCH + 1)
    assert stage.watch.look() is None
    store.stage = stage
    report = stage.recover(T0 - HOUR)
    assert report.held is not None
    assert report.outage is not None
    assert report.outage.finished_us is None
    assert len(stage.fired()) == BATCH
    stage.clock.set(T0)
    again = stage.recover(T0 - HOUR)
    assert again.outage is not None
    assert (again.outage.id, again.successful, again.held) == (report.outage.id, BATCH + 1, None)


def test_a_recovery_that_is_told_to_stop_leaves_the_rest_to_the_next_start() -> None:
    stage = Stage()
    missed(stage, BATCH + 1)
    report = stage.recover(T0 - HOUR, progress=lambda _done, _of: setattr(stage.firing, "stopping", True))
    assert report.outage is not None
    assert report.outage.finished_us is None
    assert len(report.transitions) == BATCH
    stage.firing.stopping = False
    assert stage.recover(T0).successful == BATCH + 1


def test_what_falls_due_while_a_long_recovery_runs_is_on_schedule() -> None:
    stage = Stage()
    missed(stage, BATCH + 1)
    stage.put_one("meanwhile", event_start=T0 + SECOND, event_end=T0 + DAY)
    report = stage.recover(T0 - HOUR, progress=lambda done, of: stage.clock.advance(2 * SECOND))
    entry = stage.store.history("meanwhile")[-1]
    assert (entry.milestone, entry.cause, entry.outage) == ("event_start", "scheduled", None)
    assert report.detected == BATCH + 1


def test_after_a_recovery_the_firing_step_is_as_it_was() -> None:
    stage = Stage()
    missed(stage, 1)
    stage.recover(T0 - HOUR)
    assert (stage.firing.caught_up_before_us, stage.firing.outage) == (0, None)
    failing = Stage(store=FailingStore(fire_due=[OSError("disk")]))
    missed(failing, 1)
    with pytest.raises(OSError, match="disk"):
        failing.recover(T0 - HOUR)
    assert (failing.firing.caught_up_before_us, failing.firing.outage) == (0, None)


def test_a_report_without_an_outage_is_all_zeros() -> None:
    assert NOTHING.to_json() == {
        "outage": None,
        "detected": 0,
        "successful": 0,
        "failed": 0,
        "outside_window": 0,
        "transitions": [],
        "set_aside": {},
        "held": None,
    }


def test_a_falsified_status_is_repaired_by_the_recovery_and_recorded() -> None:
    stage = Stage()
    missed(stage, 1)
    falsify(stage.store, "UPDATE event SET status = 'completed/event_ended'")
    report = stage.recover(T0 - HOUR)
    assert [e.kind for e in stage.entries()] == ["created", "repaired", "fired"]
    assert stage.entries()[1].details["found"] == "completed/event_ended"
    assert report.successful == 1
    stage.assert_sound()
