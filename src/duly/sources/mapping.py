"""MAP.toml: how the records of a foreign list become events."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from duly.errors import DulyError, InvalidInput, InvalidSource
from duly.lifecycles.reader import built_in, lifecycle_from_toml
from duly.model.dates import Micros, wall_clock
from duly.model.event import Event
from duly.model.lifecycle import Lifecycle
from duly.model.record import event_from_record
from duly.sources.files import Document, Row, read_document
from duly.sources.templates import Template, is_missing, look_up

if TYPE_CHECKING:
    from duly.sources.map_file import MapFile

_TRUE: Final = ("true", "yes", "1")
_FALSE: Final = ("false", "no", "0")


@dataclass(frozen=True, slots=True)
class Sessions:
    """A table of dates in each record, whose entries are rounds of milestones, in the record's order."""

    field: str
    milestone_by_session: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordMap:
    """What a MAP.toml says: which field is the id, the name, the zone, which milestone.

    `undated`: texts that mean "no date yet", in lower case. `data`: the fields that are kept; None for all
    that are not used otherwise. `merges`: records of one id that do not contradict each other are one event.
    `hold`: reason → the field that says whether it is so. `in_order`: milestones of which, in this list, none
    may be later than those after it, though the lifecycle allows it.
    """

    id: Template
    lifecycle: Lifecycle
    name: Template | None = None
    files: tuple[str, ...] = ()
    records: str | None = None
    zone: Template | None = None
    default_zone: str | None = None
    created_at: Template | None = None
    undated: frozenset[str] = frozenset()
    merges: bool = False
    data: tuple[str, ...] | None = None
    dates: Mapping[str, Template] = field(default_factory=dict)
    sessions: Sessions | None = None
    hold: Mapping[str, str] = field(default_factory=dict)
    in_order: tuple[str, ...] = ()

    def event(self, record: Mapping[str, Any], *, path: Path | None = None, zone: str | None = None) -> Event:
        """Return the event of one record. Raises InvalidInput for one that makes none.

        `path` is its file. `zone` is for records that name none, if the map has no default either.
        """
        scope: dict[str, Any] = {**record, "file": _file_scope(path)}
        found = self.id.value(scope, what="id")
        if is_missing(found):
            raise InvalidSource(f"the record has no id: {' and '.join(sorted(self.id.record_fields))} is missing")
        where = f"event {found!a}"
        plain: dict[str, Any] = {"id": found, "lifecycle": self.lifecycle.name}
        plain["name"] = self._text(self.name, scope, f"{where}: name") or ""
        plain["zone"] = self._text(self.zone, scope, f"{where}: zone") or self.default_zone or zone
        plain["created_at"] = self._value(self.created_at, scope, f"{where}: created_at")
        plain["hold"] = self._hold(scope, where)
        plain["dates"] = self._dates(scope, where)
        plain["data"] = self._data(record)
        return event_from_record(plain, fields=())

    def check_order(self, dates: Mapping[str, Micros], *, where: str) -> None:
        """Refuse dates of an event, resolved, that are not in the order that the map asks for."""
        rounds = [[name for name in dates if name.partition("#")[0] == milestone] for milestone in self.in_order]
        for earlier, later in pairwise(each for each in rounds if each):
            last, first = max(earlier, key=dates.__getitem__), min(later, key=dates.__getitem__)
            if dates[last] > dates[first]:
                said = [f"{name} ({wall_clock(dates[name], 'UTC')})" for name in (first, last)]
                raise InvalidSource(f"{where}: {said[0]} is before {said[1]}")

    def _value(self, template: Template | None, scope: Mapping[str, Any], what: str) -> object:
        return None if template is None else template.value(scope, what=what)

    def _text(self, template: Template | None, scope: Mapping[str, Any], what: str) -> str | None:
        value = self._value(template, scope, what)
        if is_missing(value):
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise InvalidSource(f"{what} must be text, not {ascii(value)[:60]}")
        return value

    def _hold(self, scope: Mapping[str, Any], where: str) -> str | None:
        found = []
        for reason, path in self.hold.items():
            value = look_up(scope, path)
            said = str(value).strip().lower()
            if said in _TRUE:
                found.append(reason)
            elif not is_missing(value) and said not in _FALSE:
                raise InvalidSource(f"{where}: {path} must be true or false, not {ascii(value)[:60]}")
        if len(found) > 1:
            raise InvalidSource(f"{where}: it cannot be {' and '.join(found)} at once")
        return found[0] if found else None

    def _dates(self, scope: dict[str, Any], where: str) -> dict[str, object]:
        dates = {} if self.sessions is None else self._session_dates(self.sessions, scope, where)
        scope["last"] = {name.partition("#")[0]: name for name in dates}
        for milestone, template in self.dates.items():
            if any(self._is_undated(look_up(scope, name)) for name in template.fields):
                continue
            value = template.value(scope, what=f"{where}: {milestone}")
            if not is_missing(value):
                dates[milestone] = value
        return dates

    def _is_undated(self, value: object) -> bool:
        return isinstance(value, str) and value.strip().lower() in self.undated

    def _session_dates(self, sessions: Sessions, scope: Mapping[str, Any], where: str) -> dict[str, object]:
        table = look_up(scope, sessions.field)
        if table is None:
            return {}
        if not isinstance(table, Mapping):
            raise InvalidSource(f"{where}: {sessions.field} must be a table of names and dates")
        dates: dict[str, object] = {}
        counts: Counter[str] = Counter()
        for session, value in table.items():
            milestone = sessions.milestone_by_session.get(session)
            if milestone is None:
                known = suggestion(session, sessions.milestone_by_session)
                raise InvalidSource(f"{where}: {sessions.field} has the unknown {session!a}{known}")
            if is_missing(value) or self._is_undated(value):
                continue
            counts[milestone] += 1
            dates[milestone if counts[milestone] == 1 else f"{milestone}#{counts[milestone]}"] = value
        return dates

    def _data(self, record: Mapping[str, Any]) -> dict[str, Any]:
        if self.data is not None:
            found = {name: look_up(record, name) for name in self.data}
            return {name: value for name, value in found.items() if value is not None}
        used = self._used_fields()
        return {name: value for name, value in record.items() if name not in used}

    def _used_fields(self) -> set[str]:
        """Return the fields that are said elsewhere: in the dates, or, as they are, as id, name or zone."""
        used = {each for template in self.dates.values() for each in template.fields}
        whole = (self.id, self.name, self.zone, self.created_at)
        used.update(template.text for template in whole if template is not None and template.is_field)
        used.update(self.hold.values())
        if self.sessions is not None:
            used.add(self.sessions.field)
        return used


