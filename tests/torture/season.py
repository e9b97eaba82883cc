"""A busy life of a store, by a seed: what it does, what of that was acknowledged, what was in it after each step."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from duly.agenda import Agenda
from duly.clock import ManualClock
from duly.model.dates import Micros, to_datetime
from duly.model.event import Event, Hold
from duly.model.history import Entry
from duly.rules.advance import Firing
from duly.stores.sqlite import SqliteStore
from duly.stores.store import LAST, Store
from duly.stores.verbs import FireRequest
from tests.builders import DAY, HOUR, MINUTE, T0
from tests.torture.power import Recorder

if TYPE_CHECKING:
    import apsw

# Late enough for every date of a season to have passed.
AFTER: Final[Micros] = T0 + 400 * DAY
# A checkpoint every few commits, so that a short season has many; SQLite's own default is 1000 pages.
CHECKPOINT_PAGES: Final = 30
FIELDS: Final = (
    "registration_open",
    "registration_close",
    "event_start",
    "event_end",
    "certificate_start",
    "certificate_end",
)

# An entry, told apart from every other that could stand in its place.
EntryKey = tuple[str, int, bytes]


class BusyStore(SqliteStore):
    """The store as it ships, but for two settings: how often it checkpoints and (for the control) how it flushes."""

    synchronous = "full"

    @override
    def _connect(self, target: str) -> apsw.Connection:
        connection = super()._connect(target)
        connection.wal_autocheckpoint(CHECKPOINT_PAGES)
        if self.synchronous != "full":
            connection.pragma("synchronous", self.synchronous)
        return connection


class NormalStore(BusyStore):
    """The mutant that must be caught: with `synchronous=NORMAL` a commit is not flushed."""

    synchronous = "normal"


@dataclass(slots=True)
class Log:
    """What callers were told. Place 0 is what was there before; place n what the n-th operation acknowledged.

    `written[n]`: the entries that it returned; `content[n]`: a digest of all that was in the store after it.
    `kinds`: how many entries of each kind were told.
    """

    written: list[frozenset[EntryKey]] = field(default_factory=list)
    content: list[bytes] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, entries: Iterable[Entry], store: Store) -> None:
        """Write down one more operation."""
        entries = list(entries)
        self.kinds.update(entry.kind for entry in entries)
        self.written.append(frozenset(map(entry_key, entries)))
        self.content.append(content_of(store))


def entry_key(entry: Entry) -> EntryKey:
    """Return what tells an entry apart."""
    return entry.event_id, entry.seq, entry.hash


def all_entries(store: Store) -> list[Entry]:
    """Return the history of all events, in the order of its commits."""
    return [entry for _, entry in store.history_after(0, most=LAST)]


def content_of(store: Store) -> bytes:
    """Return a digest of everything that the season writes, so that half a transaction equals no whole one."""
    everything = (store.list_events(most=LAST), store.history_after(0, most=LAST), store.nodes(), store.meta("note"))
    return hashlib.sha256(repr(everything).encode()).digest()


def fire_on(store: Store, now: Micros, *, most: int) -> list[Entry]:
    """Fire one batch, as the engine does; empty when nothing is due."""
    firing = Firing(now, now - MINUTE, "node")
    return store.fire_due(FireRequest(firing=firing, most=most, fresh_from_us=now - MINUTE)).entries


class Season:
    """Puts, edits, holds, removes and fires events, closing and opening the store in between, as its seed says."""

    def __init__(self, recorder: Recorder, store: SqliteStore, seed: str) -> None:
        """Nothing is opened yet."""
        self.recorder = recorder
        self.chance = random.Random(seed)
        self.clock = ManualClock(T0)
        self.agenda = Agenda(store, time_zone="UTC", clock=self.clock)
        self.log = Log()
        self._ids: list[str] = []
        self._notes = 0

    def live(self, operations: int) -> None:
        """Do everything at least once, that many operations in all, in an order left to chance; close the store."""
        deeds: list[Callable[[], Iterable[Entry]]] = [
            self._put, self._fire, self._edit, self._hold, self._remove, self._put_much, self._note, self._reopen,
        ]  # fmt: skip
        # Holds and edits twice: what they meet first may have been removed already.
        sure = [*deeds, self._hold, self._edit]
        plan = sure + self.chance.choices(deeds, weights=(4, 9, 3, 2, 1, 0, 2, 1), k=operations - len(sure))
        self.chance.shuffle(plan)
        self.agenda.open()
        self.log.add((), self.agenda.store)
        self._done(self._put())
        for deed in plan:
            self._done(deed())
        self.agenda.close()

    def _done(self, entries: Iterable[Entry]) -> None:
        # First the trace: reading what is there writes nothing, but the acknowledgement came before it.
        self.recorder.acknowledge()
        self.log.add(entries, self.agenda.store)

    def _put(self) -> Iterable[Entry]:
        new = [f"event-{len(self._ids) + number}" for number in range(self.chance.randint(1, 3))]
        self._ids += new
        return self.agenda.put([self._event(id_) for id_ in new], known_for=None).entries

    def _put_much(self) -> Iterable[Entry]:
        """Put an event whose data spill over many pages, so that one commit is larger than a whole checkpoint."""
        id_ = f"event-{len(self._ids)}"
        self._ids.append(id_)
        text = self.chance.randbytes(CHECKPOINT_PAGES * 2048).hex()
        return self.agenda.put(self._event(id_, text=text), known_for=None).entries

    def _edit(self) -> Iterable[Entry]:
        """Move all dates of an event: forwards, backwards, over what has fired; or bring a removed one back."""
        return self.agenda.put(self._event(self.chance.choice(self._ids)), actor="ada", reason="moved").entries

    def _hold(self) -> Iterable[Entry]:
        """Hold an event, or lift its hold."""
        live = list(self.agenda.events())
        if not live:
            return self._put()
        event = self.chance.choice(live)
        reason = self.chance.choice((Hold.POSTPONED, Hold.CANCELLED))
        return self.agenda.set_hold(event.id, reason if event.hold == Hold.ACTIVE else Hold.ACTIVE).entries

    def _remove(self) -> Iterable[Entry]:
        live = [view.id for view in self.agenda.events()]
        if not live:
            return self._put()
        id_ = self.chance.choice(live)
        self.agenda.remove(id_)
        return self.agenda.store.history(id_)[-1:]

    def _fire(self) -> Iterable[Entry]:
        """Let time pass, and fire a batch too small for all that is due."""
        self.clock.advance(self.chance.randint(1, 60) * MINUTE)
        return fire_on(self.agenda.store, self.clock.now(), most=self.chance.randint(1, 6))

    def _note(self) -> Iterable[Entry]:
        """Write what no history tells: a heartbeat and a word in `meta`."""
        self._notes += 1
        self.clock.advance(MINUTE)
        if self.chance.random() < 0.5:
            self.agenda.store.heartbeat("node", "host", 1, self.clock.now())
        else:
            self.agenda.store.put_meta("note", self._notes)
        return ()

    def _reopen(self) -> Iterable[Entry]:
        """Close the store, which empties the WAL into the database and removes it; open it again."""
        self.agenda.close()
        self.agenda.open()
        return ()

    def _event(self, id_: str, *, text: str = "") -> Event:
        first = self.clock.now() - self.chance.randint(0, 90) * MINUTE
        steps = sorted(self.chance.sample(range(8 * HOUR // MINUTE), len(FIELDS)))
        dates = {name: to_datetime(first + step * MINUTE) for name, step in zip(FIELDS, steps, strict=True)}
        return Event(id_, f"the event {id_}", dates=dates, data={"text": text} if text else {})
