"""What this node holds under lease: lines of deliveries, of which only the first of each may be attempted."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.delivery import Lease
    from duly.model.history import Entry

Line = tuple[int, str]


@dataclass(slots=True, eq=False)
class Held:
    """One delivery under our lease. `since_us`: since when, by the boot clock. `entry`: what it tells, if known."""

    lease: Lease
    entry: Entry | None
    since_us: Micros
    is_taken: bool = False

    @property
    def line(self) -> Line:
        """Its line: one subscriber, one event."""
        return self.lease.subscriber, self.lease.event_id


@dataclass(slots=True)
class Waiting:
    """The first ones of a subscriber's lines that are ready: fresh ones apart from the backlog; and how many run.

    `in_order`: they are ready by their numbers, and one that has ended runs until it is settled: by then the one
    behind it in its line is ready too, and has its turn.
    """

    fresh: deque[Held] = field(default_factory=deque)
    late: deque[Held] = field(default_factory=deque)
    held: int = 0
    running: int = 0
    in_order: bool = False

    def __bool__(self) -> bool:
        """Whether any is ready."""
        return bool(self.fresh or self.late)


class Lines:
    """All that is held.

    A delivery is ready when it is the first of its line: when it is added, or when the one before it is done. Taken,
    it is running until its attempt has ended, and held until that is settled.
    """

    def __init__(self, is_chronological: Callable[[int], bool] = lambda _: False) -> None:
        """Hold nothing yet. `is_chronological`: whether a subscriber, by its number, is told in one chronology."""
        self._is_chronological = is_chronological
        self._lines: dict[Line, deque[Held]] = {}
        self._waiting: dict[int, Waiting] = {}
        self._held: dict[int, Held] = {}

    def __len__(self) -> int:
        """How many deliveries are held."""
        return len(self._held)

    def __contains__(self, number: int) -> bool:
        """Whether a delivery is held."""
        return number in self._held

    def get(self, number: int) -> Held | None:
        """Return a held delivery."""
        return self._held.get(number)

    def held_by(self, subscriber: int) -> int:
        """Return how many deliveries of a subscriber are held."""
        waiting = self._waiting.get(subscriber)
        return 0 if waiting is None else waiting.held

    def numbers(self) -> list[int]:
        """Return the numbers of all that is held."""
        return list(self._held)

    def add(self, held: Held) -> None:
        """Take one in, at the end of its line."""
        number = held.lease.subscriber
        waiting = self._waiting.get(number)
        if waiting is None:
            waiting = self._waiting[number] = Waiting(in_order=self._is_chronological(number))
        waiting.held += 1
        self._held[held.lease.number] = held
        line = self._lines.get(held.line)
        if line is None:
            self._lines[held.line] = deque((held,))
            self._ready(waiting, held)
        else:
            line.append(held)

    def _ready(self, waiting: Waiting, held: Held) -> None:
        lane = waiting.late if held.lease.is_late else waiting.fresh
        if waiting.in_order:
            insort(lane, held, key=_number)
        else:
            lane.append(held)

    def ready(self) -> Iterator[tuple[int, Waiting]]:
        """Yield subscribers that have something ready."""
        for number, waiting in list(self._waiting.items()):
            if waiting:
                yield number, waiting

    def served(self, subscriber: int) -> None:
        """Let the other subscribers come first the next time."""
        self._waiting[subscriber] = self._waiting.pop(subscriber)

    def give_back(self, taken: Iterable[Held]) -> None:
        """Take back in front what was taken and could not be begun."""
        for held in reversed(list(taken)):
            waiting = self._waiting[held.lease.subscriber]
            waiting.running -= 1
            held.is_taken = False
            lane = waiting.late if held.lease.is_late else waiting.fresh
            lane.appendleft(held)
            if waiting.in_order:
                lane.rotate(-1)
                insort(lane, lane.pop(), key=_number)

    def is_alone(self, held: Held) -> bool:
        """Return whether nothing is held behind it in its line."""
        return len(self._lines.get(held.line, ())) <= 1

    def ended(self, held: Held) -> None:
        """Note that the attempt at the first of a line has ended: its place is free for another line."""
        waiting = self._waiting.get(held.lease.subscriber)
        if waiting is not None and not waiting.in_order:
            waiting.running -= 1

    def done(self, held: Held) -> None:
        """Let the first of a line go, now that it is settled; the one behind it becomes ready."""
        self._forget(held)
        line = self._lines.get(held.line)
        if line is None or line[0] is not held:
            return
        line.popleft()
        if line:
            self._ready(self._waiting[held.lease.subscriber], line[0])
        else:
            del self._lines[held.line]

    def drop_behind(self, held: Held) -> list[Held]:
        """Let all that stands behind the first of a line go, and return it."""
        line = self._lines.get(held.line, deque())
        behind = [each for each in line if each is not held]
        for each in behind:
            line.remove(each)
            self._forget(each)
        return behind

    def lose(self, held: Held) -> list[Held]:
        """Let one go that is ours no longer, and all that stands behind it, which is returned."""
        line = self._lines.get(held.line)
        if line is None or held not in line:
            return []
        place = line.index(held)
        behind = list(line)[place + 1 :]
        for each in (held, *behind):
            line.remove(each)
            self._forget(each)
        if not line:
            del self._lines[held.line]
        waiting = self._waiting[held.lease.subscriber]
        for lane in (waiting.fresh, waiting.late):
            if held in lane:
                lane.remove(held)
        return behind

    def drop_ready(self, subscribers: Iterable[int]) -> list[Held]:
        """Let everything of these subscribers go that is not running, in the order of its lines, and return it."""
        dropped: list[Held] = []
        for number in subscribers:
            waiting = self._waiting.get(number)
            if waiting is None:
                continue
            firsts = [*waiting.fresh, *waiting.late]
            waiting.fresh.clear()
            waiting.late.clear()
            for first in firsts:
                for held in self._lines.pop(first.line, deque()):
                    self._forget(held)
                    dropped.append(held)
        return dropped

    def all_subscribers(self) -> list[int]:
        """Return the numbers of everybody for whom something is or was held."""
        return list(self._waiting)

    def _forget(self, held: Held) -> None:
        if self._held.pop(held.lease.number, None) is not None:
            waiting = self._waiting[held.lease.subscriber]
            waiting.held -= 1
            if waiting.in_order and held.is_taken:
                waiting.running -= 1


def _number(held: Held) -> int:
    return held.lease.number
