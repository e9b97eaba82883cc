"""Threads for synchronous handlers: started when they are needed, replaced when one does not come back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

# A thread that has had nothing to do for so long ends: none pile up.
IDLE_SECONDS: Final = 5.0
# Calls of one handler that were given up and still sit in a thread: more than that, and no further one is begun.
ABANDONED_MOST: Final = 32


class Crew:
    """Up to `most` daemon threads that run the calls of one handler. A thread whose call was given up does not count.

    Python cannot stop a thread: a call that never returns keeps its thread, and another takes its place.
    """

    def __init__(self, most: int, *, idle_seconds: float = IDLE_SECONDS) -> None:
        """Start no thread yet."""
        self._most = most
        self._idle_seconds = idle_seconds
        self._jobs: deque[tuple[int, Callable[[], None]]] = deque()
        self._free = 0
        self._size = 0
        self._working: set[int] = set()
        self._abandoned: set[int] = set()
        self._change = threading.Condition()
        self._ended = False

    @property
    def size(self) -> int:
        """How many threads there are, but for those whose calls were given up."""
        return self._size

    @property
    def abandoned(self) -> int:
        """How many calls were given up and have not come back."""
        return len(self._abandoned)

    def begin(self, ticket: int, job: Callable[[], None]) -> str | None:
        """Have a job run, under a ticket, used once. Returns why it will not be."""
        with self._change:
            if self._ended:
                return "the scheduler is being stopped"
            if len(self._abandoned) >= ABANDONED_MOST:
                return f"{len(self._abandoned)} calls of this handler hang in their threads; no more are begun"
            self._jobs.append((ticket, job))
            if self._free < len(self._jobs) and self._size < self._most and not self._another() and not self._size:
                self._jobs.pop()
                return "no thread can be started for it"
            self._change.notify()
            return None

    def _another(self) -> bool:
        """Start a thread. Under the guard; False: there is no more to be had."""
        try:
            threading.Thread(target=self._work, name="duly-handler", daemon=True).start()
        except RuntimeError:
            return False
        self._size += 1
        return True

    def give_up(self, ticket: int) -> None:
        """Wait no longer for a job: one that has not begun never will, one that has keeps its thread."""
        with self._change:
            if ticket in self._working:
                self._working.discard(ticket)
                self._abandoned.add(ticket)
                self._size -= 1
                if self._jobs and self._free < len(self._jobs):
                    self._another()  # for those that wait behind it
            else:
                self._jobs = deque(job for job in self._jobs if job[0] != ticket)

    def end(self) -> None:
        """Take no more jobs, and let the threads go as they become free."""
        with self._change:
            self._ended = True
            self._jobs.clear()
            self._change.notify_all()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            ticket, run = job
            try:
                run()
            finally:
                is_back = self._is_back(ticket)
            if not is_back:
                return

    def _next(self) -> tuple[int, Callable[[], None]] | None:
        with self._change:
            self._free += 1
            while not self._jobs and not self._ended:
                if not self._change.wait(self._idle_seconds):
                    break
            self._free -= 1
            if self._ended or not self._jobs:
                self._size -= 1
                return None
            job = self._jobs.popleft()
            self._working.add(job[0])
            return job

    def _is_back(self, ticket: int) -> bool:
        """Note that a job has come back; False: it had been given up, and its thread has been replaced."""
        with self._change:
            if ticket in self._working:
                self._working.discard(ticket)
                return True
            self._abandoned.discard(ticket)
            return False
