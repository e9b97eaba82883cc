"""The published promises name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
LINKED = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", PAGE)


@pytest.mark.parametrize(("test", "file"), LINKED)
def test_a_promise_is_held_by_a_test_that_exists(test: str, file: str) -> None:
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_promise_names_its_test() -> None:
    promises = re.findall(r"^\| \*\*.*$", PAGE, re.MULTILINE)
    assert len(promises) > 10
    assert [promise for promise in promises if "](../tests/" not in promise] == []
