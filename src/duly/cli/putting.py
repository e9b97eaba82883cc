"""`duly put`: files of events into the store, or (`--dry-run`) what that would do."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from duly.agenda import PUT_BATCH, Agenda, PutResult
from duly.cli.door import FAILED, OK, Door, command
from duly.cli.output import Output
from duly.cli.wording import clock, count, printable
from duly.errors import DulyError
from duly.model.dates import to_micros, tzdata_version
from duly.model.event import Event
from duly.model.history import Entry, Kind
from duly.model.lifecycle import Lifecycle
from duly.rules.edit import Editing, Outcome, consequences
from duly.rules.plan import Plan, plan
from duly.rules.validate import passed_at_creation

if TYPE_CHECKING:
    from duly.sources.loading import Loaded

WARNINGS_TOLD: Final = 20
_WRITTEN: Final = (Outcome.CREATED, Outcome.CHANGED, Outcome.RESTORED)


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say how files are read."""
    for option in (
        click.option("--lifecycle", metavar="NAME", help="Of records that name none. [default: campus_event]"),
        click.option(
            "--time-zone",
            metavar="ZONE",
            help="In which dates are read that name no zone, such as Europe/Berlin (DULY_TIME_ZONE).",
        ),
        click.option(
            "--map",
            "map_file",
            metavar="MAP.toml",
            type=click.Path(),
            help="Which field of a record is what, for lists that were not made for Duly.",
        ),
    ):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Which files, and how they are read."""

    files: tuple[str, ...]
    map_file: str | None
    lifecycle: str | None
    zone: str | None

    @classmethod
    def of(cls, door: Door, *, files: tuple[str, ...], map_file: str | None, lifecycle: str | None) -> Sources:
        """Collect what was said on the command line.

        A zone given there is meant for these files; one of the environment only where nobody else names one.
        """
        setting = door.settings.by_name["time_zone"]
        zone = setting.value if setting.origin.startswith("--") else None
        return cls(files=files, map_file=map_file, lifecycle=lifecycle, zone=zone)

    def load(self, door: Door) -> Loaded:
        """Read the files, knowing the lifecycles of the store if there is one."""
        path = door.path
        if path is None or not path.exists():
            return self.read(Agenda("sqlite:///:memory:", clock=door.clock), door)
        return self.read(door.agenda(), door)

    def read(self, agenda: Agenda, door: Door) -> Loaded:
        """Read the files, knowing the lifecycles of an agenda that is not open."""
        from duly.sources.loading import Reading, load_events

        with agenda:
            known = agenda.lifecycles
        reading = Reading(
            lifecycle=self.lifecycle,
            zone=self.zone,
            scheduler_zone=door.settings.time_zone,
            lifecycles=known,
        )
        return load_events(self.files, map=self.map_file, reading=reading)


@command("put", example="duly put conferences/ --map confs-tech.toml --dry-run", settings=("time_zone",))
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@source_options
@click.option("--strict", is_flag=True, help="Write nothing if a single record is bad.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
def put(door: Door, *, strict: bool, dry_run: bool, **given: Any) -> int:
    """Put events from files: YAML, JSON, TOML or CSV; a directory means the files in it, - standard input.

    Every good record is written, every bad one named with the reason (and the exit code is 1). Putting the same
    again changes nothing. A running scheduler notices at once.
    """
    loaded = Sources.of(door, **given).load(door)
    if strict and loaded.refused:
        result = _nothing(loaded)
    elif dry_run:
        result = _foreseen(door, loaded)
    else:
        with door.agenda(must_exist=False, lifecycles=loaded.lifecycles) as agenda:
            result = agenda.put(loaded.events, keep_good=not strict, actor="cli")
    refused = len(loaded.refused) + len(result.refused)
    if door.out.as_json:
        door.out.json(_as_json(loaded, result, dry_run=dry_run, strict=strict))
    else:
        put_lines(door.out, loaded, result, dry_run=dry_run)
        if strict and refused:
            door.out.line("Nothing was written (--strict).")
    return FAILED if refused else OK


def _nothing(loaded: Loaded) -> PutResult:
    return PutResult({}, loaded.warnings, {}, ())


# -- what would happen -------------------------------------------------------------------------------------


def _foreseen(door: Door, loaded: Loaded) -> PutResult:
    """Return what a put would do, from the same rules, with nothing written."""
    path = door.path
    if path is None or not path.exists():
        return _foresee(Agenda("sqlite:///:memory:", time_zone=door.settings.time_zone, clock=door.clock), loaded)
    return _foresee(door.agenda(), loaded)


def _foresee(agenda: Agenda, loaded: Loaded) -> PutResult:
    with agenda:
        lifecycles = {**agenda.lifecycles, **{each.name: each for each in loaded.lifecycles}}
        now = agenda.clock.now()
        tzdata = tzdata_version()
        outcomes: dict[str, Outcome] = {}
        refused: dict[str, str] = {}
        entries: list[Entry] = []
        warnings: list[str] = []
        waiting = iter(loaded.events)
        while batch := list(itertools.islice(waiting, PUT_BATCH)):
            stored = agenda.store.get_events([event.id for event in batch])
            for event in batch:
                created = event.created_at
                since = now if created is None else to_micros(created)
                editing = Editing(now_us=now, known_since_us=since, tzdata=tzdata)
                try:
                    planned = _plan(event, lifecycles, agenda)
                    edited = consequences(stored.get(event.id), planned, editing)
                except DulyError as error:
                    refused[event.id] = str(error)
                    continue
                outcomes[event.id] = edited.outcome
                entries += edited.entries
                if edited.outcome is Outcome.CREATED:
                    warnings += passed_at_creation(planned.dates, now, where=f"event '{event.id}'")
        return PutResult(outcomes, tuple(warnings), refused, tuple(entries))


def _plan(event: Event, lifecycles: Mapping[str, Lifecycle], agenda: Agenda) -> Plan:
    lifecycle = lifecycles.get(event.lifecycle)
    return agenda.plan(event) if lifecycle is None else plan(event, lifecycle, zone=agenda.time_zone)


# -- what is said ------------------------------------------------------------------------------------------


def put_lines(out: Output, loaded: Loaded, result: PutResult, *, dry_run: bool = False, brief: bool = False) -> None:
    """Tell what a put did or (`dry_run`) would do. `brief`: not every warning, as a scheduler's log begins."""
    if out.as_json:
        out.json({"line": "put", **_as_json(loaded, result, dry_run=dry_run, strict=False)})
        return
    for line in itertools.chain(
        _refusal_lines(loaded, result, out),
        _warning_lines(loaded, result, out, told=0 if brief else WARNINGS_TOLD),
        _consequence_lines(result) if dry_run else (),
    ):
        out.line(line)
    out.line(_summary(loaded, result, dry_run=dry_run))


