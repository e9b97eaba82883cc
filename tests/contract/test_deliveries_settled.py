"""What becomes of a delivery: settling under the newest token only, closed for ever, and work in the same transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from duly.errors import StoreRejected, WrongState
from duly.model.delivery import Lease, State
from duly.model.event import Hold
from duly.stores.outbox_verbs import Result
from duly.stores.store import Store
from tests.builders import HOUR, T0, editing
from tests.contract.deeds import fire, lit, put
from tests.contract.telling import (
    LEASE,
    NEVER_AGAIN,
    assert_lines_move,
    attempted,
    claim,
    dead,
    delivered,
    everything,
    failed,
    given_back,
    listener,
    numbers,
    outcomes,
    owed,
    settle,
    states,
    subscribe,
)

NOW = T0 + 10
Falsify = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def leased(store: Store) -> Lease:
    """A lease on the first of two deliveries of one line."""
    subscribe(store, listener())
    put(store, lit("w1", T0 + 1, T0 + 2))
    fire(store, NOW)
    (lease,) = claim(store, NOW)
    return lease


def rows(falsify: Falsify) -> list[tuple[Any, ...]]:
    """Return all that is written of deliveries."""
    return falsify("SELECT * FROM delivery ORDER BY number") + falsify("SELECT * FROM attempt ORDER BY 1, 2")


# ---------------------------------------------------------------------------------- fenced, as I8 and I9 say


@pytest.mark.parametrize(
    "how", [delivered, dead, lambda lease: failed(lease, NOW), lambda lease: given_back(lease, 1)]
)
@pytest.mark.parametrize("off", [-1, 1, 1 << 40])
def test_a_settling_under_any_token_but_the_newest_changes_nothing(
    store: Store, leased: Lease, falsify: Falsify, off: int, how: Callable[[Lease], Result]
) -> None:
    before = rows(falsify)
    settled = settle(store, how(leased._replace(token=leased.token + off)), now=NOW)
    assert (settled.stale, settled.dead) == ({leased.number}, ())
    assert rows(falsify) == before


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
def test_a_closed_delivery_is_closed_for_ever(store: Store, leased: Lease, falsify: Falsify, state: State) -> None:
    settle(store, Result(leased, state, None, "so", attempted(leased, "delivered", NOW)), now=NOW)
    before = rows(falsify)[0]
    assert states(store)[leased.number] is state
    for again in (delivered(leased), dead(leased), failed(leased, NOW), given_back(leased, None)):
        assert settle(store, again, now=NOW + 1).stale == {leased.number}
    store.outbox.park([leased.number], "so", NOW + 2)
    store.outbox.park_all("so", NOW + 2)
    store.outbox.expire_leases(NOW + 2)
    store.outbox.renew("node-1", [leased.number], NOW + HOUR)
    assert rows(falsify)[0] == before


def test_in_one_batch_the_stale_ones_change_nothing_and_the_others_are_written(store: Store) -> None:
    subscribe(store, listener())
    put(store, *(lit(f"w{n}", T0 + 1) for n in range(4)))
    fire(store, NOW)
    mine = claim(store, NOW)
    theirs = store.outbox.claim("two", NOW + LEASE, NOW + 2 * LEASE, {1: 2})
    settled = settle(store, *map(delivered, mine), now=NOW + LEASE)
    assert settled.stale == set(numbers(theirs))
    assert {number for number, state in states(store).items() if state is State.DELIVERED} == (
        set(numbers(mine)) - set(numbers(theirs))
    )


def test_a_delivery_that_is_not_there_is_stale(store: Store, leased: Lease) -> None:
    assert settle(store, delivered(leased._replace(number=99))).stale == {99}
    assert settle(store).stale == frozenset()


def test_who_gets_no_answer_may_settle_once_more(store: Store, leased: Lease) -> None:
    for _ in range(2):
        assert settle(store, failed(leased, NOW + HOUR), now=NOW).stale == frozenset()
    assert outcomes(store, 1) == [(1, "failed")]
    (again,) = claim(store, NOW + HOUR)
    settle(store, delivered(again), now=NOW + HOUR)
    assert outcomes(store, 1) == [(1, "failed"), (2, "delivered")]
    assert everything(store)[0].attempts == 2


def test_of_two_results_of_one_lease_in_one_batch_the_first_holds(store: Store, leased: Lease) -> None:
    settled = settle(store, delivered(leased), given_back(leased, NOW), dead(leased), now=NOW)
    assert settled.dead == ()
    assert states(store)[1] is State.DELIVERED
    assert_lines_move(store)


def test_what_is_withheld_without_an_attempt_counts_none(store: Store, leased: Lease) -> None:
    settle(store, Result(leased, State.MISSED, None, "too late", None), now=NOW)
    first = everything(store)[0]
    assert (first.state, first.reason, first.attempts, first.closed_us) == (State.MISSED, "too late", 0, NOW)
    assert numbers(claim(store, NOW)) == [2]


# ----------------------------------------------------------------------------------------------- the dead


def test_a_dead_delivery_is_news_of_its_event_in_the_line_of_who_listens(store: Store) -> None:
    subscribe(store, listener("a:b", retry=NEVER_AGAIN), listener("a:undertaker", "*", "dead"))
    put(store, lit("w1", T0 + 1))
    fire(store, NOW)
    leases = {lease.subscriber: lease for lease in claim(store, NOW)}
    settled = settle(store, dead(leases[1]), now=NOW)
    assert settled.dead == (1,)
    assert owed(store) == [
        "a:b w1 switch_on dead",
        "a:undertaker w1 switch_on pending",
        "a:undertaker w1 dead pending",
    ]
    assert everything(store)[2].seq == -1
    assert_lines_move(store)
    settle(store, delivered(leases[2]), now=NOW)
    (told,) = claim(store, NOW)
    assert store.outbox.told_of([told], {}).dead[1].reason == "it is down"


def test_nobody_is_told_of_the_death_of_his_own(store: Store) -> None:
    subscribe(store, listener("a:b", "*", "dead", retry=NEVER_AGAIN))
    put(store, lit("w1", T0 + 1))
    fire(store, NOW)
    settle(store, *map(dead, claim(store, NOW)), now=NOW)
    assert owed(store) == ["a:b w1 switch_on dead"]


def test_two_that_cannot_be_reached_do_not_tell_each_other_of_it_for_ever(store: Store) -> None:
    subscribe(
        store,
        listener("a:b", "*", "dead", retry=NEVER_AGAIN),
        listener("a:c", "dead", retry=NEVER_AGAIN),
        listener("a:d", "dead", retry=NEVER_AGAIN),
    )
    put(store, lit("w1", T0 + 1))
    fire(store, NOW)
    rounds = 0
    while leases := claim(store, NOW):
        settle(store, *map(dead, leases), now=NOW)
        rounds += 1
        assert rounds < 10, "it goes on and on"
    assert owed(store) == ["a:b w1 switch_on dead", "a:c w1 dead dead", "a:d w1 dead dead"]


def test_nor_do_they_where_each_attempt_kills_its_node(store: Store) -> None:
    subscribe(store, *(listener(f"a:{n}", "*", "dead", retry=NEVER_AGAIN) for n in range(3)))
    put(store, lit("w1", T0 + 1))
    fire(store, NOW)
    for n in range(10):
        claim(store, NOW + n * LEASE)
    assert sorted(states(store).values()) == [State.DEAD] * 9
    assert store.outbox.next_wakes() == {}


def test_of_the_dead_of_other_lifecycles_and_tags_nobody_hears_who_asks_for_some(store: Store) -> None:
    subscribe(
        store,
        listener("a:b", retry=NEVER_AGAIN),
        listener("lamps", "dead", lifecycles=("lamp",)),
        listener("contests", "dead", lifecycles=("contest",)),
        listener("vips", "dead", tags=("vip",)),
        listener("all", "dead"),
    )
    put(store, lit("w1", T0 + 1))
    fire(store, NOW)
    settle(store, *map(dead, claim(store, NOW)), now=NOW)
    assert [d.subscriber for d in everything(store)[1:]] == ["lamps", "all"]


def test_an_outage_that_could_not_be_told_is_a_dead_delivery_like_any_other(store: Store) -> None:
    subscribe(store, listener("a:b", "outage", retry=NEVER_AGAIN), listener("a:c", "dead", lifecycles=("lamp",)))
    outage = store.begin_outage(T0, T0 + HOUR, "node-1")
    store.finish_outage(outage.id, NOW, failed=0, window_us=0)
    settle(store, *map(dead, claim(store, NOW)), now=NOW)
    assert owed(store) == ["a:b  outage dead", "a:c  dead pending"]
    (lease,) = claim(store, NOW)
    told = store.outbox.told_of([lease], {})
    assert told.dead[1].topic == "outage"
    assert told.rows == {}


# ------------------------------------------------------------------------------- with work (P11), both or neither


def test_work_and_settling_are_committed_together(store: Store, leased: Lease, falsify: Falsify) -> None:
    settled = store.outbox.settle_with(delivered(leased), NOW, lambda c: c.execute("CREATE TABLE mine (x)"))
    assert settled.stale == frozenset()
    assert states(store)[1] is State.DELIVERED
    assert falsify("SELECT * FROM mine") == []
    assert numbers(claim(store, NOW)) == [2]


def test_work_that_raises_leaves_nothing_of_both(store: Store, leased: Lease, falsify: Falsify) -> None:
    def work(connection: apsw.Connection) -> None:
        connection.execute("CREATE TABLE mine (x)")
        raise ZeroDivisionError

    before = rows(falsify)
    with pytest.raises(ZeroDivisionError):
        store.outbox.settle_with(delivered(leased), NOW, work)
    assert rows(falsify) == before
    assert falsify("SELECT name FROM sqlite_schema WHERE name = 'mine'") == []
    assert settle(store, delivered(leased)).stale == frozenset()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_work_that_wants_to_end_the_process_leaves_nothing_of_both(
    store: Store, leased: Lease, falsify: Falsify, kind: type[BaseException]
) -> None:
    def work(_: apsw.Connection) -> None:
        raise kind

    before = rows(falsify)
    with pytest.raises(kind):
        store.outbox.settle_with(delivered(leased), NOW, work)
    assert rows(falsify) == before


def test_under_a_lease_that_was_lost_the_work_is_not_done(store: Store, leased: Lease) -> None:
    claim(store, NOW + LEASE, node="two")
    called: list[object] = []
    assert store.outbox.settle_with(delivered(leased), NOW + LEASE, called.append).stale == {1}
    assert called == []


@pytest.mark.parametrize(
    "sql", ["COMMIT", "END", "ROLLBACK", "BEGIN", "ATTACH ':memory:' AS other", "DETACH main", "commit /* quietly */"]
)
def test_work_cannot_end_the_transaction_nor_reach_another_database(
    store: Store, leased: Lease, falsify: Falsify, sql: str
) -> None:
    def work(connection: apsw.Connection) -> None:
        connection.execute("CREATE TABLE mine (x)")
        connection.execute(sql)

    before = rows(falsify)
    with pytest.raises(Exception, match="not authorized"):
        store.outbox.settle_with(delivered(leased), NOW, work)
    assert rows(falsify) == before
    assert falsify("SELECT name FROM sqlite_schema WHERE name = 'mine'") == []
    # And the store is as good as before.
    settle(store, delivered(leased), now=NOW)
    assert numbers(claim(store, NOW)) == [2]


def test_work_that_swallows_the_refusal_is_committed_with_its_settling_all_the_same(
    store: Store, leased: Lease, falsify: Falsify
) -> None:
    def work(connection: apsw.Connection) -> None:
        connection.execute("CREATE TABLE mine (x)")
        for sql in ("COMMIT", "ROLLBACK"):
            with contextlib.suppress(apsw.Error):
                connection.execute(sql)
        with connection:  # a savepoint of its own is its own business
            connection.execute("INSERT INTO mine VALUES (1)")

    store.outbox.settle_with(delivered(leased), NOW, work)
    assert falsify("SELECT x FROM mine") == [(1,)]
    assert states(store)[1] is State.DELIVERED


def test_work_that_breaks_a_rule_of_the_database_is_refused_with_its_settling(store: Store, leased: Lease) -> None:
    with pytest.raises(StoreRejected, match="UNIQUE"):
        store.outbox.settle_with(
            delivered(leased), NOW, lambda c: c.execute("INSERT INTO meta VALUES ('x', 1), ('x', 2)")
        )
    assert states(store)[1] is State.PENDING


def test_work_may_use_the_store_itself_and_is_one_transaction_with_that(store: Store, leased: Lease) -> None:
    def cancel(fails: bool) -> None:
        store.set_hold("w1", Hold.CANCELLED, lambda: editing(NOW))
        if fails:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.outbox.settle_with(delivered(leased), NOW, lambda _: cancel(fails=True))
    assert store.get_event("w1").hold == Hold.ACTIVE
    store.outbox.settle_with(delivered(leased), NOW, lambda _: cancel(fails=False))
    assert store.get_event("w1").hold == Hold.CANCELLED
    assert [d.state for d in everything(store)] == [State.DELIVERED, State.WITHDRAWN]


def test_work_inside_of_work_is_refused(store: Store, leased: Lease) -> None:
    def work(_: apsw.Connection) -> None:
        store.outbox.settle_with(delivered(leased), NOW, lambda _: None)

    with pytest.raises(WrongState, match="inside another transaction"):
        store.outbox.settle_with(delivered(leased), NOW, work)
    assert states(store)[1] is State.PENDING


def _fail(_: apsw.Connection) -> None:
    raise ZeroDivisionError


def test_after_work_the_connection_is_the_stores_own_again(store: Store, leased: Lease) -> None:
    with contextlib.suppress(ZeroDivisionError):
        store.outbox.settle_with(delivered(leased), NOW, _fail)
    put(store, lit("w9", T0 + 1))
    assert store.get_event("w9").seq == 1
