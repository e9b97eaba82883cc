"""One `store` fixture for the whole contract: every test that takes it runs on every kind of store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from duly.stores.store import Store
from tests.builders import T0
from tests.contract.deeds import LIFECYCLES
from tests.contract.places import PLACES, Place, Rows


@pytest.fixture(params=PLACES, ids=lambda place: place.name)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


@pytest.fixture
def store(place: Place, tmp_path: Path) -> Iterator[Store]:
    """An open, empty store that knows the lifecycles of these tests."""
    opened = place.make(tmp_path)
    opened.open(T0)
    opened.declare_lifecycles([], LIFECYCLES, T0)
    yield opened
    opened.close()


@pytest.fixture
def falsify(place: Place, store: Store) -> Callable[..., Rows]:
    """Change rows behind the store's back."""
    return lambda sql, *params: place.execute(store, sql, params)
