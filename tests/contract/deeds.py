"""What the contract's tests do to a store, in few words: put, fire, audit, and look whether all is well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from duly.model.dates import Micros
from duly.model.event import Event
from duly.model.history import Entry
from duly.rules.advance import Firing
from duly.rules.edit import Edited
from duly.stores.audit import AuditPage
from duly.stores.store import Store
from duly.stores.verbs import Fired, FireRequest, Put
from tests.builders import (
    CAMPUS,
    CONFERENCE,
    CONTEST,
    FOR_EVER,
    HOUR,
    T0,
    assert_sound,
    editing,
    event,
    lamp,
    planned,
    seminar,
)

LIFECYCLES: Final = (CAMPUS, CONFERENCE, CONTEST, seminar(), lamp())
BY_NAME: Final = {lifecycle.name: lifecycle for lifecycle in LIFECYCLES}


def put(
    store: Store,
    *events: Event,
    now: Micros = T0,
    known_since: Micros = FOR_EVER,
    all_or_nothing: bool = True,
    reason: str | None = None,
) -> Put:
    """Put events in one batch."""
    plans = [planned(each, BY_NAME[each.lifecycle]) for each in events]
    circumstances = editing(now, known_since=known_since, reason=reason)
    return store.put_events(plans, lambda _: circumstances, all_or_nothing=all_or_nothing)


def lit(id_: str, on: Micros, off: Micros | None = None) -> Event:
    """Return the smallest event: a lamp that is switched on, and perhaps off."""
    dates: dict[str, Any] = {"switch_on": on} if off is None else {"switch_on": on, "switch_off": off}
    return event(id_, lifecycle=lamp(), **dates)


def request(
    now: Micros,
    *,
    most: int = 500,
    fresh_from: Micros | None = None,
    late_before: Micros | None = None,
    strict: bool = False,
    outage: int | None = None,
) -> FireRequest:
    """Return what to fire; unless said otherwise everything due before `now` is backlog, and late."""
    firing = Firing(now, now if late_before is None else late_before, "node-1", outage)
    return FireRequest(
        firing=firing, most=most, fresh_from_us=now if fresh_from is None else fresh_from, strict=strict
    )


def fire(store: Store, now: Micros, **said: Any) -> Fired:
    """Fire one batch."""
    return store.fire_due(request(now, **said))


def fire_all(store: Store, now: Micros, **said: Any) -> list[Fired]:
    """Fire batch by batch until nothing is due."""
    batches: list[Fired] = []
    while True:
        # A batch that claims and moves nothing would go on for ever: every event has some alarm only once.
        assert len(batches) < 2_000, "no progress"
        fired = fire(store, now, **said)
        if not fired.claimed:
            return batches
        batches.append(fired)


def remove(store: Store, id_: str, now: Micros = T0) -> Edited:
    """Remove an event."""
    return store.remove_event(id_, lambda: editing(now))


def audit(store: Store, *, now: Micros = T0 + HOUR, repair: bool = False, history: bool = True) -> AuditPage:
    """Audit one page, enough for these tests."""
    return store.audit("", Firing(now, now, "node-1"), history=history, repair=repair)


def whats(page: AuditPage) -> dict[str, list[str]]:
    """Return an audit's findings by event."""
    found: dict[str, list[str]] = {}
    for finding in page.findings:
        found.setdefault(finding.event_id, []).append(finding.what)
    return found


def ledger(store: Store) -> list[Entry]:
    """Return the whole ledger, in the order in which it was committed."""
    return [entry for _, entry in store.history_after(0, most=1_000_000)]


def briefly(entries: Iterable[Entry]) -> list[str]:
    """Return entries as short as `w1 fired switch_on`."""
    return [" ".join(filter(None, (entry.event_id, entry.kind, entry.milestone))) for entry in entries]


def assert_all_sound(store: Store) -> None:
    """Hold I1 to I6 over every event, and that the ledger tells each event's entries in their order."""
    for row in store.list_events(most=1_000_000):
        if row.error is None:
            assert_sound(row, store.history(row.id), store.lifecycle_of(row))
    told: dict[str, int] = {}
    for entry in ledger(store):
        assert entry.seq == told.get(entry.event_id, 0) + 1, f"the ledger tells {entry} out of order"
        told[entry.event_id] = entry.seq
