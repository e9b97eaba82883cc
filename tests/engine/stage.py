"""What the tests of the engine are built of: a store that outlives its closing, steps without threads, and disks that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from typing_extensions import override

from duly.agenda import Agenda
from duly.channels.handlers import Handlers
from duly.clock import ManualClock, Micros, StepWatch
from duly.engine.courier import Courier
from duly.engine.delivering import DeliveryStep
from duly.engine.firing import FiringStep
from duly.engine.recovery import Recovery, Report
from duly.engine.threads import StoreThreads
from duly.model.event import Event
from duly.model.history import Entry
from duly.scheduler import Scheduler
from duly.stores.sqlite import SqliteStore
from tests.builders import SECOND, T0, event
from tests.torture.checker import faults

P = ParamSpec("P")
T = TypeVar("T")

# A test that waits for something that never comes fails by itself, and says where.
PATIENCE = 30.0
# Shorter than the silence that makes an outage: so much may pass at once while a scheduler is alive.
STRIDE = 10 * SECOND


def in_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test in a loop of its own, and hold that it leaves no task behind."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE):
                await test(*args, **kwargs)
            left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            assert left == []

        asyncio.run(bounded())

    return run


class KeptStore(SqliteStore):
    """A store in memory that outlives its closing, as a file does; so a scheduler can be started on it again."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.closings = 0

    @override
    def close(self) -> None:
        self.closings += 1
        self.disown()


class FailingStore(KeptStore):
    """A store of which a verb can be made to fail: `plan` maps its name to the errors of its next calls."""

    def __init__(self, **plan: Sequence[Exception | None]) -> None:
        super().__init__()
        self.plan = {name: list(errors) for name, errors in plan.items()}
        self.called: list[str] = []

    @override
    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name not in self.__dict__.get("plan", {}):
            return found

        def failing(*args: Any, **kwargs: Any) -> Any:
            self.called.append(name)
            errors = self.plan[name]
            error = errors.pop(0) if errors else None
            if error is not None:
                raise error
            return found(*args, **kwargs)

        return failing


class InlineThreads(StoreThreads):
    """Threads that are none: a step that runs on them can be driven by hand."""

    @override
    async def fire(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return call(*args, **kwargs)

    @override
    async def aside(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return call(*args, **kwargs)

    @override
    async def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return call(*args, **kwargs)


@dataclass
class Stage:
    """A store, a clock that stands still, and the engine's steps over them, called by hand."""

    now: Micros = T0
    store: SqliteStore = field(default_factory=KeptStore)
    strict: bool = False
    grace: timedelta = timedelta(seconds=60)
    hold_steps: bool = True

    def __post_init__(self) -> None:
        self.clock = ManualClock(self.now)
        self.agenda = Agenda(self.store, clock=self.clock)
        self.agenda.open()
        self.watch = StepWatch(self.clock, hold_steps=self.hold_steps)
        self.firing = FiringStep(
            store=self.store,
            clock=self.clock,
            node="n1",
            grace=self.grace,
            strict=self.strict,
            watch=self.watch,
            threads=InlineThreads(),
        )
        self.handlers = Handlers()
        self.delivering = DeliveryStep(
            store=self.store,
            clock=self.clock,
            node="n1",
            threads=InlineThreads(),
            desks={},
            delivers=lambda: True,
        )
        self.courier = Courier(self.delivering, self.handlers, dict)

    def put(self, *events: Event, known_for: timedelta | None = None) -> None:
        """Put events that have been known for ever."""
        self.agenda.put(events, known_for=known_for)

    def put_one(self, id_: str, **dates: Any) -> None:
        self.put(event(id_, **dates))

    def fire(self) -> Micros | None:
        """Run the firing step once."""
        return asyncio.run(self.firing.run_once())

    def recover(self, silent_since: Micros | None, *, starting: bool = True, **how: Any) -> Report:
        """Run a recovery."""
        recovery = Recovery(firing=self.firing, window=how.pop("window", timedelta(hours=24)), **how)
        return asyncio.run(recovery.run(silent_since, starting=starting))

    def entries(self) -> list[Entry]:
        """Return all entries in the order in which they were committed."""
        return [entry for _, entry in self.store.history_after(0, most=1_000_000)]

    def fired(self) -> list[tuple[str, str | None]]:
        """Return what has fired, in the order in which it was committed."""
        return [(entry.event_id, entry.milestone) for entry in self.entries() if entry.is_transition]

    def assert_sound(self, *, quiet: bool = True) -> None:
        """Hold the invariants of PROMISES.md over the whole store."""
        assert_store_sound(self.store, self.clock.now() if quiet else None)


def assert_store_sound(store: SqliteStore, quiet_at: Micros | None) -> None:
    """Hold the invariants I1 to I6 of PROMISES.md over every event of a store."""
    rows = store.list_events(most=1_000_000)
    found = faults(rows, {row.id: store.history(row.id) for row in rows}, store.lifecycle_of, quiet_at=quiet_at)
    assert found == []


def falsify(store: SqliteStore, sql: str) -> None:
    """Change rows behind Duly's back, as a careless person with a SQL prompt would."""
    assert store._writer is not None
    store._writer.execute(sql)


async def let_pass(clock: ManualClock, scheduler: Scheduler, micros: Micros) -> None:
    """Let time pass under a running scheduler, in strides that are no outage."""
    while micros > 0:
        stride = min(micros, STRIDE)
        clock.advance(stride)
        await scheduler.settled()
        micros -= stride
