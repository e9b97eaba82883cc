"""The threads in which a store's synchronous verbs run, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class StoreThreads:
    """Two threads: one for the engine's own firing, one for everybody else's calls.

    A cancelled call goes on in its thread until its transaction has ended, so that a cancellation can never
    leave a connection in the middle of one.
    """

    def __init__(self) -> None:
        """Start no thread yet; each starts with its first call."""
        self._firing = ThreadPoolExecutor(1, thread_name_prefix="duly-firing")
        self._calls = ThreadPoolExecutor(1, thread_name_prefix="duly-store")

    async def fire(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call of the firing loop's; never waits behind anybody else's."""
        return await _run(self._firing, call, *args, **kwargs)

    async def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run any other call."""
        return await _run(self._calls, call, *args, **kwargs)

    def close(self) -> None:
        """Wait for what is running, and end the threads."""
        self._firing.shutdown()
        self._calls.shutdown()


async def _run(pool: ThreadPoolExecutor, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: call(*args, **kwargs))
