"""The pages and pictures of the lifecycles are what their definitions say."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from duly.lifecycles.reader import built_in, built_in_names
from duly.model.lifecycle import Lifecycle, Milestone, Track

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "lifecycles"
SVG = "{http://www.w3.org/2000/svg}"


def tool(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a script of tools/ as Python does when it is run: its folder comes first."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module(name)


def test_every_page_and_picture_is_what_the_tool_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[Path, str] = tool("draw_lifecycles", monkeypatch).written()
    assert {path.name for path in written} == {
        "index.md",
        *(f"{name}.{kind}" for name in built_in_names() for kind in ("md", "svg")),
    }
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run tools/draw_lifecycles.py"


def test_a_page_that_differs_is_made_anew_and_keeps_its_prose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draw = tool("draw_lifecycles", monkeypatch)
    for page in DOCS.glob("*.md"):
        stale = page.read_text(encoding="utf-8").replace("paper_deadline#2", "paper_deadline#9")
        (tmp_path / page.name).write_text(stale, encoding="utf-8")
    page = draw.written(tmp_path)[tmp_path / "conference.md"]
    assert "May repeat: `paper_deadline#2`" in page
    assert "Date `paper_deadline` and `paper_deadline#9` and so on" in page


def test_a_marker_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    draw = tool("draw_lifecycles", monkeypatch)
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8").replace(draw._END, "")
        (tmp_path / page.name).write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match="has no end"):
        draw.written(tmp_path)


@pytest.mark.parametrize("name", built_in_names())
def test_a_page_names_every_milestone_state_and_status(name: str) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    lifecycle = built_in(name)
    wanted = [milestone.name for milestone in lifecycle.milestones]
    wanted += [milestone.state for milestone in lifecycle.milestones if milestone.state]
    wanted += [rule.status for rule in lifecycle.headline]
    assert [word for word in wanted if f"`{word}`" not in page] == []


@pytest.mark.parametrize("name", built_in_names())
def test_a_picture_is_well_formed_and_tells_its_content_to_those_who_hear_it(name: str) -> None:
    root = ET.parse(DOCS / f"{name}.svg").getroot()  # our own file
    said = root.findtext(f"{SVG}desc") or ""
    for milestone in built_in(name).milestones:
        assert milestone.is_notice or milestone.name in said


def boxes_of(picture: str) -> list[tuple[float, float, float, float, str]]:
    """Return where each text of a picture is: left, top, right, bottom, and the text itself."""
    found = []
    for text in ET.fromstring(picture).iter(f"{SVG}text"):
        content, style = text.text or "", text.get("class")
        each = {"name": 7.3, "label": 6.7, "remark": 5.4, "head": 7.2, "title": 11.5}[style or ""]
        width, x, y = len(content) * each, float(text.get("x") or 0), float(text.get("y") or 0)
        left = x - {"middle": width / 2, "end": width}.get(text.get("text-anchor") or "", 0)
        found.append((left, y - 11, left + width, y + 2, content))
    return found


def test_no_text_of_a_picture_overlaps_another_or_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    crowded = Lifecycle(
        name="crowded",
        tracks=(Track("an_unusually_named_track", before="x", undated="with_a_long_name_for_undated"),),
        milestones=(
            Milestone(name="first", track="an_unusually_named_track", state="y", repeats=True, between="x"),
            Milestone(name="a_milestone_of_many_words", track="an_unusually_named_track", state="z"),
        ),
    )
    picture = tool("lifecycle_picture", monkeypatch).picture
    for lifecycle in (crowded, *map(built_in, built_in_names())):
        drawn = picture(lifecycle)
        width = float(re.search(r'width="([\d.]+)"', drawn)[1])  # type: ignore[index]
        boxes = boxes_of(drawn)
        for number, (left, top, right, bottom, text) in enumerate(boxes):
            assert left >= 0, f"{lifecycle.name}: {text} leaves the picture"
            assert right <= width, f"{lifecycle.name}: {text} leaves the picture"
            for other in boxes[number + 1 :]:
                apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
                assert apart, f"{lifecycle.name}: {text!r} overlaps {other[4]!r}"


def test_checking_says_which_file_differs_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = tool("draw_lifecycles", monkeypatch)
    assert draw.main(["--check"]) == 0
    assert capsys.readouterr().out == ""
    made = {DOCS / "contest.svg": "something else"}
    monkeypatch.setattr(draw, "written", lambda: made)
    assert draw.main(["--check"]) == 1
    assert capsys.readouterr().out == "differs: docs/lifecycles/contest.svg\n"
    assert (DOCS / "contest.svg").read_text(encoding="utf-8") != "something else"
    assert draw.main(["--nonsense"]) == 2
