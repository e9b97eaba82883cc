"""What `duly check` says of a store that is a copy: of which one, what it would send, and how to confirm it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from duly.agenda import Agenda
from duly.cli.delivery_lines import DELIVERY_HEADERS, delivery_rows
from duly.cli.output import Output
from duly.cli.telling import zones_of
from duly.cli.wording import count
from duly.model.delivery import Delivery
from duly.stores import residence
from duly.stores.copies import CONFIRM, Copy
from duly.stores.store import Store

_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class CopyReport:
    """A store that is a copy, or was one until now: what it would send, newest first, and who it is if adopted."""

    copy: Copy
    would_send: list[Delivery]
    zones: dict[str, str]
    now: int
    adopted_as: str | None

    @classmethod
    def of(cls, agenda: Agenda, *, adopt: bool) -> Self | None:
        """Look at a store, None if it is no copy. With `adopt`, confirm it: then it is none any more."""
        store = agenda.store
        now = agenda.clock.now()
        confirm = residence.adopt if adopt else _look
        copy = confirm(store, agenda.environment, now)
        if copy is None:
            return None
        found = list(residence.would_send(store, copy))
        zones = zones_of(store, (each.event_id for each in found[:_SHOWN]), agenda.time_zone)
        return cls(copy, found, zones, now, store.outbox.identity if adopt else None)

    def to_json(self) -> dict[str, object]:
        """Return plain values: all that it would send."""
        return {
            **self.copy.to_json(),
            "adopted_as": self.adopted_as,
            "would_send": [each.to_json() for each in self.would_send],
        }

    def tell(self, out: Output) -> None:
        """Print it."""
        for line in self._said(out):
            out.line(line)
        if self.would_send:
            rows = delivery_rows(self.would_send[:_SHOWN], self.zones, self.now)
            out.table(DELIVERY_HEADERS, rows, empty="")
        out.line(self._remedy())

    def _said(self, out: Output) -> Iterator[str]:
        if self.adopted_as is None:
            yield f"{out.paint('copy', 'yellow')}  {self.copy.sentence}."
        else:
            was = f"it was a copy of {self.copy.of} ({self.copy.why})"
            yield f"{out.paint('adopted', 'green')}  {was}, and goes by {self.adopted_as} now."
        if not self.would_send:
            yield "There is nothing that it would send."
            return
        senders = Counter(each.subscriber for each in self.would_send)
        named = ", ".join(f"{number:,} to {name}" for name, number in senders.most_common())
        what = f"{count(len(self.would_send), 'delivery', 'deliveries')}: {named}"
        newest = f"; the newest {_SHOWN}:" if len(self.would_send) > _SHOWN else "."
        yield (f"It would send {what}" if self.adopted_as is None else f"Not sent: {what}") + newest

    def _remedy(self) -> str:
        if self.adopted_as is None:
            return f"To confirm that it may send what is born from now on: {CONFIRM}"
        left = " What is parked stays so, until: duly release --all --yes" if self.would_send else ""
        return f"What is born from now on is delivered.{left}"


def _look(store: Store, environment: str | None, _now: int) -> Copy | None:
    return residence.look(store, environment)
