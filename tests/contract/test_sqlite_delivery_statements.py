"""SQLite: the outbox's hot statements use their index, and none reads all that was ever delivered to find what is open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from duly.stores.sqlite import SqliteStore
from duly.stores.statements import statements
from tests.builders import HOUR, T0
from tests.contract.deeds import LIFECYCLES, fire_all, lit, put
from tests.contract.telling import claim, dead, delivered, failed, listener, settle, subscribe

NOW: Final = T0 + HOUR


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """A store in which much was delivered, a little is dead, and some is open."""
    found = SqliteStore(tmp_path_factory.mktemp("outbox") / "events.db")
    found.open(T0)
    found.declare_lifecycles([], LIFECYCLES, T0)
    subscribe(found, listener("a:b"), listener("a:c"), listener("a:d", "dead"))
    put(found, *(lit(f"w{n:03}", T0 + n, T0 + 2 * n) for n in range(400)))
    fire_all(found, NOW)
    leases = claim(found, NOW)
    settle(found, *map(delivered, leases[:700]), *map(dead, leases[700:720]), failed(leases[720], NOW + HOUR))
    settle(found, *map(delivered, claim(found, NOW)[:600]))
    yield found
    found.close()


def plan_of(store: SqliteStore, name: str) -> str:
    sql = statements("sqlite")[name]
    assert store._writer is not None
    numbered = [int(number) for number in re.findall(r"\?(\d)", sql)]
    # Statements that are run for each in a batch take their parameters by place, the others by name.
    by_place = (1,) * max(numbered, default=sql.count("?"))
    params: Any = by_place or dict.fromkeys(re.findall(r"[:](\w+)", sql), 1)
    return "\n".join(row[3] for row in store._writer.execute(f"EXPLAIN QUERY PLAN {sql}", params))


def tables_scanned(plan: str) -> list[str]:
    """Return the steps that read a whole table, or a whole index that is not only of what is open or in trouble."""
    allowed = re.compile(
        r"USING (COVERING )?INDEX delivery_(wake|trouble)\b|json_each|VIRTUAL TABLE|SCAN (s|subscriber)\b"
    )
    return [step for step in plan.splitlines() if step.startswith("SCAN") and not allowed.search(step)]


@pytest.mark.parametrize("analysed", [False, True], ids=["as it is", "analysed"])
@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("claim_deliveries", "delivery_wake"),
        ("claim_deliveries", "delivery_once"),
        ("next_wakes", "delivery_wake"),
        ("open_lines", "delivery_once"),
        ("waiting_of_events", "delivery_once"),
        ("wake_next", "delivery_once"),
        ("free_behind", "delivery_once"),
        ("keep_behind", "delivery_once"),
        ("hold_back", "delivery_once"),
        ("expire_leases", "delivery_wake"),
        ("orphaned_lines", "delivery_wake"),
        ("open_tokens", "INTEGER PRIMARY KEY"),
        ("renew_leases", "INTEGER PRIMARY KEY"),
        ("lease_delivery", "INTEGER PRIMARY KEY"),
        ("close_delivery", "INTEGER PRIMARY KEY"),
        ("close_waiting", "INTEGER PRIMARY KEY"),
        ("put_off_delivery", "INTEGER PRIMARY KEY"),
        ("get_deliveries", "INTEGER PRIMARY KEY"),
        ("delivery_for_replay", "INTEGER PRIMARY KEY"),
        ("list_deliveries", "INTEGER PRIMARY KEY"),
        ("deliveries_of_event", "delivery_once"),
        ("replayed_already", "delivery_once"),
        ("close_owed", "delivery_wake"),
        ("cut_off_owed", "delivery_wake"),
        ("count_open", "delivery_wake"),
        ("count_trouble", "delivery_trouble"),
        ("count_of_outage", "history_outage"),
        ("count_of_outage", "delivery_once"),
        ("history_at", "history_chain"),
        ("attempts_of", "PRIMARY KEY"),
        ("data_of_events", "sqlite_autoindex_event_1"),
        ("outages_at", "INTEGER PRIMARY KEY"),
    ],
)
def test_a_hot_statement_uses_its_index(store: SqliteStore, name: str, index: str, analysed: bool) -> None:
    assert store._writer is not None
    if analysed:
        store._writer.execute("ANALYZE")
    plan = plan_of(store, name)
    assert index in plan, plan
    assert tables_scanned(plan) == [], plan


@pytest.mark.parametrize("name", ["claim_deliveries", "next_wakes", "list_deliveries"])
def test_what_is_asked_for_in_an_order_is_found_in_it_and_not_sorted(store: SqliteStore, name: str) -> None:
    assert "TEMP B-TREE" not in plan_of(store, name)


def test_when_something_is_owed_next_is_answered_by_the_index_alone(store: SqliteStore) -> None:
    plan = plan_of(store, "next_wakes")
    assert plan.count("SEARCH delivery USING COVERING INDEX delivery_wake") == 2, plan


def test_the_number_of_the_last_delivery_is_one_step_into_the_table(store: SqliteStore) -> None:
    assert plan_of(store, "last_delivery") == "SEARCH delivery"


def test_the_search_for_scans_finds_one(store: SqliteStore) -> None:
    assert store._writer is not None
    for sql in ("SELECT count(*) FROM delivery WHERE topic = 'x'", "SELECT * FROM history WHERE kind = 'fired'"):
        plan = "\n".join(row[3] for row in store._writer.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert tables_scanned(plan) != []
