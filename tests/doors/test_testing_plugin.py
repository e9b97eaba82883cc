"""The pytest plugin as users have it: found by its entry point, light, silent, and as the guide says."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import duly.testing
from tests.doors.test_docs_examples import blocks_of

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide" / "testing.md"
FIXTURES = (
    "duly_now",
    "duly_clock",
    "duly_scheduler",
    "duly_make_scheduler",
    "duly_async_scheduler",
    "duly_receiver",
)
# What a run has loaded of Duly by its end, told by the test itself.
LOADED = """
    import json, pathlib, sys

    def test_nothing_of_ours():
        names = sorted(name for name in sys.modules if name.partition(".")[0] in {"duly", "apsw", "whenever"})
        pathlib.Path("loaded.json").write_text(json.dumps(names))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of somebody's project, in an environment where Duly is installed."""
    installed = tmp_path / "site" / "duly-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: duly\nVersion: 0\n")
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    lines = [f"{name} = {module}" for name, module in points.items()]
    (installed / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    modules = (ROOT / "src").rglob("*.py")
    (installed / "RECORD").write_text("".join(f"{path.relative_to(ROOT / 'src')},,\n" for path in modules))
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest there, with every warning an error."""
    path = os.pathsep.join([str(project.parent / "site"), str(ROOT / "src")])
    variables = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "COV_", "DULY_"))}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            *arguments,
        ],
        cwd=project,
        env={**variables, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def write(project: Path, name: str, text: str) -> None:
    (project / name).write_text("\n".join(line[4:] for line in text.splitlines()))


def test_the_test_files_of_the_guide_pass_in_an_environment_that_has_duly(project: Path) -> None:
    files = {block.file: block.code for block in blocks_of(GUIDE.read_text(encoding="utf-8")) if block.file}
    for name, code in files.items():
        (project / str(name)).write_text(code, encoding="utf-8")
    done = run(project)
    assert done.returncode == 0, done.stdout + done.stderr
    tests = sum(code.count("\ndef test_") for code in files.values())
    assert tests >= 5
    assert f"{tests} passed" in done.stdout
    assert not (project / "events.db").exists(), "the application's own store is not touched"


def test_a_run_that_uses_none_of_it_loads_next_to_nothing(project: Path) -> None:
    write(project, "test_light.py", LOADED)
    done = run(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((project / "loaded.json").read_text()) == ["duly", "duly.testing", "duly.testing.plugin"]


def test_a_test_that_fails_is_shown_with_what_the_recorder_has_heard(project: Path) -> None:
    write(
        project,
        "test_failing.py",
        """
    def test_it(duly_scheduler):
        assert duly_scheduler.record().told == [("w1", "event_start")]
    """,
    )
    done = run(project)
    assert done.returncode == 1
    assert "assert [] == [('w1', 'event_start')]" in done.stdout


def test_the_clock_begins_where_a_project_says(project: Path) -> None:
    write(
        project,
        "test_begin.py",
        """
    import pytest

    @pytest.fixture
    def duly_now():
        return "2030-01-01T00:00:00+01:00"

    def test_it(duly_clock, duly_make_scheduler):
        duly_make_scheduler(time_zone="Europe/Berlin").settle()
        assert duly_clock.now_at.isoformat() == "2029-12-31T23:00:00+00:00"
    """,
    )
    done = run(project)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_fixture_is_described_where_pytest_lists_them_and_in_the_guide(project: Path) -> None:
    listed = run(project, "--fixtures").stdout
    guide = GUIDE.read_text(encoding="utf-8")
    for fixture in FIXTURES:
        described = listed.partition(f"\n{fixture} -- ")[2].splitlines()[1]
        assert described.startswith("    ")
        assert "no docstring" not in described
        assert f"`{fixture}`" in guide


def test_no_fixture_is_left_out_here() -> None:
    plugin = importlib.import_module("duly.testing.plugin")
    assert {name for name in vars(plugin) if name.startswith("duly_")} == set(FIXTURES)


@pytest.mark.parametrize("name", duly.testing.__all__)
def test_a_public_name_of_the_testing_room_can_be_imported_and_is_documented(name: str) -> None:
    found = getattr(importlib.import_module("duly.testing"), name)
    assert found.__doc__
    assert name in dir(duly.testing)


def test_an_unknown_name_of_the_testing_room_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'duly\.testing' has no attribute 'Recoder'"):
        duly.testing.Recoder  # noqa: B018 - the access is the test
