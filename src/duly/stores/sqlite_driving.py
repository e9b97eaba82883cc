"""A verb, run on a connection: it yields statements and receives rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import apsw

    from duly.stores.verb import Verb

T = TypeVar("T")


def drive(sql: Mapping[str, str], connection: apsw.Connection, verb: Verb[T]) -> T:
    """Feed a verb the rows of each statement that it yields, by its name in `sql`, until it returns."""
    try:
        statement = next(verb)
        while True:
            text = sql[statement.name]
            if statement.many:
                connection.executemany(text, statement.params)
                rows: list[tuple[Any, ...]] = []
            else:
                rows = connection.execute(text, statement.params).fetchall()
            statement = verb.send(rows)
    except StopIteration as done:
        result: T = done.value
        return result


def flush_what_was_found(connection: apsw.Connection) -> None:
    """Make an empty transaction as durable as a full one.

    A verb that finds its work already done writes nothing, and SQLite flushes nothing for it. What it found may be a
    commit that was cut off by a kill before its fsync: visible, but gone with the power. So unless all that can be
    seen is known to be flushed (by our own last write), one real write makes this commit flush it.
    """
    connection.pragma("user_version", connection.pragma("user_version"))
