"""SQLite: every statement that is named exists and is used, none reads a clock, and the hot ones use their index."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import duly
from duly.errors import StoreRejected
from duly.model.history import Entry, Kind
from duly.stores.sqlite import SqliteStore
from duly.stores.statements import migrations, statements
from duly.stores.verb import Statement, Verb
from tests.builders import T0
from tests.contract.deeds import LIFECYCLES, fire, lit, put

SOURCE = Path(duly.__file__).parent
CLOCKS = re.compile(
    r"\b(now\s*\(|current_(timestamp|time|date)|strftime|julianday|unixepoch|datetime\s*\(|'now'|clock_timestamp)",
    re.IGNORECASE,
)


def named_in_code() -> set[str]:
    """Return the names of all statements that the code asks for."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in {"Statement", "_single"} and isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def test_every_statement_that_the_code_names_exists_and_every_one_that_exists_is_named() -> None:
    assert len(named_in_code()) > 20
    assert named_in_code() == set(statements("sqlite"))


def test_no_name_is_given_twice() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "stores" / "sql" / "sqlite").glob("*.sql"))
    names = re.findall(r"^-- name: (\w+)", text, re.MULTILINE)
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", sorted(statements("sqlite")))
def test_no_statement_reads_a_clock(name: str) -> None:
    assert CLOCKS.search(statements("sqlite")[name]) is None


def test_no_migration_reads_a_clock_and_the_search_for_clocks_finds_one() -> None:
    for migration in migrations("sqlite"):
        code = re.sub(r"--.*", "", migration.sql)
        assert CLOCKS.search(code) is None
    assert CLOCKS.search("SELECT strftime('%s')")
    assert CLOCKS.search("DEFAULT CURRENT_TIMESTAMP")


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "events.db")
    store.open(T0)
    store.declare_lifecycles([], LIFECYCLES, T0)
    put(store, *(lit(f"w{n:03}", T0 + n, T0 + 2 * n) for n in range(300)))
    fire(store, T0 + 300)
    yield store
    store.close()


def plan_of(store: SqliteStore, name: str) -> str:
    sql = statements("sqlite")[name]
    params = dict.fromkeys(re.findall(r"[:](\w+)", sql), 1)
    assert store._writer is not None
    return "\n".join(row[3] for row in store._writer.execute(f"EXPLAIN QUERY PLAN {sql}", params))


@pytest.mark.parametrize("analysed", [False, True], ids=["as it is", "analysed"])
@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("claim_fresh", "event_alarm"),
        ("claim_backlog", "event_alarm"),
        ("next_due_at", "event_alarm"),
        ("count_alarms", "event_alarm"),
        ("count_overdue", "event_alarm"),
        ("list_by_alarm", "event_alarm"),
        ("list_set_aside", "event_set_aside"),
        ("count_set_aside", "event_set_aside"),
        ("list_redefined", "event_lifecycle"),
        ("list_events", "sqlite_autoindex_event_1"),
        ("get_events", "sqlite_autoindex_event_1"),
        ("history_of_event", "history_chain"),
        ("history_of_events", "history_chain"),
        ("history_of_outage", "history_outage"),
        ("history_after", "INTEGER PRIMARY KEY"),
        ("history_latest", "INTEGER PRIMARY KEY"),
    ],
)
def test_a_hot_statement_uses_its_index_and_sorts_nothing(
    busy: SqliteStore, name: str, index: str, analysed: bool
) -> None:
    assert busy._writer is not None
    if analysed:
        busy._writer.execute("ANALYZE")
    plan = plan_of(busy, name)
    assert index in plan
    # A scan along an index's own few rows is what a partial index is for; a scan of the table is not.
    assert re.search(r"SCAN (event|history|e)\b(?! USING)", plan) is None, plan
    if name != "list_redefined":
        assert "TEMP B-TREE" not in plan, plan


@pytest.mark.parametrize("name", ["count_alarms", "count_overdue", "next_due_at"])
def test_what_is_only_counted_is_answered_by_the_index_alone(busy: SqliteStore, name: str) -> None:
    assert "COVERING INDEX" in plan_of(busy, name)


def test_the_database_itself_refuses_a_second_firing_of_one_generation(busy: SqliteStore) -> None:
    fired = next(entry for entry in busy.history("w001") if entry.kind == Kind.FIRED)
    again = fired._replace(seq=99)
    with pytest.raises(StoreRejected, match="UNIQUE"):
        busy.write(_insert(again))
    next_generation = fired._replace(seq=99, generation=2)
    busy.write(_insert(next_generation))
    assert busy.history("w001")[-1] == next_generation


def test_the_database_itself_refuses_a_second_entry_of_one_number(busy: SqliteStore) -> None:
    with pytest.raises(StoreRejected, match="UNIQUE"):
        busy.write(_insert(busy.history("w001")[0]))


def _insert(entry: Entry) -> Verb[None]:
    yield Statement("insert_history", [entry], many=True)
