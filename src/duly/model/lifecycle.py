"""What kinds of event there are: tracks of milestones, and the headline that sums them up."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from duly.errors import InvalidInput, InvalidLifecycle
from duly.model.dates import Side, read_date
from duly.model.inspection import inspect_lifecycle
from duly.model.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

ROUNDS_MAX: Final = 999
_ROUND: Final = re.compile("[2-9]|[1-9][0-9]{1,2}")
_ROUNDS_SPAN: Final = ROUNDS_MAX + 1


class Policy(StrEnum):
    """Which deliveries a misfire still makes (DESIGN.md §3.4)."""

    ALL = "all"
    CURRENT = "current"
    LATEST = "latest"
    NONE = "none"
    PARK = "park"


class Unset(Enum):
    """The difference between "not said here" and "said to be None"."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What one level (subscriber, scheduler, milestone, lifecycle) says about misfires.

    What is not said here is asked of the next level. `window`: how old a misfire may be for its
    deliveries still to be made; None is unlimited, zero is none at all.
    `born_late`: whether milestones that had passed before the event was known are announced.
    """

    policy: Policy | None = None
    window: timedelta | Unset | None = UNSET
    born_late: bool | None = None

    def __post_init__(self) -> None:
        """Refuse a window that reaches into the future."""
        if isinstance(self.window, timedelta) and self.window < timedelta(0):
            msg = f"catch-up window {self.window} is negative: use a duration from zero up, or None for unlimited"
            raise InvalidInput(msg)

    def to_json(self) -> dict[str, object]:
        """Return only what is said: `policy`, `window_hours` (a number, or "unlimited"), `born_late`."""
        said: dict[str, object] = {}
        if self.policy is not None:
            said["policy"] = self.policy.value
        if not isinstance(self.window, Unset):
            hours = None if self.window is None else self.window / timedelta(hours=1)
            said["window_hours"] = "unlimited" if hours is None else hours
        if self.born_late is not None:
            said["born_late"] = self.born_late
        return said

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> CatchUp:
        """Read what `to_json` wrote."""
        policy, hours = kept.get("policy"), kept.get("window_hours", UNSET)
        window: timedelta | Unset | None = UNSET
        if hours is not UNSET:
            window = None if hours == "unlimited" else timedelta(hours=hours)
        return cls(None if policy is None else Policy(policy), window, kept.get("born_late"))


@dataclass(frozen=True, slots=True)
class Track:
    """One strand of a lifecycle, whose states follow each other.

    `before`: the state until the first milestone. `undated`: the state of an event that dates none of the
    track's milestones (default: the same).
    """

    name: str
    before: str
    undated: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """A named point of a lifecycle: what dates it, what state it enters, what is said if it was missed.

    `field`: the field of a record that dates it (default: its own name).
    `side`: whether a bare date means the beginning of that day (opening) or its end (closing).
    `default`: a relative date for events that give none, if they date `default_if` (default: always).
    `implied`: where it is undated but a later milestone of its track is dated, its state holds from the start.
    `between`: for a milestone that repeats, the state entered while a later round is dated.
    A milestone without a track is a notice; `until` names the milestone that ends its being current
    (default: the one that its default hangs on). `manual`: no record dates it, someone fires it.
    """

    name: str
    field: str = ""
    track: str | None = None
    state: str | None = None
    side: Side = Side.OPENING
    default: str | None = None
    default_if: str | None = None
    implied: bool = False
    between: str | None = None
    until: str | None = None
    manual: bool = False
    repeats: bool = False
    required: bool = False
    catch_up: CatchUp = dataclasses.field(default_factory=CatchUp)
    title: str = ""

    @property
    def is_notice(self) -> bool:
        """Whether it enters no state: a reminder."""
        return self.track is None


@dataclass(frozen=True, slots=True)
class Headline:
    """One rule of a lifecycle's headline: the first whose conditions all hold gives the status.

    `when`: track → the states that match. `undated`: holds if any of these milestones has no date.
    """

    status: str
    when: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    undated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """A kind of event. A value: declared in Python or TOML, validated when made.

    Source of the idea of parallel tracks: 36 % of real contests keep registration open after the start.
    """

    name: str
    tracks: tuple[Track, ...]
    milestones: tuple[Milestone, ...]
    headline: tuple[Headline, ...] = ()
    zone: str | None = None
    catch_up: CatchUp = dataclasses.field(default_factory=CatchUp)
    title: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse a lifecycle that contradicts itself, naming the place."""
        inspect_lifecycle(self)

    @override
    def __hash__(self) -> int:
        """Return the hash of the content, as equal definitions have equal ones."""
        return hash(self.hash)

    @cached_property
    def by_name(self) -> Mapping[str, Milestone]:
        """Milestones by name, without rounds."""
        return {milestone.name: milestone for milestone in self.milestones}

    @cached_property
    def by_field(self) -> Mapping[str, Milestone]:
        """Milestones by the record's field that dates them."""
        return {m.field or m.name: m for m in self.milestones if not m.manual}

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {milestone.name: place for place, milestone in enumerate(self.milestones)}

    @cached_property
    def _shapes(self) -> dict[tuple[str, ...], Shape]:
        return {}

    @cached_property
    def hash(self) -> str:
        """The definition's content hash: 32 hex digits."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def milestone(self, name: str) -> Milestone:
        """Return the milestone of that name, which may name a round: `paper_deadline#2`."""
        found = self.by_name.get(name)
        if found is not None:
            return found
        base, stroke, number = name.partition("#")
        found = self.by_name.get(base)
        if found is None:
            known = ", ".join(self.by_name)
            msg = f"lifecycle '{self.name}' has no milestone '{base}'; it has: {known}"
            raise InvalidLifecycle(msg)
        if stroke and not found.repeats:
            msg = f"milestone '{base}' of lifecycle '{self.name}' does not repeat, so '{name}' means nothing"
            raise InvalidLifecycle(msg)
        if not _ROUND.fullmatch(number):
            msg = (
                f"'{name[:80]}' is not a round of '{base}': rounds after the first are "
                f"written '{base}#2' to '{base}#{ROUNDS_MAX}'"
            )
            raise InvalidLifecycle(msg)
        return found

    def order(self, name: str) -> int:
        """Return the place of a milestone (rounds included) among those of its lifecycle."""
        base, _, number = name.partition("#")
        return self._index[base] * _ROUNDS_SPAN + int(number or 1)

    def notice_until(self, name: str) -> str | None:
        """Return the milestone that ends a notice's being current, in the same round; None if none does."""
        base, stroke, number = name.partition("#")
        milestone = self.by_name[base]
        until = milestone.until
        if until is None and milestone.default is not None:
            until = read_date(milestone.default).anchor
        if until is not None and self.by_name[until].repeats:
            return until + stroke + number
        return until

    def shape(self, dated: tuple[str, ...]) -> Shape:
        """Return what follows from *which* milestones are dated. Cached: most events of a kind share it."""
        found = self._shapes.get(dated)
        if found is None:
            if len(self._shapes) >= 1024:  # noqa: PLR2004 - rounds and omissions make few shapes; bound anyway
                self._shapes.clear()
            found = self._shapes[dated] = Shape(self, dated)
        return found

    def to_json(self) -> dict[str, object]:
        """Return the whole definition as plain values, in the shape of its TOML file."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "zone": self.zone,
            "catch_up": self.catch_up.to_json(),
            "tracks": {t.name: {"before": t.before, "undated": t.undated} for t in self.tracks},
            "milestones": [_milestone_to_json(m) for m in self.milestones],
            "headline": [
                {
                    "status": rule.status,
                    "when": {track: list(states) for track, states in rule.when.items()},
                    "undated": list(rule.undated),
                }
                for rule in self.headline
            ],
        }


_MILESTONE_TEXTS: Final = ("field", "track", "state", "default", "default_if", "between", "until", "title")
_MILESTONE_FLAGS: Final = ("implied", "manual", "repeats", "required")


def _milestone_to_json(milestone: Milestone) -> dict[str, object]:
    said: dict[str, object] = {"name": milestone.name, "side": milestone.side.value}
    for name in (*_MILESTONE_TEXTS, *_MILESTONE_FLAGS):
        value = getattr(milestone, name)
        if value:
            said[name] = value
    if catch_up := milestone.catch_up.to_json():
        said["catch_up"] = catch_up
    return said
