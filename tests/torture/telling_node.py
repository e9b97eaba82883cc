"""A process that fires and delivers, with two handlers and a transactional one; its orders come as a line of JSON.

It imports everything first and waits for its orders then, so that a test can have it ready before it is needed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from duly import Scheduler
from duly.channels import breaker
from duly.channels.channel import Context
from duly.engine import courier, delivering
from duly.errors import Reject
from duly.model.dates import Micros
from duly.model.delivery import Retry
from duly.stores.outbox import Outbox
from tests.builders import SECOND
from tests.torture.mutants import MUTANTS
from tests.torture.sabotage import Saboteur, say, stand_in
from tests.torture.telling_checker import Receipt

JOURNAL: Final = "journal"
DIARY: Final = "diary"
LEDGER: Final = "ledger"
# What nobody wants to hear of, and what kills whoever is told of it.
POISON: Final = "poison"
DEADLY: Final = "deadly"
# Short: a test's patience, not a receiver's.
RETRY: Final = Retry.exponential(6, first=timedelta(milliseconds=20), factor=1.5)
REST: Final = timedelta(milliseconds=20)
FAILING: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a node is to do. `faults`: by point, what happens there at which hit, from its start on or only after it.

    `journals`: a folder. `failing`: the share of attempts in which a handler fails.
    """

    store: str
    journals: str
    seed: int
    faults: dict[str, tuple[str, int]] = field(default_factory=dict)
    from_the_start: bool = True
    mutant: str | None = None
    lease_us: Micros = 3 * SECOND
    failing: float = FAILING

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: str) -> Orders:
        kept = json.loads(line)
        kept["faults"] = {point: tuple(fault) for point, fault in kept["faults"].items()}
        return cls(**kept)


def chance(*what: object) -> float:
    """Return a number from 0 to 1 that depends on these things alone, in whatever order they come up."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, what)).encode()).digest()[:4], "big") / 2**32


def write_down(folder: Path, name: str, receipt: Receipt) -> None:
    """Append a line to a handler's file, and have it on the disk when this returns."""
    file = os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, json.dumps(receipt).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


def enter(connection: Any, delivery_id: str) -> None:
    """Do what the transactional handler does: a row, which nothing keeps from being there twice."""
    connection.execute("CREATE TABLE IF NOT EXISTS ledger (delivery TEXT NOT NULL)")
    connection.execute("INSERT INTO ledger VALUES (?)", (delivery_id,))


class Node:
    """One scheduler with its handlers."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.saboteur = Saboteur(orders.faults, orders.from_the_start)
        self.scheduler = Scheduler(f"sqlite:///{orders.store}", time_zone="UTC")
        on = self.scheduler.on
        on("*", name=JOURNAL, retry=RETRY)(self.journal)
        on("dead", "outage", "cancelled", "revoked", name=DIARY, retry=RETRY)(self.diary)
        on("event_*", name=LEDGER, retry=RETRY, transactional=True)(self.ledger)

    def journal(self, told: Context) -> None:
        if told.event_id.startswith(DEADLY):
            os.kill(os.getpid(), signal.SIGKILL)
        self._write_down(JOURNAL, told)
        if told.event_id.startswith(POISON):
            raise Reject("it is poison")
        self._perhaps_fail(told)
        self.saboteur.hit("handler.after")

    async def diary(self, told: Context) -> None:
        self._write_down(DIARY, told)
        self._perhaps_fail(told)

    def ledger(self, told: Context, connection: Any) -> None:
        enter(connection, told.delivery_id)
        # What was entered is undone with it.
        self._perhaps_fail(told)

    def _write_down(self, name: str, told: Context) -> None:
        seq = None if told.transition is None else told.transition.seq
        now = self.scheduler.clock.now()
        receipt = Receipt(told.delivery_id, told.event_id, told.topic, seq, told.attempt, now)
        write_down(Path(self.orders.journals), name, receipt)

    def _perhaps_fail(self, told: Context) -> None:
        if chance(self.orders.seed, told.delivery_id, told.attempt) < self.orders.failing:
            raise ValueError("a handler fails now and then")

    async def run(self) -> None:
        ending = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
        await self.scheduler.start()
        self.saboteur.is_armed = True
        say("started", node=self.scheduler.node, owner=self.scheduler.is_owner)
        await ending.wait()
        await self.scheduler.stop()
        say("stopped", **asdict(self.scheduler._life.courier.step.totals))


def prepare(node: Node) -> None:
    """Make this process the one that was ordered: its patience, its faults, its mutation."""
    orders = node.orders
    for module in (delivering, courier):
        stand_in(module, "LEASE_US", orders.lease_us)
    for name in ("PAUSE_FIRST", "PAUSE_MOST"):
        stand_in(breaker, name, REST)
    if orders.mutant is not None:
        MUTANTS[orders.mutant](node.saboteur.hit)
    node.saboteur.install()
    settle, expire = Outbox.settle, Outbox.expire_leases

    def settling(outbox: Outbox, *args: Any) -> Any:
        settled = settle(outbox, *args)
        if settled.stale:
            say("stale", count=len(settled.stale))
        return settled

    def expiring(outbox: Outbox, now_us: Micros) -> None:
        say("owns")
        expire(outbox, now_us)

    stand_in(Outbox, "settle", settling)
    stand_in(Outbox, "expire_leases", expiring)


def main() -> None:
    """Wait for orders, and follow them until SIGTERM, or whatever they say."""
    say("loaded")
    line = sys.stdin.readline()
    if not line:
        return
    node = Node(Orders.from_line(line))
    prepare(node)
    asyncio.run(node.run())


if __name__ == "__main__":
    main()
