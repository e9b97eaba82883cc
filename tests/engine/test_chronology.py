"""A subscriber that is told in one chronology: by the numbers of its deliveries, each settled before the next begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from duly.engine.lines import Held, Lines
from duly.engine.restraint import Restraint
from duly.model.delivery import Lease, Subscriber

IN_ORDER = Subscriber(name="a:b", channel="handler", topics=("*",), number=1, is_chronological=True)


def held(number: int, event_id: str) -> Held:
    return Held(Lease(number, 1, event_id, "x", number, 1, 1, 0, 0, is_late=True), None, 0)


def take(lines: Lines) -> int | None:
    """Take the next one that may be begun; return its number."""
    for _, waiting in lines.ready():
        _, late = Restraint().places(IN_ORDER, waiting, 0)
        for _ in range(late):
            found = waiting.late.popleft()
            waiting.running += 1
            found.is_taken = True
            return found.lease.number
    return None


@pytest.fixture
def lines() -> Lines:
    made = Lines(lambda number: number == 1)
    for number, event_id in [(1, "a"), (2, "b"), (3, "b"), (4, "a"), (5, "c")]:
        made.add(held(number, event_id))
    return made


def end(lines: Lines, number: int) -> None:
    found = lines.get(number)
    assert found is not None
    lines.ended(found)


def settle(lines: Lines, number: int) -> None:
    found = lines.get(number)
    assert found is not None
    lines.done(found)


def test_the_next_one_begins_when_the_last_one_is_settled_and_not_when_it_has_merely_ended(lines: Lines) -> None:
    assert take(lines) == 1
    end(lines, 1)
    assert take(lines) is None
    settle(lines, 1)
    assert take(lines) == 2


def test_all_lines_together_are_one_order(lines: Lines) -> None:
    told = []
    while (number := take(lines)) is not None:
        told.append(number)
        end(lines, number)
        settle(lines, number)
    assert told == [1, 2, 3, 4, 5]


def test_what_comes_in_later_goes_where_its_number_says(lines: Lines) -> None:
    assert take(lines) == 1
    lines.add(held(0, "z"))
    end(lines, 1)
    settle(lines, 1)
    assert [take(lines), len(lines)] == [0, 5]


def test_one_that_was_put_off_lets_the_other_lines_go_on(lines: Lines) -> None:
    assert take(lines) == 1
    first = lines.get(1)
    assert first is not None
    end(lines, 1)
    assert [each.lease.number for each in lines.drop_behind(first)] == [4]
    settle(lines, 1)
    assert take(lines) == 2


def test_one_that_was_lost_frees_its_place(lines: Lines) -> None:
    assert take(lines) == 1
    first = lines.get(1)
    assert first is not None
    lines.ended(first)
    lines.lose(first)
    assert take(lines) == 2


def test_one_that_could_not_be_begun_is_the_next_again(lines: Lines) -> None:
    assert take(lines) == 1
    first = lines.get(1)
    assert first is not None
    lines.give_back([first])
    assert take(lines) == 1


def test_concurrency_does_not_matter_to_it(lines: Lines) -> None:
    ((_, waiting),) = lines.ready()
    assert Restraint().places(replace(IN_ORDER, concurrency=50), waiting, 0) == (0, 1)
