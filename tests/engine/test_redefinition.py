"""Lifecycles that change between two releases, while nodes of both are there (SCENARIO 33, the part without deliveries)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from duly import Agenda, Hold, Lifecycle
from duly.clock import ManualClock
from duly.stores.redefining import Place
from duly.stores.sqlite import SqliteStore
from duly.stores.store import Store
from tests.builders import DAY, HOUR, T0, event, lamp
from tests.engine.stage import Stage, falsify

OLD = lamp()
NEW = replace(OLD, description="the new one")


class Bounded(SqliteStore):
    """A store that notices when re-deriving goes on for ever."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._counted = itertools.count()

    @override
    def rederive(self, *args: Any, **kwargs: Any) -> tuple[int, Place | None]:
        assert next(self._counted) < 20, "re-derived again and again"
        return super().rederive(*args, **kwargs)


def agenda_on(path: Path, *declared: Lifecycle) -> Agenda:
    return Agenda(Bounded(path), lifecycles=declared, clock=ManualClock(T0))


def kinds(store: Store) -> list[str]:
    return [entry.kind for _, entry in store.history_after(0)]


def test_scenario_33_each_node_fires_what_it_knows_and_only_the_new_one_redefines_once(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with agenda_on(path, OLD) as old:
        old.put(event("w1", lifecycle=OLD, switch_on=T0 - HOUR, switch_off=T0 + DAY))
        with agenda_on(path, NEW) as new:
            # the old one takes over only now, with the definitions that it knew when it was opened
            assert old.rederive_changed() == 0
            assert new.rederive_changed() == 1
            assert old.rederive_changed() == 0
            assert new.rederive_changed() == 0
            assert kinds(new.store) == ["created", "fired", "redefined"]
            assert new.store.get_event("w1").lifecycle_hash == NEW.hash


def test_a_current_definition_that_cannot_be_read_parks_its_events_and_no_others() -> None:
    stage = Stage()
    agenda = Agenda(stage.store, lifecycles=[OLD], clock=stage.clock)
    agenda.open()
    agenda.put(
        [event("w1", lifecycle=OLD, switch_on=T0 + HOUR), event("w2", event_start=T0 + HOUR, event_end=T0 + DAY)]
    )
    falsify(stage.store, "UPDATE lifecycle SET current = 0 WHERE name = 'lamp'")
    falsify(
        stage.store,
        "INSERT INTO lifecycle (hash, name, definition, origin, current, declared_at) "
        "VALUES ('from the future', 'lamp', '{\"colours\": 3}', 'declared', 1, 0)",
    )
    later = Agenda(stage.store, clock=stage.clock)
    later.open()
    later.rederive_changed()
    [parked] = stage.store.list_set_aside()
    assert parked.id == "w1"
    assert parked.error is not None
    assert "lamp" in parked.error
    stage.clock.advance(HOUR)
    stage.fire()
    assert ("w2", "event_start") in stage.fired()


@pytest.mark.parametrize("hold", ["draft", "cancelled"])
def test_an_event_on_hold_is_redefined_too_and_fires_nothing(hold: str, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with agenda_on(path, OLD) as old:
        old.put(replace(event("w1", lifecycle=OLD, switch_on=T0 - HOUR), hold=Hold(hold)))
    with agenda_on(path, NEW) as new:
        assert new.rederive_changed() == 1
        assert kinds(new.store) == ["created", "redefined"]
        assert new.store.get_event("w1").next_due_us is None
