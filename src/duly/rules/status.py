"""What an event's status is at an instant, and which triggers are still to come. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duly.model.event import Hold, Status, Trigger, held_status

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.model.lifecycle import Lifecycle
    from duly.model.shape import Shape


class TrackStates:
    """The states of an event's tracks while milestones are applied to it, in whatever order they come.

    A track is where the *latest* of its milestones has brought it, by (due, place in the lifecycle);
    so one that is applied late, after a later one, changes nothing.
    """

    __slots__ = ("_latest", "_shape", "states")

    def __init__(self, shape: Shape) -> None:
        """Begin where the shape begins."""
        self._shape = shape
        self.states = list(shape.before)
        self._latest: list[tuple[Micros, int]] = [(-(1 << 63), -1)] * len(self.states)

    @classmethod
    def as_fired(cls, event: EventRow, lifecycle: Lifecycle) -> TrackStates:
        """Return the states that an event's fired milestones amount to."""
        tracks = cls(lifecycle.shape(tuple(event.dates)))
        for name, mark in event.marks.items():
            if mark[1] is not None and name in event.dates:
                tracks.apply(name, event.dates[name])
        return tracks

    @classmethod
    def as_due(cls, event: EventRow, lifecycle: Lifecycle, instant: Micros) -> TrackStates:
        """Return the states that an event's dates amount to at an instant, whatever has fired."""
        tracks = cls(lifecycle.shape(tuple(event.dates)))
        for name, due in event.dates.items():
            if due <= instant:
                tracks.apply(name, due)
        return tracks

    def apply(self, milestone: str, due_us: Micros) -> None:
        """Let one milestone happen."""
        order, track, state = self._shape.steps[milestone]
        if track >= 0 and (due_us, order) >= self._latest[track]:
            self._latest[track] = (due_us, order)
            self.states[track] = state

    @property
    def status(self) -> Status:
        """The headline over the states as they are now."""
        return self._shape.status(tuple(self.states))


def status_at(event: EventRow, lifecycle: Lifecycle, instant: Micros) -> Status:
    """Return the event's status at an instant: a function of its dates and its hold, and of nothing else.

    Windows are half-open: at exactly `due_us` the new state already holds.
    """
    if event.hold != Hold.ACTIVE:
        return held_status(event.hold)
    return TrackStates.as_due(event, lifecycle, instant).status


def announced_status(event: EventRow, lifecycle: Lifecycle) -> Status:
    """Return the status that the fired transitions amount to: what the row must say between two firings."""
    if event.hold != Hold.ACTIVE:
        return held_status(event.hold)
    return TrackStates.as_fired(event, lifecycle).status


def track_states_at(event: EventRow, lifecycle: Lifecycle, instant: Micros) -> dict[str, str]:
    """Return the state of each track at an instant, by the track's name."""
    states = TrackStates.as_due(event, lifecycle, instant).states
    return dict(zip((track.name for track in lifecycle.tracks), states, strict=True))


def triggers_to_come(event: EventRow, lifecycle: Lifecycle) -> list[Trigger]:
    """Return what has a date and has not fired, in the order in which it will: (due, place in the lifecycle).

    Empty for an event that is on hold or removed.
    """
    if event.hold != Hold.ACTIVE or event.removed:
        return []
    steps = lifecycle.shape(tuple(event.dates)).steps
    found = []
    for name, due in event.dates.items():
        mark = event.marks.get(name)
        if mark is None:
            found.append(Trigger(due, steps[name].order, event.id, name, 1))
        elif mark[1] is None:
            found.append(Trigger(due, steps[name].order, event.id, name, mark[0]))
    found.sort()
    return found
