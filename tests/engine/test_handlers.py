"""Handlers that misbehave, each with a healthy one beside it that must be told in time; and what cannot be a handler."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from duly import BlockingScheduler, Context, Scheduler
from duly.channels.crew import ABANDONED_MOST, Crew
from duly.channels.handlers import Handlers
from duly.clock import ManualClock
from duly.engine.telling import Telling
from duly.errors import InvalidInput, Reject, RetryLater, WrongState
from duly.model.delivery import Attempt, Retry, State
from duly.model.event import Hold
from duly.stores.sqlite import SqliteStore
from tests.builders import CAMPUS, CONFERENCE, SECOND, T0, event
from tests.engine.stage import KeptStore, in_a_loop

PATIENCE = 20.0
TWICE = Retry((timedelta(seconds=5),), 0.0)
BRIEF = timedelta(seconds=30)
Handler = Callable[..., Any]


class Cast:
    """A scheduler on a clock that stands still, with a healthy handler of either kind beside the one on trial."""

    def __init__(self, store: SqliteStore | None = None) -> None:
        self.clock = ManualClock(T0)
        self.store = store or KeptStore()
        self.scheduler = Scheduler(self.store, clock=self.clock, node="n1")
        self.scheduler._life.courier.stop_within = 0.2
        # Which events the healthy ones have been told of, as far as that is settled.
        self.told: set[tuple[str, str]] = set()
        self._news = asyncio.Event()
        self.scheduler.on_settled(self._take_note)
        self.scheduler.on("*", name="well")(lambda _: None)
        self.scheduler.on("*", name="well-async")(self._tell_async)

    async def _tell_async(self, _: Context) -> None:
        pass

    def _take_note(self, settled: Sequence[Telling]) -> None:
        self.told |= {(each.subscriber, each.event_id) for each in settled if each.state is State.DELIVERED}
        self._news.set()

    def on_trial(self, function: Handler, *, topics: Sequence[str] = ("*",), **how: Any) -> None:
        self.scheduler.on(*topics, name="trial", **{"retry": TWICE, **how})(function)

    async def due(self, *ids: str) -> None:
        """Have one milestone of each event fire."""
        first = self.clock.now() + SECOND
        await self.scheduler.put([event(id_, registration_open=first) for id_ in ids])
        self.clock.advance(SECOND)

    def states(self, name: str = "trial") -> set[State]:
        return {d.state for d in self.store.outbox.deliveries(subscriber=name)}

    def attempts(self, name: str = "trial") -> list[Attempt]:
        numbers = [d.number for d in self.store.outbox.deliveries(subscriber=name, most=1000)]
        return [each for number in numbers for each in self.store.outbox.attempts(numbers)[number]]

    def said(self) -> list[str | None]:
        return [attempt.said for attempt in self.attempts()]

    def assert_well(self) -> None:
        """Hold that nobody else was hurt."""
        assert self.states("well") == self.states("well-async") == {State.DELIVERED}
        assert {attempt.number for attempt in self.attempts("well")} == {1}
        assert self.scheduler.troubles() == ()

    async def hear(self, *ids: str) -> None:
        """Wait until both healthy ones have been told of these events."""
        while not self.told >= {(name, id_) for id_ in ids for name in ("well", "well-async")}:
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def on_stage(function: Handler, store: SqliteStore | None = None, **how: Any) -> AsyncIterator[Cast]:
    cast = Cast(store)
    cast.on_trial(function, **how)
    async with cast.scheduler:
        yield cast


def both_kinds(function: Callable[[Context], object]) -> list[Handler]:
    async def awaited(context: Context) -> object:
        return function(context)

    return [function, awaited]


# -- raising --------------------------------------------------------------------------------------------


class Mute(Exception):
    @override
    def __str__(self) -> str:
        raise ValueError("no words")


class Rude(Exception):
    @override
    def __str__(self) -> str:
        raise SystemExit("no words")


class Wordless(Exception):
    @override
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307 - that is the point


def recursing(_: Context) -> None:
    recursing(_)


RAISED: dict[str, BaseException] = {
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "BaseException": BaseException("odd"),
    "MemoryError": MemoryError(),
    "CancelledError": asyncio.CancelledError(),
    "GeneratorExit": GeneratorExit(),
    "StopIteration": StopIteration(),
    "TimeoutError": TimeoutError(),
    "ExceptionGroup": BaseExceptionGroup("several", [KeyboardInterrupt(), ValueError()]),
    "Mute": Mute(),
    "Rude": Rude(),
    "Wordless": Wordless(),
    "long": ValueError("x" * 1_000_000),
    "odd text": ValueError("\ud800\0\n\x1b[31m"),
    "RetryLater after 5": RetryLater("busy", after=5),  # type: ignore[arg-type]
    "RetryLater for ever": RetryLater("busy", after=timedelta.max),
    "WrongState": WrongState("not now"),
}


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize("error", RAISED.values(), ids=RAISED)
def test_bad_input_95_whatever_a_handler_raises_fails_its_own_attempt_only(error: BaseException, kind: int) -> None:
    def fail(_: Context) -> None:
        raise error

    @in_a_loop
    async def test() -> None:
        async with on_stage(both_kinds(fail)[kind]) as cast:
            await cast.due("w1", "w2")
            await cast.scheduler.settled()
            cast.assert_well()
            assert cast.states() == {State.PENDING}
            assert [attempt.outcome for attempt in cast.attempts()] == ["failed", "failed"]
            assert all(said and len(said) <= 500 for said in cast.said())
            cast.clock.advance(6 * SECOND)
            await cast.due("w3")
            await cast.scheduler.settled()
            cast.assert_well()

    test()


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_bad_input_95_endless_recursion_fails_its_own_attempt_only(kind: int) -> None:
    @in_a_loop
    async def test() -> None:
        async with on_stage(both_kinds(recursing)[kind]) as cast:
            await cast.due("w1")
            await cast.scheduler.settled()
            cast.assert_well()
            assert (cast.said()[0] or "").startswith("RecursionError")

    test()


@in_a_loop
async def test_a_rejection_is_dead_at_once_and_a_wish_for_later_is_heeded() -> None:
    async def reject(context: Context) -> None:
        if context.event_id == "w1":
            raise Reject("no such list")
        if context.attempt == 1:
            raise RetryLater("busy", after=timedelta(minutes=2))

    async with on_stage(reject) as cast:
        await cast.due("w1", "w2")
        await cast.scheduler.settled()
        assert cast.states() == {State.DEAD, State.PENDING}
        assert sorted(said or "" for said in cast.said()) == ["busy", "no such list"]
        for _ in range(12):
            cast.clock.advance(10 * SECOND)
            await cast.scheduler.settled()
        assert cast.states() == {State.DEAD, State.DELIVERED}


# -- returning ------------------------------------------------------------------------------------------


def _returned() -> dict[str, Callable[[], object]]:
    loop: list[object] = []
    loop.append(loop)
    return {
        "a lock": threading.Lock,
        "a lambda": lambda: lambda: None,
        "itself": lambda: loop,
        "an exception": SystemExit,
        "NotImplemented": lambda: NotImplemented,
        "False": lambda: False,
        "a surrogate": lambda: "\ud800",
    }


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize("returned", _returned().values(), ids=_returned())
def test_bad_input_96_whatever_a_handler_returns_is_ignored(returned: Callable[[], object], kind: int) -> None:
    @in_a_loop
    async def test() -> None:
        async with on_stage(both_kinds(lambda _: returned())[kind]) as cast:
            await cast.due("w1")
            await cast.scheduler.settled()
            cast.assert_well()
            assert cast.states() == {State.DELIVERED}

    test()


def _wrapped(function: Handler) -> Handler:
    def wrapper(*args: object) -> object:
        return function(*args)

    return wrapper


@in_a_loop
async def test_bad_input_96_a_coroutine_that_nobody_awaits_is_no_success() -> None:
    ran = []

    async def announce(context: Context) -> None:
        ran.append(context)

    async with on_stage(_wrapped(announce)) as cast:
        await cast.due("w1")
        await cast.scheduler.settled()
        cast.assert_well()
        assert (ran, cast.states()) == ([], {State.PENDING})
        assert "returned a coroutine that nobody runs" in (cast.said()[0] or "")


@in_a_loop
async def test_bad_input_96_a_generator_that_nobody_runs_is_no_success() -> None:
    def announce(_: Context) -> Iterator[int]:
        yield 1

    async with on_stage(_wrapped(announce)) as cast:
        await cast.due("w1")
        await cast.scheduler.settled()
        assert cast.states() == {State.PENDING}


@in_a_loop
async def test_a_handler_that_takes_something_else_fails_visibly() -> None:
    def announce() -> None:
        pass

    async with on_stage(announce) as cast:
        await cast.due("w1")
        await cast.scheduler.settled()
        cast.assert_well()
        assert "takes 0 positional arguments but 1 was given" in (cast.said()[0] or "")


# -- not coming back ------------------------------------------------------------------------------------


@in_a_loop
async def test_a_handler_that_never_returns_is_cancelled_at_its_timeout() -> None:
    cancelled = asyncio.Event()

    async def hang(_: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with on_stage(hang, timeout=BRIEF) as cast:
        await cast.due("w1")
        await cast.hear("w1")
        cast.clock.advance(30 * SECOND)
        await cancelled.wait()
        await cast.scheduler.settled()
        assert cast.said() == ["no answer within 30 s"]
        cast.assert_well()


@in_a_loop
async def test_a_handler_that_swallows_its_cancellation_is_left_alone() -> None:
    let_go, swallowed = asyncio.Event(), asyncio.Event()

    async def stubborn(_: Context) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                swallowed.set()

    async with on_stage(stubborn, timeout=BRIEF) as cast:
        await cast.due("w1")
        await cast.hear("w1")
        cast.clock.advance(30 * SECOND)
        await swallowed.wait()
        await cast.scheduler.settled()
        assert cast.said() == ["no answer within 30 s"]
        await cast.due("w2")
        cast.assert_well()
        let_go.set()
        await cast.scheduler.settled()
        cast.assert_well()


@in_a_loop
async def test_a_stop_does_not_wait_for_a_handler_that_swallows_its_cancellation() -> None:
    let_go, began = asyncio.Event(), asyncio.Event()

    async def stubborn(_: Context) -> None:
        began.set()
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    cast = Cast()
    cast.on_trial(stubborn)
    async with cast.scheduler:
        await cast.due("w1")
        await began.wait()
        await cast.hear("w1")
    assert [attempt.outcome for attempt in cast.attempts()] == ["lost"]
    assert cast.store.outbox.deliveries(subscriber="trial")[0].node is None
    # Started again, it is called again; that the first call ends meanwhile says nothing of the second.
    began.clear()
    async with cast.scheduler:
        await began.wait()
        let_go.set()
        await cast.scheduler.settled()
        assert [attempt.outcome for attempt in cast.attempts()] == ["lost", "delivered"]


@in_a_loop
async def test_a_handler_that_blocks_its_loop_holds_up_neither_the_firing_nor_those_in_threads() -> None:
    cast = Cast()
    second = threading.Event()

    def of_the_second(context: Context) -> None:
        if context.event_id == "w2":
            second.set()

    async def block(context: Context) -> None:
        if context.event_id == "w1":
            # Comes back only when the healthy one in a thread has been told of what fires later.
            cast.clock.advance(2 * SECOND)
            assert second.wait(PATIENCE)

    cast.on_trial(block)
    cast.scheduler.on("*", name="watch")(of_the_second)
    async with cast.scheduler:
        await cast.scheduler.put(event("w2", registration_open=T0 + 3 * SECOND))
        await cast.due("w1")
        await cast.scheduler.settled()
        cast.assert_well()
        assert cast.states() == {State.DELIVERED}


@in_a_loop
async def test_handlers_that_hang_in_all_their_threads_hold_nobody_else_up() -> None:
    let_go = threading.Event()

    def hang(_: Context) -> None:
        let_go.wait(PATIENCE)

    async with on_stage(hang, concurrency=20, timeout=BRIEF) as cast:
        ids = [f"w{number}" for number in range(40)]
        await cast.due(*ids)
        await cast.hear(*ids)
        cast.clock.advance(30 * SECOND)
        await cast.due("again")
        await cast.hear("again")
        let_go.set()
        await cast.scheduler.settled()
        cast.assert_well()


@in_a_loop
async def test_with_too_many_hanging_calls_no_more_of_that_handler_are_begun_and_it_says_so() -> None:
    let_go = threading.Event()

    def hang(_: Context) -> None:
        let_go.wait(PATIENCE)

    async with on_stage(hang, concurrency=ABANDONED_MOST, timeout=BRIEF) as cast:
        ids = [f"w{number}" for number in range(ABANDONED_MOST)]
        await cast.due(*ids)
        await cast.hear(*ids)
        cast.clock.advance(30 * SECOND)
        await cast.scheduler.settled()
        await cast.due("one more")
        await cast.scheduler.settled()
        assert f"{ABANDONED_MOST} calls of this handler hang in their threads; no more are begun" in cast.said()
        cast.assert_well()
        let_go.set()


@in_a_loop
async def test_a_stop_does_not_wait_for_a_thread_that_hangs() -> None:
    let_go = threading.Event()
    async with on_stage(lambda _: let_go.wait(PATIENCE)) as cast:
        await cast.due("w1")
        await cast.hear("w1")
    assert [attempt.outcome for attempt in cast.attempts()] == ["lost"]
    let_go.set()


@in_a_loop
async def test_a_handler_that_closes_its_loop_does_not() -> None:
    async def close(_: Context) -> None:
        asyncio.get_running_loop().close()

    async with on_stage(close) as cast:
        await cast.due("w1")
        await cast.scheduler.settled()
        assert cast.said() == ["RuntimeError: Cannot close a running event loop"]
        cast.assert_well()


# -- leaving things behind ------------------------------------------------------------------------------

leaked: contextvars.ContextVar[str] = contextvars.ContextVar("leaked", default="nothing")


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_what_a_handler_sets_in_its_context_is_not_seen_by_the_next_call(kind: int) -> None:
    seen: list[str] = []

    def leak(context: Context) -> None:
        seen.append(leaked.get())
        leaked.set(context.event_id)

    @in_a_loop
    async def test() -> None:
        async with on_stage(both_kinds(leak)[kind], concurrency=1) as cast:
            await cast.due("w1", "w2", "w3")
            await cast.scheduler.settled()
            assert seen == ["nothing"] * 3

    test()


@in_a_loop
async def test_a_handler_may_leave_a_task_behind_and_that_may_stop_the_scheduler() -> None:
    left: list[asyncio.Task[None]] = []
    began = asyncio.Event()

    async def leave(_: Context) -> None:
        left.append(asyncio.create_task(cast.scheduler.stop()))
        began.set()

    cast = Cast()
    cast.on_trial(leave)
    await cast.scheduler.start()
    await cast.due("w1")
    await began.wait()
    await left[0]
    assert not cast.scheduler.is_running
    assert cast.states() == {State.DELIVERED}


@in_a_loop
async def test_threads_that_have_nothing_to_do_end() -> None:
    crew = Crew(4, idle_seconds=0.01)
    before = set(threading.enumerate())
    done = [threading.Event() for _ in range(4)]
    for ticket, each in enumerate(done):
        assert crew.begin(ticket, each.set) is None
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, PATIENCE)
    assert all(each.is_set() for each in done)
    assert crew.size == 0
    again = threading.Event()
    assert crew.begin(9, again.set) is None
    assert await asyncio.to_thread(again.wait, PATIENCE)
    crew.end()


def test_no_more_threads_than_a_handler_may_have() -> None:
    crew, let_go = Crew(3), threading.Event()
    done: list[int] = []
    last = threading.Event()
    for ticket in range(10):
        assert crew.begin(ticket, functools.partial(_wait_and_note, let_go, done, last, ticket)) is None
    assert crew.size == 3
    let_go.set()
    assert last.wait(PATIENCE)
    crew.end()
    assert sorted(done) == list(range(10))


def _wait_and_note(let_go: threading.Event, done: list[int], last: threading.Event, ticket: int) -> None:
    let_go.wait(PATIENCE)
    done.append(ticket)
    if len(done) == 10:
        last.set()


def test_what_waits_behind_a_call_that_hangs_gets_its_thread_once_that_is_given_up() -> None:
    crew, began, let_go, told = Crew(1), threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        let_go.wait(PATIENCE)

    assert crew.begin(1, hang) is None
    assert crew.begin(2, told.set) is None
    assert began.wait(PATIENCE)
    crew.give_up(1)
    assert told.wait(PATIENCE)
    assert crew.abandoned == 1
    let_go.set()
    crew.end()


def assert_let_go(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def test_a_call_that_was_given_up_before_it_began_never_begins() -> None:
    crew, let_go, last = Crew(1), threading.Event(), threading.Event()
    done: list[int] = []
    crew.begin(1, lambda: assert_let_go(let_go))
    crew.begin(2, functools.partial(done.append, 2))
    crew.begin(3, last.set)
    crew.give_up(2)
    let_go.set()
    assert last.wait(PATIENCE)
    assert (done, crew.abandoned) == ([], 0)
    crew.end()
    assert crew.begin(4, last.set) == "the scheduler is being stopped"


def test_where_no_thread_can_be_started_the_attempt_fails_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    crew = Crew(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert crew.begin(1, lambda: None) == "no thread can be started for it"
    told = threading.Event()
    assert crew.begin(2, told.set) is None
    assert told.wait(PATIENCE)
    crew.end()


# -- calling the scheduler ------------------------------------------------------------------------------


@in_a_loop
async def test_bad_input_93_a_handler_may_use_the_scheduler_for_the_very_event() -> None:
    async def meddle(context: Context) -> None:
        scheduler = cast.scheduler
        if context.event_id == "w1" and context.topic == "registration_open":
            await scheduler.put(event("w1", registration_open=T0 + SECOND, event_start=T0 + 2 * SECOND))
            await scheduler.put(event("w2", registration_open=T0 + 2 * SECOND))
            cast.clock.advance(SECOND)
            assert (await scheduler.get("w1")).id == "w1"
            assert await scheduler.history("w1")
            assert await scheduler.upcoming() is not None
            assert (await scheduler.status()).role == "owner"
        elif context.topic == "event_start":
            await scheduler.set_hold("w1", Hold.CANCELLED, reason="a handler")
            await scheduler.remove("w2")

    cast = Cast()
    cast.on_trial(meddle, topics=("*", "cancelled"))
    async with cast.scheduler:
        await cast.due("w1")
        await cast.scheduler.settled()
        told = [d.topic for d in reversed(cast.store.outbox.deliveries(subscriber="trial", event_id="w1"))]
        assert told == ["registration_open", "event_start", "cancelled"]
        assert State.PENDING not in cast.states()
        assert cast.said() == [None] * len(cast.said())


@pytest.mark.parametrize("call", ["stop", "settled"])
@in_a_loop
async def test_what_would_wait_for_the_handler_itself_is_refused_in_a_handler(call: str) -> None:
    refused: list[str] = []

    async def wait(_: Context) -> None:
        for _attempt in range(2):
            try:
                await getattr(cast.scheduler, call)()
            except WrongState as error:
                refused.append(str(error))
        with contextlib.suppress(WrongState):
            await asyncio.create_task(getattr(cast.scheduler, call)())
        with contextlib.suppress(WrongState):
            await asyncio.to_thread(lambda: asyncio.run(getattr(cast.scheduler, call)()))

    cast = Cast()
    cast.on_trial(wait)
    async with cast.scheduler:
        await cast.due("w1")
        await cast.scheduler.settled()
        assert refused == [f"{call}() waits for the handlers that are running, so a handler cannot wait for it"] * 2
        cast.assert_well()


@in_a_loop
async def test_handlers_are_declared_before_the_start() -> None:
    async with on_stage(lambda _: None) as cast:
        with pytest.raises(WrongState, match="declare handlers before"):
            cast.scheduler.on("*", name="late")(lambda _: None)


def test_under_a_blocking_scheduler_handlers_run_beside_the_program_and_may_use_it() -> None:
    clock = ManualClock(T0)
    scheduler = BlockingScheduler(KeptStore(), clock=clock)
    threads: dict[str, str] = {}
    refused: list[str] = []
    told = threading.Event()

    @scheduler.on("registration_open", name="async")
    async def announce(_: Context) -> None:
        threads["async"] = threading.current_thread().name
        try:
            scheduler.get("w1")
        except WrongState as error:
            refused.append(str(error))

    @scheduler.on("registration_open", name="sync")
    def put(context: Context) -> None:
        threads["sync"] = threading.current_thread().name
        try:
            scheduler.stop()
        except WrongState as error:
            refused.append(str(error))
        scheduler.put(event("w2", event_start=T0 + SECOND))
        assert scheduler.get(context.event_id).id == "w1"

    @scheduler.on("event_start", name="second")
    async def second(_: Context) -> None:
        told.set()  # in the scheduler's loop, which nobody has ended

    with scheduler:
        scheduler.put(event("w1", registration_open=T0 + SECOND))
        clock.advance(SECOND)
        assert told.wait(PATIENCE)
        assert scheduler.status().role == "owner"
    assert threads == {"async": "duly", "sync": "duly-handler"}
    assert any("stop() waits for the handlers" in said for said in refused)
    assert any("from its own thread" in said for said in refused)


# -- transactions ---------------------------------------------------------------------------------------


@in_a_loop
async def test_a_transaction_that_never_ends_is_rolled_back_at_its_timeout_and_all_goes_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "events.db")
    began, let_go = threading.Event(), threading.Event()
    after: list[str] = []

    def hang(context: Context, connection: Any) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS mine (event TEXT, attempt INTEGER)")
        connection.execute("INSERT INTO mine VALUES (?, ?)", (context.event_id, context.attempt))
        if context.attempt == 1 and context.event_id == "w1":
            began.set()
            assert let_go.wait(PATIENCE)
            try:
                connection.execute("INSERT INTO mine VALUES ('late', 1)")
            except Exception as error:
                after.append(type(error).__name__)
                raise

    cast = Cast(store)
    cast.on_trial(hang, transactional=True, timeout=timedelta(milliseconds=200))
    async with cast.scheduler:
        await cast.due("w1")
        assert await asyncio.to_thread(began.wait, PATIENCE)
        # Whoever writes waits for as long as the handler may take, and then no longer.
        await cast.scheduler.put(event("w2", registration_open=T0 + 2 * SECOND))
        cast.clock.advance(SECOND)
        await cast.scheduler.settled()
        cast.clock.advance(10 * SECOND)
        await cast.scheduler.settled()
        let_go.set()
        cast.assert_well()
        assert cast.states() == {State.DELIVERED}
        assert store._writer is not None
        rows = store._writer.execute("SELECT event, attempt FROM mine ORDER BY event").fetchall()
        assert rows == [("w1", 2), ("w2", 1)]


@in_a_loop
async def test_transactions_are_made_exactly_once_though_they_fail_now_and_then(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "events.db")
    errors: Iterator[BaseException | None] = iter([ValueError(), None, SystemExit(), None, KeyboardInterrupt()])

    def flaky(context: Context, connection: Any) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS mine (delivery TEXT)")
        connection.execute("INSERT INTO mine VALUES (?)", (context.delivery_id,))
        error = next(errors, None)
        if error is not None:
            raise error

    async with on_stage(flaky, store, transactional=True) as cast:
        await cast.due(*(f"w{number}" for number in range(6)))
        await cast.scheduler.settled()
        cast.clock.advance(6 * SECOND)
        await cast.scheduler.settled()
        cast.assert_well()
        assert cast.states() == {State.DELIVERED}
        assert store._writer is not None
        found = store._writer.execute("SELECT delivery, count(*) FROM mine GROUP BY delivery").fetchall()
        assert sorted(found) == sorted((d.id, 1) for d in store.outbox.deliveries(subscriber="trial"))


# -- what cannot be a handler ---------------------------------------------------------------------------


def plain(_: Context) -> None: ...


async def awaited(_: Context) -> None: ...


def generator(_: Context) -> Iterator[int]:
    yield 1


async def async_generator(_: Context) -> AsyncIterator[int]:
    yield 1


class Callables:
    def method(self, _: Context) -> None: ...

    async def async_method(self, _: Context) -> None: ...

    def __call__(self, _: Context) -> None: ...


class AsyncCallable:
    async def __call__(self, _: Context) -> None: ...


class GeneratorCallable:
    def __call__(self, _: Context) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    ("function", "how", "said"),
    [
        (lambda _: None, {}, "a lambda has no name"),
        (functools.partial(plain), {}, "a functools.partial has no name"),
        (5, {}, "a handler is a function, not int"),
        (5, {"name": "n"}, "a handler is a function, not int"),
        (None, {"name": "n"}, "a handler is a function, not NoneType"),
        (Callables, {}, "Callables is a class"),
        (generator, {}, "has a 'yield' in it"),
        (async_generator, {}, "has a 'yield' in it"),
        (functools.partial(generator), {"name": "n"}, "has a 'yield' in it"),
        (GeneratorCallable(), {}, "has a 'yield' in it"),
        (awaited, {"transactional": True}, "a plain function, not async"),
        (AsyncCallable(), {"transactional": True}, "a plain function, not async"),
        (functools.partial(awaited), {"name": "n", "transactional": True}, "a plain function, not async"),
        (plain, {"timeout": timedelta(0)}, "timeout 0:00:00 must be more than zero"),
        (plain, {"timeout": timedelta(seconds=-1)}, "must be more than zero"),
        (plain, {"timeout": timedelta.max}, "a week at most"),
        (plain, {"timeout": 30}, "must be a timedelta"),
        (plain, {"timeout": None}, "must be a timedelta"),
        (plain, {"concurrency": 0}, "must be a whole number, at least 1"),
        (plain, {"concurrency": 1.5}, "must be a whole number"),
        (plain, {"concurrency": True}, "must be a whole number"),
        (plain, {"retry": 3}, "must be a Retry"),
        (plain, {"catch_up": "nonsense"}, "none of all, current, latest, none, park"),
        (plain, {"catch_up": 5}, "none of all"),
        (plain, {"lifecycle": 5}, "lifecycle=5 is no name"),
        (plain, {"lifecycle": [5]}, "is no name"),
        (plain, {"lifecycle": CAMPUS}, "is no name"),
        (plain, {"tags": 5}, "tags=5 is no name"),
        (plain, {"name": 5}, "a handler's name is a text"),
        (plain, {"name": ""}, "a handler's name is a text"),
        (plain, {"name": " "}, "a handler's name is a text"),
        (plain, {"name": "a\nb"}, "on one line"),
        (plain, {"name": "x" * 201}, "at most 200"),
        (plain, {"name": "webhook:crm"}, "those of webhooks"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_with_a_sentence(function: Any, how: dict[str, Any], said: str) -> None:
    handlers = Handlers()
    with pytest.raises(InvalidInput, match=said):
        handlers.on("registration_open", **how)(function)
    assert list(handlers) == []


@pytest.mark.parametrize("topics", [(), ("",), (" ",), (5,), (None,), (["a", "b"],), ("a", plain), (plain,)])
def test_a_topic_is_a_name_and_the_brackets_are_not_forgotten_in_silence(topics: tuple[Any, ...]) -> None:
    # `@scheduler.on` without brackets hands the function over as a topic.
    with pytest.raises(InvalidInput, match="listens to something"):
        Handlers().on(*topics)


@pytest.mark.parametrize(
    ("function", "name", "is_async", "concurrency"),
    [
        (plain, "plain", False, 8),
        (awaited, "awaited", True, 100),
        (Callables().method, "Callables.method", False, 8),
        (Callables().async_method, "Callables.async_method", True, 100),
        (Callables(), "Callables", False, 8),
        (AsyncCallable(), "AsyncCallable", True, 100),
    ],
)
def test_a_function_is_known_by_its_module_and_name(
    function: Handler, name: str, is_async: bool, concurrency: int
) -> None:
    handlers = Handlers()
    handlers.on("*")(function)
    (handler,) = handlers
    assert handler.subscriber.name == f"tests.engine.test_handlers:{name}"
    assert (handler.is_async, handler.subscriber.concurrency) == (is_async, concurrency)


def test_transactions_wait_for_each_other_anyway_so_one_is_begun_at_a_time() -> None:
    handlers = Handlers()
    handlers.on("*", name="one", transactional=True)(plain)
    handlers.on("*", name="many", transactional=True, concurrency=4)(plain)
    assert [handler.subscriber.concurrency for handler in handlers] == [1, 4]


def test_the_same_again_is_no_second_handler_and_anything_else_of_its_name_is_refused() -> None:
    handlers, callables = Handlers(), Callables()
    for _ in range(2):
        handlers.on("*")(plain)
        handlers.on("*")(callables.method)
    assert len(handlers.subscribers) == 2
    with pytest.raises(InvalidInput, match="is declared twice"):
        handlers.on("cancelled")(plain)
    with pytest.raises(InvalidInput, match="there are two handlers"):
        handlers.on("*")(Callables().method)
    with pytest.raises(InvalidInput, match="there are two handlers"):
        handlers.on("*", name="tests.engine.test_handlers:plain")(awaited)
    assert len(handlers.subscribers) == 2


def test_a_word_is_one_lifecycle_and_one_tag() -> None:
    handlers = Handlers()
    handlers.on("*", lifecycle="campus_event", tags="members")(plain)
    (subscriber,) = handlers.subscribers
    assert (subscriber.lifecycles, subscriber.tags) == (("campus_event",), ("members",))


# -- what nothing brings about --------------------------------------------------------------------------

KNOWN = {lifecycle.name: lifecycle for lifecycle in (CAMPUS, CONFERENCE)}


@pytest.mark.parametrize(
    ("topic", "how", "said"),
    [
        ("registraton_open", {}, "did you mean 'registration_open'?"),
        ("canceled", {}, "did you mean 'cancelled'?"),
        ("no_such_thing_at_all", {}, "no lifecycle has such a milestone, nor is it other news"),
        ("registration_open", {"lifecycle": "conference"}, "lifecycle 'conference' has no such milestone"),
        ("registration_open", {"lifecycle": "campus_evnt"}, "none of that name; did you mean 'campus_event'?"),
        ("registrations_*", {}, "nor is it other news"),
        ("registration_open ", {}, "did you mean 'registration_open'?"),
    ],
)
def test_a_handler_that_waits_for_what_never_comes_is_warned_of(
    topic: str, how: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = Handlers()
    handlers.on(topic, name="ear", **how)(plain)
    handlers.warn_of_unheard(KNOWN)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("handler 'ear' listens to ")
    assert said in record.getMessage()


@pytest.mark.parametrize(
    "topic", ["*", "registration_*", "registration_open", "cancelled", "outage", "dead", "revoked", "event_start#2"]
)
def test_of_what_can_come_nobody_is_warned(topic: str, caplog: pytest.LogCaptureFixture) -> None:
    handlers = Handlers()
    handlers.on(topic)(plain)
    handlers.warn_of_unheard(KNOWN)
    assert caplog.records == []


@in_a_loop
async def test_a_start_warns_of_what_never_comes() -> None:
    warned: list[str] = []
    cast = Cast()
    cast.scheduler.handlers.warn_of_unheard = warned.extend  # type: ignore[assignment,method-assign]
    async with cast.scheduler:
        assert "campus_event" in warned
