"""What users import: there, documented, and nothing more than is meant."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import duly
from duly.model.history import Cause, Kind

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "python.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", duly.__all__)
def test_a_public_name_can_be_imported_and_is_documented(name: str) -> None:
    found = getattr(importlib.import_module("duly"), name)
    assert found.__doc__
    assert f"`{name}`" in REFERENCE


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sheduler'"):
        duly.Sheduler  # noqa: B018 - the access is the test


def test_all_public_names_are_listed() -> None:
    assert set(duly.__all__) <= set(dir(duly))


@pytest.mark.parametrize("word", [*Kind, *Cause])
def test_every_kind_and_cause_is_explained(word: str) -> None:
    assert f"`{word}`" in REFERENCE


@pytest.mark.parametrize("method", [name for name in vars(duly.Scheduler) if not name.startswith("_")])
def test_every_call_of_the_scheduler_is_documented(method: str) -> None:
    assert (
        method in {"clock", "agenda", "store", "node", "catch_up", "open", "troubles"} or f"`{method}`" in REFERENCE
    )


def test_the_blocking_twin_has_the_same_calls() -> None:
    asynchronous = {"open", "settled", "on_commit", "on_settled", "report", "is_running", "is_owner", "troubles"}
    calls = {name for name in vars(duly.Scheduler) if not name.startswith("_")} - asynchronous
    assert calls <= {name for name in vars(duly.BlockingScheduler) if not name.startswith("_")}
