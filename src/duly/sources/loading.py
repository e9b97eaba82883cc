"""Files → events: every good record, every bad one by name with the reason, and none guessed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from duly.errors import DulyError, InvalidInput, InvalidSource
from duly.lifecycles.reader import built_in, built_in_names, lifecycle_from_plain, lifecycle_from_toml
from duly.model.dates import read_zone
from duly.model.event import DEFAULT_LIFECYCLE, Event
from duly.model.lifecycle import Lifecycle
from duly.model.record import event_from_record
from duly.rules.plan import plan
from duly.sources.duplicates import Candidate, Refused, without_duplicates
from duly.sources.files import Document, find_files, read_document, shown
from duly.sources.mapping import RecordMap, read_map, records_of, suggestion

_FILE_KEYS: Final = ("events", "zone", "lifecycle", "lifecycles")
_Read = Iterator[tuple[str, Mapping[str, Any] | InvalidSource]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What files said.

    `events`: the good ones, in the order of their records. `refused`: the bad records, in their order too.
    `lifecycles`: definitions that do not ship but that the events need. `records`: how many were read;
    `repeated`: how many of them said again what another had said.
    """

    events: tuple[Event, ...]
    refused: tuple[Refused, ...]
    lifecycles: tuple[Lifecycle, ...]
    warnings: tuple[str, ...]
    records: int
    repeated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How records are read that do not say it themselves.

    `map`: for lists of records that are not Duly's own (see `read_map`). `lifecycle`, `zone`: of records
    whose file names none. `scheduler_zone`: where neither the lifecycle nor anyone else names one.
    `lifecycles`: definitions that are known besides those that ship.
    """

    map: RecordMap | None = None
    format: str | None = None
    lifecycle: str | None = None
    zone: str | None = None
    scheduler_zone: str | None = None
    lifecycles: Mapping[str, Lifecycle] = field(default_factory=dict)


def load_events(
    paths: Iterable[str | os.PathLike[str]],
    *,
    map: str | os.PathLike[str] | RecordMap | None = None,  # noqa: A002 - the word for it
    reading: Reading | None = None,
) -> Loaded:
    """Read the events of files and directories (`-` is standard input), each checked as `put` would.

    Raises InvalidSource for a path that is not there, for a map that makes no sense, and if not a single file
    can be read. A file that cannot be read does not stop the others: it is among the refused.
    """
    chosen = reading or Reading()
    if map is not None:
        chosen = replace(chosen, map=map if isinstance(map, RecordMap) else read_map(map))
    if chosen.zone is not None:
        read_zone(chosen.zone)
    return _Load(chosen).all(paths)


class _Load:
    """One call of `load_events`: what has been found so far."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._lifecycles: dict[str, Lifecycle] = {}
        self._candidates: list[Candidate] = []
        self._refused: list[Refused] = []
        self._warnings: list[str] = []
        self._records = 0
        if reading.map is not None:
            self._define(reading.map.lifecycle)

    def all(self, paths: Iterable[str | os.PathLike[str]]) -> Loaded:
        unreadable: list[InvalidSource] = []
        read = 0
        for path in find_files(paths, match=self._reading.map.files if self._reading.map else ()):
            try:
                self._take(read_document(path, format=self._reading.format))
                read += 1
            except InvalidSource as error:
                unreadable.append(error)
                place = shown(path)
                self._refused.append(Refused(self._records, place, "", str(error).removeprefix(f"{place}: ")))
        if unreadable and not read:
            raise unreadable[0]
        merges = self._reading.map is not None and self._reading.map.merges
        kept, clashing = without_duplicates(self._candidates, merges=merges)
        self._refused += clashing
        good = [candidate.event for candidate in kept if self._is_good(candidate)]
        repeated = len(self._candidates) - len(kept) - len(clashing)
        self._refused.sort(key=lambda refused: refused.order)
        needed = tuple(each for each in self._lifecycles.values() if each.name not in built_in_names())
        return Loaded(tuple(good), tuple(self._refused), needed, tuple(self._warnings), self._records, repeated)

    def _take(self, document: Document) -> None:
        reading = self._reading
        if reading.map is not None:
            self._take_records(document, records_of(document, reading.map.records), reading)
            return
        content = document.content
        if isinstance(content, Mapping) and "events" not in content and ("id" in content or "event_id" in content):
            self._take_records(document, iter([(document.shown, content)]), reading)
            return
        if isinstance(content, Mapping):
            reading = self._read_head(document, content)
        self._take_records(document, records_of(document, None), reading)

    def _read_head(self, document: Document, content: Mapping[str, Any]) -> Reading:
        """Read what an event file says for all of its events."""
        place = document.shown
        for key in content:
            if key not in _FILE_KEYS:
                hint = suggestion(str(key), list(_FILE_KEYS))
                raise InvalidSource(f"{place}: unknown key {key!a} beside the events{hint}")
        if "events" not in content:
            raise InvalidSource(f"{place}: has no 'events'; for a list of another shape, give a map")
        try:
            for definition in self._definitions(document, content.get("lifecycles")):
                self._define(definition)
            zone = content.get("zone")
            if zone is not None:
                read_zone(zone)
            lifecycle = content.get("lifecycle")
            if lifecycle is not None:
                self._lifecycle(lifecycle)
        except DulyError as error:
            raise InvalidSource(f"{place}: {error}") from None
        return replace(self._reading, zone=zone or self._reading.zone, lifecycle=lifecycle or self._reading.lifecycle)

    def _definitions(self, document: Document, given: object) -> Iterator[Lifecycle]:
        if given is None:
            return
        if not isinstance(given, list):
            raise InvalidSource("lifecycles must be a list of definitions, or of TOML files beside this one")
        for number, each in enumerate(given, start=1):
            if isinstance(each, Mapping):
                yield lifecycle_from_plain(each, where=f"lifecycle {number}")
            elif isinstance(each, str) and each.endswith(".toml") and document.path is not None:
                yield lifecycle_from_toml(document.path.parent / each)
            else:
                raise InvalidSource(f"lifecycle {number} must be a definition, or a TOML file beside this one")

    def _define(self, lifecycle: Lifecycle) -> None:
        known = self._lifecycles.get(lifecycle.name)
        if lifecycle.name in built_in_names():
            known = built_in(lifecycle.name)
        if known is not None and known.hash != lifecycle.hash:
            raise InvalidSource(f"lifecycle '{lifecycle.name}' is defined twice, differently; rename one")
        self._lifecycles[lifecycle.name] = lifecycle

    def _lifecycle(self, name: object) -> Lifecycle:
        found = self._lifecycles.get(str(name)) or self._reading.lifecycles.get(str(name))
        if found is not None:
            return found
        if str(name) in built_in_names():
            return built_in(str(name))
        names = sorted({*self._lifecycles, *self._reading.lifecycles, *built_in_names()})
        raise InvalidSource(f"unknown lifecycle {name!a}{suggestion(str(name), names)}")

    def _take_records(self, document: Document, records: _Read, reading: Reading) -> None:
        for place, record in records:
            self._records += 1
            try:
                if isinstance(record, InvalidSource):
                    raise record
                event = self._event(record, document, reading)
            except InvalidInput as error:
                self._refused.append(Refused(self._records, place, _name_of(record, reading.map), str(error)))
            else:
                self._candidates.append(Candidate(self._records, place, event))

    def _event(self, record: Mapping[str, Any], document: Document, reading: Reading) -> Event:
        if reading.map is not None:
            return reading.map.event(record, path=document.path, zone=reading.zone)
        named = record.get("lifecycle") or reading.lifecycle or DEFAULT_LIFECYCLE
        lifecycle = self._lifecycle(named)
        return event_from_record(
            record if reading.zone is None else _with_zone(record, reading.zone),
            lifecycle=lifecycle.name,
            fields={*lifecycle.by_name, *lifecycle.by_field},
        )

    def _is_good(self, candidate: Candidate) -> bool:
        event = candidate.event
        try:
            planned = plan(event, self._lifecycle(event.lifecycle), zone=self._reading.scheduler_zone)
            if self._reading.map is not None:
                self._reading.map.check_order(planned.dates, where=f"event {event.id!r}")
        except InvalidInput as error:
            self._refused.append(Refused(candidate.order, candidate.place, event.id, str(error)))
            return False
        self._warnings += planned.warnings
        return True


def _with_zone(record: Mapping[str, Any], zone: str) -> Mapping[str, Any]:
    named = any(record.get(key) for key in ("zone", "timezone", "time_zone"))
    return record if named else {**record, "zone": zone}


def _name_of(record: object, record_map: RecordMap | None) -> str:
    """Return what a bad record calls itself, for the report: whatever of id and name can be read."""
    if not isinstance(record, Mapping):
        return ""
    keys = ["event_id", "id", "event_name", "name", "title"]
    if record_map is not None:
        keys = [*(each.text for each in (record_map.id, record_map.name) if each and each.is_field), *keys]
    found = next((str(record[key]) for key in keys if record.get(key)), "")
    return found if found.isprintable() else ascii(found)
