"""A transaction that is lent to somebody else's code, and can be called in when that takes too long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from duly.clock import SECOND, SystemClock
from duly.errors import WrongState

# Real time, also where the scheduler's is simulated: what waits for a loan are threads.
_CLOCK: Final = SystemClock()


class Loan:
    """What a transaction is lent under: either its borrower ends it, or whoever calls it in undoes it, never both.

    `most`: for how long. After that whoever waits for it calls it in.
    """

    def __init__(self, most: timedelta = timedelta.max) -> None:
        """Nothing is lent yet."""
        self._most_us = most // timedelta(microseconds=1)
        self._until_us = self._most_us
        self._guard = threading.Lock()
        self._undo: Callable[[], None] | None = None
        self._is_called_in = self._is_kept = False

    def begin(self, undo: Callable[[], None]) -> None:
        """Lend it; `undo` is called if it is called in. Raises WrongState if it has been before it began."""
        with self._guard:
            if self._is_called_in:
                raise WrongState(CALLED_IN)
            self._undo = undo
            self._until_us = _CLOCK.since_boot() + self._most_us

    @property
    def seconds_left(self) -> float:
        """For how long it is still lent; negative: it is overdue."""
        return (self._until_us - _CLOCK.since_boot()) / SECOND

    def keep(self) -> bool:
        """Have it for good, to commit it or to roll it back; False: it was called in, and others undo it."""
        with self._guard:
            self._is_kept = self._is_kept or not self._is_called_in
            return self._is_kept

    def call_in(self) -> None:
        """Undo it, unless it has ended; if it has not begun, it never will. From any thread; may be repeated.

        Returns once it is undone: as soon as its borrower is in no call of the database's.
        """
        with self._guard:
            undo = None if self._is_kept or self._is_called_in else self._undo
            self._is_called_in = not self._is_kept
        if undo is not None:
            undo()


CALLED_IN = "its transaction took too long and was rolled back; nothing of it has been written"
