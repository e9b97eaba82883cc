"""Somebody else's code in a transaction of the store's: it may read and write, but not end that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import apsw

from duly.stores.sqlite_errors import explain

T = TypeVar("T")


def run_guarded(connection: apsw.Connection, result: T, then: Callable[[T, apsw.Connection], None]) -> None:
    """Hand the connection to somebody else's code, which must not end the transaction that it is run in.

    An error of SQLite's comes out as a StoreError, and never as a reason to trust the store no more: it may be that
    of another database of that code's own.
    """

    def authorize(action: int, *_: str | None) -> int:
        forbidden = (apsw.SQLITE_TRANSACTION, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH)
        return apsw.SQLITE_DENY if action in forbidden else apsw.SQLITE_OK

    connection.authorizer = authorize
    try:
        then(result, connection)
    except apsw.Error as error:
        explain("(in a transactional handler)", error, waited_seconds=0)
    finally:
        connection.authorizer = None
