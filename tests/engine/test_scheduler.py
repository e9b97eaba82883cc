"""The life of a Scheduler: started, stopped, cancelled, called from the wrong place; it always ends with nothing left open."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from duly import CatchUp, Event, Hold, PutResult, Scheduler
from duly.clock import ManualClock, Micros
from duly.engine.firing import BATCH
from duly.errors import InvalidSetting, StoreBusy, StoreFull, StoreStopped, UnknownEvent, WrongState
from duly.model.history import Entry
from duly.stores.sqlite import SqliteStore
from duly.stores.verbs import Fired
from tests.builders import DAY, HOUR, SECOND, T0, event
from tests.engine.stage import FailingStore, KeptStore, assert_store_sound, falsify, in_a_loop, let_pass

TWO = event("w1", event_start=T0 + HOUR, event_end=T0 + 2 * HOUR)


def scheduler_on(store: SqliteStore | None = None, clock: ManualClock | None = None, **how: Any) -> Scheduler:
    return Scheduler(store or KeptStore(), clock=clock or ManualClock(T0), **how)


def open_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("duly")]


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Any:
    """Hold for every test here that no thread, socket or file is left behind."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
        gc.collect()
    assert open_threads() == []


class Gate(KeptStore):
    """A store whose firing can be held up: `reached` is set when a firing begins, which then waits for `open_gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.gate = threading.Event()

    @override
    def fire_due(self, request: object) -> Fired:
        self.reached.set()
        assert self.gate.wait(20)
        return super().fire_due(request)  # type: ignore[arg-type]


async def reached(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.reached.wait, 20)


# -- firing ---------------------------------------------------------------------------------------------


@in_a_loop
async def test_triggers_fire_as_time_passes_and_a_new_one_is_noticed_at_once() -> None:
    clock = ManualClock(T0)
    async with scheduler_on(clock=clock) as scheduler:
        await scheduler.put(TWO)
        await let_pass(clock, scheduler, HOUR - 1)
        assert (await scheduler.get("w1")).status == "upcoming/registration_not_required"
        await let_pass(clock, scheduler, 1)
        assert [e.milestone for e in await scheduler.history("w1")] == [None, "event_start"]
        await scheduler.put(event("w2", event_start=clock.now() - 1, event_end=T0 + DAY), known_for=timedelta(days=1))
        await scheduler.settled()
        assert [e.milestone for e in await scheduler.history("w2")] == [None, "event_start"]
        assert [trigger.milestone for trigger in await scheduler.upcoming()] == ["event_end", "event_end"]
        assert [view.id for view in await scheduler.events()] == ["w1", "w2"]
        await scheduler.remove("w2", reason="moved out")
        with pytest.raises(UnknownEvent):
            await scheduler.get("w2")
        held = await scheduler.set_hold("w1", Hold.CANCELLED)
        assert held.entries[-1].kind == "held"
        assert await scheduler.outages() == []
        status = await scheduler.status()
        assert (status.role, status.healthy, status.counts.events, status.totals.fired) == ("owner", True, 1, 2)
        assert status.to_json()["fired_since_start"] == 2
    assert_store_sound(scheduler.store, clock.now())  # type: ignore[arg-type]  # a SqliteStore, as given above


# -- starting and stopping (BAD_INPUTS 94) -----------------------------------------------------------------


@in_a_loop
async def test_bad_input_94_starting_twice_is_refused_and_the_first_start_goes_on() -> None:
    clock = ManualClock(T0)
    scheduler = scheduler_on(clock=clock)
    await scheduler.put(TWO)
    await scheduler.start()
    with pytest.raises(WrongState, match="started already"):
        await scheduler.start()
    clock.advance(HOUR)
    await scheduler.settled()
    assert scheduler.is_running
    assert len(await scheduler.history("w1")) == 2
    await scheduler.stop()


@in_a_loop
async def test_bad_input_94_starting_while_it_is_starting_is_refused() -> None:
    store = Gate()
    scheduler = scheduler_on(store)
    await scheduler.put(event("w1", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
    first = asyncio.create_task(scheduler.start())
    await reached(store)
    with pytest.raises(WrongState, match="started already"):
        await scheduler.start()
    store.gate.set()
    assert (await first).successful == 1
    await scheduler.stop()


@in_a_loop
async def test_bad_input_94_stopping_twice_or_before_starting_does_nothing() -> None:
    scheduler = scheduler_on()
    await scheduler.stop()
    await scheduler.start()
    await scheduler.stop()
    await scheduler.stop()
    assert not scheduler.is_running


@in_a_loop
async def test_bad_input_94_stopping_twice_at_once_ends_once_and_in_good_order() -> None:
    clock = ManualClock(T0)
    store = Gate()
    scheduler = scheduler_on(store, clock)
    await scheduler.put(TWO)
    store.gate.set()
    await scheduler.start()
    store.reached.clear()
    store.gate.clear()
    clock.advance(10 * SECOND)
    await scheduler.put(event("w2", event_start=clock.now() - 1, event_end=T0 + DAY), known_for=None)
    await reached(store)
    stops = [asyncio.create_task(scheduler.stop()) for _ in range(3)]
    await asyncio.wait(stops, timeout=0.05)
    assert not any(stop.done() for stop in stops), "a stop must not return while something is being written"
    store.gate.set()
    await asyncio.gather(*stops)
    assert store.history("w2")[-1].milestone == "event_start"
    assert [node.stopped_us for node in store.nodes()] == [clock.now()]


@in_a_loop
async def test_bad_input_94_stopping_during_the_start_ends_it_after_the_batch_and_both_calls_return() -> None:
    store = Gate()
    scheduler = scheduler_on(store)
    count = BATCH + 1
    await scheduler.put(
        [event(f"w{n}", event_start=T0 - DAY, event_end=T0 + DAY) for n in range(count)], known_for=None
    )
    starting = asyncio.create_task(scheduler.start())
    await reached(store)
    stopping = asyncio.create_task(scheduler.stop())
    await asyncio.wait([stopping], timeout=0.05)
    assert not stopping.done()
    store.gate.set()
    report = await starting
    await stopping
    assert not scheduler.is_running
    assert report.outage is not None
    assert (len(report.transitions), report.outage.finished_us) == (BATCH, None)
    assert (await scheduler.start()).successful == count
    await scheduler.stop()


@in_a_loop
async def test_bad_input_94_stopping_while_the_store_is_still_being_opened_closes_it() -> None:
    class SlowToOpen(KeptStore):
        reached = threading.Event()
        gate = threading.Event()

        @override
        def open(self, now_us: Micros) -> None:
            self.reached.set()
            assert self.gate.wait(20)
            super().open(now_us)

    store = SlowToOpen()
    scheduler = scheduler_on(store)
    starting = asyncio.create_task(scheduler.start())
    assert await asyncio.to_thread(store.reached.wait, 20)
    stopping = asyncio.create_task(scheduler.stop())
    await asyncio.wait([stopping], timeout=0.05)
    store.gate.set()
    await asyncio.gather(starting, stopping)
    assert not scheduler.is_running
    assert store.closings == 1


@in_a_loop
async def test_a_stop_that_overlaps_a_new_start_leaves_the_new_one_running() -> None:
    scheduler = scheduler_on()
    await scheduler.start()
    stopping = asyncio.create_task(scheduler.stop())
    await asyncio.wait([stopping], timeout=0)
    await scheduler.start()
    await stopping
    assert scheduler.is_running
    await scheduler.settled()
    await scheduler.stop()


def test_the_same_scheduler_can_be_started_again_also_in_another_loop() -> None:
    clock = ManualClock(T0)
    scheduler = scheduler_on(clock=clock)

    async def first() -> None:
        async with scheduler:
            await scheduler.put(TWO)

    async def second() -> None:
        report = await scheduler.start()
        assert report.outage is not None
        assert (report.detected, report.outage.began_us) == (1, T0)
        status = await scheduler.status()
        assert (status.totals.fired, status.totals.caught_up) == (1, 1)
        await scheduler.stop()

    asyncio.run(first())
    clock.advance(90 * 60 * SECOND)
    asyncio.run(second())
    clock.advance(DAY)
    asyncio.run(_third(scheduler))


async def _third(scheduler: Scheduler) -> None:
    async with scheduler:
        assert scheduler.report is not None
        assert scheduler.report.detected == 1
        assert (await scheduler.status()).totals.fired == 1, "counted since the start"


def test_a_loop_that_ended_without_a_stop_can_be_cleaned_up_after() -> None:
    scheduler = scheduler_on()

    async def forget() -> None:
        await scheduler.start()

    asyncio.run(forget())
    # Nobody fires any more, but what is put is kept all the same.
    assert asyncio.run(scheduler.put(TWO)).outcomes == {"w1": "created"}
    asyncio.run(scheduler.stop())
    assert not scheduler.is_running

    async def again() -> None:
        async with scheduler:
            await scheduler.settled()

    asyncio.run(again())


@in_a_loop
async def test_a_context_whose_start_fails_closes_everything() -> None:
    store = FailingStore(fire_due=[OSError("disk")])
    scheduler = scheduler_on(store)
    await scheduler.put(event("w1", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
    with pytest.raises(OSError, match="disk"):
        async with scheduler:
            pytest.fail("it has not started")
    assert store.closings == 1
    assert not scheduler.is_running


@in_a_loop
async def test_a_store_that_cannot_be_opened_all_the_way_is_closed() -> None:
    store = FailingStore(declare_lifecycles=[StoreFull("no room")])
    scheduler = scheduler_on(store)
    with pytest.raises(StoreFull):
        async with scheduler:
            pytest.fail("it has not started")
    assert store.closings == 1


@in_a_loop
async def test_a_context_whose_body_raises_stops() -> None:
    store = KeptStore()
    scheduler = scheduler_on(store)
    with pytest.raises(ValueError, match="mine"):
        async with scheduler:
            raise ValueError("mine")
    assert store.closings == 1


@in_a_loop
async def test_a_start_that_is_cancelled_leaves_what_a_stop_can_end() -> None:
    store = Gate()
    scheduler = scheduler_on(store)
    await scheduler.put(event("w1", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
    starting = asyncio.create_task(scheduler.start())
    await reached(store)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    stopping = asyncio.create_task(scheduler.stop())
    await asyncio.wait([stopping], timeout=0.05)
    assert store.closings == 0, "the store must not be closed, nor its lock given back, under a running transaction"
    store.gate.set()
    await stopping
    assert store.closings == 1
    assert (await scheduler.start()).successful == 1
    await scheduler.stop()


@in_a_loop
async def test_opening_that_is_cancelled_is_closed_by_a_stop(tmp_path: Path) -> None:
    scheduler = Scheduler(f"sqlite:///{tmp_path}/events.db")
    opening = asyncio.create_task(scheduler.open())
    await asyncio.wait([opening], timeout=0)
    opening.cancel()
    await asyncio.wait([opening])
    await scheduler.stop()
    assert isinstance(scheduler.store, SqliteStore)
    assert scheduler.store._writer is None


@in_a_loop
async def test_a_stop_closes_the_store_even_if_it_cannot_say_goodbye() -> None:
    store = FailingStore(stop_node=[StoreFull("no room")])
    scheduler = scheduler_on(store)
    await scheduler.start()
    await scheduler.stop()
    assert store.closings == 1
    assert not scheduler.is_running


@in_a_loop
async def test_a_stop_that_is_cancelled_can_be_repeated() -> None:
    store = Gate()
    store.gate.set()
    clock = ManualClock(T0)
    scheduler = scheduler_on(store, clock)
    await scheduler.start()
    store.gate.clear()
    store.reached.clear()
    await scheduler.put(event("w2", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
    await reached(store)
    stopping = asyncio.create_task(scheduler.stop())
    await asyncio.wait([stopping], timeout=0.05)
    stopping.cancel()
    await asyncio.wait([stopping])
    with pytest.raises(WrongState, match="started already"):
        await scheduler.start()
    store.gate.set()
    await scheduler.stop()
    assert store.closings == 1
    assert not scheduler.is_running


@in_a_loop
async def test_a_stop_gives_what_is_under_way_its_time_and_then_waits_for_its_transaction_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("duly.engine.node.STOP_WITHIN", 0.05)
    store = Gate()
    store.gate.set()
    scheduler = scheduler_on(store)
    await scheduler.start()
    waiting = asyncio.create_task(scheduler.run_forever())
    store.gate.clear()
    store.reached.clear()
    await scheduler.put(event("w2", event_start=T0 - 1, event_end=T0 + DAY), known_for=None)
    await reached(store)
    asyncio.get_running_loop().call_later(0.2, store.gate.set)
    await scheduler.stop()
    await waiting  # it was stopped, however late: no error
    assert store.gate.is_set()
    assert [entry.kind for entry in store.history("w2")] == ["created", "fired"]
    assert store.closings == 1


# -- run_forever --------------------------------------------------------------------------------------------


@in_a_loop
async def test_run_forever_waits_until_somebody_stops_it() -> None:
    scheduler = scheduler_on()
    with pytest.raises(WrongState, match="has not been started"):
        await scheduler.run_forever()
    await scheduler.start()
    waiting = asyncio.create_task(scheduler.run_forever())
    await asyncio.wait([waiting], timeout=0.02)
    assert not waiting.done()
    await scheduler.stop()
    await waiting


@in_a_loop
async def test_giving_up_on_run_forever_does_not_stop_the_firing() -> None:
    clock = ManualClock(T0)
    scheduler = scheduler_on(clock=clock)
    await scheduler.put(TWO)
    await scheduler.start()
    waiting = asyncio.create_task(scheduler.run_forever())
    await asyncio.wait([waiting], timeout=0.02)
    waiting.cancel()
    await asyncio.wait([waiting])
    clock.advance(HOUR)
    await scheduler.settled()
    assert scheduler.troubles() == ()
    assert len(await scheduler.history("w1")) == 2
    await scheduler.stop()


@in_a_loop
async def test_run_forever_ends_with_the_reason_when_the_store_can_be_trusted_no_more(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    scheduler = Scheduler(f"sqlite:///{tmp_path}/events.db", clock=clock)
    await scheduler.put(TWO)
    await scheduler.start()
    waiting = asyncio.create_task(scheduler.run_forever())
    (tmp_path / "events.db").rename(tmp_path / "elsewhere.db")
    clock.advance(HOUR)
    with pytest.raises(StoreStopped, match="its file was moved, removed or replaced"):
        await waiting
    assert any("moved, removed or replaced" in trouble for trouble in scheduler.troubles())
    status = await scheduler.status()
    assert not status.healthy
    with pytest.raises(StoreStopped):
        await scheduler.put(event("w2", event_start=T0 + DAY, event_end=T0 + 2 * DAY))
    with pytest.raises(WrongState, match="firing has ended"):
        await scheduler.settled()
    await scheduler.stop()


# -- from the wrong place (BAD_INPUTS 92) ---------------------------------------------------------------------


def in_another_thread(work: Coroutine[Any, Any, Any]) -> BaseException | Any:
    """Run a coroutine in a loop of its own, in a thread of its own."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert outcome, "it hangs"
    return outcome[0]


