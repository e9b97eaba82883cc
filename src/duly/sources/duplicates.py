"""Records of the same id: said twice, said more fully, or contradicting each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from duly.model.event import Event

_DIFFERENCES_SHOWN: Final = 3


class Candidate(NamedTuple):
    """An event that was read, with the place of its record and that record's number among all."""

    order: int
    place: str
    event: Event


class Refused(NamedTuple):
    """A bad record: its number among all, its place, what it calls itself, and what is wrong with it."""

    order: int
    place: str
    name: str
    reason: str


def without_duplicates(candidates: Iterable[Candidate], *, merges: bool) -> tuple[list[Candidate], list[Refused]]:
    """Return one candidate for each id, and the records that contradict it.

    Records that say the same are one. With `merges`, so are those that do not contradict each other: what one
    leaves out, another may say. Where records contradict each other in what is scheduled, all of that id are
    refused: which is right cannot be known. Where they differ only in name or data, the first stands.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.event.id, []).append(candidate)
    kept: list[Candidate] = []
    refused: list[Refused] = []
    for group in groups.values():
        first, others = _folded(group, merges=merges)
        if any(_schedule(first.event) != _schedule(other.event) for other in others):
            refused += _all_refused(group)
            continue
        kept.append(first)
        refused += [_second_refused(first, other) for other in others]
    return kept, refused


def _folded(group: list[Candidate], *, merges: bool) -> tuple[Candidate, list[Candidate]]:
    """Return the first of a group with all that agree with it in it, and those that do not agree."""
    first = group[0]
    others = []
    for other in group[1:]:
        if other.event == first.event:
            continue
        if merges and not _differences(first.event, other.event, contradictions=True):
            first = first._replace(event=_merged(first.event, other.event))
        else:
            others.append(other)
    return first, others


def _merged(first: Event, second: Event) -> Event:
    return replace(
        first,
        name=first.name or second.name,
        zone=first.zone or second.zone,
        dates={**second.dates, **first.dates},
        data={**second.data, **first.data},
        created_at=first.created_at or second.created_at,
    )


def _parts(event: Event) -> dict[str, object]:
    return {
        "lifecycle": event.lifecycle,
        "zone": event.zone,
        "hold": event.hold.value,
        "revision": event.revision,
        "created_at": event.created_at,
        **{f"date of {name}": value for name, value in event.dates.items()},
        "name": event.name or None,
        **event.data,
    }


def _differences(first: Event, second: Event, *, contradictions: bool) -> list[str]:
    """Return in what two events differ; with `contradictions`, only where both say something."""
    here, there = _parts(first), _parts(second)
    return [
        key
        for key in {**here, **there}
        if here.get(key) != there.get(key)
        and not (contradictions and (here.get(key) is None or there.get(key) is None))
    ]


def _schedule(event: Event) -> tuple[str, str | None, str, Mapping[str, object]]:
    return event.lifecycle, event.zone, event.hold.value, event.dates


def _all_refused(group: list[Candidate]) -> list[Refused]:
    found = []
    for each in group:
        other = next(other for other in group if other.event != each.event)
        reason = (
            f"event {each.event.id!r}: {other.place} has the same id but another {_said(each, other)}; "
            "which of them is right cannot be known, so neither was taken"
        )
        found.append(Refused(each.order, each.place, each.event.id, reason))
    return found


def _second_refused(first: Candidate, other: Candidate) -> Refused:
    reason = (
        f"event {other.event.id!r}: {first.place} has the same id but another {_said(first, other)}; "
        "the first stands. Remove one of them, or tell them apart by their ids"
    )
    return Refused(other.order, other.place, other.event.id, reason)


def _said(first: Candidate, second: Candidate) -> str:
    differences = _differences(first.event, second.event, contradictions=False)
    shown = ", ".join(differences[:_DIFFERENCES_SHOWN])
    return shown if len(differences) <= _DIFFERENCES_SHOWN else f"{shown} …"
