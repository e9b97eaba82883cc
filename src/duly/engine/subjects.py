"""What a batch of deliveries is about, read in one go: the contexts that are handed out, and a last judgement."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from duly.channels.channel import Context, said_of
from duly.errors import StoreError, UnknownLifecycle
from duly.rules.audience import DEAD, OUTAGE
from duly.rules.catch_up import Judgement, Verdict
from duly.rules.view import EventView
from duly.stores.outbox import Told
from duly.stores.rows import judged_row
from duly.stores.verbs import stored_row

if TYPE_CHECKING:
    from duly.engine.attempts import Running
    from duly.model.dates import Micros
    from duly.model.delivery import Lease, Subscriber
    from duly.model.event import EventRow
    from duly.model.history import Entry
    from duly.rules.audience import Audience
    from duly.stores.store import Store

ROWS_MOST: Final = 10_000
# What reading a row raises that somebody has changed by hand.
_SENSELESS: Final = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)


def read_subjects(store: Store, leases: Sequence[Lease], known: Mapping[tuple[str, int], Entry]) -> Subjects:
    """Read what deliveries are about. In a thread of the store's; entries that are `known` are not read again.

    Rows that make no sense are left out: whoever judges what is about them says so.
    """
    try:
        return Subjects(store, store.outbox.told_of(leases, known))
    except _SENSELESS:
        told = Told()
        for lease in leases:
            with contextlib.suppress(*_SENSELESS):
                found = store.outbox.told_of([lease], known)
                told.rows |= found.rows
                told.entries |= found.entries
                told.outages |= found.outages
                told.dead |= found.dead
        return Subjects(store, told)


class Rows:
    """Events' rows as they were last understood: a row is read anew only when what a judgement asks has changed.

    That is what an edit, a hold, a removal or a redefinition changes; not what a firing does.
    """

    def __init__(self) -> None:
        """Remember none."""
        self._found: dict[str, tuple[tuple[Any, ...], EventRow]] = {}

    def of(self, columns: tuple[Any, ...]) -> EventRow:
        """Return the row of these columns. Raises StoreError for one that makes no sense."""
        key = (columns[3], columns[5], columns[6], columns[15])  # definition, hold, revision, removed
        known = self._found.get(columns[0])
        if known is not None and known[0] == key:
            return known[1]
        if len(self._found) >= ROWS_MOST:
            self._found.clear()
        try:
            row = judged_row(columns)
        except (ValueError, TypeError, AttributeError):
            row = stored_row(columns)  # raises, and says what is wrong
        self._found[columns[0]] = (key, row)
        return row


@dataclass(frozen=True, slots=True)
class Subjects:
    """The rows of a batch, understood only when somebody asks."""

    store: Store
    told: Told

    def context(self, running: Running, now_us: Micros) -> Context:
        """Return what a subscriber is handed."""
        lease, told = running.held.lease, self.told
        event_id, is_entry = lease.event_id, lease.seq > 0
        return Context(
            delivery_id=self.store.outbox.delivery_id(lease.number),
            attempt=running.attempt,
            topic=lease.topic,
            subscriber=running.subscriber,
            event_id=event_id,
            due_us=lease.due_us,
            now_us=now_us,
            transition=told.entries.get((event_id, lease.seq)) if is_entry else None,
            outage=told.outages.get(-lease.seq) if not is_entry and lease.topic == OUTAGE else None,
            dead=told.dead.get(-lease.seq) if not is_entry and lease.topic == DEAD else None,
            look_up=partial(self.view, event_id, now_us) if event_id in told.rows else None,
        )

    def view(self, event_id: str, now_us: Micros) -> EventView:
        """Return an event as it was when the batch was read. Raises UnknownLifecycle, StoreError."""
        row = stored_row(self.told.rows[event_id])
        return EventView(row, self.store.lifecycle_of(row), now_us)

    def judged(
        self, lease: Lease, subscriber: Subscriber, audience: Audience, rows: Rows, now_us: Micros
    ) -> Judgement:
        """Say whether a delivery is still to be made, with its event as it is now.

        What cannot be judged, as its rows make no sense, waits for a person: it must not be in anybody's way.
        """
        try:
            return self._judged(lease, subscriber, audience, rows, now_us)
        except (StoreError, *_SENSELESS) as error:
            return Judgement(Verdict.HOLD, f"what it tells of cannot be read: {said_of(error)}")

    def _judged(
        self, lease: Lease, subscriber: Subscriber, audience: Audience, rows: Rows, now_us: Micros
    ) -> Judgement:
        entry = self.told.entries.get((lease.event_id, lease.seq))
        columns = self.told.rows.get(lease.event_id)
        if entry is None or columns is None:
            return Judgement(Verdict.HOLD, "the history entry that it tells of is not there")
        row = rows.of(columns)
        try:
            lifecycle = self.store.lifecycle_of(row)
        except UnknownLifecycle:
            lifecycle = None  # it happened, and there is no policy any more that says otherwise
        ready_us = lease.ready_us if lease.attempt > 1 else None
        if subscriber.retry.is_endless:
            # Judged by its due instant at its birth; from then on the window bounds only how long it lies untouched.
            ready_us = now_us if lease.attempt > 1 else lease.ready_us
        return audience.judged(subscriber, entry, row, lifecycle, now_us, ready_us=ready_us)