@in_a_loop
async def test_bad_input_92_a_put_from_another_thread_and_loop_is_written_and_noticed() -> None:
    asyncio.get_running_loop().set_debug(True)  # asyncio itself then refuses a call from the wrong thread
    clock = ManualClock(T0)
    async with scheduler_on(clock=clock) as scheduler:
        heard: list[str] = []
        fired = asyncio.Event()

        def hear(entries: Sequence[Entry]) -> None:
            heard.extend(entry.event_id for entry in entries)
            fired.set()

        scheduler.on_commit(hear)
        await scheduler.settled()  # by now it naps
        late = event("w1", event_start=T0 - SECOND, event_end=T0 + HOUR)
        result = await asyncio.to_thread(in_another_thread, scheduler.put(late, known_for=None))
        assert isinstance(result, PutResult)
        assert result.outcomes == {"w1": "created"}
        await fired.wait()  # no time passes on this clock: only a nudge can have woken the loop
        assert heard == ["w1"]


@in_a_loop
async def test_bad_input_92_life_is_in_the_hands_of_the_loop_that_started_it() -> None:
    async with scheduler_on() as scheduler:
        for call in (scheduler.stop, scheduler.settled, scheduler.run_forever):
            outcome = await asyncio.to_thread(in_another_thread, call())
            assert isinstance(outcome, WrongState), call
            assert "another event loop" in str(outcome)
        await scheduler.settled()
        assert scheduler.is_running


