"""Lifecycles are read strictly from plain values and TOML, and survive being written and read again."""

from __future__ import annotations

import json
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.errors import InvalidLifecycle
from duly.lifecycles.reader import built_in, built_in_names, lifecycle_from_plain, lifecycle_from_toml
from duly.model.dates import Side
from duly.model.lifecycle import UNSET, CatchUp, Headline, Lifecycle, Milestone, Policy, Track

TOML = """
name = "job"
zone = "Europe/Berlin"
catch_up = { policy = "latest", window_hours = 36 }

[tracks.work]
before = "idle"

[[milestones]]
name = "begin"
track = "work"
state = "busy"

[[milestones]]
name = "stop"
field = "stopped_at"
track = "work"
state = "done"
side = "closing"
catch_up = { window_hours = "unlimited", born_late = true }

[[headline]]
status = "draft/draft"
undated = ["begin"]

[[headline]]
status = "ongoing/work"
when = { work = ["busy"] }

[[headline]]
status = "completed/done"
"""

JOB = Lifecycle(
    name="job",
    zone="Europe/Berlin",
    catch_up=CatchUp(policy=Policy.LATEST, window=timedelta(hours=36)),
    tracks=(Track("work", before="idle"),),
    milestones=(
        Milestone(name="begin", track="work", state="busy"),
        Milestone(
            name="stop",
            field="stopped_at",
            track="work",
            state="done",
            side=Side.CLOSING,
            catch_up=CatchUp(window=None, born_late=True),
        ),
    ),
    headline=(
        Headline("draft/draft", undated=("begin",)),
        Headline("ongoing/work", when={"work": ("busy",)}),
        Headline("completed/done"),
    ),
)


def plain(**parts: Any) -> dict[str, Any]:
    """Return a small definition with these parts."""
    begin = {"name": "begin", "track": "work", "state": "busy"}
    return {"name": "job", "tracks": {"work": {"before": "idle"}}, "milestones": [begin], **parts}


def refusal(**parts: Any) -> str:
    """Return the message with which a definition of these parts is refused."""
    with pytest.raises(InvalidLifecycle) as refused:
        lifecycle_from_plain(plain(**parts))
    return str(refused.value)


def of_milestone(**parts: Any) -> str:
    """Return the message with which a definition is refused whose only milestone has these parts."""
    return refusal(milestones=[{"name": "begin", "track": "work", "state": "busy", **parts}])


# ------------------------------------------------------------------------------------------- what is accepted


def test_toml_and_python_declare_the_same_lifecycle() -> None:
    assert lifecycle_from_toml(TOML) == JOB
    assert lifecycle_from_toml(TOML).hash == JOB.hash


def test_what_is_left_out_has_its_default() -> None:
    read = lifecycle_from_plain(plain())
    assert read == Lifecycle(
        name="job",
        tracks=(Track("work", before="idle"),),
        milestones=(Milestone(name="begin", track="work", state="busy"),),
    )


@pytest.mark.parametrize("name", built_in_names())
def test_those_that_ship_survive_being_written_as_json_and_read_again(name: str) -> None:
    shipped = built_in(name)
    read = lifecycle_from_plain(json.loads(json.dumps(shipped.to_json())))
    assert read == shipped
    assert read.hash == shipped.hash


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TOML.encode())
    assert lifecycle_from_toml(path) == JOB


def test_keys_of_one_table_may_come_in_any_order() -> None:
    backwards = dict(reversed(JOB.to_json().items()))
    assert lifecycle_from_plain(backwards).hash == JOB.hash


words = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
windows = st.one_of(st.just(UNSET), st.none(), st.timedeltas(min_value=timedelta(0), max_value=timedelta.max))
catch_ups = st.builds(
    CatchUp,
    policy=st.none() | st.sampled_from(Policy),
    window=windows,
    born_late=st.none() | st.booleans(),
)


