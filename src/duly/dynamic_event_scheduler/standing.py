"""`save_status` as a subscriber of the outbox; and what a version before there was one had kept instead."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from duly.channels.handlers import HANDLER
from duly.dynamic_event_scheduler.recoveries import KEY, keep_span, span_kept
from duly.errors import UnknownLifecycle
from duly.model.delivery import Retry, State, Subscriber
from duly.model.history import Kind
from duly.rules.audience import Audience, Birth, topic_of
from duly.stores.births import audience, write_births
from duly.stores.outbox_verbs import declare, put_subscriber
from duly.stores.rows import entry_of, ids_text, readable_row
from duly.stores.store import LAST
from duly.stores.verb import Statement
from duly.stores.verbs import meta_json, put_meta_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.model.history import Entry
    from duly.model.lifecycle import CatchUp, Lifecycle
    from duly.stores.store import Store
    from duly.stores.verb import Verb

NAME: Final = "save_status"
SUBSCRIBER: Final = Subscriber(
    name=NAME,
    channel=HANDLER,
    topics=("*", Kind.REVOKED.value),
    retry=Retry.until_it_succeeds(first=timedelta(seconds=1), most=timedelta(seconds=60), jitter=0),
    # A call that has not come back by then counts as failed, so that one that hangs does not silence all others.
    timeout=timedelta(seconds=60),
    concurrency=1,
    is_chronological=True,
)


def subscribe(store: Store, now_us: Micros) -> None:
    """Have everything told from now on; what has happened before, nobody had asked for."""
    if store.read(_is_new()):
        store.write(_subscribe(now_us))


def _is_new() -> Verb[bool]:
    # As long as there is a cursor, what happens is told from the ledger: see `take_over`.
    kept = yield from meta_json(KEY)
    known = {subscriber.name for subscriber in (yield from audience()).by_number.values()}
    return NAME not in known and not _has_cursor(kept)


def _subscribe(now_us: Micros) -> Verb[None]:
    # Asked again: of several processes that start at once, the first decides where "now" is.
    if (yield from _is_new()):
        yield from put_subscriber(SUBSCRIBER, now_us)


def take_over(store: Store, catch_up: CatchUp, now_us: Micros, *, tells: bool) -> None:
    """Do what comes before a new owner's first firing, in one transaction: a start that is cut off does it anew.

    Keep from where on recoveries are counted. If it `tells`, declare the subscriber, and let what an earlier version
    has left to be told by the ledger (its cursor, and what it owed) be deliveries.
    """
    store.write(_take_over(store, catch_up, now_us, tells=tells))


def _take_over(store: Store, catch_up: CatchUp, now_us: Micros, *, tells: bool) -> Verb[None]:
    yield from keep_span((yield from span_kept()))
    if not tells:
        return
    everybody = yield from declare([SUBSCRIBER], now_us)
    kept = yield from meta_json(KEY)
    if _has_cursor(kept):
        [told] = [subscriber for subscriber in everybody if subscriber.name == NAME]
        yield from _write_owed(store, kept, Audience([told], catch_up=catch_up), told.number, now_us)
        yield from put_meta_json(KEY, {"recovery": kept["recovery"]})


def _has_cursor(kept: Any) -> bool:
    return kept is not None and "cursor" in kept


def _write_owed(
    store: Store, kept: Mapping[str, Any], listening: Audience, subscriber: int, now_us: Micros
) -> Verb[None]:
    owed: dict[int, Entry] = {}
    for number in sorted({number for numbers in kept["owed"].values() for number in numbers}):
        rows = yield Statement("history_after", {"after": number - 1, "most": 1})
        owed |= dict(map(entry_of, rows))
    rows = yield Statement("history_after", {"after": kept["cursor"], "most": LAST})
    news = [entry for number, entry in map(entry_of, rows) if number not in owed]
    subjects = yield from _subjects(store, {entry.event_id for entry in (*owed.values(), *news)})
    # What had been refused is asked for until it is taken, however old; of the rest the window says what is told.
    births = [_refused_before(entry, subscriber) for entry in owed.values()]
    births += listening.births(news, subjects.__getitem__, now_us)
    yield from write_births(births, now_us)


def _refused_before(entry: Entry, subscriber: int) -> Birth:
    due_us = entry.at_us if entry.due_us is None else entry.due_us
    return Birth(
        subscriber, entry.event_id, topic_of(entry), entry.seq, State.PENDING, due_us,
        is_late=True, reason=None, entry=entry,
    )  # fmt: skip


def _subjects(store: Store, ids: Iterable[str]) -> Verb[dict[str, tuple[EventRow, Lifecycle | None]]]:
    found: dict[str, tuple[EventRow, Lifecycle | None]] = {}
    for columns in (yield Statement("get_events", {"ids": ids_text(sorted(ids))})):
        row = readable_row(columns)
        try:
            found[row.id] = row, store.lifecycle_of(row)
        except UnknownLifecycle:
            found[row.id] = row, None
    return found
