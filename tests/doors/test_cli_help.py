"""What docs/reference/cli.md says of the commands and settings is what the commands say themselves."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from duly.cli import commands
from duly.settings import KNOWN
from tests.doors.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "cli.md"


def leaves(group: click.Group, above: str = "") -> Iterator[str]:
    """Yield every command that does something, as it is typed."""
    for name, each in group.commands.items():
        if isinstance(each, click.Group):
            yield from leaves(each, f"{above}{name} ")
        else:
            yield above + name


NAMES = sorted(leaves(commands()))
# What the issue that built them asked for, and the edits beside it.
WANTED = {
    *("demo", "run", "put", "catch-up", "status", "events", "show", "upcoming", "history", "why", "outages", "check"),
    *("migrate", "hold", "cancel", "postpone", "approve", "fire", "remove", "lifecycles"),
    *("deliveries", "replay", "park", "release", "webhook", "backup"),
}


def test_every_command_that_was_promised_is_there() -> None:
    assert set(commands().commands) == WANTED
    actions = {name.removeprefix("webhook ") for name in NAMES if name.startswith("webhook ")}
    assert actions == {"add", "list", "test", "rotate", "disable", "enable", "remove"}


def test_the_page_is_what_the_tool_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("write_cli_help")
    page = PAGE.read_text(encoding="utf-8")
    assert tool.written(page) == page, "run tools/write_cli_help.py"
    assert all(f"### duly {name}\n" in page for name in NAMES)
    assert all(f"`{known.variable}`" in page for known in KNOWN)
    emptied = page.replace("Usage: duly run", "Usage: something else")
    assert tool.written(emptied) == page


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_help_with_an_example_and_the_two_options_of_all(terminal: Terminal, name: str) -> None:
    said = terminal(*name.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert f"Usage: duly {name}" in said.lines[0]
    for option in ("--store URL", "--json", "-h, --help"):
        assert option in said.out
    assert said.lines[-2].strip() == "Example:"
    assert said.lines[-1].strip().startswith(f"duly {name}")


def test_the_help_of_all_names_every_command_the_first_to_meet_first(terminal: Terminal) -> None:
    lines = terminal("--help").lines
    listed = [line.split()[0] for line in lines[lines.index("Commands:") + 1 :] if line[2:3].strip()]
    assert listed[:3] == ["demo", "run", "put"]
    assert set(listed) == WANTED
