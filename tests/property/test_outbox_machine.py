"""Any life of an outbox, on three nodes of which none can be relied upon: after each step I7 to I9 and I12 hold.

Nothing is ever stuck, and in the end everything is closed. DULY_TORTURE=full runs ten times as many lives.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from typing_extensions import override

from duly.clock import Micros
from duly.errors import InvalidInput
from duly.model.delivery import Attempt, Delivery, Lease, Standing, State, Subscriber
from duly.model.event import Hold
from duly.model.history import Cause, Entry
from duly.rules.audience import DEAD, topic_of
from duly.stores.births import LeaseTerms
from duly.stores.outbox_verbs import Result
from duly.stores.sqlite import SqliteStore
from tests.builders import MINUTE, SECOND, T0, editing
from tests.contract.deeds import LIFECYCLES, lit, put, remove, request
from tests.contract.telling import LEASE, assert_lines_move, everything, listener

FULL: Final = os.environ.get("DULY_TORTURE") == "full"
NODES: Final = ("n1", "n2", "n3")
IDS: Final = ("a", "b")
# Who may be declared by code, and one whom people add.
CODE: Final = (
    listener("app:all", "*", "edited", "held", "removed"),
    listener("app:edits", "edited"),
    listener("app:undertaker", "dead", "switch_*"),
)
PERSON: Final = listener("webhook:crm", "*", "dead", channel="webhook")
OUTCOMES: Final = ("delivered", "delivered", "failed", "failed", "failed", "dead", "dead", "given back", "withheld")
TRIES: Final = 2
Line = tuple[int, str]


def _line(lease: Lease) -> Line:
    return lease.subscriber, lease.event_id


@dataclass
class Node:
    """What one node believes to hold; it does not learn that it has lost a lease before it settles."""

    name: str
    held: dict[int, Lease] = field(default_factory=dict)

    def take(self, leases: list[Lease]) -> None:
        # Where its own lease had run out, it goes on with what it holds behind that.
        self.held |= {lease.number: lease for lease in leases}

    def firsts(self) -> list[Lease]:
        """Return the first of each line: what it would attempt."""
        found: dict[Line, Lease] = {}
        for number in sorted(self.held):
            found.setdefault(_line(self.held[number]), self.held[number])
        return list(found.values())

    def behind(self, lease: Lease) -> list[Lease]:
        return [each for each in self.held.values() if _line(each) == _line(lease) and each.number > lease.number]


class Outboxes(RuleBasedStateMachine):
    """A few events, four subscribers, three nodes, one store."""

    @initialize()
    def begin(self) -> None:
        self.now = T0
        self.store = SqliteStore(":memory:")
        self.store.open(T0)
        self.store.declare_lifecycles([], LIFECYCLES, T0)
        self.nodes = {name: Node(name) for name in NODES}
        self.issued: list[Lease] = []
        self.newest: dict[int, int] = {}
        self.delivered_by: dict[int, int] = {}
        self.closed: dict[int, Delivery] = {}
        self.expected: Counter[tuple[str, str, int, str]] = Counter()
        self.told_entries = 0
        self.fresh = 0
        self.ids = list(IDS)
        self.put_person(Standing.ACTIVE)
        self.declare({0, 1, 2})
        for id_ in IDS:
            self.move(id_, 0, 1)

    @override
    def teardown(self) -> None:
        """Whatever has happened, one honest node brings everything to its end."""
        if not hasattr(self, "store"):
            return
        for _ in range(200):
            self.now += LEASE
            leases = self._claimed("honest", 50)
            if not leases and not self.store.outbox.next_wakes():
                break
            self._settle([self._result(lease, "delivered", "honest") for lease in leases])
            self.everything_holds()
        assert not [each for each in everything(self.store) if each.is_open], "L2: something is open for ever"
        self.store.close()

    # -- what happens to events -------------------------------------------------------------------------

    @rule(data=st.data(), what=st.sampled_from(("move", "move", "hold", "release", "remove")))
    def edit(self, data: st.DataObject, what: str) -> None:
        id_ = data.draw(st.sampled_from(self.ids))
        if what == "move":
            self.move(id_, data.draw(st.integers(-1, 2)), data.draw(st.integers(0, 2)))
        elif not self.store.get_events([id_])[id_].removed:
            hold = {"hold": Hold.CANCELLED, "release": Hold.ACTIVE}.get(what)
            if hold is None:
                remove(self.store, id_, self.now)
            else:
                self.store.set_hold(id_, hold, lambda: editing(self.now))
            self._take_note()

    def move(self, id_: str, on: int, off: int) -> None:
        first = self.now + on * MINUTE
        put(self.store, lit(id_, first, first + off * MINUTE), now=self.now)
        self._take_note()

    @rule(node=st.sampled_from(NODES), rooms=st.lists(st.integers(0, 3), min_size=4, max_size=4))
    def fire(self, node: str, rooms: list[int]) -> None:
        terms = LeaseTerms(node, self.now + LEASE, dict(enumerate(rooms, 1)))
        fired = self.store.fire_due(replace(request(self.now, fresh_from=self.now - MINUTE), lease=terms))
        self._issue(node, [lease for lease, _ in fired.born])
        self._take_note()

    @rule(node=st.sampled_from(NODES), rooms=st.sampled_from((9, 9, 2)))
    def fire_a_line(self, node: str, rooms: int) -> None:
        """Both triggers of a new event fire at once, so that one node holds a line of several deliveries."""
        self.fresh += 1
        self.ids.append(f"w{self.fresh}")
        self.move(self.ids[-1], 1, 0)
        self.now += MINUTE
        self.fire(node, [rooms] * 4)

    @rule(seconds=st.sampled_from((1, 29, 30, 31, 61)))
    def let_time_pass(self, seconds: int) -> None:
        self.now += seconds * SECOND

    # -- what nodes do ----------------------------------------------------------------------------------

    @rule(node=st.sampled_from(NODES), room=st.integers(1, 4))
    def claim(self, node: str, room: int) -> None:
        self._claimed(node, room)

    def _claimed(self, node: str, room: int) -> list[Lease]:
        rooms = dict.fromkeys(range(1, 5), room)
        leases = self.store.outbox.claim(node, self.now, self.now + LEASE, rooms)
        if node in self.nodes:
            self._issue(node, leases)
        else:
            self.newest |= {lease.number: lease.token for lease in leases}
        self._expect_news()
        return leases

    def _issue(self, node: str, leases: list[Lease]) -> None:
        for lease in leases:
            assert lease.token > self.newest.get(lease.number, 0), "a token was given out twice"
            self.newest[lease.number] = lease.token
        self.issued += leases
        self.nodes[node].take(leases)

    @rule(
        place=st.integers(0, 2),
        outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=2, max_size=5),
        wake=st.sampled_from((0, SECOND, MINUTE, None)),
        at_once=st.booleans(),
    )
    def settle(self, place: int, outcomes: list[str], wake: Micros | None, at_once: bool) -> None:
        """Settle some of what a node believes to be its own, in one batch; what must wait is given back with it."""
        busy = [node for node in self.nodes.values() if node.held]
        if not busy:
            self._claimed(NODES[place], 9)
            busy = [self.nodes[NODES[place]]]
        mine = busy[place % len(busy)]
        results: list[Result] = []
        later: list[Result] = []
        for lease, outcome in zip(mine.firsts(), outcomes, strict=False):
            behind = mine.behind(lease)
            results.append(self._result(lease, outcome, mine.name, wake)._replace(wakes=not behind))
            del mine.held[lease.number]
            if results[-1].state is State.PENDING:
                mine.held = {number: each for number, each in mine.held.items() if each not in behind}
                (results if at_once else later).extend(Result(e, State.PENDING, None, None, None) for e in behind)
        self._settle(results)
        self._settle(later)

    @rule(node=st.sampled_from(NODES), how=st.sampled_from(("dies", "stops", "renews", "is replaced")))
    def something_becomes_of_a_node(self, node: str, how: str) -> None:
        mine = self.nodes[node]
        if how == "is replaced":
            self.store.outbox.expire_leases(self.now)
        elif how == "renews":
            tokens = self.store.outbox.renew(node, list(mine.held), self.now + LEASE)
            mine.held = {n: lease for n, lease in mine.held.items() if tokens.get(n) == lease.token}
        else:
            if how == "stops":
                self._settle([Result(lease, State.PENDING, self.now, None, None) for lease in mine.held.values()])
            mine.held = {}

    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def settle_with_an_old_token(self, data: st.DataObject, outcome: str) -> None:
        old = [lease for lease in self.issued if self.newest[lease.number] != lease.token]
        if old:
            lease = data.draw(st.sampled_from(old))
            before = everything(self.store)
            settled = self.store.outbox.settle([self._result(lease, outcome, "n1")], self.now)
            assert settled.stale == {lease.number}
            assert everything(self.store) == before, "I8: a stale settle has changed something"

    @rule(node=st.sampled_from(NODES), other=st.sampled_from(NODES))
    def a_lease_is_taken_over_under_the_hands_of_its_holder(self, node: str, other: str) -> None:
        self.now += LEASE
        self._claimed(other, 4)
        mine = self.nodes[node]
        for lease in mine.firsts():
            del mine.held[lease.number]
            self._settle([self._result(lease, "delivered", node)._replace(wakes=not mine.behind(lease))])

    def _result(self, lease: Lease, outcome: str, node: str, wake: Micros | None = 0) -> Result:
        tried = Attempt(lease.number, max(1, lease.attempt), node, self.now, self.now, outcome, None, None)
        if outcome == "failed" and tried.number < TRIES:
            return Result(lease, State.PENDING, self.now + (wake or 0), "it is down", tried)
        if outcome in {"failed", "dead"}:
            return Result(lease, State.DEAD, None, "it is down", tried)
        if outcome == "given back":
            # Without an instant: behind whatever is before it in its line, if anything is.
            return Result(lease, State.PENDING, None if wake is None else self.now + wake, None, None)
        state = State.DELIVERED if outcome == "delivered" else State.MISSED
        return Result(lease, state, None, None, tried if state is State.DELIVERED else None)

    def _settle(self, results: list[Result]) -> None:
        before = {each.number: each for each in everything(self.store)}
        settled = self.store.outbox.settle(results, self.now)
        for lease, state, _, _, attempt, _ in results:
            if lease.number in settled.stale:
                continue
            assert lease.token == self.newest[lease.number], "I8: settled by an old token"
            if attempt is not None:
                mine = before[lease.number]
                earlier = [e for n, e in before.items() if n < lease.number and e.subscriber == mine.subscriber]
                overtaken = [e for e in earlier if e.event_id == mine.event_id and e.is_open]
                assert not overtaken, f"I12: {lease.number} was attempted before {overtaken}"
            if state is State.DELIVERED:
                assert lease.number not in self.delivered_by, "I8: delivered twice"
                self.delivered_by[lease.number] = lease.token
        self._expect_news()

    # -- what people do ---------------------------------------------------------------------------------

    @rule(data=st.data(), what=st.sampled_from(("declare", "person", "park")))
    def somebody_wants_no_more(self, data: st.DataObject, what: str) -> None:
        match what:
            case "declare":
                self.declare(data.draw(st.sampled_from(({0, 1, 2}, {0, 2}, {1}, set()))))
            case "person":
                self.put_person(data.draw(st.sampled_from((Standing.ACTIVE, Standing.DISABLED))))
            case _:
                self.park(data)

    @rule(data=st.data(), what=st.sampled_from(("replay", "replay to", "announce")))
    def somebody_wants_more(self, data: st.DataObject, what: str) -> None:
        if what != "announce":
            self.replay(data, PERSON.name if what == "replay to" else None)
            return
        to = data.draw(st.sampled_from([s.name for s in (*CODE, PERSON)]))
        self.announce(data.draw(st.sampled_from(self.ids)), data.draw(st.integers(1, 9)), to)

    def declare(self, who: set[int]) -> None:
        self.store.outbox.declare([CODE[n] for n in sorted(who)], self.now)
        self.listening: dict[str, Subscriber] = {
            s.name: s for s in self.store.outbox.subscribers() if s.standing is Standing.ACTIVE
        }
        declared = {CODE[n].name for n in who}
        assert not who or {name for name in self.listening if name.startswith("app:")} == declared

    def put_person(self, standing: Standing) -> None:
        self.store.outbox.put_subscriber(replace(PERSON, standing=standing, reason="so"), self.now)
        self.listening = {s.name: s for s in self.store.outbox.subscribers() if s.standing is Standing.ACTIVE}

    def replay(self, data: st.DataObject, to: str | None) -> None:
        # Few to choose from: among them are those that were replayed already, and their replays.
        found = [each for each in everything(self.store) if not each.is_open][-5:] + everything(self.store)[:1]
        chosen = data.draw(st.lists(st.sampled_from(found), max_size=4)) if found else []
        replayed = self.store.outbox.replay([each.number for each in chosen], self.now, to=to)
        for old, new in replayed.made.items():
            made = self.store.outbox.delivery(new)
            assert (made.replay_of, made.state) == (old, State.PENDING)
        assert set(replayed.made) | set(replayed.refused) == {each.number for each in chosen}

    def park(self, data: st.DataObject) -> None:
        found = [each.number for each in everything(self.store) if each.is_open or each.number < 3]
        if found:
            self.store.outbox.park(
                data.draw(st.lists(st.sampled_from(found[:9]), min_size=1, max_size=4)), "so", self.now
            )

    def announce(self, id_: str, seq: int, to: str) -> None:
        try:
            number = self.store.outbox.announce(id_, seq, to, self.now)
        except LookupError:
            assert to not in self.listening
        except InvalidInput:
            pass
        else:
            assert to in self.listening, "announced to one who is not told of anything"
            assert self.store.outbox.delivery(number).seq == seq

    # -- what must be there -----------------------------------------------------------------------------

    def _take_note(self) -> None:
        """Expect one delivery of each new entry for each who listens just now, and the news of who has died."""
        entries = [entry for _, entry in self.store.history_after(self.told_entries, most=10_000)]
        self.told_entries += len(entries)
        for entry in entries:
            for name in self._listeners(entry):
                self.expected[name, entry.event_id, entry.seq, topic_of(entry)] += 1

    def _listeners(self, entry: Entry) -> list[str]:
        if entry.cause == Cause.BORN_LATE:
            return []
        topic = topic_of(entry)
        words = {topic, entry.kind} | ({"*", "switch_*"} if entry.is_transition else set())
        return [name for name, subscriber in self.listening.items() if words & set(subscriber.topics)]

    def _expect_news(self) -> None:
        for each in everything(self.store):
            if each.state is State.DEAD and each.number not in self.closed and each.topic != DEAD:
                self.closed[each.number] = each
                for name, subscriber in self.listening.items():
                    if DEAD in subscriber.topics and name != each.subscriber:
                        self.expected[name, each.event_id, -each.number, DEAD] += 1

    @invariant()
    def everything_holds(self) -> None:
        found = everything(self.store)
        tried = self.store.outbox.attempts([each.number for each in found])
        assert_lines_move(self.store)
        born = Counter((d.subscriber, d.event_id, d.seq, d.topic) for d in found if d.replay_of == 0)
        assert born == self.expected, "I7: not exactly one delivery for each thing and each listener"
        once = Counter((d.subscriber, d.event_id, d.seq, d.topic, d.replay_of) for d in found)
        assert set(once.values()) <= {1}, "I7: twice"
        for each in found:
            assert self.closed.get(each.number, each) == each, "I9: what was closed has changed"
            if not each.is_open:
                self.closed[each.number] = each
            assert each.attempts <= TRIES
            assert not each.is_open or each.subscriber in self.listening, "something is owed to one who is not active"
            assert each.is_open or each.attempts == len(tried[each.number]), f"attempts without a row: {each}"
            assert (each.state is State.DELIVERED) == (each.number in self.delivered_by), "I8: who delivered it?"
        for number, attempts in tried.items():
            assert [attempt.number for attempt in attempts] == sorted({attempt.number for attempt in attempts})
            assert all(1 <= attempt.number <= TRIES for attempt in attempts), f"{number} was tried too often"


OutboxTest = Outboxes.TestCase
OutboxTest.settings = settings(
    max_examples=1200 if FULL else 120,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
