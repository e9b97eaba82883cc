"""What follows from *which* milestones an event dates: the steps it will take and the states it begins in."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

from duly.model.event import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duly.model.lifecycle import Headline, Lifecycle, Milestone


class Step(NamedTuple):
    """What one dated milestone of an event does when it fires."""

    order: int  # place in the lifecycle, rounds included: breaks ties between equal instants
    track: int  # index of the track that it moves, -1 for a notice
    state: str  # the state that it enters, "" for a notice


class Shape:
    """One lifecycle with one set of dated milestones. Shared by all events that date the same ones.

    `steps`: by milestone name (rounds included), in lifecycle order.
    `before`: each track's state before anything has fired, in the order of the lifecycle's tracks.
    `pairs`: milestones that must not be inverted, (earlier, later).
    """

    __slots__ = ("_headline", "_memo", "_track_names", "before", "pairs", "steps")

    def __init__(self, lifecycle: Lifecycle, dated: tuple[str, ...]) -> None:
        """Work it out once; `dated` are milestone names, rounds included."""
        names = sorted(dated, key=lifecycle.order)
        tracks = {track.name: place for place, track in enumerate(lifecycle.tracks)}
        self.steps: dict[str, Step] = {}
        for name in names:
            milestone = lifecycle.milestone(name)
            state = milestone.state or ""
            if milestone.between and _has_later_round(name, names):
                state = milestone.between
            track = -1 if milestone.track is None else tracks[milestone.track]
            self.steps[name] = Step(lifecycle.order(name), track, state)
        self.pairs = tuple(_pairs(lifecycle, names))
        self.before = tuple(_state_before(lifecycle, track.name, names) for track in lifecycle.tracks)
        undated = {m.name for m in lifecycle.milestones}.difference(name.partition("#")[0] for name in names)
        self._track_names = tuple(tracks)
        # A rule about undated milestones holds or not for the whole shape: decide it here, once.
        self._headline = tuple(
            rule for rule in lifecycle.headline if not rule.undated or undated.intersection(rule.undated)
        )
        self._memo: dict[tuple[str, ...], Status] = {}

    def status(self, states: tuple[str, ...]) -> Status:
        """Return the headline over the tracks' states, given in the order of the lifecycle's tracks."""
        found = self._memo.get(states)
        if found is None:
            by_track = dict(zip(self._track_names, states, strict=True))
            found = self._memo[states] = headline(self._headline, by_track)
        return found


def headline(rules: tuple[Headline, ...], states: dict[str, str]) -> Status:
    """Return the status of the first rule that matches; without any rule, the first track's state, twice."""
    for rule in rules:
        if all(states[track] in allowed for track, allowed in rule.when.items()):
            return Status(rule.status)
    first = next(iter(states.values()))
    return Status(f"{first}/{first}")


def _pairs(lifecycle: Lifecycle, names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield neighbours along each track within a round, and along the rounds of each milestone."""

    def track_and_round(name: str) -> tuple[str, int]:
        return str(lifecycle.milestone(name).track), int(name.partition("#")[2] or 1)

    tracked = [name for name in names if not lifecycle.milestone(name).is_notice]
    for _, along in groupby(sorted(tracked, key=track_and_round), key=track_and_round):
        yield from pairwise(along)
    for _, rounds in groupby(names, key=lambda name: name.partition("#")[0]):
        yield from pairwise(rounds)


def _has_later_round(name: str, names: list[str]) -> bool:
    base, _, number = name.partition("#")
    mine = int(number or 1)
    return any(other.partition("#")[0] == base and int(other.partition("#")[2] or 1) > mine for other in names)


def _state_before(lifecycle: Lifecycle, track_name: str, names: list[str]) -> str:
    """Return the state of a track before its first dated milestone."""
    track = next(track for track in lifecycle.tracks if track.name == track_name)
    mine = [m for m in lifecycle.milestones if m.track == track_name]
    dated = {name.partition("#")[0] for name in names}
    if not any(m.name in dated for m in mine):
        return track.undated or track.before
    state = track.before
    for milestone in mine:
        if milestone.name in dated:
            break
        state = _implied(milestone) or state
    return state


def _implied(milestone: Milestone) -> str | None:
    return milestone.state if milestone.implied else None