@st.composite
def milestones(draw: st.DrawFn, name: str, tracks: list[str], earlier: list[str]) -> Milestone:
    """Draw one milestone; what it names are tracks and earlier milestones that exist."""
    track = draw(st.none() | st.sampled_from(tracks))
    repeats = draw(st.booleans())
    manual = draw(st.booleans())
    anchored = bool(earlier) and not manual and draw(st.booleans())
    return Milestone(
        name=name,
        title=draw(st.text(max_size=20)),
        field="" if manual else draw(st.sampled_from(["", f"{name}_at"])),
        track=track,
        state=draw(words) if track else None,
        side=draw(st.sampled_from(Side)),
        default=f"{draw(st.sampled_from(earlier))} - {draw(st.integers(1, 99))} hours" if anchored else None,
        default_if=draw(st.sampled_from(earlier)) if anchored and draw(st.booleans()) else None,
        implied=track is not None and draw(st.booleans()),
        between=draw(words) if track and repeats and draw(st.booleans()) else None,
        until=draw(st.sampled_from(earlier)) if anchored and track is None and draw(st.booleans()) else None,
        manual=manual,
        repeats=repeats,
        required=not manual and draw(st.booleans()),
        catch_up=draw(catch_ups),
    )


@st.composite
def lifecycles(draw: st.DrawFn) -> Lifecycle:
    """Draw a lifecycle that makes sense."""
    tracks = draw(st.lists(words, min_size=1, max_size=3, unique=True))
    names = draw(st.lists(words.map("m_{}".format), min_size=1, max_size=4, unique=True))
    made = tuple(draw(milestones(name, tracks, names[:place])) for place, name in enumerate(names))
    conditional = Headline("draft/draft", undated=tuple(draw(st.lists(st.sampled_from(names), min_size=1))))
    last = Headline("upcoming/always")
    rules = [(last,), (conditional, last)]
    if any(m.track == tracks[0] and m.state != "before" for m in made):  # or else the last is never reached
        first = Headline("ongoing/first", when={tracks[0]: ("before",)})
        rules += [(first, last), (conditional, first, last)]
    return Lifecycle(
        name=draw(words),
        title=draw(st.text(max_size=20)),
        description=draw(st.text(max_size=20)),
        zone=draw(st.sampled_from([None, "AoE", "UTC+5:30", "Europe/Berlin"])),
        tracks=tuple(Track(name, before="before", undated=draw(st.just("") | words)) for name in tracks),
        milestones=made,
        headline=draw(st.sampled_from(rules)),
        catch_up=draw(catch_ups),
    )


@given(lifecycles())
def test_every_lifecycle_survives_being_written_and_read_again(lifecycle: Lifecycle) -> None:
    read = lifecycle_from_plain(json.loads(json.dumps(lifecycle.to_json())))
    assert read.hash == lifecycle.hash
    assert read.tracks == lifecycle.tracks
    assert read.headline == lifecycle.headline
    assert [m.name for m in read.milestones] == [m.name for m in lifecycle.milestones]


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650)))
def test_a_catch_up_window_comes_back_to_the_microsecond(window: timedelta) -> None:
    written = CatchUp(window=window).to_json()
    assert lifecycle_from_plain(plain(catch_up=written)).catch_up.window == window


