"""Leases, and nodes that lose them; stores that fail; stops in the middle; transactions that take too long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pytest
from typing_extensions import override

from duly.channels.channel import DELIVERED, Outcome, Verdict
from duly.engine.delivering import LEASE_US, DeliveryStep
from duly.engine.renewal import Renewal
from duly.errors import StoreBusy, StoreError, StoreFull, WrongState
from duly.model.delivery import Standing, State
from duly.stores.sqlite import SqliteStore
from tests.builders import HOUR, SECOND
from tests.contract.deeds import request
from tests.contract.telling import NEVER_AGAIN, assert_lines_move
from tests.engine.desk import FAILED, FOUR, HandDesk, Office, at_once, listener, soon
from tests.engine.stage import InlineThreads, in_a_loop

if TYPE_CHECKING:
    import apsw

P = ParamSpec("P")
T = TypeVar("T")
PATIENCE = 20.0


class Flaky(InlineThreads):
    """Threads in which a verb of the outbox fails as often as `errors` says, or something happens before or behind it."""

    def __init__(self, office: Office) -> None:
        super().__init__()
        self.errors: dict[str, list[Exception]] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}
        self.called: list[str] = []
        office.step.threads = office.step.settling.threads = self

    @override
    async def aside(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        name = call.__name__
        self.called.append(name)
        self.before.pop(name, lambda: None)()
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        try:
            return call(*args, **kwargs)
        finally:
            self.after.pop(name, lambda: None)()


def two_nodes() -> tuple[Office, DeliveryStep, HandDesk]:
    office = Office()
    desk = HandDesk()
    return office, office.node("n2", desk), desk


# -- leases ---------------------------------------------------------------------------------------------


@in_a_loop
async def test_what_one_node_holds_another_does_not_touch_until_the_lease_has_ended() -> None:
    office, other, desk = two_nodes()
    await office.due("w1", most=2)
    await office.run()
    office.clock.advance(LEASE_US - 1)
    await office.run(other)
    assert desk.begun == []
    office.clock.advance(1)
    await office.run(other)
    assert desk.now_open == [("w1", FOUR[0], 2)]
    assert office.outcomes(1) == [(1, "lost")]


@in_a_loop
async def test_who_lost_the_lease_changes_nothing_and_begins_nothing_behind_it() -> None:
    office, other, desk = two_nodes()
    await office.due("w1", most=3)
    await office.run()
    office.clock.advance(LEASE_US)
    await office.run(other)
    office.desk.say()  # too late: it has been taken over
    office.step._renewed_at = office.clock.now()  # and this node has not noticed
    await office.run()
    assert office.states() == [State.PENDING] * 3
    assert office.desk.told == [("w1", FOUR[0], 1)]
    assert (office.step.totals.stale, office.step.totals.delivered) == (1, 0)
    assert len(office.step.lines) == 0
    for _ in range(3):
        desk.say()
        await office.run(other)
    assert office.all_delivered()
    assert [context.topic for context in desk.begun] == list(FOUR[:3])
    assert_lines_move(office.store)


@in_a_loop
async def test_a_node_that_held_still_for_too_long_gives_up_what_it_has_lost() -> None:
    office, other, desk = two_nodes()
    await office.due("w1", "w2", most=2)
    await office.run()
    office.clock.advance(LEASE_US)
    await office.run(other)
    await office.run()
    assert sorted(c.event_id for c in office.desk.cancelled) == ["w1", "w2"]
    assert len(office.step.lines) == 0
    assert not office.step.is_waiting
    while desk.say():
        await office.run(other)
    assert office.all_delivered()


@in_a_loop
async def test_what_it_has_not_begun_yet_is_not_begun_once_it_is_lost() -> None:
    office, other, desk = two_nodes()
    desk.answer = at_once()
    office.declare(listener(concurrency=1))
    office.step.prepare(office.store.outbox.audience())
    await office.due("w1", "w2", "w3", most=1)
    await office.run()
    office.clock.advance(LEASE_US)
    await office.run(other)
    assert office.all_delivered()
    office.desk.say()
    await office.run()
    assert len(office.desk.begun) == 1


@in_a_loop
async def test_a_lease_is_extended_as_long_as_the_attempt_takes() -> None:
    office = Office(listener(timeout=timedelta(hours=1)))
    desk = HandDesk()
    other = office.node("n2", desk)
    await office.due("w1", most=2)
    for _ in range(100):
        await office.run()
        office.clock.advance(20 * SECOND)
        await office.run(other)
    assert desk.begun == []
    office.desk.say()
    await office.run()
    office.desk.say()
    await office.run()
    assert office.all_delivered()
    assert office.outcomes(1) == [(1, "delivered")]


@in_a_loop
async def test_leases_are_extended_after_the_clock_was_set_back() -> None:
    office = Office()
    await office.due("w1", most=1)
    await office.run()
    office.clock.set(office.clock.now() - HOUR)
    await office.run()
    wake = office.deliveries()[0].wake_us
    assert wake == office.clock.now() + LEASE_US


@in_a_loop
async def test_a_failed_extension_is_tried_again_at_once() -> None:
    office, other, desk = two_nodes()
    threads = Flaky(office)
    await office.due("w1", most=1)
    await office.run()
    threads.errors["renew"] = [StoreFull("full")] * 3
    office.clock.advance(LEASE_US - 5 * SECOND)
    assert len(await office.run_until_it_settles()) == 3
    office.clock.advance(10 * SECOND)
    await office.run(other)
    assert desk.begun == []


@in_a_loop
async def test_a_node_whose_own_lease_ran_out_goes_on_with_it_and_nothing_is_stuck_behind() -> None:
    office = Office()
    threads = Flaky(office)
    await office.due("w1", most=3)
    await office.run()
    office.clock.advance(LEASE_US // 3)
    # The host is suspended between the extension and the look.
    threads.after["renew"] = lambda: office.clock.advance(LEASE_US)
    office.step.look_soon()
    await office.run()
    assert office.desk.told == [("w1", FOUR[0], 1)]
    while office.desk.say():
        await office.run()
        assert_lines_move(office.store)
    assert office.all_delivered()
    assert [context.topic for context in office.desk.begun] == list(FOUR[:3])


@in_a_loop
async def test_the_thread_that_extends_leases_outlives_its_errors() -> None:
    office = Office()
    await office.due("w1", most=1)
    await office.run()
    renewal = Renewal(office.store, office.clock, "n1", lambda: 1 // 0, lease_us=LEASE_US)  # type: ignore[arg-type,return-value]
    renewal.renew()
    renewal = Renewal(office.store, office.clock, "n1", office.step.lines.numbers, lease_us=LEASE_US)
    office.clock.advance(20 * SECOND)
    renewal.renew()
    assert office.deliveries()[0].wake_us == office.clock.now() + LEASE_US
    renewal.start()
    renewal.stop()


@in_a_loop
async def test_what_was_parked_while_it_ran_stays_parked_and_what_is_behind_it_goes_on() -> None:
    office = Office()
    await office.due("w1", most=2)
    await office.run()
    office.store.outbox.park_all("this is a copy", office.clock.now())
    office.desk.say()
    await office.run()
    assert office.states() == [State.PARKED] * 2
    await office.due("w2", most=1)
    office.desk.answer = at_once()
    await office.run()
    assert office.states("a:b")[-1] is State.DELIVERED


@in_a_loop
async def test_a_delivery_that_kills_its_node_again_and_again_is_dead_in_the_end() -> None:
    office = Office(born=False)
    await office.due("w1", most=2)
    for number in range(1, 4):
        desk = HandDesk()
        await office.run(office.node(f"n{number}", desk))
        if number <= 2:
            assert desk.now_open == [("w1", FOUR[0], number)]
        office.clock.advance(LEASE_US)
    assert office.states() == [State.DEAD, State.PENDING]
    assert office.outcomes(1) == [(1, "lost"), (2, "lost")]


# -- what is committed meanwhile ------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["audience", "next_wakes"])
@in_a_loop
async def test_whoever_asks_for_a_look_during_a_look_gets_another_one(verb: str) -> None:
    office = Office(born=False)
    office.desk.answer = at_once()
    threads = Flaky(office)
    office.put("w1", most=1)

    def commit() -> None:
        office.store.fire_due(request(office.clock.now()))  # what another process does
        office.step.look_soon()

    threads.after[verb] = commit
    office.clock.advance(SECOND)
    await office.run()
    await office.run()
    assert office.desk.told == [("w1", FOUR[0], 1)]


# -- a store that fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreBusy("busy"), StoreFull("full"), StoreError("odd")])
@in_a_loop
async def test_a_settling_that_fails_loses_nothing_and_is_repeated(error: StoreError) -> None:
    office = Office()
    threads = Flaky(office)
    threads.errors["settle"] = [error] * 3
    office.desk.answer = at_once()
    await office.due("w1", "w2", most=2)
    assert len(await office.run_until_it_settles()) == 3
    assert office.all_delivered()
    assert [office.outcomes(number) for number in (1, 2, 3, 4)] == [[(1, "delivered")]] * 4
    assert len(office.desk.begun) == 4


@pytest.mark.parametrize("verb", ["read_subjects", "claim", "audience", "next_wakes", "renew"])
@in_a_loop
async def test_whatever_fails_nothing_is_lost_and_nothing_told_twice(verb: str) -> None:
    office = Office(born=False)
    threads = Flaky(office)
    threads.errors[verb] = [StoreBusy("busy"), StoreError("odd")]
    office.desk.answer = at_once()
    await office.due("w1", "w2", most=2)
    office.clock.advance(15 * SECOND)
    for _ in range(6):
        await office.run_until_it_settles()
        office.clock.advance(SECOND)
    assert threads.errors[verb] == [] or verb == "renew"
    assert office.all_delivered()
    assert len(office.desk.begun) == 4


@in_a_loop
async def test_what_could_not_be_read_is_begun_in_its_order_later() -> None:
    office = Office(listener(concurrency=2))
    threads = Flaky(office)
    threads.errors["read_subjects"] = [StoreBusy("busy")]
    await office.due("w1", "w2", "w3", most=1)
    await office.run_until_it_settles()
    assert [event_id for event_id, _, _ in office.desk.told] == ["w1", "w2"]


# -- the end --------------------------------------------------------------------------------------------


@in_a_loop
async def test_a_stop_begins_nothing_waits_for_what_is_under_way_and_gives_the_rest_back() -> None:
    office = Office(listener(concurrency=1))
    await office.due("w1", "w2", most=2)
    await office.run()
    ending = await soon(office.step.finish(PATIENCE))
    assert not ending.done()
    office.desk.say()
    office.step.ended.set()
    await ending
    assert len(office.desk.begun) == 1
    assert office.states() == [State.DELIVERED, State.PENDING, State.PENDING, State.PENDING]
    assert all(d.node is None for d in office.deliveries())
    assert_lines_move(office.store)
    assert office.step.terms() is None


@in_a_loop
async def test_what_does_not_end_in_time_is_noted_as_lost_and_free_at_once() -> None:
    office, other, desk = two_nodes()
    await office.due("w1", most=2)
    await office.run()
    await office.step.finish(0)
    assert [c.topic for c in office.desk.cancelled] == [FOUR[0]]
    assert office.outcomes(1) == [(1, "lost")]
    await office.run(other)
    assert desk.now_open == [("w1", FOUR[0], 2)]
    assert_lines_move(office.store)


@in_a_loop
async def test_what_ended_before_the_stop_and_was_not_settled_is_settled_by_it() -> None:
    office = Office()
    threads = Flaky(office)
    threads.errors["settle"] = [StoreBusy("busy")]
    office.desk.answer = at_once()
    await office.due("w1", most=1)
    with pytest.raises(StoreBusy):
        await office.run()
    await office.step.finish(0)
    assert office.all_delivered()


@in_a_loop
async def test_a_store_that_fails_during_the_stop_cuts_no_attempt_short() -> None:
    office = Office()
    threads = Flaky(office)
    await office.due("w1", "w2", most=1)
    await office.run()
    office.desk.say(event_id="w1")
    threads.errors["settle"] = [StoreBusy("busy")]
    ending = await soon(office.step.finish(PATIENCE))
    assert not ending.done()
    office.desk.say(event_id="w2")
    office.step.ended.set()
    await ending
    assert office.all_delivered()
    assert office.desk.cancelled == []


@in_a_loop
async def test_a_store_that_fails_to_the_end_leaves_every_attempt_cancelled() -> None:
    office = Office()
    threads = Flaky(office)
    await office.due("w1", most=1)
    await office.run()
    threads.errors["settle"] = [StoreBusy("busy")] * 9
    with pytest.raises(StoreBusy):
        await office.step.finish(0)
    assert [c.event_id for c in office.desk.cancelled] == ["w1"]


@in_a_loop
async def test_after_a_stop_it_can_begin_anew() -> None:
    office = Office()
    await office.due("w1", most=2)
    await office.run()
    await office.step.finish(0)
    office.step.reset()
    office.step.prepare(office.store.outbox.audience())
    office.desk.answer = at_once()
    await office.run()
    assert office.all_delivered()
    assert office.outcomes(1) == [(1, "lost"), (2, "delivered")]


@in_a_loop
async def test_an_attempt_of_an_earlier_start_is_never_taken_for_one_of_this_start() -> None:
    office = Office()
    await office.due("w1", most=1)
    await office.run()
    (hanging,) = office.desk.open
    await office.step.finish(0)
    office.step.reset()
    office.step.prepare(office.store.outbox.audience())
    await office.run()
    assert office.desk.told[-1] == ("w1", FOUR[0], 2)
    office.desk.end_of(hanging, DELIVERED)  # the handler of the earlier start comes back at last
    await office.run()
    assert office.states() == [State.PENDING]
    assert not office.step.transact(hanging, lambda _: None)
    assert office.states() == [State.PENDING]


@in_a_loop
async def test_a_pause_gives_back_only_what_does_not_run_and_in_its_order() -> None:
    office, other, desk = two_nodes()
    await office.due("w1", "w2", most=3)
    await office.run()
    office.desk.say(Outcome(verdict=Verdict.FAILED, pause=timedelta(seconds=60)), event_id="w1")
    await office.run()
    office.desk.say(event_id="w2")
    await office.run()
    assert_lines_move(office.store)
    desk.answer = at_once()
    for _ in range(70):
        office.clock.advance(SECOND)
        await office.run(other)
    assert office.all_delivered()
    told = [(c.event_id, c.topic) for c in desk.begun]
    assert [topic for id_, topic in told if id_ == "w1"] == list(FOUR[:3])
    assert [topic for id_, topic in told if id_ == "w2"] == list(FOUR[1:3])


# -- its own transaction --------------------------------------------------------------------------------


class Transactor:
    """A desk whose attempts are transactions of their own, each begun when the test says so."""

    def __init__(self, office: Office) -> None:
        self.office = office

    def run(self, work: Callable[[Any], None] = lambda _: None) -> object:
        """Run the open attempt, as the desk of handlers does. Returns whether it was made, or what it raised."""
        ((ticket, _),) = self.office.desk.open.items()
        try:
            made = self.office.step.transact(ticket, work)
        except Exception as error:  # noqa: BLE001 - as the desk of handlers does
            self.office.desk.end_of(ticket, replace(FAILED, said=str(error)))
            return error
        verdict = Verdict.DELIVERED if made else Verdict.FAILED
        self.office.desk.end_of(ticket, Outcome(verdict=verdict, settled=True))
        return made


def insert(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS mine (x)")
    connection.execute("INSERT INTO mine VALUES (1)")


@pytest.fixture(params=["file", "memory"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    store = SqliteStore(tmp_path / "events.db") if request.param == "file" else None
    found = Office(listener(timeout=timedelta(seconds=3)), store=store)
    yield found
    SqliteStore.close(found.store)


def inserted(office: Office) -> int:
    assert office.store._writer is not None
    found = office.store._writer.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'").get
    return int(office.store._writer.execute("SELECT count(*) FROM mine").get) if found else 0


def test_a_transaction_settles_itself_once_and_the_next_goes_on(office: Office) -> None:
    @in_a_loop
    async def test() -> None:
        await office.due("w1", most=2)
        for number in (1, 2):
            await office.run()
            assert Transactor(office).run(insert) is True
            assert inserted(office) == number
            await office.run()
        assert office.all_delivered()
        assert office.outcomes(1) == [(1, "delivered")]
        assert (office.step.totals.delivered, office.step.totals.stale) == (2, 0)
        assert [told.state for told in office.settled] == [State.DELIVERED] * 2

    test()


def test_a_transaction_that_raises_does_nothing_and_is_made_again(office: Office) -> None:
    def fail(connection: apsw.Connection) -> None:
        insert(connection)
        raise ZeroDivisionError

    @in_a_loop
    async def test() -> None:
        await office.due("w1", most=2)
        await office.run()
        assert isinstance(Transactor(office).run(fail), ZeroDivisionError)
        await office.run()
        assert (inserted(office), office.outcomes(1)) == (0, [(1, "failed")])
        await office.run_for(5 * SECOND)
        assert office.desk.now_open == [("w1", FOUR[0], 2)]
        assert Transactor(office).run(insert) is True
        await office.run()
        assert office.desk.now_open == [("w1", FOUR[1], 1)]
        assert inserted(office) == 1

    test()


def test_a_transaction_whose_lease_was_lost_is_not_made_here(office: Office) -> None:
    @in_a_loop
    async def test() -> None:
        desk = HandDesk()
        other = office.node("n2", desk)
        await office.due("w1", most=2)
        await office.run()
        office.clock.advance(LEASE_US)
        await office.run(other)
        assert Transactor(office).run(insert) is False
        assert inserted(office) == 0
        office.step._renewed_at = office.clock.now()
        await office.run()
        assert len(office.step.lines) == 0
        assert office.states() == [State.PENDING] * 2
        desk.say()
        await office.run(other)
        assert desk.now_open == [("w1", FOUR[1], 1)]

    test()


def test_a_transaction_that_was_given_up_before_it_began_is_not_made(office: Office) -> None:
    @in_a_loop
    async def test() -> None:
        await office.due("w1", most=1)
        await office.run()
        office.clock.advance(3 * SECOND)
        await office.run()
        assert Transactor(office).run(insert) is False
        assert inserted(office) == 0
        await office.run()
        assert office.outcomes(1) == [(1, "failed")]

    test()


def test_a_transaction_that_took_too_long_but_was_committed_counts_once(office: Office) -> None:
    @in_a_loop
    async def test() -> None:
        await office.due("w1", most=2)
        await office.run()
        ((ticket, _),) = office.desk.open.items()
        assert office.step.transact(ticket, insert)  # committed, and its end not yet told
        office.clock.advance(4 * SECOND)
        await office.run()
        assert office.states()[0] is State.DELIVERED
        assert office.outcomes(1) == [(1, "delivered")]
        office.desk.end_of(ticket, Outcome(settled=True))
        await office.run_for(SECOND)
        assert [context.topic for context in office.desk.begun] == list(FOUR[:2])
        assert inserted(office) == 1
        assert_lines_move(office.store)

    test()


def test_a_transaction_that_never_returns_is_rolled_back_at_its_timeout_and_holds_nobody_up(tmp_path: Path) -> None:
    office = Office(
        listener(timeout=timedelta(seconds=3)), listener("b:c"), store=SqliteStore(tmp_path / "events.db")
    )
    began, let_go = threading.Event(), threading.Event()
    raised: list[object] = []

    def hang(connection: apsw.Connection) -> None:
        insert(connection)
        began.set()
        let_go.wait(PATIENCE)
        connection.execute("INSERT INTO mine VALUES (2)")

    def transact(ticket: int) -> None:
        try:
            raised.append(office.step.transact(ticket, hang))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            raised.append(error)

    @in_a_loop
    async def test() -> None:
        await office.due("w1", most=2)
        await office.run()
        ticket = next(t for t, c in office.desk.open.items() if c.subscriber.name == "a:b")
        hanging = threading.Thread(target=transact, args=(ticket,))
        hanging.start()
        assert began.wait(PATIENCE)
        office.desk.say(of="b:c")
        office.clock.advance(3 * SECOND)
        await office.run()  # at the timeout everything goes on: the settling waits for nobody
        assert office.states("b:c")[0] is State.DELIVERED
        assert office.outcomes(1) == [(1, "failed")]
        assert inserted(office) == 0
        let_go.set()
        hanging.join(PATIENCE)
        assert [type(each) for each in raised] == [WrongState]
        assert inserted(office) == 0
        await office.run_for(5 * SECOND)
        ticket = next(t for t, c in office.desk.open.items() if (c.subscriber.name, c.attempt) == ("a:b", 2))
        assert office.step.transact(ticket, insert)
        assert inserted(office) == 1
        SqliteStore.close(office.store)

    test()


def test_a_stop_rolls_back_a_transaction_that_hangs(tmp_path: Path) -> None:
    office = Office(store=SqliteStore(tmp_path / "events.db"))
    began, let_go = threading.Event(), threading.Event()

    def hang(connection: apsw.Connection) -> None:
        insert(connection)
        began.set()
        let_go.wait(PATIENCE)

    @in_a_loop
    async def test() -> None:
        await office.due("w1", most=2)
        await office.run()
        (ticket,) = office.desk.open
        hanging = asyncio.create_task(asyncio.to_thread(office.step.transact, ticket, hang))
        assert await asyncio.to_thread(began.wait, PATIENCE)
        await office.step.finish(0)
        assert (inserted(office), office.outcomes(1)) == (0, [(1, "lost")])
        assert_lines_move(office.store)
        let_go.set()
        with pytest.raises(WrongState):
            await hanging
        assert inserted(office) == 0
        SqliteStore.close(office.store)

    test()


@in_a_loop
async def test_a_subscriber_that_is_disabled_while_the_settling_of_its_line_is_written_leaves_nothing_behind() -> (
    None
):
    office = Office(listener(retry=NEVER_AGAIN))
    threads = Flaky(office)
    await office.due("w1", "w2", most=3)
    await office.run()
    off = replace(listener(retry=NEVER_AGAIN), standing=Standing.DISABLED, reason="a person")
    threads.before["settle"] = lambda: office.declare(off)
    office.desk.say()
    await office.run_for(SECOND)
    assert set(office.states()) == {State.PARKED}
    assert len(office.step.lines) == 0