def _refusals(loaded: Loaded, result: PutResult) -> Iterator[tuple[str, str, str]]:
    """Yield place, name and reason of everything that was refused."""
    for refused in loaded.refused:
        yield refused.place, refused.name, refused.reason
    for event_id, reason in result.refused.items():
        yield "", event_id, reason


def _refusal_lines(loaded: Loaded, result: PutResult, out: Output) -> Iterator[str]:
    for place, name, reason in _refusals(loaded, result):
        called = name if name and name not in reason else ""
        where = " ".join(part for part in (place, f"({called})" if called and place else called) if part)
        said = f"{where}: {reason}" if where else reason
        yield f"{out.paint('refused', 'red')}  {printable(said)}"


def _warnings(loaded: Loaded, result: PutResult) -> list[str]:
    # Both have seen the same plans; the put alone knows what had passed already.
    return list(dict.fromkeys([*loaded.warnings, *result.warnings]))


def _warning_lines(loaded: Loaded, result: PutResult, out: Output, *, told: int) -> Iterator[str]:
    warnings = _warnings(loaded, result)
    for warning in warnings[:told]:
        yield f"{out.paint('warning', 'yellow')}  {printable(warning)}"
    if left := len(warnings[told:]):
        more, where = ("more ", "see --json") if told else ("", "'duly put --dry-run' tells them")
        said = f"{left:,} {more}warning{'' if left == 1 else 's'}: {where}"
        yield f"{out.paint('warning', 'yellow')}  {'and ' if told else ''}{said}"


def _consequence_lines(result: PutResult) -> Iterator[str]:
    """Say what of an edit reaches beyond the dates themselves."""
    for entry in result.entries:
        if entry.kind == Kind.REVOKED:
            yield f"would revoke {entry.milestone} of {entry.event_id}, which has fired"
        elif entry.kind == Kind.FIRED and entry.cause == "edited" and entry.due_us is not None:
            due = clock(entry.due_us, None)
            yield f"would fire {entry.milestone} of {entry.event_id} at once: its date moves to {due} UTC"


def _summary(loaded: Loaded, result: PutResult, *, dry_run: bool) -> str:
    counts = _counts(loaded, result)
    written = sum(counts[outcome] for outcome in _WRITTEN)
    if not result.outcomes and not counts["refused"] and not loaded.records:
        return "There are no records in it; nothing changed."
    parts = [f"{counts[word]:,} {word}" for word in ("created", "changed", "unchanged", "refused")]
    parts += [f"{counts[word]:,} {word}" for word in ("restored", "repeated") if counts[word]]
    said = f"{count(loaded.records, 'record')}: {', '.join(parts)}."
    if dry_run:
        return f"Dry run, nothing is written. {said}"
    return said if written or not result.outcomes else f"Nothing changed. {said}"


def _counts(loaded: Loaded, result: PutResult) -> Counter[str]:
    counts = Counter({str(outcome): result.count(outcome) for outcome in Outcome})
    counts["refused"] = len(loaded.refused) + len(result.refused)
    counts["repeated"] = loaded.repeated
    return counts


def _as_json(loaded: Loaded, result: PutResult, *, dry_run: bool, strict: bool) -> dict[str, object]:
    refused = [{"place": place, "name": name, "reason": reason} for place, name, reason in _refusals(loaded, result)]
    counts = _counts(loaded, result)
    return {
        "records": loaded.records,
        **{str(outcome): counts[outcome] for outcome in Outcome},
        "repeated": loaded.repeated,
        "refused": refused,
        "warnings": _warnings(loaded, result),
        "dry_run": dry_run,
        "written": not dry_run and not (strict and bool(refused)),
    }
