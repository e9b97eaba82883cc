"""The stores that the contract is held against. A second kind of store is one more entry in `PLACES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duly.stores.sqlite import SqliteStore
from duly.stores.store import Store

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Place:
    """One kind of store: how to make an empty one, and how to reach behind it, to falsify what it keeps."""

    name: str
    make: Callable[[Path], Store]
    execute: Callable[[Store, str, Sequence[object]], Rows]


def sqlite_execute(store: Store, sql: str, params: Sequence[object] = ()) -> Rows:
    """Run a statement on the store's own connection, past all its verbs."""
    assert isinstance(store, SqliteStore)
    assert store._writer is not None
    return store._writer.execute(sql, tuple(params)).fetchall()


PLACES = (
    Place("sqlite-file", lambda folder: SqliteStore(folder / "events.db"), sqlite_execute),
    Place("sqlite-memory", lambda _: SqliteStore(":memory:"), sqlite_execute),
)
