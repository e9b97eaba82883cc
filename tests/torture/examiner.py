"""Opens what a power loss left, as a user would who starts again, and says what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from duly.agenda import Agenda
from duly.clock import ManualClock
from duly.model.history import Entry
from duly.model.history import Kind as EntryKind
from duly.stores.sqlite import SqliteStore
from tests.builders import assert_quiet, assert_sound
from tests.torture.power import CrashState, Files, Kind, Moment
from tests.torture.season import AFTER, Log, all_entries, content_of, entry_key, fire_on

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found after a crash.

    `kept`: how many of the acknowledged operations are there, from the first on without a gap. `place`: the
    operation after which the store had exactly this content, None if it never had. `flaw`: whatever else is
    wrong, as a sentence.
    """

    kept: int
    place: int | None
    flaw: str | None


@dataclass(slots=True)
class Tally:
    """What was tried, and what came of it. `distinct` states differ in their bytes; each is opened once."""

    distinct: int = 0
    looks: int = 0
    lost: int = 0
    flawed: int = 0
    more_than_acknowledged: int = 0
    just_what_was_acknowledged: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    moments: Counter[Moment] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Sum up."""
        self.distinct += other.distinct
        self.looks += other.looks
        self.lost += other.lost
        self.flawed += other.flawed
        self.more_than_acknowledged += other.more_than_acknowledged
        self.just_what_was_acknowledged += other.just_what_was_acknowledged
        self.kinds += other.kinds
        self.moments += other.moments
        self.complaints += other.complaints

    def told(self) -> str:
        """Return the numbers as lines."""
        kinds = ", ".join(f"{kind}: {self.kinds[kind]}" for kind in Kind)
        moments = ", ".join(f"{moment}: {self.moments[moment]}" for moment in Moment)
        return (
            f"{self.distinct} distinct states ({self.looks} looked at), {self.lost} lost, {self.flawed} flawed; "
            f"unacknowledged but there: {self.more_than_acknowledged}, "
            f"just what was acknowledged: {self.just_what_was_acknowledged}\n  {kinds}\n  {moments}"
        )


class Examiner:
    """Examines the crash states of one trace against the log of what its callers were told."""

    def __init__(self, folder: Path, log: Log) -> None:
        """Use a folder for the files of one state after another."""
        self._path = folder / "duly.db"
        self._log = log
        self._known: dict[bytes, Recovered] = {}
        # The last place wins: operations that change nothing leave the same content.
        self._places = {content: place for place, content in enumerate(log.content)}
        self.tally = Tally()

    def examine(self, state: CrashState) -> Recovered:
        """Recover one state, and count it. The same bytes are opened once, then held against later promises too."""
        found = self._known.get(state.digest)
        if found is None:
            self.tally.distinct += 1
            lay_out(self._path, state.files)
            found = self._known[state.digest] = self._recover()
        self._count(state, found)
        return found

    def _count(self, state: CrashState, found: Recovered) -> None:
        tally = self.tally
        tally.looks += 1
        tally.kinds[state.kind] += 1
        tally.moments[state.moment] += 1
        before = f"step {state.step} ({state.moment}; {state.kind})"
        if found.flaw is not None:
            tally.flawed += 1
            tally.complaints.append(f"{before}: {found.flaw}")
            return
        place = -1 if found.place is None else found.place
        if found.kept < state.acknowledged or place < state.acknowledged:
            tally.lost += 1
            tally.complaints.append(
                f"{before}: {state.acknowledged} operations were acknowledged, {found.kept} are there, "
                f"the content is that after {found.place}"
            )
        elif place > state.acknowledged:
            tally.more_than_acknowledged += 1
        else:
            tally.just_what_was_acknowledged += 1

    def _recover(self) -> Recovered:
        store = SqliteStore(self._path)
        agenda = Agenda(store, time_zone="UTC", clock=ManualClock(AFTER))
        try:
            agenda.open()
            entries = all_entries(store)
            place = self._places.get(content_of(store))
            flaw = next(self._flaws(agenda, entries), None)
        except Exception as error:  # noqa: BLE001 - whatever a user would be shown here is the finding
            return Recovered(0, None, f"{type(error).__name__}: {error}")
        finally:
            agenda.close()
        if flaw is None and place is None:
            flaw = "the store has a content that it never had: half a transaction"
        return Recovered(self._kept(entries), place, flaw)

    def _kept(self, entries: list[Entry]) -> int:
        there = set(map(entry_key, entries))
        for place, written in enumerate(self._log.written):
            if not written <= there:
                return place - 1
        return len(self._log.written) - 1

    def _flaws(self, agenda: Agenda, entries: list[Entry]) -> Iterator[str]:
        """Yield what is wrong as found, then fire on until nothing is due, and yield what is wrong after that."""
        yield from audited(agenda)
        fired = {(e.event_id, e.milestone, e.generation) for e in entries if e.kind == EntryKind.FIRED}
        while batch := fire_on(agenda.store, AFTER, most=BATCH):
            for entry in batch:
                key = (entry.event_id, entry.milestone, entry.generation)
                if entry.kind != EntryKind.FIRED or key in fired:
                    yield f"firing on wrote {entry}"
                fired.add(key)
        yield from audited(agenda)
        for row in agenda.store.list_events(most=BATCH):
            lifecycle = agenda.store.lifecycle_of(row)
            assert_sound(row, agenda.store.history(row.id), lifecycle)
            assert_quiet(row, lifecycle, AFTER)


def audited(agenda: Agenda) -> Iterator[str]:
    """Yield what SQLite and the store's own audit of status, alarm, marks and chains find."""
    store = agenda.store
    assert isinstance(store, SqliteStore)
    assert store._writer is not None
    said = store._writer.pragma("integrity_check")
    if said != "ok":
        yield f"integrity_check: {said}"
    for page in agenda.check():
        for finding in page.findings:
            yield f"{finding.event_id}: {finding.what}"


def lay_out(path: Path, files: Files) -> None:
    """Put a state's files where a store is opened, and nothing beside them: shared memory does not outlive power."""
    path.parent.mkdir(exist_ok=True)
    for old in path.parent.iterdir():
        old.unlink()
    for name, data in files.items():
        Path(f"{path}{name}").write_bytes(data)
