"""The examples of the README and of the guides are run as they are printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The comment says what the block under it is: `run` it, it is a `file: NAME`, or what the last one run `prints`.
MARKED = re.compile(
    r"^<!-- (?P<mark>run|prints|file: (?P<file>[\w.-]+)) -->\n"
    r"(?P<fence>`{3,})(?P<language>\w*)\n(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One marked block of a page, and the line on which its code begins."""

    mark: str
    file: str | None
    language: str
    code: str
    line: int


def blocks_of(text: str) -> Iterator[Block]:
    for found in MARKED.finditer(text):
        line = text.count("\n", 0, found.start("code"))
        yield Block(found["mark"], found["file"], found["language"], found["code"], line)


def run_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the blocks of a page one after another in one namespace, in the current folder."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.file is not None:
            Path(block.file).write_text(block.code, encoding="utf-8")
        elif block.mark == "prints":
            assert printed == block.code, f"{page.name}, line {block.line}: something else is printed"
        else:
            assert block.language == "python", f"{page.name}, line {block.line}: only Python can be run"
            # Empty lines before it, so that a traceback names the line of the page.
            code = compile("\n" * block.line + block.code, str(page), "exec")
            exec(code, namespace)
            printed = capsys.readouterr().out


PAGES_WITH_EXAMPLES = [page for page in PAGES if page.exists() and any(blocks_of(page.read_text("utf-8")))]


@pytest.mark.parametrize("page", PAGES_WITH_EXAMPLES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run_as_printed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page, capsys)


def test_every_mark_stands_right_above_a_block_that_is_found() -> None:
    for page in PAGES_WITH_EXAMPLES:
        text = page.read_text(encoding="utf-8")
        marks = re.findall(r"^<!-- (?:run|prints|file: .*) -->$", text, re.MULTILINE)
        assert len(marks) == len(list(blocks_of(text))), f"{page.name}: a mark without a block"


def test_a_page_that_prints_something_else_is_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n```python\nprint(1)\n```\n\n<!-- prints -->\n```text\n2\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md, line 7: something else is printed"):
        run_page(page, capsys)


def test_a_page_whose_example_fails_is_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n```python\nraise LookupError\n```\n")
    with pytest.raises(LookupError):
        run_page(page, capsys)
