"""The firing step: what is due fires, fresh before backlog, and nothing that a listener or a clock does can spoil it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

import pytest
from typing_extensions import override

from duly.clock import ManualClock
from duly.engine.firing import BATCH, LOGGED_MOST
from duly.model.dates import Micros
from duly.model.history import Entry
from tests.builders import DAY, HOUR, MINUTE, SECOND, T0, event
from tests.engine.stage import FailingStore, KeptStore, Stage, falsify


def test_nothing_due_fires_nothing_and_wishes_for_the_next_alarm() -> None:
    stage = Stage()
    assert stage.fire() is None
    stage.put_one("w1", event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)
    assert stage.fire() == T0 + HOUR
    assert stage.fired() == []


def test_a_trigger_fires_at_its_very_instant_and_not_a_microsecond_before() -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)
    stage.clock.advance(HOUR - 1)
    assert stage.fire() == T0 + HOUR
    assert stage.fired() == []
    stage.clock.advance(1)
    assert stage.fire() == T0 + 2 * HOUR
    assert stage.fired() == [("w1", "event_start")]
    assert stage.entries()[-1].cause == "scheduled"
    stage.assert_sound()


def test_all_that_is_due_fires_in_one_call_over_several_batches() -> None:
    stage = Stage(now=T0 + DAY)
    stage.put(*(event(f"w{n:04}", event_start=T0 + n, event_end=T0 + HOUR + n) for n in range(2 * BATCH + 7)))
    assert stage.fire() is None
    assert len(stage.fired()) == 2 * (2 * BATCH + 7)
    assert stage.firing.totals.fired == 2 * (2 * BATCH + 7)
    stage.assert_sound()


def test_what_is_late_by_more_than_the_grace_counts_as_caught_up() -> None:
    stage = Stage(grace=timedelta(seconds=10))
    stage.put_one("w1", event_start=T0 - 10 * SECOND - 1, event_end=T0 - 10 * SECOND)
    stage.fire()
    assert [(e.milestone, e.cause) for e in stage.entries() if e.is_transition] == [
        ("event_start", "caught_up"),
        ("event_end", "scheduled"),
    ]
    totals = stage.firing.totals
    assert (totals.fired, totals.caught_up) == (2, 1)


def test_without_any_grace_only_what_is_due_this_microsecond_is_on_time() -> None:
    stage = Stage(grace=timedelta(0))
    stage.put_one("w1", event_start=T0 - 1, event_end=T0)
    stage.fire()
    assert [e.cause for e in stage.entries() if e.is_transition] == ["caught_up", "scheduled"]


@pytest.mark.parametrize("grace", [timedelta(days=3650), timedelta.max])
def test_a_grace_longer_than_the_store_can_count_is_merely_long(grace: timedelta) -> None:
    stage = Stage(grace=grace)
    stage.put_one("w1", event_start=T0 - 30 * DAY, event_end=T0 + DAY)
    stage.fire()
    assert [e.cause for e in stage.entries() if e.is_transition] == ["scheduled"]


def test_the_fresh_lane_fires_before_a_backlog_and_the_backlog_in_order() -> None:
    stage = Stage(now=T0)
    stage.put(*(event(f"old{n:04}", event_start=T0 - DAY + n, event_end=T0 + DAY) for n in range(BATCH + 20)))
    stage.put(*(event(f"new{n}", event_start=T0 - n * SECOND, event_end=T0 + DAY) for n in range(5)))
    first = asyncio.run(stage.firing.fire_batch())
    assert [e.event_id for e in first.transitions if e.event_id.startswith("new")] == [
        "new4",
        "new3",
        "new2",
        "new1",
        "new0",
    ]
    assert first.claimed == BATCH
    stage.fire()
    backlog = [e.due_us for e in stage.entries() if e.is_transition and e.event_id.startswith("old")]
    assert backlog == sorted(backlog, key=lambda due: due or 0)
    assert len(backlog) == BATCH + 20


def test_in_strict_chronology_no_event_of_a_backlog_overtakes_another() -> None:
    stage = Stage(now=T0, strict=True)
    # each event's second trigger is later than the first triggers of all others
    stage.put(
        *(event(f"w{n:04}", event_start=T0 - 2 * DAY + n, event_end=T0 - DAY + n) for n in range(2 * BATCH + 20))
    )
    stage.fire()
    due = [(e.due_us, e.event_id) for e in stage.entries() if e.is_transition]
    assert due == sorted(due, key=lambda key: (key[0] or 0, key[1]))
    assert len(due) == 2 * (2 * BATCH + 20)
    stage.assert_sound()


def test_the_clock_is_looked_at_before_every_batch() -> None:
    class Stepping(KeptStore):
        """Somebody sets the clock two hours forward while the first batch is being written."""

        clock: ManualClock | None = None

        @override
        def fire_due(self, request: object) -> object:  # type: ignore[override]
            fired = super().fire_due(request)  # type: ignore[arg-type]
            if self.clock is not None:
                self.clock.set(self.clock.now() + 2 * HOUR)
                self.clock = None
            return fired

    store = Stepping()
    stage = Stage(now=T0, store=store)
    stage.put(*(event(f"w{n:04}", event_start=T0 - DAY, event_end=T0 + HOUR) for n in range(BATCH + 1)))
    store.clock = stage.clock
    assert stage.fire() is None
    assert len(stage.fired()) == BATCH
    assert stage.watch.reason is not None
    assert all(entry.due_us is not None and entry.due_us < T0 for entry in stage.entries() if entry.is_transition)


def test_a_clock_stepped_between_the_look_and_the_claim_fires_nothing_early() -> None:
    class Stepping(KeptStore):
        """Somebody sets the clock two hours forward while the store is asked for the next alarm."""

        clock: ManualClock | None = None

        @override
        def next_due_us(self) -> Micros | None:
            if self.clock is not None:
                self.clock.set(T0 + 2 * HOUR)
            return super().next_due_us()

    store = Stepping()
    stage = Stage(store=store)
    stage.put_one("w1", event_start=T0 + HOUR, event_end=T0 + 3 * HOUR)
    assert stage.fire() == T0 + HOUR
    store.clock = stage.clock
    assert stage.fire() is None
    assert stage.fired() == []
    stage.clock.set(T0)
    store.clock = None
    assert stage.fire() == T0 + HOUR


def test_a_clock_stepped_back_between_the_look_and_the_claim_fires_nothing_early() -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 + HOUR, event_end=T0 + 3 * HOUR)
    stage.clock.advance(HOUR)
    assert stage.store.next_due_us() == T0 + HOUR
    stage.clock.set(T0)
    assert asyncio.run(stage.firing.fire_batch()).claimed == 0
    assert stage.fired() == []


def test_a_clock_stepped_back_fires_nothing_twice() -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 + HOUR, event_end=T0 + 3 * HOUR)
    stage.clock.advance(HOUR)
    stage.fire()
    stage.clock.set(T0)
    stage.fire()
    stage.clock.set(T0 + HOUR + MINUTE)
    stage.fire()
    assert stage.fired() == [("w1", "event_start")]
    stage.assert_sound()


def test_with_clock_jump_fire_a_stepped_clock_fires() -> None:
    stage = Stage(hold_steps=False)
    stage.put_one("w1", event_start=T0 + HOUR, event_end=T0 + 3 * HOUR)
    stage.fire()
    stage.clock.set(T0 + 2 * HOUR)
    stage.fire()
    assert stage.fired() == [("w1", "event_start")]


def test_once_told_to_stop_it_claims_nothing_more() -> None:
    stage = Stage()
    stage.put_one("w1", event_start=T0 - HOUR, event_end=T0 + HOUR)
    stage.firing.stopping = True
    assert stage.fire() is None
    assert stage.fired() == []


def test_listeners_hear_of_every_entry_once_in_the_order_of_the_commits() -> None:
    stage = Stage(now=T0 + DAY)
    heard: list[Entry] = []
    also: list[Entry] = []
    stage.firing.listeners += [heard.extend, also.extend]
    stage.put(*(event(f"w{n:04}", event_start=T0 + n, event_end=T0 + HOUR) for n in range(BATCH + 3)))
    stage.fire()
    assert heard == [entry for entry in stage.entries() if entry.is_transition]
    assert also == heard


def test_a_listener_that_raises_harms_neither_the_firing_nor_the_other_listeners(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: Sequence[Entry]) -> None:
        raise ValueError("no such channel")

    stage = Stage()
    heard: list[Entry] = []
    stage.firing.listeners += [broken, heard.extend]
    stage.put(*(event(f"w{n:04}", event_start=T0 - HOUR, event_end=T0 + HOUR) for n in range(BATCH + 1)))
    with caplog.at_level(logging.ERROR, logger="duly.engine"):
        stage.fire()
    assert len(heard) == BATCH + 1
    assert "no such channel" in caplog.text
    assert stage.recover(None).detected == 0


def test_a_listener_may_add_another_while_it_is_being_told() -> None:
    stage = Stage()
    heard: list[Entry] = []
    stage.firing.listeners.append(lambda _: stage.firing.listeners.append(heard.extend))
    stage.put_one("w1", event_start=T0 - HOUR, event_end=T0 + HOUR)
    stage.fire()
    assert heard == []


def test_listeners_are_not_bothered_with_nothing() -> None:
    stage = Stage()
    told: list[Sequence[Entry]] = []
    stage.firing.listeners.append(told.append)
    asyncio.run(stage.firing.fire_batch())
    stage.recover(None)
    assert told == []


def test_an_event_that_raises_is_set_aside_and_named_and_the_others_fire(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(now=T0 + DAY)
    stage.put(*(event(f"w{n}", event_start=T0, event_end=T0 + HOUR) for n in range(3)))
    falsify(stage.store, "UPDATE event SET dates = '{\"no_such_milestone\": 1}' WHERE id = 'w1'")
    with caplog.at_level(logging.ERROR, logger="duly.engine"):
        stage.fire()
    assert {id_ for id_, _ in stage.fired()} == {"w0", "w2"}
    assert "event 'w1' is set aside" in caplog.text
    assert stage.firing.totals.set_aside == 1
    [row] = stage.store.list_set_aside()
    assert (row.id, row.next_due_us) == ("w1", T0 + DAY + HOUR)


def test_when_very_many_are_set_aside_the_log_names_some_and_counts_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage(now=T0 + DAY)
    stage.put(*(event(f"w{n}", event_start=T0, event_end=T0 + HOUR) for n in range(LOGGED_MOST + 3)))
    falsify(stage.store, "UPDATE event SET dates = '{\"no_such_milestone\": 1}'")
    with caplog.at_level(logging.ERROR, logger="duly.engine"):
        stage.fire()
    assert len(caplog.records) == LOGGED_MOST + 1
    assert caplog.messages[-1] == "3 more events are set aside: see 'duly check'"


def test_an_event_that_was_set_aside_fires_once_its_cause_is_gone() -> None:
    stage = Stage(now=T0 + DAY)
    stage.put_one("w1", event_start=T0, event_end=T0 + HOUR)
    good = stage.store.get_event("w1").lifecycle_hash
    falsify(stage.store, "UPDATE event SET lifecycle_hash = 'unheard of'")
    stage.fire()
    stage.clock.advance(HOUR - 1)
    falsify(stage.store, f"UPDATE event SET lifecycle_hash = '{good}'")
    stage.fire()
    assert stage.fired() == []
    stage.clock.advance(1)
    stage.fire()
    assert stage.fired() == [("w1", "event_start"), ("w1", "event_end")]
    assert stage.store.list_set_aside() == []
    stage.assert_sound()


def test_an_error_of_the_store_gets_out_and_leaves_nothing_half_done() -> None:
    stage = Stage(store=FailingStore(fire_due=[OSError("disk"), None]))
    stage.put_one("w1", event_start=T0 - HOUR, event_end=T0 + HOUR)
    with pytest.raises(OSError, match="disk"):
        stage.fire()
    assert stage.fired() == []
    stage.fire()
    assert stage.fired() == [("w1", "event_start")]
    stage.assert_sound()