def read_map(path: str | os.PathLike[str]) -> RecordMap:
    """Read a MAP.toml. Raises InvalidSource, naming the file, the key and what would be right."""
    shown = os.fspath(path)
    plain = read_document(path, format="toml").content
    said = _checked(plain, shown)
    try:
        lifecycle = _lifecycle_of(said.lifecycle, Path(path).parent)
        record_map = _built(said, lifecycle)
        _check_milestones(record_map)
    except DulyError as error:
        raise InvalidSource(f"{shown}: {error}") from None
    return record_map


def records_of(document: Document, at: str | None) -> Iterator[tuple[str, Mapping[str, Any] | InvalidSource]]:
    """Yield each record of a document with its place; in place of one that cannot be read, the refusal.

    `at` is the path to the list within the document; without it the document is the list, or has `events`.
    """
    content = document.content
    if document.format == "csv" and isinstance(content, list):
        yield from _rows(document, content)
        return
    if at is not None:
        content = look_up(content, at) if isinstance(content, Mapping) else None
        if content is None:
            raise InvalidSource(f"{document.shown}: has no {at!a}, where the map says that the records are")
    elif isinstance(content, Mapping):
        content = content.get("events")
    if not isinstance(content, list):
        raise InvalidSource(
            f"{document.shown}: the records must be a list; if it is within the file, 'records' of the map says where"
        )
    for number, record in enumerate(content, start=1):
        place = f"{document.shown}: record {number}"
        if isinstance(record, Mapping):
            yield place, record
        else:
            yield place, InvalidSource(f"a record must have names and values, not {ascii(record)[:40]}")


