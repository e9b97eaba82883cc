"""A SQLite file's schema: whether it is ours at all, and the migrations that bring it up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from duly.errors import StoreRefused
from duly.stores.statements import migrations

if TYPE_CHECKING:
    import apsw

DIALECT: Final = "sqlite"
APPLICATION_ID: Final = 0x44554C59  # "DULY": tells our files from those of other applications


def check_ours(connection: apsw.Connection, label: str) -> None:
    """Refuse a database that belongs to something else, or to a later version of Duly."""
    # In this order: whoever makes our tables just now sets the mark in the same transaction.
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
    mark = connection.pragma("application_id")
    if mark != APPLICATION_ID and (tables or mark):
        names = ", ".join(str(name) for (name,) in tables[:3]) or f"the application id {mark}"
        msg = f"store {label}: it belongs to another application (it has {names}); Duly needs a file of its own"
        raise StoreRefused(msg)
    known = latest_version()
    found = connection.pragma("user_version")
    if found > known:
        msg = f"store {label}: its schema is version {found}, this Duly knows {known}; upgrade Duly"
        raise StoreRefused(msg)


def latest_version() -> int:
    """Return the version of the schema that this Duly writes."""
    return migrations(DIALECT)[-1].version


def migrate(connection: apsw.Connection) -> None:
    """Apply the migrations that are missing, each in its own transaction, whoever else does the same."""
    for migration in migrations(DIALECT):
        if connection.pragma("user_version") >= migration.version:
            continue
        connection.execute("BEGIN IMMEDIATE")
        # Asked again under the lock: another process may have been quicker.
        if connection.pragma("user_version") < migration.version:
            connection.execute(migration.sql)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", migration.version)
        connection.execute("COMMIT")