# -------------------------------------------------------------------------------------------- unknown keys


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"tittle": ""}, "lifecycle: unknown key 'tittle'; did you mean 'title'?"),
        ({"milestone": []}, "lifecycle: unknown key 'milestone'; did you mean 'milestones'?"),
        ({"states": []}, "lifecycle: unknown key 'states'; "),
        ({1: 2}, "lifecycle: unknown key 1; known: name, title, description, zone, catch_up"),
        (
            {"tracks": {"work": {"befor": "x"}}},
            "lifecycle, track 'work': unknown key 'befor'; did you mean 'before'?",
        ),
        (
            {"catch_up": {"hours": 3}},
            "lifecycle, catch_up: unknown key 'hours'; known: policy, window_hours, born_late",
        ),
        (
            {"headline": [{"status": "a/b", "wen": {}}]},
            "lifecycle, headline 1 ('a/b'): unknown key 'wen'; did you mean 'when'?",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(parts: dict[Any, Any], message: str) -> None:
    with pytest.raises(InvalidLifecycle) as refused:
        lifecycle_from_plain({**plain(), **parts})
    assert str(refused.value).startswith(message)


def test_an_unknown_key_of_a_milestone_is_refused_with_number_and_name() -> None:
    assert of_milestone(manuel=True) == (
        "lifecycle, milestones 1 ('begin'): unknown key 'manuel'; did you mean 'manual'?"
    )


@pytest.mark.parametrize("key", ["name", "tracks", "milestones"])
def test_what_a_lifecycle_needs_must_be_there(key: str) -> None:
    lacking = {name: value for name, value in plain().items() if name != key}
    with pytest.raises(InvalidLifecycle, match=f"^lifecycle: '{key}' is missing$"):
        lifecycle_from_plain(lacking)


def test_what_its_parts_need_must_be_there() -> None:
    assert refusal(tracks={"work": {}}) == "lifecycle, track 'work': 'before' is missing"
    assert refusal(milestones=[{}]) == "lifecycle, milestones 1: 'name' is missing"
    assert refusal(headline=[{}]) == "lifecycle, headline 1: 'status' is missing"


# --------------------------------------------------------------------------------------------- wrong types


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"name": 5}, "lifecycle, name: must be a text, not 5"),
        ({"title": None}, "lifecycle, title: must be a text, not None"),
        ({"zone": 5}, "lifecycle, zone: must be a text, not 5"),
        ({"tracks": ["work"]}, "lifecycle, tracks: must be a table of tracks, each with its 'before'"),
        ({"tracks": {"work": "idle"}}, "lifecycle, track 'work': must be a table of keys and values, not 'idle'"),
        ({"tracks": {5: {"before": "idle"}}}, "lifecycle, tracks, name: must be a text, not 5"),
        ({"milestones": {"begin": {}}}, "lifecycle, milestones: must be a list of tables, not dict"),
        ({"milestones": ["begin"]}, "lifecycle, milestones 1: must be a table of keys and values, not 'begin'"),
        ({"headline": "upcoming"}, "lifecycle, headline: must be a list of tables, not 'upcoming'"),
        ({"catch_up": "all"}, "lifecycle, catch_up: must be a table of keys and values, not 'all'"),
        (
            {"headline": [{"status": "a/b", "when": ["work"]}]},
            "lifecycle, headline 1 ('a/b'), when: must be a table of",
        ),
        (
            {"headline": [{"status": "a/b", "when": {"work": "busy"}}]},
            "lifecycle, headline 1 ('a/b'), when, work: must be a list of texts: [\"ended\"], not 'busy'",
        ),
        (
            {"headline": [{"status": "a/b", "undated": ["begin", date(2026, 5, 1)]}]},
            "lifecycle, headline 1 ('a/b'), undated 2: must be a text, not date",
        ),
        ({"headline": [{"status": 3}]}, "lifecycle, headline 1, status: must be a text, not 3"),
    ],
)
def test_a_wrong_type_is_refused_with_its_place(parts: dict[str, Any], message: str) -> None:
    assert refusal(**parts).startswith(message)


@pytest.mark.parametrize("value", ["yes", 1, 0, None, "true"])
def test_a_flag_is_true_or_false_and_nothing_like_it(value: object) -> None:
    assert of_milestone(repeats=value).startswith(
        "lifecycle, milestones 1 ('begin'), repeats: must be true or false, not "
    )


def test_a_side_and_a_policy_are_among_those_that_there_are() -> None:
    assert of_milestone(side="left") == (
        "lifecycle, milestones 1 ('begin'), side: must be one of opening, closing, not 'left'"
    )
    assert of_milestone(catch_up={"policy": ["all"]}) == (
        "lifecycle, milestones 1 ('begin'), catch_up, policy: "
        "must be one of all, current, latest, none, park, not list"
    )