def suggestion(wrong: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return how a message about an unknown name ends: with the nearest known one, or with all."""
    near = difflib.get_close_matches(wrong[:60], list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _rows(document: Document, rows: list[Row]) -> Iterator[tuple[str, Mapping[str, Any] | InvalidSource]]:
    for row in rows:
        place = f"{document.shown}: line {row.line}"
        yield place, InvalidSource(f"the row {row.refusal}") if row.cells is None else row.cells


def _file_scope(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    return {"name": path.name, "stem": path.stem, "parent": path.absolute().parent.name}


def _checked(plain: object, shown: str) -> MapFile:
    from pydantic import ValidationError

    from duly.sources.map_file import MapFile, SessionsTable

    try:
        return MapFile.model_validate(plain)
    except ValidationError as error:
        found = error.errors(include_url=False)
    # A misspelt key is also a missing one; what helps is to hear which was misspelt.
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    place = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        table = SessionsTable if len(first["loc"]) > 1 else MapFile
        unknown = str(first["loc"][-1])
        raise InvalidSource(f"{shown}: unknown key {place!a}{suggestion(unknown, list(table.model_fields))}")
    if first["type"] == "missing":
        raise InvalidSource(f"{shown}: {place!a} is missing")
    said = first["msg"].removeprefix("Value error, ")
    raise InvalidSource(f"{shown}: {place}: {said}")


def _lifecycle_of(said: str, folder: Path) -> Lifecycle:
    return lifecycle_from_toml(folder / said) if said.endswith(".toml") else built_in(said)


def _built(said: MapFile, lifecycle: Lifecycle) -> RecordMap:
    def template(text: str | None) -> Template | None:
        return None if text is None else Template.read(text)

    return RecordMap(
        id=Template.read(said.id),
        lifecycle=lifecycle,
        name=template(said.name),
        files=tuple(said.files),
        records=said.records,
        zone=template(said.zone),
        default_zone=said.default_zone,
        created_at=template(said.created_at),
        undated=frozenset(text.strip().lower() for text in said.undated),
        merges=said.duplicates == "merge",
        data=None if said.data is None else tuple(said.data),
        dates={milestone: Template.read(text) for milestone, text in said.dates.items()},
        sessions=_sessions(said),
        in_order=tuple(said.in_order),
        hold={str(reason): field for reason, field in said.hold.items()},
    )


def _sessions(said: MapFile) -> Sessions | None:
    if said.sessions is None:
        return None
    found: dict[str, str] = {}
    for milestone, sessions in said.sessions.milestones.items():
        for session in sessions:
            if session in found:
                raise InvalidSource(f"sessions: {session!a} is both {found[session]} and {milestone}")
            found[session] = milestone
    return Sessions(said.sessions.field, found)


def _check_milestones(record_map: RecordMap) -> None:
    """Refuse a map that dates what its lifecycle does not have, before the first record is read."""
    lifecycle = record_map.lifecycle
    for name in record_map.in_order:
        if name not in lifecycle.by_name:
            raise InvalidSource(f"in_order: {name!a} is no milestone{suggestion(name, lifecycle.by_name)}")
    for name in record_map.dates:
        if name.partition("#")[0] not in lifecycle.by_field:
            _check_date_key(name, lifecycle)
    if record_map.sessions is not None:
        _check_sessions(record_map.sessions, lifecycle)


def _check_date_key(name: str, lifecycle: Lifecycle) -> None:
    try:
        milestone = lifecycle.milestone(name)
    except InvalidInput as error:
        raise InvalidSource(f"dates: {error}") from None
    if milestone.manual:
        raise InvalidSource(f"dates: {name} is a manual milestone, fired by a person: it takes no date")


def _check_sessions(sessions: Sessions, lifecycle: Lifecycle) -> None:
    for name, count in Counter(sessions.milestone_by_session.values()).items():
        if name not in lifecycle.by_name:
            raise InvalidSource(f"sessions: {name!a} is no milestone{suggestion(name, lifecycle.by_name)}")
        if count > 1 and not lifecycle.milestone(name).repeats:
            raise InvalidSource(f"sessions: {name} does not repeat, so only one session can be it")
