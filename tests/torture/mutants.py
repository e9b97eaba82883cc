"""Broken versions of the product, each without one of the things that keep a promise: the judge must find all of them.

Made by replacing functions in the node's own process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from duly.channels.channel import DELIVERED, ChannelDesk
from duly.engine.lines import Held
from duly.engine.subjects import Subjects
from duly.stores import births, outbox_verbs, verbs
from duly.stores.sqlite import SqliteStore
from duly.stores.sqlite_schema import DIALECT
from duly.stores.statements import statements
from tests.torture.sabotage import stand_in

Hit = Callable[[str], None]


def no_fence(_: Hit) -> None:
    """Settle whatever the token: who lost its lease writes all the same."""
    original = outbox_verbs.settle

    def settle(results: Any, now_us: int) -> Any:
        verb = original(results, now_us)
        statement = next(verb)
        mine = [(r.lease.number, r.lease.token, r.lease.subscriber, r.lease.event_id, None) for r in results]
        try:
            while True:
                rows = yield statement
                statement = verb.send(mine if statement.name == "open_tokens" else rows)
        except StopIteration as done:
            return done.value

    stand_in(outbox_verbs, "settle", settle)


def no_order(_: Hit) -> None:
    """Begin each delivery as soon as it is there: every one is a line of its own, and none waits for another."""

    def line(held: Held) -> tuple[int, str]:
        return held.lease.subscriber, f"{held.lease.event_id}/{held.lease.number}"

    stand_in(Held, "line", property(line))
    known = statements(DIALECT)
    assert isinstance(known, dict)
    whole = known["claim_deliveries"]
    known["claim_deliveries"] = re.sub(r"\s+AND NOT EXISTS.*?(?=\nORDER BY)", "", whole, flags=re.DOTALL)
    assert known["claim_deliveries"] != whole


def late_births(hit: Hit) -> None:
    """Write deliveries in a transaction of their own, behind that of the firing."""
    waiting: list[tuple[Any, ...]] = []

    def announce(entries: Any, subjects: Any, now_us: int, _: Any = None) -> Any:
        waiting.append((entries, subjects, now_us))
        return []
        yield

    original = SqliteStore.write

    def write(store: SqliteStore, verb: Any) -> Any:
        result = original(store, verb)
        while waiting:
            hit("mutant.gap")
            original(store, births.announce(*waiting.pop(0)))
        return result

    stand_in(verbs, "announce", announce)
    stand_in(SqliteStore, "write", write)


def settled_first(_: Hit) -> None:
    """Call a webhook delivered, and then send it."""
    original = ChannelDesk.begin

    def begin(desk: ChannelDesk, batch: Any, done: Any) -> None:
        for ticket, _ in batch:
            done(ticket, DELIVERED)
        original(desk, batch, lambda *_: None)

    stand_in(ChannelDesk, "begin", begin)


def new_ids(_: Hit) -> None:
    """Give every further attempt an id of its own."""
    original = Subjects.context

    def context(subjects: Subjects, *args: Any, **kwargs: Any) -> Any:
        made = original(subjects, *args, **kwargs)
        if made.attempt > 1:
            made.delivery_id += f"-{made.attempt}"
        return made

    stand_in(Subjects, "context", context)


MUTANTS: Final[Mapping[str, Callable[[Hit], None]]] = {
    each.__name__: each for each in (no_fence, no_order, late_births, settled_first, new_ids)
}