@pytest.mark.parametrize(
    "hours", [-1, -0.001, True, "24", "24h", None, float("nan"), float("inf"), [24], {"hours": 24}]
)
def test_bad_input_81_a_window_is_a_number_of_hours_or_unlimited(hours: object) -> None:
    assert refusal(catch_up={"window_hours": hours}).startswith(
        'lifecycle, catch_up, window_hours: must be a number of hours from zero up, or "unlimited", not '
    )


@pytest.mark.parametrize("hours", [10**18, 1e300, 10**5000], ids=["many", "more", "digits"])
def test_a_window_beyond_counting_is_refused(hours: float) -> None:
    assert refusal(catch_up={"window_hours": hours}).startswith(
        'lifecycle, catch_up, window_hours: is more hours than can be counted; write "unlimited", not '
    )


@pytest.mark.parametrize("given_value", [None, "x", 3, [], [("name", "job")]])
def test_what_is_no_table_at_all_is_refused(given_value: Any) -> None:
    with pytest.raises(InvalidLifecycle, match=r"^lifecycle: must be a table of keys and values, not "):
        lifecycle_from_plain(given_value)


def test_a_long_or_wild_value_is_shown_short_and_harmless() -> None:
    said = of_milestone(side="\x1b[31m" + "x" * 1000)
    assert "\\x1b[31mxxx" in said
    assert "\x1b" not in said
    assert len(said) < 200


# ----------------------------------------------------------------------------------------- contradictions


def test_a_definition_that_contradicts_itself_is_refused_with_its_place() -> None:
    assert of_milestone(track="play") == "lifecycle 'job', milestone 'begin': unknown track 'play'; it has: work"
    with pytest.raises(InvalidLifecycle, match=r"^jobs\.yaml: lifecycle 'job', milestone 'begin': unknown track"):
        lifecycle_from_plain(
            plain(milestones=[{"name": "begin", "track": "play", "state": "fun"}]), where="jobs.yaml"
        )


def test_a_default_that_cannot_be_read_is_an_invalid_lifecycle_too() -> None:
    assert "milestone 'begin', default" in of_milestone(default="soon enough")


# -------------------------------------------------------------------------------------------- text and files


@pytest.mark.parametrize(
    "text", ["name = ", "name: job", "[[[", "a = 1\na = 2", '{"name": "job"}', "x = " + "[" * 5000]
)
def test_what_is_not_toml_is_refused(text: str) -> None:
    with pytest.raises(InvalidLifecycle, match=r"^lifecycle: this is not TOML: "):
        lifecycle_from_toml(text)


def test_a_path_given_as_text_is_told_how_to_be_given() -> None:
    with pytest.raises(InvalidLifecycle, match=r"this is not TOML: .*; to read a file, pass Path\('my/job\.toml'\)$"):
        lifecycle_from_toml("my/job.toml")


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(TOML.replace("before", "befor"))
    with pytest.raises(InvalidLifecycle) as refused:
        lifecycle_from_toml(path)
    assert str(refused.value) == f"{path}, track 'work': unknown key 'befor'; did you mean 'before'?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"name = '\xff'", "byte 8 is not UTF-8, which TOML must be"),
        (b"# " + b"x" * 1_000_000, "larger than 1,000,000 bytes, so no lifecycle"),
        (b"name =", "this is not TOML: "),
        (b"", "'name' is missing"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "job.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidLifecycle) as refused:
        lifecycle_from_toml(path)
    assert str(refused.value).startswith(f"{path}: {message}")


def test_a_folder_is_no_lifecycle(tmp_path: Path) -> None:
    with pytest.raises(InvalidLifecycle, match="cannot be read: Is a directory"):
        lifecycle_from_toml(tmp_path)


def test_bad_input_88_a_device_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(InvalidLifecycle, match="larger than 1,000,000 bytes"):
        lifecycle_from_toml(Path(os.devnull).with_name("zero"))