# -- much at once (BAD_INPUTS 97) --------------------------------------------------------------------------


@in_a_loop
async def test_bad_input_97_very_many_events_in_one_call_are_one_transaction() -> None:
    count = 20_000
    clock = ManualClock(T0)
    async with scheduler_on(clock=clock) as scheduler:
        events = [Event(f"w{n:05}", dates={"event_start": "2026-06-01 10:00Z"}) for n in range(count)]
        result = await scheduler.put(iter(events))
        assert result.count(result.outcomes["w00000"]) == count
        again = await scheduler.put([*events, event("bad", event_start=T0 + DAY, event_end=T0 + 2 * DAY)])
        assert sorted({str(outcome) for outcome in again.outcomes.values()}) == ["created", "unchanged"]
        assert (await scheduler.status()).counts.pending == count + 2


# -- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"misfire_grace": timedelta(seconds=-1)}, "is negative"),
        ({"chronology": "strictly"}, "neither 'event' nor 'strict'"),
        ({"clock_jump": "wait"}, "neither 'hold' nor 'fire'"),
        ({"store": "events.db"}, "is not a URL; write sqlite:///events.db"),
        ({"store": "mysql://host/db"}, "keeps events in SQLite only"),
        ({"store": "sqlite:///"}, "write sqlite:///events.db"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_touched(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        Scheduler(**{"store": KeptStore(), **wrong})


@pytest.mark.parametrize("window", [timedelta.max, None, timedelta(0)])
@in_a_loop
async def test_every_catch_up_window_that_can_be_said_can_be_started_with(window: timedelta | None) -> None:
    scheduler = scheduler_on(catch_up=CatchUp(window=window), misfire_grace=timedelta.max)
    await scheduler.put(event("w1", event_start=T0 - 1, event_end=T0 + DAY), known_for=timedelta.max)
    assert (await scheduler.start()).successful == 1
    await scheduler.stop()


# -- standing by, and health ------------------------------------------------------------------------------


@in_a_loop
async def test_a_second_scheduler_on_a_file_stands_by_and_takes_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    clock = ManualClock(T0)
    owner, standby = (Scheduler(url, clock=clock, node=node) for node in ("a", "b"))
    await owner.start()
    report = await standby.start()
    assert (report.detected, owner.is_owner, standby.is_owner) == (0, True, False)
    assert (await standby.status()).role == "standby"
    await standby.put(TWO)
    clock.advance(10 * SECOND)
    await owner.settled()
    await standby.settled()
    await owner.stop()
    assert (await owner.status()).role == "stopped"
    clock.advance(SECOND // 5)
    await standby.settled()
    assert standby.is_owner
    clock.advance(HOUR)
    await standby.settled()
    assert [(e.milestone, e.node) for e in await standby.history("w1")] == [(None, "b"), ("event_start", "b")]
    await standby.stop()
    await owner.stop()  # reading its status had opened the store again


@in_a_loop
async def test_health_says_what_is_wrong_and_when_it_is_right_again() -> None:
    clock = ManualClock(T0)
    store = FailingStore(next_due_us=[])
    scheduler = scheduler_on(store, clock)
    await scheduler.start()
    await scheduler.settled()
    store.plan["next_due_us"] += [StoreBusy("locked")] * 2
    clock.advance(SECOND)
    waiting = asyncio.create_task(scheduler.settled())
    while not scheduler.troubles():
        await asyncio.wait([waiting], timeout=0.01)
    assert scheduler.troubles() == ("firing: StoreBusy: locked",)
    clock.advance(SECOND)
    await waiting
    assert scheduler.troubles() == ()
    await scheduler.put(TWO)
    falsify(store, "UPDATE event SET lifecycle_hash = 'unheard of'")
    clock.advance(HOUR)
    await scheduler.settled()
    status = await scheduler.status()
    assert "1 event is set aside: see 'duly check'" in status.troubles
    assert not status.healthy
    await scheduler.stop()


@in_a_loop
async def test_a_status_keeps_the_counts_of_its_moment() -> None:
    clock = ManualClock(T0)
    async with scheduler_on(clock=clock) as scheduler:
        await scheduler.put(TWO)
        before = await scheduler.status()
        clock.advance(HOUR)
        await scheduler.settled()
        assert (before.totals.fired, (await scheduler.status()).totals.fired) == (0, 1)


@in_a_loop
async def test_settling_a_scheduler_that_does_not_run_is_refused() -> None:
    with pytest.raises(WrongState, match="has not been started"):
        await scheduler_on().settled()
