"""The life of a scheduler's engine: started, stopped, started again; it always ends with nothing left open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

from duly.channels.handlers import refuse_inside_handler
from duly.engine.engine_thread import EngineThread
from duly.engine.firing import FiringTotals
from duly.engine.home import Home, HomeWatch
from duly.engine.node import Node
from duly.engine.threads import StoreThreads
from duly.engine.upkeep import HEARTBEAT_US
from duly.errors import StoreError, WrongState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duly.clock import Micros
    from duly.engine.courier import Courier
    from duly.engine.firing import FiringStep, Listener
    from duly.engine.node import Steps
    from duly.engine.recovery import Report
    from duly.engine.telling import TellingListener
    from duly.engine.turn import Turn
    from duly.model.history import Entry

logger = logging.getLogger("duly.engine")

P = ParamSpec("P")
T = TypeVar("T")


class Life:
    """The engine of one scheduler, over all its starts and stops, and the store's threads.

    While it runs, the engine has a thread and an event loop of its own. Its calls are made, and its listeners
    called, in the loop of the application that starts it. `open_store` and `close_store` may be repeated.
    """

    def __init__(
        self,
        firing: FiringStep,
        courier: Courier,
        *,
        open_store: Callable[[], object],
        close_store: Callable[[], object],
    ) -> None:
        """Set it up; nothing is opened or started yet."""
        self.firing = firing
        self.courier = courier
        self.turn: Turn | None = None
        self.node: Node | None = None
        self.listeners: list[Listener] = []
        firing.listeners.append(self._hand_over)
        self._open_store, self._close_store = open_store, close_store
        self._opened = False
        self._opening = threading.Lock()  # calls run in several threads, and the first of them opens
        self._starting = False
        self.engine = EngineThread()
        self.home: Home | None = None
        self._ending: asyncio.Task[None] | None = None
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    # -- the store --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the store without firing anything."""
        await self.firing.threads.call(self._open)

    async def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call in the store's thread, after those before it. Opens the store if need be."""
        return await self.firing.threads.call(self._opened_first(lambda: call(*args, **kwargs)))

    async def aside(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call that need not wait for others. Opens the store if need be."""
        return await self.firing.threads.aside(self._opened_first(lambda: call(*args, **kwargs)))

    def _opened_first(self, call: Callable[[], T]) -> Callable[[], T]:
        def opened() -> T:
            self._open()
            return call()

        return opened

    def _open(self) -> None:
        with self._opening:
            if not self._opened:
                self._open_store()
                self._opened = True

    def _close(self) -> None:
        self._opened, self.home = False, None
        self.firing.threads = StoreThreads()
        self._close_store()

    # -- starting and stopping --------------------------------------------------------------------------

    async def start(
        self, turn: Turn, *, steps: Steps = (), progress: Callable[[int, int], None] | None = None
    ) -> Report:
        """Begin a turn, then run it and the other steps on and on in the engine's thread. Returns its report.

        `steps`: what runs besides, each with how long its loop naps at most. `progress` is called in the running
        event loop. Raises WrongState if it has been started, StoreRefused.
        """
        if self._starting or (self.node is not None and not self.firing.stopping):
            _refuse_to_start()
        self._starting = True
        try:
            async with self._one_at_a_time():
                if self.node is not None:  # a stop was cut off before its end
                    _refuse_to_start()
                return await self._start(turn, steps, progress)
        except BaseException:
            # Whatever went wrong, or whoever gave up waiting: another process shall be able to fire.
            if self.node is None:
                self.firing.store.disown()
            raise
        finally:
            self._starting = False

    async def _start(self, turn: Turn, steps: Steps, progress: Callable[[int, int], None] | None) -> Report:
        home = self.home = Home()
        self.firing.stopping, self.firing.totals = False, FiringTotals()
        await self.open()
        self.turn = turn
        if progress is not None:
            tell = progress
            turn.recovery.progress = lambda done, of: home.call(tell, done, of)
        engine = self.engine = EngineThread(home.stray)
        engine.start()
        try:
            # Before the recovery: what that fires is told meanwhile.
            self.courier.step.threads = self.firing.threads
            await engine.run(self.courier.begin(home, engine))
            report = await engine.run(turn.begin())
            if not self.firing.stopping:
                watch = HomeWatch(home=home, when_closed=self._forsaken)
                self.node = Node(turn, engine, (*steps, (watch, HEARTBEAT_US)))
        finally:
            if self.node is None:
                await self._stop_delivering()
                await engine.stop()
        if self.node is not None:
            # Last, and with nothing awaited behind it: nothing fires before the caller goes on, and can listen.
            home.stay(self._abandon)
            self.node.start()
        return report

    async def stop(self) -> None:
        """Let what is being written finish, then end everything and close the store. May be repeated.

        During the start it lets the batch that is being fired finish; `start` then returns. Raises WrongState in
        another event loop than that of the start.
        """
        refuse_inside_handler("stop()")
        self._check_home()
        self.firing.stopping = True
        async with self._one_at_a_time():
            self.firing.stopping = True
            if self.node is not None:
                await self.node.stop()
                await self._stop_delivering()
                await self._say_goodbye()
                await self.engine.stop()
                if self.home is not None:
                    await self.home.leave()
                self.node = None
            # Nothing is closed under what is still under way: another's call, or a transaction of a start that
            # was cancelled. From here on calls are refused, until they find new threads.
            await self.firing.threads.ended()
            self._close()

    async def _stop_delivering(self) -> None:
        # An engine that has ended, or ends meanwhile, has ended this with it.
        with contextlib.suppress(WrongState):
            await self.engine.run(self.courier.end())

    async def _say_goodbye(self) -> None:
        store, clock, node = self.firing.store, self.firing.clock, self.firing.node
        try:
            if store.stopped is None:
                await self.firing.threads.call(store.stop_node, node, clock.now())
        except StoreError as error:
            # Courtesy only: the next start takes the last heartbeat for the last sign of life.
            logger.warning("node %s could not say that it ends: %s", node, error)

    async def _abandon(self) -> None:
        """End the engine with the application's event loop, which ends without having stopped it."""
        self.firing.stopping = True
        if self.node is not None:
            await self.node.stop()
        await self._stop_delivering()
        await self.engine.stop()

    def _forsaken(self) -> None:
        """End the engine, from inside: the application's event loop was closed without a word."""
        if self._ending is None or self._ending.done():
            self._ending = asyncio.create_task(self._end_from_inside(), name="duly-ending")

    async def _end_from_inside(self) -> None:
        self.firing.stopping = True
        if self.node is not None:
            await self.node.stop()
        await self.courier.end()
        self.engine.end()

    def _one_at_a_time(self) -> asyncio.Lock:
        """Return the lock that lets one start or stop be under way at a time: one for each event loop."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = (loop, asyncio.Lock())
        return self._lock[1]

    def _check_home(self) -> None:
        home = self.home
        if home is not None and not home.is_closed and home.loop is not asyncio.get_running_loop():
            msg = "the scheduler was started in another event loop; await this there"
            raise WrongState(msg)

    # -- while it runs ----------------------------------------------------------------------------------

    @property
    def is_owner(self) -> bool:
        """Whether it is this engine that fires."""
        return self.node is not None and self.node.turn.is_owner

    @property
    def troubles(self) -> list[str]:
        """What is wrong with it, one sentence each."""
        return [] if self.node is None else [*self.node.troubles, *self.courier.troubles]

    def nudge(self) -> None:
        """Have it look now what is to be fired and told, if it runs. From any thread."""
        if self.node is not None:
            self.node.nudge()
            self.courier.look_soon()

    async def settled(self) -> None:
        """Wait until all that is due now has been fired, and told as far as can be now. Raises WrongState."""
        refuse_inside_handler("settled()")
        if self.node is None:
            msg = "the scheduler has not been started, so nothing settles"
            raise WrongState(msg)
        self._check_home()
        quiet = False
        while not quiet:
            await self.node.settled()
            # A handler may have put an event; what that fires is told in another round.
            quiet = await self.engine.run(self.courier.came_round())

    async def next_instant(self) -> Micros | None:
        """Return when time next brings something to do: an alarm, another attempt, a timeout. None: never.

        For whoever moves a manual clock, once it has settled.
        """
        store, now = self.firing.store, self.firing.clock.now()
        instants = [await self.aside(store.next_due_us), await self.engine.run(self._next_change())]
        instants += (await self.aside(store.outbox.next_wakes)).values()
        return min((instant for instant in instants if instant is not None and instant > now), default=None)

    async def _next_change(self) -> Micros | None:
        return self.courier.step.next_change

    def live_until(self, until_us: Micros) -> None:
        """Take a leap of a manual clock up to an instant for time that was lived through, and for no outage."""
        if self.turn is not None:
            self.turn.live_until(until_us)

    async def finished(self) -> None:
        """Wait for the end. Raises StoreStopped if that is why it ended, WrongState."""
        if self.node is None:
            msg = "the scheduler has not been started; use 'async with scheduler:' or await scheduler.start()"
            raise WrongState(msg)
        self._check_home()
        await self.node.finished()

    def on_settled(self, listener: TellingListener) -> None:
        """Have a listener told, in the application's event loop, of what has come of deliveries."""
        self.courier.step.listeners.append(lambda told: self._call_home(listener, told))

    def _hand_over(self, entries: Sequence[Entry]) -> None:
        # In the engine's thread: the listeners are told in the application's, so that none can hold the engine up.
        self._call_home(self._tell, entries)

    def _call_home(self, function: Callable[..., object], *args: object) -> None:
        if self.home is not None:
            self.home.call(function, *args)

    def _tell(self, entries: Sequence[Entry]) -> None:
        for listener in tuple(self.listeners):
            try:
                listener(entries)
            except Exception:
                # The others shall hear of it all the same.
                logger.exception("a listener raised; what it was told of has happened all the same")


def _refuse_to_start() -> NoReturn:
    msg = "the scheduler has been started already"
    raise WrongState(msg)
