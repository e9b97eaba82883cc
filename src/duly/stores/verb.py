"""What a verb is: a generator that yields statements and receives rows, and returns its result. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


class Statement(NamedTuple):
    """One named statement to run: with one set of parameters, or (`many`) once for each in a batch."""

    name: str
    params: Any = ()
    many: bool = False


Verb = Generator[Statement, Rows, T]
