"""The threads in which a store's synchronous verbs run, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from duly.errors import WrongState

if TYPE_CHECKING:
    from collections.abc import Callable

ASIDE_MOST: Final = 3
FORKED: Final = "this is a forked child of the process that made the scheduler; fork first, or use a new process"
P = ParamSpec("P")
T = TypeVar("T")


class StoreThreads:
    """One thread for the engine's own firing, one for calls that come in order, and a few for what may go beside.

    A cancelled call goes on in its thread until its transaction has ended, so that a cancellation can never
    leave a connection in the middle of one.
    """

    def __init__(self) -> None:
        """Start no thread yet; each starts with its first call."""
        self._pid = os.getpid()
        self._has_ended = False
        self._firing = ThreadPoolExecutor(1, thread_name_prefix="duly-firing")
        self._calls = ThreadPoolExecutor(1, thread_name_prefix="duly-store")
        self._aside = ThreadPoolExecutor(ASIDE_MOST, thread_name_prefix="duly-aside")

    async def fire(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call of the firing loop's; never waits behind anybody else's."""
        return await self._run(self._firing, lambda: call(*args, **kwargs))

    async def aside(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call that need not wait for others: a read, or upkeep's."""
        return await self._run(self._aside, lambda: call(*args, **kwargs))

    async def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run any other call, after those before it."""
        return await self._run(self._calls, lambda: call(*args, **kwargs))

    async def ended(self) -> None:
        """Take no more calls, and wait for those that are under way. May be repeated."""
        self._has_ended = True
        for pool in self._pools:
            pool.shutdown(wait=False)
        await asyncio.to_thread(self._wait)

    def _wait(self) -> None:
        for pool in self._pools:
            pool.shutdown()

    @property
    def _pools(self) -> tuple[ThreadPoolExecutor, ...]:
        return (self._firing, self._calls, self._aside)

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        if os.getpid() != self._pid:
            # The threads did not come along: a call that was handed to them would wait for ever.
            raise WrongState(FORKED)
        try:
            running = asyncio.get_running_loop().run_in_executor(pool, call)
        except RuntimeError as error:
            if not self._has_ended:
                # The program ends without having stopped its scheduler: no failure, and nobody left to tell of one.
                raise asyncio.CancelledError from error
            msg = "the scheduler has been stopped meanwhile; start it anew, or call again to open its store"
            raise WrongState(msg) from error
        return await running
