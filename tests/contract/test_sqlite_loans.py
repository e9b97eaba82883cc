"""A transaction that somebody else's code is lent: exactly once, or not at all, and nobody waits for it for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from duly.errors import StoreBusy, StoreError, StoreRejected, WrongState
from duly.model.delivery import Lease, State
from duly.model.event import Hold
from duly.stores.loan import Loan
from duly.stores.sqlite import SqliteStore
from tests.builders import T0, editing
from tests.contract.deeds import LIFECYCLES, fire, lit, put
from tests.contract.telling import claim, delivered, listener, outcomes, states, subscribe

NOW = T0 + 1
PATIENCE = 20.0
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "events.db")
    opened.open(T0)
    opened.declare_lifecycles([], LIFECYCLES, T0)
    subscribe(opened, listener())
    put(opened, lit("w1", T0 + 1, T0 + 2))
    fire(opened, NOW)
    assert opened._writer is not None
    opened._writer.execute("CREATE TABLE mine (x)")
    yield opened
    opened.close()


@pytest.fixture
def leased(store: SqliteStore) -> Lease:
    (lease,) = claim(store, NOW)
    return lease


@dataclass
class Borrower:
    """Somebody who is lent a transaction in a thread of his own, and does not come back until he is let go."""

    store: SqliteStore
    lease: Lease
    work: Callable[[apsw.Connection], object]
    loan: Loan = field(default_factory=Loan)
    began: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    ended: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.ended.append(self.store.outbox.settle_with(delivered(self.lease), NOW, self._work, self.loan))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is looked at
            self.ended.append(error)

    def _work(self, connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO mine VALUES (1)")
        self.began.set()
        self.work(connection)
        assert self.let_go.wait(PATIENCE)
        connection.execute("INSERT INTO mine VALUES (2)")

    def come_back(self) -> object:
        self.let_go.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.ended[0]


def _nothing_at_all(_: apsw.Connection) -> None:
    pass


def mine(store: SqliteStore) -> list[Any]:
    assert store._writer is not None
    return store._writer.execute("SELECT x FROM mine").fetchall()


def assert_writes(store: SqliteStore, id_: str = "w9") -> None:
    put(store, lit(id_, T0 + 9))
    assert store.get_event(id_).seq == 1


def test_both_are_written_or_neither(store: SqliteStore, leased: Lease) -> None:
    def fail(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO mine VALUES (0)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.outbox.settle_with(delivered(leased), NOW, fail, Loan())
    assert (mine(store), states(store)[1]) == ([], State.PENDING)
    loan = Loan()
    store.outbox.settle_with(delivered(leased), NOW, lambda c: c.execute("INSERT INTO mine VALUES (1)"), loan)
    assert (mine(store), states(store)[1]) == ([(1,)], State.DELIVERED)
    loan.call_in()  # too late
    assert (mine(store), states(store)[1]) == ([(1,)], State.DELIVERED)
    assert_writes(store)


@pytest.mark.parametrize("sql", ["COMMIT", "ROLLBACK", "BEGIN", "ATTACH ':memory:' AS other"])
def test_the_borrower_cannot_end_the_transaction(store: SqliteStore, leased: Lease, sql: str) -> None:
    with pytest.raises(StoreError, match="not authorized"):
        store.outbox.settle_with(delivered(leased), NOW, lambda c: c.execute(sql), Loan())
    assert states(store)[1] is State.PENDING
    assert_writes(store)


def test_what_breaks_a_rule_of_the_database_is_refused_with_its_settling(store: SqliteStore, leased: Lease) -> None:
    with pytest.raises(StoreRejected, match="UNIQUE"):
        store.outbox.settle_with(
            delivered(leased), NOW, lambda c: c.execute("INSERT INTO meta VALUES ('x', 1), ('x', 2)"), Loan()
        )
    assert states(store)[1] is State.PENDING


def test_what_the_borrower_has_the_store_write_is_a_part_of_it(store: SqliteStore, leased: Lease) -> None:
    def cancel(*, fails: bool) -> None:
        store.set_hold("w1", Hold.CANCELLED, lambda: editing(NOW))
        if fails:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.outbox.settle_with(delivered(leased), NOW, lambda _: cancel(fails=True), Loan())
    assert store.get_event("w1").hold == Hold.ACTIVE
    store.outbox.settle_with(delivered(leased), NOW, lambda _: cancel(fails=False), Loan())
    assert store.get_event("w1").hold == Hold.CANCELLED


def test_a_loan_inside_of_a_loan_is_refused(store: SqliteStore, leased: Lease) -> None:
    def work(_: apsw.Connection) -> None:
        store.outbox.settle_with(delivered(leased), NOW, lambda _: None, Loan())

    with pytest.raises(WrongState, match="inside another transaction"):
        store.outbox.settle_with(delivered(leased), NOW, work, Loan())
    assert_writes(store)


def test_with_a_lease_that_was_lost_nothing_is_lent(store: SqliteStore, leased: Lease) -> None:
    called: list[object] = []
    stale = leased._replace(token=leased.token - 1)
    assert store.outbox.settle_with(delivered(stale), NOW, called.append, Loan()).stale == {1}
    assert called == []


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(_nothing_at_all, id="in Python"),
        pytest.param(lambda c: next(c.execute("SELECT x FROM mine UNION SELECT 7")), id="between two rows"),
        pytest.param(lambda c: c.execute(ENDLESS).fetchall(), id="in a statement that does not end"),
        pytest.param(lambda c: c.__enter__(), id="in a savepoint"),
    ],
)
def test_what_is_called_in_is_undone_and_others_write_at_once(
    store: SqliteStore, leased: Lease, work: Callable[[apsw.Connection], object]
) -> None:
    borrower = Borrower(store, leased, work)
    assert borrower.began.wait(PATIENCE)
    borrower.loan.call_in()
    assert_writes(store)
    assert (mine(store), states(store)[1]) == ([], State.PENDING)
    # Whatever the borrower does afterwards, nothing of it is written.
    assert isinstance(borrower.come_back(), WrongState)
    assert (mine(store), outcomes(store, 1)) == ([], [])
    store.outbox.settle_with(delivered(leased), NOW, lambda c: c.execute("INSERT INTO mine VALUES (3)"), Loan())
    assert (mine(store), states(store)[1]) == ([(3,)], State.DELIVERED)


def test_who_swallows_that_it_was_called_in_has_written_nothing_all_the_same(
    store: SqliteStore, leased: Lease
) -> None:
    refused: list[str] = []

    def go_on(connection: apsw.Connection) -> None:
        loan.call_in()
        for _ in range(3):
            try:
                connection.execute("INSERT INTO mine VALUES (9)")
            except apsw.Error as error:
                refused.append(type(error).__name__)

    loan = Loan()
    with pytest.raises(WrongState, match="took too long"):
        store.outbox.settle_with(delivered(leased), NOW, go_on, loan)
    assert refused == ["ConnectionClosedError"] * 3
    assert (mine(store), states(store)[1]) == ([], State.PENDING)
    assert_writes(store)


def test_what_a_borrower_has_the_store_write_after_it_was_called_in_is_refused(
    store: SqliteStore, leased: Lease
) -> None:
    def go_on(_: apsw.Connection) -> None:
        loan.call_in()
        store.set_hold("w1", Hold.CANCELLED, lambda: editing(NOW))

    loan = Loan()
    with pytest.raises(WrongState, match="took too long"):
        store.outbox.settle_with(delivered(leased), NOW, go_on, loan)
    assert store.get_event("w1").hold == Hold.ACTIVE


def test_what_was_called_in_before_it_began_never_begins(store: SqliteStore, leased: Lease) -> None:
    loan = Loan()
    called: list[object] = []
    loan.call_in()
    with pytest.raises(WrongState, match="took too long"):
        store.outbox.settle_with(delivered(leased), NOW, called.append, loan)
    assert called == []
    assert_writes(store)


def test_calling_in_twice_gives_the_turn_back_once(store: SqliteStore, leased: Lease) -> None:
    borrower = Borrower(store, leased, _nothing_at_all)
    assert borrower.began.wait(PATIENCE)
    borrower.loan.call_in()
    borrower.loan.call_in()
    assert isinstance(borrower.come_back(), WrongState)
    borrower.loan.call_in()
    assert_writes(store)
    assert not store._turn._lock.locked()


def test_who_waits_too_long_for_a_borrower_is_told_so_and_may_try_again(store: SqliteStore, leased: Lease) -> None:
    store._turn._patience = 0.05
    borrower = Borrower(store, leased, _nothing_at_all)
    assert borrower.began.wait(PATIENCE)
    with pytest.raises(StoreBusy, match="another thread of this process has been writing"):
        put(store, lit("w9", T0 + 9))
    assert store.get_event("w1").seq > 0  # readers do not wait
    borrower.come_back()
    assert (mine(store), states(store)[1]) == ([(1,), (2,)], State.DELIVERED)
    assert_writes(store)


def test_who_waits_for_a_loan_that_is_overdue_calls_it_in(store: SqliteStore, leased: Lease) -> None:
    borrower = Borrower(store, leased, _nothing_at_all, Loan(timedelta(milliseconds=50)))
    assert borrower.began.wait(PATIENCE)
    assert_writes(store)
    assert isinstance(borrower.come_back(), WrongState)
    assert (mine(store), states(store)[1]) == ([], State.PENDING)


def test_a_loan_that_is_overdue_and_in_nobodys_way_is_kept(store: SqliteStore, leased: Lease) -> None:
    borrower = Borrower(store, leased, _nothing_at_all, Loan(timedelta(0)))
    assert borrower.began.wait(PATIENCE)
    assert not isinstance(borrower.come_back(), BaseException)
    assert (mine(store), states(store)[1]) == ([(1,), (2,)], State.DELIVERED)


def test_a_connection_that_was_kept_is_of_no_use(store: SqliteStore, leased: Lease) -> None:
    kept: list[apsw.Connection] = []
    store.outbox.settle_with(delivered(leased), NOW, kept.append, Loan())
    with pytest.raises(apsw.ConnectionClosedError):
        kept[0].execute("INSERT INTO mine VALUES (1)")


@pytest.mark.parametrize("error", [apsw.CorruptError, apsw.IOError, apsw.NotADBError, apsw.ReadOnlyError])
@pytest.mark.parametrize("lent", [True, False])
def test_an_error_of_the_borrowers_own_database_does_not_stop_the_store(
    store: SqliteStore, leased: Lease, error: type[apsw.Error], lent: bool
) -> None:
    def fail(_: apsw.Connection) -> None:
        raise error("his own")

    with pytest.raises(StoreError, match="his own"):
        store.outbox.settle_with(delivered(leased), NOW, fail, Loan() if lent else None)
    assert store.stopped is None
    assert_writes(store)


def test_closing_the_store_undoes_what_is_lent(tmp_path: Path, store: SqliteStore, leased: Lease) -> None:
    borrower = Borrower(store, leased, _nothing_at_all)
    assert borrower.began.wait(PATIENCE)
    store.close()
    assert isinstance(borrower.come_back(), WrongState)
    store.open(T0)
    assert (mine(store), states(store)[1]) == ([], State.PENDING)


def test_a_process_that_holds_the_lock_keeps_the_borrower_waiting_no_longer_than_any_other(
    store: SqliteStore, leased: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duly.stores.sqlite.BUSY_MS", 20)
    other = apsw.Connection(str(store._real))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        store.outbox.settle_with(delivered(leased), NOW, lambda _: None, Loan())
    other.execute("ROLLBACK")
    other.close()
    assert_writes(store)
