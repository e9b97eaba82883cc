"""Threads for synchronous handlers: started when they are needed, and replaced when one does not come back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

CREW_MOST: Final = 16
# Handlers that were given up and still sit in a thread: more than that, and no further one is begun.
ABANDONED_MOST: Final = 64


class Crew:
    """Up to `most` daemon threads that run jobs. A thread whose job was given up no longer counts.

    Python cannot stop a thread: a job that never returns keeps its thread, and somebody else takes its place.
    """

    def __init__(self, most: int = CREW_MOST) -> None:
        """Start no thread yet."""
        self._most = most
        self._jobs: deque[tuple[int, Callable[[], None]]] = deque()
        self._free = 0
        self._size = 0
        self._working: set[int] = set()
        self._abandoned: set[int] = set()
        self._change = threading.Condition()
        self._ended = False

    @property
    def abandoned(self) -> int:
        """How many jobs were given up and have not come back."""
        return len(self._abandoned)

    def begin(self, ticket: int, job: Callable[[], None]) -> bool:
        """Have a job run, under a ticket, used once. False: too many have been given up."""
        with self._change:
            if self._ended or len(self._abandoned) >= ABANDONED_MOST:
                return False
            self._jobs.append((ticket, job))
            if self._free < len(self._jobs) and self._size < self._most:
                self._size += 1
                threading.Thread(target=self._work, name="duly-handler", daemon=True).start()
            self._change.notify()
            return True

    def give_up(self, ticket: int) -> None:
        """Wait no longer for a job: one that has not begun never will, one that has keeps its thread."""
        with self._change:
            if ticket in self._working:
                self._working.discard(ticket)
                self._abandoned.add(ticket)
                self._size -= 1
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
            run()
            if not self._is_back(ticket):
                return

    def _next(self) -> tuple[int, Callable[[], None]] | None:
        with self._change:
            self._free += 1
            while not self._jobs and not self._ended:
                self._change.wait()
            self._free -= 1
            if self._ended:
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
