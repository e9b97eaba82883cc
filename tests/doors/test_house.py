"""The house keeps its own rules: sizes, names, docstrings, clocks, links, and what an import costs."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import duly

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "duly"
MODULES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

MODULE_LINES_MOST = 400
FUNCTION_LINES_MOST = 50
# Loaded only where they are used: each would cost everybody who imports duly more than duly itself does.
HEAVY = {"click", "fastapi", "httpx2", "pydantic", "rich", "starlette", "uvicorn", "yaml"}
EMPTY_WORDS = {"base", "common", "helper", "helpers", "manager", "util", "utils"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^(`{3,}).*?^\1", re.DOTALL | re.MULTILINE)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def calls(path: Path) -> Iterator[tuple[int, str]]:
    """Every call as (line, what is called, as written)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def targets(page: Path) -> Iterator[str]:
    """Every link of a page that points into this repository, without its anchor."""
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z][a-z+.-]*:|#", target):
            yield target.partition("#")[0]


def promise(thing: object) -> str:
    """The docstring that somebody wrote: neither inherited nor made up by @dataclass."""
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    generated = inspect.isclass(thing) and (text or "").startswith(f"{thing.__name__}(")
    return "" if generated else (text or "").strip()


def test_the_house_is_seen_at_all() -> None:
    assert {"src/duly/__init__.py", "src/duly/errors.py"} <= {named(path) for path in MODULES}
    assert "README.md" in {named(page) for page in PAGES}


def test_a_module_has_at_most_400_lines() -> None:
    sizes = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > MODULE_LINES_MOST} == {}


def test_a_function_has_at_most_50_lines() -> None:
    sizes = {
        f"{named(path)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in MODULES
        for node in functions(path)
    }
    assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES_MOST} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [named(path) for path in MODULES if EMPTY_WORDS & set(path.stem.split("_"))] == []


def test_every_public_name_exists_and_has_its_promise_as_a_docstring() -> None:
    silent = []
    for name in duly.__all__:
        thing = getattr(duly, name)
        if (inspect.isclass(thing) or inspect.isroutine(thing)) and not promise(thing):
            silent.append(name)
    assert silent == []


def test_importing_duly_loads_nothing_that_is_heavy() -> None:
    # isolated (-I), so that no setting of this run's environment can load something first
    script = f"import sys; sys.path.insert(0, {str(SOURCE.parent)!r}); import duly; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "duly" in loaded
    assert loaded & HEAVY == set()


def test_no_test_sleeps() -> None:
    naps = [f"{named(path)}:{line}" for path in TESTS for line, call in calls(path) if call.split(".")[-1] == "sleep"]
    assert naps == []


def test_only_the_clock_asks_an_event_loop_for_the_time() -> None:
    # ruff sees the functions of `time` and `datetime` by their names; a loop's `time` it cannot see.
    asked = [
        f"{named(path)}:{line}"
        for path in MODULES
        for line, call in calls(path)
        if path.name != "clock.py" and re.search(r"loop(\(\))?\.time$", call)
    ]
    assert asked == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_into_the_repository_leads_somewhere(page: Path) -> None:
    broken = [target for target in targets(page) if not (page.parent / target).exists()]
    assert broken == []


def test_the_pinned_requirements_hold_names_versions_and_hashes_only() -> None:
    for pins in sorted((ROOT / "requirements").glob("*.txt")):
        lines = [line for line in pins.read_text(encoding="utf-8").splitlines() if line.strip()]
        pinned = re.compile(r"[a-z0-9-]+==[\w.]+( ;.*)? \\|\s+--hash=sha256:[0-9a-f]{64}( \\)?|\s*#.*")
        assert [line for line in lines if not pinned.fullmatch(line)] == [], named(pins)
