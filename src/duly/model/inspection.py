"""Whether a lifecycle makes sense: each refusal names the place and what would be right."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING, Final, Never

from duly.errors import DulyError, InvalidLifecycle
from duly.model.dates import read_date, read_zone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from duly.model.lifecycle import Headline, Lifecycle, Milestone

_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_STATUS: Final = re.compile(r"[a-z][a-z0-9_]{0,62}/[a-z][a-z0-9_]{0,62}")
_HOLDS: Final = ("draft", "pending_approval", "postponed", "cancelled", "archived")
_COMBINATIONS_MAX: Final = 100_000


def inspect_lifecycle(lifecycle: Lifecycle) -> None:
    """Raise InvalidLifecycle at the first contradiction."""
    where = f"lifecycle '{lifecycle.name}'"
    _check_words(lifecycle, where)
    _check_milestones(lifecycle, where)
    _check_no_cycle(lifecycle, where)
    _check_headline(lifecycle, where)


def states_of(lifecycle: Lifecycle, track_name: str) -> tuple[str, ...]:
    """Return every state that a track can be in, in the order in which they come."""
    track = next(track for track in lifecycle.tracks if track.name == track_name)
    found = [track.undated] if track.undated else []
    found.append(track.before)
    for milestone in lifecycle.milestones:
        if milestone.track == track_name:
            found += [state for state in (milestone.between, milestone.state) if state]
    return tuple(dict.fromkeys(found))


def _refuse(where: str, what: str) -> Never:
    msg = f"{where}: {what}"
    raise InvalidLifecycle(msg)


def _check_words(lifecycle: Lifecycle, where: str) -> None:
    for kind, word in _words(lifecycle):
        if not _WORD.fullmatch(word):
            _refuse(where, f"{kind} {word!r} must be a lower-case word: letters, digits, underscores")
    if not lifecycle.tracks:
        _refuse(where, "has no track; one is enough, and its states are then the statuses")
    if not lifecycle.milestones:
        _refuse(where, "has no milestone, so nothing could ever happen")
    _check_unique(where, "track", (track.name for track in lifecycle.tracks))
    _check_unique(where, "milestone", (m.name for m in lifecycle.milestones))
    _check_unique(where, "field", (m.field or m.name for m in lifecycle.milestones if not m.manual))
    _check_fields(lifecycle, where)
    if lifecycle.zone is not None:
        try:
            read_zone(lifecycle.zone)
        except DulyError as error:
            _refuse(where, f"zone: {error}")


def _check_fields(lifecycle: Lifecycle, where: str) -> None:
    """Refuse a field that another milestone goes by: the key of a date must say which one is meant."""
    for milestone in lifecycle.milestones:
        other = lifecycle.by_name.get(milestone.field, milestone)
        if other is not milestone:
            _refuse(where, f"field '{milestone.field}' of '{milestone.name}' is the name of another milestone")


def _words(lifecycle: Lifecycle) -> Iterator[tuple[str, str]]:
    yield "name", lifecycle.name
    for track in lifecycle.tracks:
        yield "track", track.name
        yield f"track '{track.name}': before", track.before
        if track.undated:
            yield f"track '{track.name}': undated", track.undated
    for milestone in lifecycle.milestones:
        yield "milestone", milestone.name
        for state in (milestone.state, milestone.between):
            if state is not None:
                yield f"milestone '{milestone.name}': state", state


def _check_unique(where: str, kind: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            _refuse(where, f"{kind} '{name}' is there {count} times")


def _check_milestones(lifecycle: Lifecycle, where: str) -> None:
    tracks = {track.name for track in lifecycle.tracks}
    names = {milestone.name for milestone in lifecycle.milestones}
    for milestone in lifecycle.milestones:
        here = f"{where}, milestone '{milestone.name}'"
        if milestone.track is not None and milestone.track not in tracks:
            _refuse(here, f"unknown track '{milestone.track}'; it has: {', '.join(sorted(tracks))}")
        if (milestone.track is None) != (milestone.state is None):
            _refuse(here, "a track and the state that it enters go together (a notice has neither)")
        _check_pairing(milestone, here)
        for key, named in (("default_if", milestone.default_if), ("until", milestone.until)):
            if named is not None and named not in names:
                _refuse(here, f"{key} names the unknown milestone '{named}'")
        _check_dating(milestone, here, names)


def _check_pairing(milestone: Milestone, here: str) -> None:
    """Refuse what means nothing without something else."""
    if milestone.between is not None and not (milestone.repeats and milestone.track):
        _refuse(here, "'between' is only for a milestone that repeats, and only if it enters a state")
    if milestone.implied and milestone.is_notice:
        _refuse(here, "'implied' is only for a milestone of a track: a notice enters no state")
    if milestone.until is not None and not milestone.is_notice:
        _refuse(here, "'until' is only for a notice: a state holds until the track leaves it")
    if milestone.default_if is not None and milestone.default is None:
        _refuse(here, "'default_if' needs a 'default'")


def _check_dating(milestone: Milestone, here: str, names: set[str]) -> None:
    if milestone.manual and (milestone.field or milestone.default or milestone.required):
        _refuse(here, "a manual milestone has no date: it takes no field, no default and is not required")
    if milestone.default is None:
        return
    try:
        given = read_date(milestone.default, what=f"{here}, default")
    except DulyError as error:
        raise InvalidLifecycle(str(error)) from None
    if given.anchor is None:
        _refuse(here, f"default {milestone.default!r} must be relative to another milestone")
    if given.anchor not in names:
        _refuse(here, f"default {milestone.default!r} hangs on the unknown milestone '{given.anchor}'")


def _check_no_cycle(lifecycle: Lifecycle, where: str) -> None:
    anchors = {m.name: read_date(m.default).anchor for m in lifecycle.milestones if m.default is not None}
    for start in anchors:
        path = [start]
        while (following := anchors.get(path[-1])) is not None:
            path.append(following)
            if following == start:
                _refuse(where, f"the defaults go in a circle: {' → '.join(path)}")
            if following in path[:-1]:
                break


def _check_headline(lifecycle: Lifecycle, where: str) -> None:
    states = {track.name: states_of(lifecycle, track.name) for track in lifecycle.tracks}
    if not lifecycle.headline:
        if len(lifecycle.tracks) > 1:
            _refuse(where, "more than one track needs headline rules, to make one status of their states")
        return
    for number, rule in enumerate(lifecycle.headline, start=1):
        _check_rule(lifecycle, rule, f"{where}, headline rule {number} ({rule.status})", states)
    _check_reach(lifecycle, where, states)


def _check_rule(lifecycle: Lifecycle, rule: Headline, here: str, states: dict[str, tuple[str, ...]]) -> None:
    if not _STATUS.fullmatch(rule.status):
        _refuse(here, "a status is written 'status/sub_status', in lower-case words")
    if rule.status.partition("/")[0] in _HOLDS and rule.status != "draft/draft":
        _refuse(here, f"'{rule.status.partition('/')[0]}' is the status of a hold, not of a lifecycle")
    _check_conditions(lifecycle, rule, here, states)


def _check_conditions(lifecycle: Lifecycle, rule: Headline, here: str, states: dict[str, tuple[str, ...]]) -> None:
    for track, wanted in rule.when.items():
        if track not in states:
            _refuse(here, f"unknown track '{track}'; it has: {', '.join(states)}")
        if not isinstance(wanted, tuple):
            _refuse(here, f"track '{track}': its states are a list, such as ('ended',)")
        for state in wanted:
            if state not in states[track]:
                _refuse(here, f"track '{track}' is never in state '{state}'; only in: {', '.join(states[track])}")
    for name in rule.undated:
        if name not in lifecycle.by_name:
            _refuse(here, f"undated names the unknown milestone '{name}'")


def _check_reach(lifecycle: Lifecycle, where: str, states: dict[str, tuple[str, ...]]) -> None:
    """Every combination of states has a status, and every rule is the first to match at least one."""
    missing = [rule.undated for rule in lifecycle.headline if rule.undated]
    size = 2 ** len(missing)
    for each in states.values():
        size *= len(each)
    if size > _COMBINATIONS_MAX:
        _refuse(where, f"{size} combinations of states are more than anyone can oversee; use fewer tracks")
    reached: set[int] = set()
    for combination, dated in _combinations(states, len(missing)):
        number = _first_match(lifecycle.headline, combination, dated)
        if number is None:
            said = ", ".join(f"{track} {state}" for track, state in combination.items())
            _refuse(where, f"no headline rule matches when {said}; add a last rule without conditions")
        reached.add(number)
    for number, rule in enumerate(lifecycle.headline):
        if number not in reached:
            _refuse(where, f"headline rule {number + 1} ({rule.status}) is unreachable: earlier rules take all")


def _combinations(
    states: dict[str, tuple[str, ...]], conditions: int
) -> Iterator[tuple[dict[str, str], tuple[bool, ...]]]:
    for values in itertools.product(*states.values()):
        combination = dict(zip(states, values, strict=True))
        for dated in itertools.product((False, True), repeat=conditions):
            yield combination, dated


def _first_match(rules: tuple[Headline, ...], states: dict[str, str], missing: tuple[bool, ...]) -> int | None:
    """Return which rule matches first; `missing` says for each rule with `undated` whether that holds."""
    conditions = iter(missing)
    for number, rule in enumerate(rules):
        holds = not rule.undated or next(conditions)
        if holds and all(states[track] in wanted for track, wanted in rule.when.items()):
            return number
    return None
