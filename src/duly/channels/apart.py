"""Threads for calls that may hang: what hangs keeps one of them, and neither the loop nor the program's end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Threads(Generic[T]):
    """At most so many threads, begun when there is work and ended when there is none.

    They are daemons, unlike those of an executor: the interpreter does not wait at its end for one that hangs.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._running = 0
        self._waiting: deque[tuple[Future[T], Callable[[], T]]] = deque()
        self._lock = Lock()

    @property
    def running(self) -> int:
        """How many threads there are just now."""
        return self._running

    async def run(self, call: Callable[[], T]) -> T:
        """Return what the call returns. Cancelled before it has begun, it is not begun; later, it goes on alone."""
        future: Future[T] = Future()
        with self._lock:
            if self._running < self._most:
                # It waits for the lock before it looks for work. Where it cannot be begun, nothing has changed.
                Thread(target=self._work, name=self._name, daemon=True).start()
                self._running += 1
            self._waiting.append((future, call))
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while (task := self._next()) is not None:
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - whoever awaits it is told
                future.set_exception(error)

    def _next(self) -> tuple[Future[T], Callable[[], T]] | None:
        # Looking for work and leaving are one step under the lock: nothing is put between them and left behind.
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._running -= 1
            return None
