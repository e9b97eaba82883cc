"""Deliveries under torture, seen from the test: the nodes, who is told, the events that go on changing, the judgement."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from duly import Event
from duly.agenda import Agenda
from duly.clock import Micros
from duly.errors import StoreBusy
from duly.model.dates import to_datetime
from duly.model.delivery import Attempt, Delivery, Lease, State
from duly.model.event import Hold
from duly.model.history import Entry
from duly.stores.outbox_verbs import Result
from duly.stores.sqlite import BUSY_MS, SqliteStore
from duly.testing.receiver import Receiver
from duly.testing.replies import Exchange, status
from duly.webhooks import Webhooks
from tests.builders import CAMPUS, SECOND
from tests.torture.checker import faults
from tests.torture.nodes import CLOCK, Node, Nodes, agenda_on, nodes_on
from tests.torture.telling_checker import Receipt, Telling, telling_faults
from tests.torture.telling_node import (
    DIARY,
    FAILING,
    JOURNAL,
    LEDGER,
    POISON,
    RETRY,
    Orders,
    chance,
    enter,
    write_down,
)

ENDPOINT: Final = "webhook:crm"
THIEF: Final = "thief"
TIMEOUT: Final = timedelta(seconds=0.4)
PATIENCE: Final = 30 * SECOND
MILESTONES: Final = tuple(CAMPUS.by_name)
REFUSED: Final = 0.10
HANGING: Final = 0.05
LOST: Final = "lost"
LOCKED_MS: Final = 300


class Witness(Receiver):
    """A receiver that keeps what it was told, and when; while it misbehaves, it fails as told here.

    One request in ten fails, one in twenty is not answered, and whatever is about an event that is poison is refused.
    Which ones depends on the seed alone.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.receipts: list[Receipt] = []
        self.misbehaves = True
        self._seed = seed
        self._here = threading.local()
        self.answer_always(self._reply)

    @override
    def _serve(self, handler: Any, body: bytes) -> None:
        data = json.loads(body)["data"]
        seq = None if data["transition"] is None else data["transition"]["seq"]
        event_id = data["event_id"] or ""
        receipt = Receipt(data["delivery_id"], event_id, data["topic"], seq, data["attempt"], CLOCK.now())
        self._here.receipt = receipt
        self.receipts.append(receipt)
        super()._serve(handler, body)

    def _reply(self, exchange: Exchange) -> None:
        receipt: Receipt = self._here.receipt
        dice = chance(self._seed, receipt.delivery_id, receipt.attempt)
        if not self.misbehaves:
            status(204)(exchange)
        elif receipt.event_id.startswith(POISON) or dice < REFUSED:
            status(500)(exchange)
        elif dice < REFUSED + HANGING:
            exchange.released.wait(2 * TIMEOUT.total_seconds())
        else:
            status(204)(exchange)


@dataclass
class Feed:
    """Events that are put, moved, cancelled, resumed and removed, whose triggers fall due from now on, or just have."""

    agenda: Agenda
    dice: random.Random
    put: int = 0
    edits: Counter[str] = field(default_factory=Counter)
    _recent: list[str] = field(default_factory=list)
    _cancelled: set[str] = field(default_factory=set)

    def tick(self) -> None:
        """Put two events, and change something of one of the latest. Raises StoreBusy; then nothing is changed."""
        fresh = [self._fresh(), self._fresh()]
        self.agenda.put(fresh, known_for=None)
        self._recent = [*self._recent[-20:], *(event.id for event in fresh)]
        if len(self._recent) > 10:
            self._edit(self.dice.choice(self._recent))

    def _fresh(self) -> Event:
        kind = POISON if self.dice.random() < 0.04 else "w"
        self.put += 1
        return self._dated(f"{kind}{self.put:05}")

    def _dated(self, id_: str) -> Event:
        """Return an event with some milestones, a third of them in the past: several fire at once."""
        names = sorted(self.dice.sample(range(len(MILESTONES)), self.dice.randint(2, 5)))
        now = CLOCK.now()
        dates = sorted(now + self.dice.randrange(-500_000, 1_000_000) for _ in names)
        return Event(id_, dates={MILESTONES[n]: to_datetime(due) for n, due in zip(names, dates, strict=True)})

    def _edit(self, id_: str) -> None:
        what = self.dice.choice(("move", "move", "move", "cancel", "remove"))
        if id_ in self._cancelled:
            what = "resume"
            self.agenda.set_hold(id_, Hold.ACTIVE)
            self._cancelled.discard(id_)
        elif what == "cancel":
            self.agenda.set_hold(id_, Hold.CANCELLED)
            self._cancelled.add(id_)
        elif what == "remove":
            self.agenda.remove(id_)
            self._recent.remove(id_)
        else:
            self.agenda.put(self._dated(id_), known_for=None)
        self.edits[what] += 1


