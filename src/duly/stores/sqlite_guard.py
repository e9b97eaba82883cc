"""Somebody else's code on the store's own connection: it may read and write, but not end the transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import apsw

T = TypeVar("T")


def run_guarded(connection: apsw.Connection, result: T, then: Callable[[T, apsw.Connection], None]) -> None:
    """Hand the connection to somebody else's code, which must not end the transaction that it is run in."""

    def authorize(action: int, *_: str | None) -> int:
        forbidden = (apsw.SQLITE_TRANSACTION, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH)
        return apsw.SQLITE_DENY if action in forbidden else apsw.SQLITE_OK

    connection.authorizer = authorize
    try:
        then(result, connection)
    finally:
        connection.authorizer = None
