"""Somebody else's code in a write transaction: on a connection of its own, so that it can be taken away from it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import apsw

from duly.clock import pause
from duly.errors import StoreBusy, WrongState
from duly.stores.loan import CALLED_IN, Loan
from duly.stores.sqlite_guard import run_guarded

if TYPE_CHECKING:
    from duly.stores.verb import Verb

T = TypeVar("T")
PAUSE_FIRST_US: Final = 1_000
PAUSE_MOST_US: Final = 500_000


class WriteTurn:
    """Whose turn it is to write, among the threads of this process: what SQLite's lock is among processes.

    Unlike a lock of Python's own it is given back by whoever ends the transaction, in whatever thread.
    """

    def __init__(self, label: str, patience_seconds: float) -> None:
        """Nobody's turn yet."""
        self._label, self._patience = label, patience_seconds
        self._lock = threading.Lock()
        self.loan: Loan | None = None  # what it is given away for just now, if it is

    def take(self) -> None:
        """Wait for one's turn; a loan that is overdue is called in by whoever waits. Raises StoreBusy."""
        loan = self.loan
        patience = self._patience if loan is None else min(self._patience, max(0.0, loan.seconds_left))
        if self._lock.acquire(timeout=patience):
            return
        loan = self.loan
        if loan is not None and loan.seconds_left <= 0:
            loan.call_in()
            patience = 0.0
        if not self._lock.acquire(timeout=self._patience - patience):
            said = f"another thread of this process has been writing for over {self._patience:g} s"
            raise StoreBusy(f"store {self._label}: {said}; a transactional handler, perhaps: keep those short")

    def give(self) -> None:
        """End one's turn."""
        self.loan = None
        self._lock.release()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for one's turn, and end it. Raises StoreBusy."""
        self.take()
        try:
            yield
        finally:
            self.give()


class Lending:
    """Runs verbs together with somebody else's code, each on a new connection, one at a time.

    Closed afterwards: whoever has kept the connection can do nothing more with it.
    """

    def __init__(
        self,
        turn: WriteTurn,
        connect: Callable[[], apsw.Connection],
        run: Callable[[apsw.Connection, Verb[Any]], Any],
        explain: Callable[[BaseException], None],
    ) -> None:
        """Lend nothing yet. `connect`, `run`, `explain`: how the store connects, runs verbs, explains errors."""
        self._turn, self._connect, self._run, self._explain = turn, connect, run, explain
        # By thread. Kept here and not in locals of the threads': in a forked child those are cleared, which would
        # close them.
        self._lent: dict[int, apsw.Connection] = {}

    @property
    def connection(self) -> apsw.Connection | None:
        """The connection that is lent to the calling thread just now; closed, if it has been called in."""
        return self._lent.get(threading.get_ident()) if self._lent else None

    def run(self, verb: Verb[T], then: Callable[[T, apsw.Connection], None], loan: Loan) -> T:
        """Run both in one transaction. Raises WrongState once the loan has been called in, what `then` raises."""
        if self.connection is not None:
            raise WrongState("a transactional handler cannot be run inside another transaction")
        self._turn.take()
        try:
            connection = self._connect()
            self._turn.loan = loan
            loan.begin(partial(self._undo, connection))
        except BaseException:
            self._turn.give()
            raise
        self._lent[threading.get_ident()] = connection
        try:
            return self._transact(connection, verb, then, loan)
        finally:
            del self._lent[threading.get_ident()]
            if loan.keep():
                self._end(connection)

    def _transact(
        self, connection: apsw.Connection, verb: Verb[T], then: Callable[[T, apsw.Connection], None], loan: Loan
    ) -> T:
        try:
            connection.execute("BEGIN IMMEDIATE")
            result: T = self._run(connection, verb)
            run_guarded(connection, result, then)
            if loan.keep():
                # From here on nobody can call it in. What the verb and the code did happens now, or not at all.
                connection.execute("COMMIT")
                return result
        except BaseException as error:
            if loan.keep():
                self._explain(error)
                raise
            raise WrongState(CALLED_IN) from error
        raise WrongState(CALLED_IN)

    def _undo(self, connection: apsw.Connection) -> None:
        """Take a connection away from the code that has it. In another thread than that code's."""
        pause_us = PAUSE_FIRST_US
        while True:
            # A statement that runs ends with an error; between two statements it can be closed, and not before.
            connection.interrupt()
            try:
                self._end(connection)
                return
            except apsw.ThreadingViolationError:
                pause(pause_us)
                pause_us = min(2 * pause_us, PAUSE_MOST_US)

    def _end(self, connection: apsw.Connection) -> None:
        # Closing rolls back what was not committed; and whatever comes after it on this connection is refused.
        connection.close(True)  # noqa: FBT003 - apsw's own: even if statements are in use
        self._turn.give()

    def close(self) -> None:
        """Call in what is lent."""
        loan = self._turn.loan
        if loan is not None:
            loan.call_in()
