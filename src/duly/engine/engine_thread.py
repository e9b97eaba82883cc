"""The thread in which the engine's own event loop runs: nothing that an application does in its loop delays it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from duly.engine.threads import FORKED
from duly.errors import WrongState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
Stray = dict[str, Any]


class EngineThread:
    """An event loop in a thread of its own, from `start` to `stop`. A daemon: a program can end without a stop.

    From other threads and loops: `run` awaits a coroutine of the engine's, `call_soon` calls a function there.
    What is handed over comes in order, and is either refused or begun. `stray`: is told, in the engine's thread, of
    what went wrong there with nobody waiting for it, as asyncio tells its exception handlers.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self, stray: Callable[[Stray], object] | None = None) -> None:
        """Set it up; no thread yet."""
        self._stray = stray
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._end = asyncio.Event()
        self._is_open = False
        # Under it something is handed over, and the loop closed to it: so nothing is handed to a loop that will
        # not run it, where its caller would wait for ever.
        self._guard = threading.Lock()

    @property
    def is_alive(self) -> bool:
        """Whether it takes what is handed to it."""
        return self._is_open

    def start(self) -> None:
        """Start the thread; what is handed over from here on is run."""
        self.loop = asyncio.new_event_loop()
        if self._stray is not None:
            stray = self._stray
            self.loop.set_exception_handler(lambda _, context: stray(context))
        self._thread = threading.Thread(target=self._live, name="duly-engine", daemon=True)
        self._is_open = True
        try:
            self._thread.start()
        except RuntimeError:  # no more threads to be had
            self._thread, self._is_open = None, False
            self.loop.close()
            raise

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the engine's loop, and return in the caller's what it returns.

        Cancelled, it cancels the coroutine, and has waited for its end. Raises WrongState in a forked child, and if
        the engine has ended, or ends before the coroutine does.
        """
        errand = _Errand(work)
        try:
            self._refuse_fork()
            if not self._hand_over(errand.begin):
                raise WrongState(_ENDED)
        except WrongState:
            work.close()
            raise
        try:
            await asyncio.wait([errand.answer])
        except asyncio.CancelledError:
            self.call_soon(errand.cancel)
            await asyncio.wait([errand.answer])
            raise
        return errand.answer.result()

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the engine's loop; do nothing if that has ended. From any thread."""
        self._refuse_fork()
        self._hand_over(function, *args)

    def end(self) -> None:
        """Begin to end: what still runs is cancelled, what is handed over is refused. From any thread."""
        self.call_soon(self._end.set)

    async def stop(self) -> None:
        """End it, and wait for the thread's end. Does nothing if it has not been started; may be repeated."""
        self.end()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _hand_over(self, function: Callable[..., object], *args: Any) -> bool:
        with self._guard:
            if self._is_open:
                self.loop.call_soon_threadsafe(function, *args)
            return self._is_open

    def _refuse_fork(self) -> None:
        # The thread did not come along: what was handed to it would never be done.
        if os.getpid() != self._pid:
            raise WrongState(FORKED)

    def _live(self) -> None:
        # At its end the runner cancels what still runs, waits for it, and closes the loop.
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            try:
                runner.run(self._serve())
            finally:
                self._close()

    async def _serve(self) -> None:
        await self._end.wait()
        self._close()
        # What was handed over before is begun, so that it is there to be cancelled and its caller hears of it.
        begun = self.loop.create_future()
        self.loop.call_soon(begun.set_result, None)
        await begun

    def _close(self) -> None:
        with self._guard:
            self._is_open = False


_ENDED = "the engine has ended; stop the scheduler, then start it anew"


class _Errand(Generic[T]):
    """A coroutine on its way from its caller's loop, where this is made, to another one, and the answer back."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._home = asyncio.get_running_loop()
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self.answer: asyncio.Future[T] = self._home.create_future()
        # Looked at by us: whoever gave up waiting for it shall not be told that nobody did.
        self.answer.add_done_callback(asyncio.Future.exception)

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work)
        self._task.add_done_callback(self._return)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _return(self, task: asyncio.Task[T]) -> None:
        error = WrongState(_ENDED) if task.cancelled() else task.exception()
        # A caller whose loop has been closed meanwhile waits no more.
        with contextlib.suppress(RuntimeError):
            if error is None:
                self._home.call_soon_threadsafe(self.answer.set_result, task.result())
            else:
                self._home.call_soon_threadsafe(self.answer.set_exception, error)