@dataclass
class Stage:
    """One torture of deliveries: everything that is needed for it, and what was hit on the way."""

    store: Path
    nodes: Nodes
    agenda: Agenda
    witness: Witness
    feed: Feed
    seed: int
    mutant: str | None = None
    hits: Counter[str] = field(default_factory=Counter)
    seen: list[Delivery] = field(default_factory=list)
    _spare: Node | None = None

    # -- nodes ------------------------------------------------------------------------------------------

    def start(
        self,
        faults: Mapping[str, tuple[str, int]] | None = None,
        *,
        from_the_start: bool = True,
        lease_us: Micros = 3 * SECOND,
    ) -> Node:
        """Have the spare process go, with these faults, and make another one ready."""
        node = self._spare or self._launch()
        orders = Orders(
            store=str(self.store),
            journals=str(self.store.parent),
            seed=self.seed,
            faults=dict(faults or {}),
            from_the_start=from_the_start,
            mutant=self.mutant,
            lease_us=lease_us,
            failing=FAILING if self.witness.misbehaves else 0.0,
        )
        assert node.process.stdin is not None
        node.process.stdin.write(orders.to_line())
        node.process.stdin.flush()
        self._spare = self._launch()
        return node

    def _launch(self) -> Node:
        return self.nodes.launch("tests.torture.telling_node")

    def struck(self, node: Node, point: str) -> bool:
        """Whether a node has hit a point, and done there what it was told."""
        node.is_alive  # noqa: B018 - what an ended process has said is read by asking
        return any(line["line"] == "hit" and line["point"] == point for line in node.lines)

    def go_on(self, until: Callable[[], bool], *, within: Micros) -> bool:
        """Feed events, and let the receiver die now and then, until something holds. False if it does not."""
        end = CLOCK.since_boot() + within
        while not until():
            if CLOCK.since_boot() > end:
                return False
            try:
                self.feed.tick()
            except StoreBusy:
                # A node that has been stopped with SQLite's write lock held lets nobody write; any other has to.
                if self.nodes.hear(until, within=60_000):
                    return True
                raise
            if self.feed.dice.random() < 0.06:
                self.hits["receiver died"] += 1
                self.witness.die()
                self.nodes.hear(until, within=self.feed.dice.randrange(400_000))
                self.witness.come_back()
            self.nodes.hear(until, within=60_000)
        return True

    def note(self, node: Node) -> None:
        """Take note of what an ended node has said, and of what is closed by now."""
        assert not node.is_alive
        self.hits["stale settles"] += sum(line["count"] for line in node.lines if line["line"] == "stale")
        self.hits["stale transactions"] += sum(line["stale"] for line in node.lines if line["line"] == "stopped")
        self.seen += [each for each in self.agenda.store.outbox.deliveries(most=500) if not each.is_open]

    def drain(self, node: Node) -> None:
        """Let a node tell everything, with a receiver that is well, and stop it."""
        self.witness.misbehaves = False
        self.witness.come_back()
        assert self.nodes.hear(self.is_quiet, within=PATIENCE), f"not told: {self._open()}"
        assert node.stop() == 0
        self.note(node)

    def is_quiet(self) -> bool:
        """Whether nothing is to come, and nothing is to be told."""
        store = self.agenda.store
        nothing_to_come = store.next_due_us() is None
        return nothing_to_come and not store.outbox.counts().pending

    def _open(self) -> list[Delivery]:
        found = self.agenda.store.outbox.deliveries(state=State.PENDING, most=1000)
        return [*found[-5:], *found[:5]]

    # -- another node -----------------------------------------------------------------------------------

    def steal(self) -> int:
        """Be a node that takes over what has run out, tells it, and settles it. Returns how many deliveries.

        On SQLite there is none yet beside the owner: this one stands for those of a store that is shared.
        """
        outbox = self.agenda.store.outbox
        names = {subscriber.number: subscriber.name for subscriber in outbox.subscribers()}
        count = 0
        while leases := outbox.claim(THIEF, CLOCK.now(), CLOCK.now() + 3 * SECOND, dict.fromkeys(names, 100)):
            for lease in leases:
                self._tell(names[lease.subscriber], lease)
            count += len(leases)
        return count

    def _tell(self, name: str, lease: Lease) -> None:
        outbox, began = self.agenda.store.outbox, CLOCK.now()
        id_ = outbox.delivery_id(lease.number)
        seq = lease.seq if lease.seq > 0 else None
        receipt = Receipt(id_, lease.event_id, lease.topic, seq, lease.attempt, began)
        if name == ENDPOINT:
            self.witness.receipts.append(receipt)
        elif name != LEDGER:
            write_down(self.store.parent, name, receipt)
        now = CLOCK.now()
        attempt = Attempt(lease.number, lease.attempt, THIEF, began, now, "delivered", None, None)
        result = Result(lease, State.DELIVERED, None, None, attempt)
        if name == LEDGER:
            settled = outbox.settle_with(result, now, lambda connection: enter(connection, id_))
        else:
            settled = outbox.settle([result], now)
        assert not settled.stale

    # -- judgement --------------------------------------------------------------------------------------

    def told(self) -> Telling:
        """Return all that the store and those who were told say."""
        store = self.agenda.store
        deliveries = store.outbox.deliveries(most=10_000_000)[::-1]
        receipts = {ENDPOINT: list(self.witness.receipts)}
        receipts |= {name: _read_journal(self.store.parent / name) for name in (JOURNAL, DIARY)}
        return Telling(
            subscribers=store.outbox.subscribers(),
            histories=self._histories(),
            deliveries=deliveries,
            attempts=store.outbox.attempts([each.number for each in deliveries]),
            receipts=receipts,
            ledgers={LEDGER: self._ledger()},
            outages=[outage.id for outage in store.outages(most=100_000) if outage.finished_us is not None],
            seen=self.seen,
        )

    def _histories(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {row.id: [] for row in self.agenda.store.list_events(most=10_000_000)}
        for _, entry in self.agenda.store.history_after(0, most=10_000_000):
            found[entry.event_id].append(entry)
        return found

    def _ledger(self) -> list[str]:
        # The table is the handler's own, and no verb reads it.
        import apsw

        connection = apsw.Connection(str(self.store), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger'").fetchall():
                return []
            return [str(row[0]) for row in connection.execute("SELECT delivery FROM ledger").fetchall()]
        finally:
            connection.close()

    def judged(self) -> list[str]:
        """Return everything that is wrong, by the judges of deliveries and of histories; count what was covered."""
        told = self.told()
        self._cover(told)
        rows = self.agenda.store.list_events(most=10_000_000)
        found = telling_faults(told)
        return found + faults(rows, told.histories, self.agenda.store.lifecycle_of, quiet_at=CLOCK.now())

    def _cover(self, told: Telling) -> None:
        for each in told.deliveries:
            self.hits[f"{each.state}"] += 1
            self.hits["retries"] += each.attempts > 1
            is_unheard = each.subscriber in told.receipts and each.id not in told.first_receipts
            self.hits["dead, and never begun"] += each.state is State.DEAD and is_unheard
        for tries in told.attempts.values():
            self.hits["lost attempts"] += sum(attempt.outcome == LOST for attempt in tries)
        received = Counter(r.delivery_id for receipts in told.receipts.values() for r in receipts)
        self.hits["heard twice"] += sum(count > 1 for count in received.values())


def _read_journal(file: Path) -> list[Receipt]:
    if not file.exists():
        return []
    return [Receipt(*json.loads(line)) for line in file.read_text().splitlines()]


@contextmanager
def stage_on(folder: Path, seed: int, *, mutant: str | None = None) -> Iterator[Stage]:
    """Have a store, a receiver and nodes for one torture."""
    store = folder / "events.db"
    with Witness(seed) as witness, agenda_on(store) as agenda, nodes_on(store) as nodes:
        Webhooks(agenda).add(
            "crm",
            witness.url,
            ("*", "revoked", "cancelled", "resumed"),
            allow=[witness.network],
            retry=RETRY,
            timeout=TIMEOUT,
        )
        stage = Stage(store, nodes, agenda, witness, Feed(agenda, random.Random(seed)), seed, mutant)
        # Handlers are declared by a first node: what is put before that has no delivery for them.
        first = stage.start()
        assert nodes.hear(lambda: first.said("started"), within=PATIENCE)
        assert first.stop() == 0
        yield stage


def stolen(stage: Stage) -> int:
    """Take over what a stalled node holds, as far as it left the store unlocked; return how many deliveries."""
    store = stage.agenda.store
    assert isinstance(store, SqliteStore)
    assert store._writer is not None
    store._writer.set_busy_timeout(LOCKED_MS)
    try:
        return stage.steal()
    except StoreBusy:
        # It was stopped in the middle of another transaction: on SQLite nobody writes until it goes on.
        stage.hits["stalled with the lock"] += 1
        return 0
    finally:
        store._writer.set_busy_timeout(BUSY_MS)
