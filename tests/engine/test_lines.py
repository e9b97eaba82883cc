"""What a node holds: of each line only the first is ready, and what is let go leaves nothing behind."""

from __future__ import annotations

import pytest

from duly.engine.lines import Held, Lines
from duly.model.delivery import Lease


def held(number: int, event_id: str = "w1", *, subscriber: int = 1, late: bool = False) -> Held:
    return Held(Lease(number, subscriber, event_id, "x", number, 1, 1, 0, 0, late), None, 0)


def filled(*added: Held) -> Lines:
    lines = Lines()
    for each in added:
        lines.add(each)
    return lines


def ready(lines: Lines) -> dict[int, list[int]]:
    """Return what is ready, by subscriber: fresh ones, then late ones."""
    return {number: [h.lease.number for h in (*w.fresh, *w.late)] for number, w in lines.ready()}


def take(lines: Lines, subscriber: int = 1) -> Held:
    waiting = dict(lines.ready())[subscriber]
    waiting.running += 1
    return (waiting.fresh or waiting.late).popleft()


def assert_empty(lines: Lines) -> None:
    assert len(lines) == 0
    assert lines.numbers() == []
    assert ready(lines) == {}
    assert [lines.held_by(number) for number in lines.all_subscribers()] == [0] * len(lines.all_subscribers())
    assert lines._lines == {}


def test_only_the_first_of_a_line_is_ready() -> None:
    assert ready(filled(held(1), held(2), held(3, "w2"))) == {1: [1, 3]}


def test_a_line_is_one_subscriber_and_one_event() -> None:
    assert ready(filled(held(1), held(2, subscriber=2))) == {1: [1], 2: [2]}


def test_the_next_is_ready_once_the_first_is_done_and_not_when_it_has_merely_ended() -> None:
    lines = filled(held(1), held(2))
    first = take(lines)
    lines.ended(first)
    assert ready(lines) == {}
    lines.done(first)
    assert ready(lines) == {1: [2]}


def test_fresh_ones_and_the_backlog_stand_apart() -> None:
    lines = filled(held(1, late=True), held(2, "w2"))
    ((_, waiting),) = lines.ready()
    assert ([h.lease.number for h in waiting.fresh], [h.lease.number for h in waiting.late]) == ([2], [1])


def test_the_one_behind_goes_to_the_lane_of_its_own() -> None:
    lines = filled(held(1, late=True), held(2, late=False))
    lines.done(take(lines))
    ((_, waiting),) = lines.ready()
    assert [h.lease.number for h in waiting.fresh] == [2]


def test_what_is_held_is_counted_until_it_is_done() -> None:
    lines = filled(held(1), held(2), held(3, subscriber=2))
    assert (len(lines), lines.held_by(1), lines.held_by(2), lines.held_by(9)) == (3, 2, 1, 0)
    first = take(lines)
    lines.ended(first)
    assert lines.held_by(1) == 2
    lines.done(first)
    assert (lines.held_by(1), 1 in lines, 2 in lines) == (1, False, True)


def test_a_first_is_alone_if_nothing_is_held_behind_it() -> None:
    first, second = held(1), held(2)
    lines = filled(first, second)
    assert not lines.is_alone(first)
    lines.drop_behind(first)
    assert lines.is_alone(first)


def test_dropping_behind_keeps_the_first_and_its_order() -> None:
    first = held(1)
    lines = filled(first, held(2), held(3), held(4, "w2"))
    assert [h.lease.number for h in lines.drop_behind(first)] == [2, 3]
    assert sorted(lines.numbers()) == [1, 4]
    lines.done(take(lines))
    assert ready(lines) == {1: [4]}


def test_a_line_that_was_emptied_behind_its_first_can_be_joined_again() -> None:
    first = held(1)
    lines = filled(first, held(2))
    take(lines)
    lines.drop_behind(first)
    lines.add(held(2))
    assert ready(lines) == {}
    lines.done(first)
    assert ready(lines) == {1: [2]}


def test_dropping_what_is_ready_takes_whole_lines_and_leaves_those_that_run() -> None:
    running = held(1)
    lines = filled(running, held(2), held(3, "w2"), held(4, "w2"), held(5, "w3", subscriber=2))
    take(lines)
    assert [h.lease.number for h in lines.drop_ready([1])] == [3, 4]
    assert sorted(lines.numbers()) == [1, 2, 5]
    assert ready(lines) == {2: [5]}
    lines.done(running)
    assert ready(lines) == {1: [2], 2: [5]}


def test_dropping_for_somebody_unknown_does_nothing() -> None:
    lines = filled(held(1))
    assert lines.drop_ready([7]) == []
    assert ready(lines) == {1: [1]}


@pytest.mark.parametrize("doubly", [False, True])
def test_what_was_let_go_leaves_nothing_behind(doubly: bool) -> None:
    lines = filled(held(1), held(2), held(3, "w2"))
    first = take(lines)
    lines.ended(first)
    lines.drop_ready([1])
    lines.drop_behind(first)
    for _ in range(1 + doubly):
        lines.done(first)
    assert_empty(lines)


def test_what_could_not_be_begun_is_ready_again_in_front() -> None:
    lines = filled(held(1), held(2, "w2"), held(3, "w3", late=True))
    taken = [take(lines), take(lines), take(lines)]
    lines.give_back(taken)
    ((_, waiting),) = lines.ready()
    assert ([h.lease.number for h in waiting.fresh], [h.lease.number for h in waiting.late]) == ([1, 2], [3])
    assert waiting.running == 0


def test_a_lost_first_takes_its_line_along_wherever_it_is() -> None:
    running, waiting, behind = held(1), held(3, "w2"), held(4, "w2")
    lines = filled(running, held(2), waiting, behind, held(5, "w3"))
    take(lines)
    lines.lose(behind)
    assert sorted(lines.numbers()) == [1, 2, 3, 5]
    lines.lose(waiting)
    assert ready(lines) == {1: [5]}
    lines.lose(running)
    assert lines.numbers() == [5]
    assert ready(lines) == {1: [5]}
    lines.lose(running)
    assert lines.held_by(1) == 1


def test_whoever_was_served_stands_behind_the_others() -> None:
    lines = filled(held(1), held(2, subscriber=2), held(3, subscriber=3))
    lines.served(1)
    assert [number for number, _ in lines.ready()] == [2, 3, 1]
