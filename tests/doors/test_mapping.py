"""MAP.toml: foreign lists of records become events, by declaration only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from duly.errors import InvalidSource
from duly.model.event import Event, Hold
from duly.sources.loading import Loaded, Reading, load_events
from duly.sources.mapping import read_map
from duly.sources.templates import Template, slug

MINIMAL = 'id = "id"\nlifecycle = "conference"\n'
RACES = """
name = "races"
[tracks.day]
before = "ahead"
[[milestones]]
name = "practice"
track = "day"
state = "practice"
repeats = true
[[milestones]]
name = "race"
track = "day"
state = "race"
repeats = true
[[milestones]]
name = "end"
track = "day"
state = "over"
[[milestones]]
name = "protest"
track = "day"
state = "disputed"
manual = true
"""


def load(folder: Path, map_text: str, content: Any, *, name: str = "list.json", zone: str | None = None) -> Loaded:
    (folder / "map.toml").write_text(map_text)
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_events([path], map=folder / "map.toml", reading=Reading(zone=zone))


def event_of(folder: Path, map_text: str, record: Any) -> Event:
    loaded = load(folder, map_text, [record])
    assert loaded.refused == ()
    return loaded.events[0]


def reason_of(folder: Path, map_text: str, record: Any) -> str:
    loaded = load(folder, map_text, [record])
    assert loaded.events == ()
    return loaded.refused[0].reason


def refusal_of(folder: Path, map_text: str) -> str:
    path = folder / "map.toml"
    path.write_text(map_text)
    with pytest.raises(InvalidSource) as refusal:
        read_map(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert "pydantic" not in message
    return message.removeprefix(f"{path}: ")


# -------------------------------------------------------------------------------------------- templates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Grand Prix of Spa", "grand-prix-of-spa"),
        ("  Ünïcode & Ünder_score!  ", "ünïcode-ünder-score"),
        ("Women's Day", "womens-day"),
        ("https://www.example.org/a/?b=1", "example-org-a-b-1"),
        ("http://example.org", "example-org"),
        ("世界 会议", "世界-会议"),
    ],
)
def test_a_slug_has_only_letters_digits_and_hyphens(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_a_template_fills_fields_within_fields_the_file_and_filters() -> None:
    scope = {"title": "Pre Fix", "year": 2026, "place": {"city": "Bonn"}, "file": {"stem": "f1"}, "a.b": "x"}
    template = Template.read("{file.stem}/{title|slug}-{year}-{place.city|lower}-{a.b}")
    assert template.value(scope, what="id") == "f1/pre-fix-2026-bonn-x"
    assert Template.read("place.city").value(scope, what="x") == "Bonn"
    assert Template.read("year").value(scope, what="x") == 2026


def test_a_template_without_any_of_its_fields_says_nothing_and_with_some_is_refused() -> None:
    template = Template.read("{day} {time}")
    assert template.value({"day": None, "time": " "}, what="start") is None
    with pytest.raises(InvalidSource, match=r"^start: the field 'time' is missing$"):
        template.value({"day": "2026-01-01"}, what="start")


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {"a": 1}])
def test_only_text_and_whole_numbers_fill_a_template(value: object) -> None:
    with pytest.raises(InvalidSource, match=r"^id: \{a\} cannot be filled with "):
        Template.read("x{a}").value({"a": value}, what="id")


def test_a_filter_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InvalidSource, match=r"cannot be filled with '!!!'"):
        Template.read("x-{a|slug}").value({"a": "!!!"}, what="id")


@pytest.mark.parametrize(
    "text",
    ["{0.__class__}", "{__class__.__mro__}", "{title.__class__}", "{title!r}", "{title:>99999999}", "{title[0]}"],
)
def test_bad_input_64_a_template_reaches_nothing_but_fields(text: str) -> None:
    assert Template.read(text).value({"title": "x"}, what="id") is None
    assert Template.read("{title}" + text).value({"title": "x", text[1:-1]: "field"}, what="id") == "xfield"


@pytest.mark.parametrize("text", ["{", "}", "{}", "{{a}}", "{a", "a}", "{a|}", "{|slug}"])
def test_a_stray_brace_is_refused(text: str) -> None:
    with pytest.raises(InvalidSource, match="has a stray brace"):
        Template.read(text)


# -------------------------------------------------------------------------------------------- the map


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'id' is missing"),
        ('id = "a"\nlifecycel = "contest"', "unknown key 'lifecycel'; did you mean 'lifecycle'?"),
        ('id = "a"\nid = "b"', "this is not TOML"),
        ('idd = "a"', "unknown key 'idd'; did you mean 'id'?"),
        ("id = 5", "id: Input should be a valid string"),
        ('id = ""', "id: "),
        ('id = "{a"', "id: '{a' has a stray brace"),
        ('id = "{a|upper}"', "id: '{a|upper}' has the unknown filter 'upper'; known: slug, lower"),
        ('id = "a"\nlifecycle = "confrence"', "no lifecycle named 'confrence' ships with Duly"),
        ('id = "a"\nlifecycle = "none.toml"', "cannot be read"),
        ('id = "a"\n[dates]\nstart = "s"', "dates: lifecycle 'campus_event' has no milestone 'start'"),
        ('id = "a"\n[dates]\n"event_start#2" = "s"', "does not repeat"),
        ('id = "a"\n[hold]\ncanceled = "x"', "hold.canceled"),
        ('id = "a"\nduplicates = "last"', "duplicates: Input should be 'refuse' or 'merge'"),
        ('id = "a"\nin_order = ["x"]', "in_order: 'x' is no milestone"),
        ('id = "a"\n[sessions]\nfields = "s"', "unknown key 'sessions.fields'; did you mean 'field'?"),
        ('id = "a"\n[sessions]\nfield = "s"', "'sessions.milestones' is missing"),
        ('id = "a"\n[sessions]\nfield = "s"\n[sessions.milestones]\nx = ["y"]', "sessions: 'x' is no milestone"),
        (
            'id = "a"\n[sessions]\nfield = "s"\n[sessions.milestones]\nevent_start = ["y", "z"]',
            "sessions: event_start does not repeat",
        ),
        (
            'id = "a"\n[sessions]\nfield = "s"\n[sessions.milestones]\nevent_start = ["y"]\nevent_end = ["y"]',
            "sessions: 'y' is both event_start and event_end",
        ),
    ],
)
def test_a_map_that_makes_no_sense_is_refused_before_any_record_is_read(tmp_path: Path, text: str, said: str) -> None:
    found = refusal_of(tmp_path, text)
    assert said in found


def test_a_manual_milestone_takes_no_date(tmp_path: Path) -> None:
    (tmp_path / "races.toml").write_text(RACES)
    said = refusal_of(tmp_path, 'id = "a"\nlifecycle = "races.toml"\n[dates]\nprotest = "p"')
    assert "protest is a manual milestone" in said


def test_a_record_becomes_an_event_by_its_map(tmp_path: Path) -> None:
    text = """
        lifecycle = "conference"
        id = "{title|slug}-{year}"
        name = "{title} {year}"
        zone = "tz"
        created_at = "listed"
        undated = ["TBA"]
        [dates]
        abstract_deadline = "abstract"
        paper_deadline = "{day} {time}"
        "paper_deadline#2" = "second"
        event_start = "{start} UTC"
        event_end = "{end} UTC"
        [hold]
        cancelled = "off"
    """
    record = {
        "title": "Pre Fix",
        "year": 2026,
        "tz": "Europe/Berlin",
        "listed": "2025-01-01 00:00",
        "abstract": "tba",
        "day": "2026-03-01",
        "time": "23:59",
        "second": "",
        "start": "2026-09-01",
        "end": "TBA",
        "off": False,
        "place": "Bonn",
    }
    event = event_of(tmp_path, text, record)
    assert (event.id, event.name, event.lifecycle, event.zone) == (
        "pre-fix-2026",
        "Pre Fix 2026",
        "conference",
        "Europe/Berlin",
    )
    assert event.dates == {"paper_deadline": "2026-03-01 23:59", "event_start": "2026-09-01 UTC"}
    assert event.created_at is not None
    assert event.created_at.isoformat() == "2024-12-31T23:00:00+00:00"
    assert event.hold is Hold.ACTIVE
    assert event.data == {"title": "Pre Fix", "year": 2026, "place": "Bonn"}
    assert event_of(tmp_path, text, {**record, "off": True}).hold is Hold.CANCELLED
    assert "off must be true or false, not 'perhaps'" in reason_of(tmp_path, text, {**record, "off": "perhaps"})
    assert "the field 'time' is missing" in reason_of(tmp_path, text, {**record, "time": None})


def test_a_date_may_name_the_field_of_the_lifecycle(tmp_path: Path) -> None:
    text = 'id = "id"\ndefault_zone = "UTC"\n[dates]\nstart_datetime = "begins"\nevent_end = "ends"\n'
    event = event_of(tmp_path, text, {"id": 5, "begins": "2026-01-01", "ends": "2026-01-02"})
    assert event.id == "5"
    assert event.dates == {"start_datetime": "2026-01-01", "event_end": "2026-01-02"}


def test_data_may_be_picked(tmp_path: Path) -> None:
    record = {"id": "a", "city": "Bonn", "geo": {"lat": 1.5}, "other": 1}
    assert event_of(tmp_path, MINIMAL, record).data == {"city": "Bonn", "geo": {"lat": 1.5}, "other": 1}
    picked = event_of(tmp_path, MINIMAL + 'data = ["city", "geo.lat", "none"]\n', record)
    assert picked.data == {"city": "Bonn", "geo.lat": 1.5}
    assert event_of(tmp_path, MINIMAL + "data = []\n", record).data == {}


def test_a_number_may_be_a_name_and_a_number_is_no_record(tmp_path: Path) -> None:
    loaded = load(tmp_path, MINIMAL + 'name = "year"\n', [{"id": "a", "year": 1984}, 1984])
    assert [event.name for event in loaded.events] == ["1984"]
    assert loaded.refused[0].reason == "a record must have names and values, not 1984"


def test_the_zone_is_the_records_then_the_maps_then_the_callers(tmp_path: Path) -> None:
    record = {"id": "a", "tz": ""}
    text = MINIMAL + 'zone = "tz"\n'
    assert load(tmp_path, text, [{**record, "tz": "UTC+1"}], zone="UTC").events[0].zone == "UTC+1"
    assert load(tmp_path, text + 'default_zone = "UTC+2"\n', [record], zone="UTC").events[0].zone == "UTC+2"
    assert load(tmp_path, text, [record], zone="UTC").events[0].zone == "UTC"
    assert load(tmp_path, text, [record]).events[0].zone is None


def test_sessions_become_rounds_in_the_order_of_the_record(tmp_path: Path) -> None:
    (tmp_path / "races.toml").write_text(RACES)
    text = """
        id = "{file.parent}/{file.stem}/{n}"
        lifecycle = "races.toml"
        records = "season.races"
        undated = ["TBA"]
        [dates]
        end = "{last.race} + 3 hours"
        [sessions]
        field = "sessions"
        [sessions.milestones]
        practice = ["fp1", "fp2"]
        race = ["race1", "race2"]
    """
    first = {
        "fp1": "2026-01-01T10:00Z",
        "fp2": "2026-01-01T12:00Z",
        "race1": "2026-01-02T10:00Z",
        "race2": "2026-01-03T10:00Z",
    }
    races = [
        {"n": 1, "sessions": first},
        {"n": 2, "sessions": {"fp1": "TBA", "fp2": "2026-02-01T12:00Z", "race1": None}},
        {"n": 3},
        {"n": 4, "sessions": {"fp3": "2026-01-01T10:00Z"}},
        {"n": 5, "sessions": ["fp1"]},
        {"n": 6, "sessions": {"fp2": "2026-01-02T10:00Z", "fp1": "2026-01-01T10:00Z"}},
    ]
    loaded = load(tmp_path, text, {"season": {"races": races}})
    folder = tmp_path.name
    assert [event.id for event in loaded.events] == [f"{folder}/list/1", f"{folder}/list/2", f"{folder}/list/3"]
    assert loaded.events[0].dates == {
        "practice": first["fp1"],
        "practice#2": first["fp2"],
        "race": first["race1"],
        "race#2": first["race2"],
        "end": "race#2 + 3 hours",
    }
    assert loaded.events[1].dates == {"practice": "2026-02-01T12:00Z"}
    assert [lifecycle.name for lifecycle in loaded.lifecycles] == ["races"]
    reasons = [refused.reason for refused in loaded.refused]
    assert "sessions has the unknown 'fp3'; did you mean 'fp2'?" in reasons[0]
    assert "sessions must be a table" in reasons[1]
    assert "practice#2 (2026-01-01 10:00 UTC) is before practice" in reasons[2]


def test_the_list_must_be_where_the_map_says(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="has no 'races', where the map says"):
        load(tmp_path, MINIMAL + 'records = "races"\n', [{"id": "a"}])
    with pytest.raises(InvalidSource, match="'records' of the map says where"):
        load(tmp_path, MINIMAL, {"conferences": []})
    assert load(tmp_path, MINIMAL, {"events": [{"id": "a"}]}).records == 1


def test_a_table_is_read_row_by_row(tmp_path: Path) -> None:
    text = MINIMAL + '[dates]\npaper_deadline = "due"\n[hold]\npostponed = "later"\n'
    loaded = load(tmp_path, text, "id;due;later\na;2026-01-01;yes\nb;;no\n;;\n;2026-01-01;\nc\n", name="list.csv")
    assert [(event.id, event.hold) for event in loaded.events] == [("a", "postponed"), ("b", "active")]
    assert [(refused.place[-6:], refused.reason) for refused in loaded.refused] == [
        ("line 5", "the record has no id: id is missing"),
        ("line 6", "the row has 1 cells where the header has 3"),
    ]


def test_two_holds_at_once_are_refused(tmp_path: Path) -> None:
    text = MINIMAL + '[hold]\npostponed = "p"\ncancelled = "c"\n'
    assert "it cannot be postponed and cancelled at once" in reason_of(
        tmp_path, text, {"id": "a", "p": True, "c": "1"}
    )


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"id": ["a"]}, "id must be text"),
        ({"id": "a", "title": ["x"]}, "event 'a': name must be text, not ['x']"),
        ({"id": "a", "title": "x\ny"}, "a control character"),
        ({"id": " a"}, "begins or ends with a blank"),
    ],
)
def test_a_record_that_makes_no_event_is_refused(tmp_path: Path, record: Any, said: str) -> None:
    assert said in reason_of(tmp_path, MINIMAL + 'name = "title"\n', record)


def test_milestones_that_the_map_wants_in_order_are_checked(tmp_path: Path) -> None:
    text = MINIMAL + (
        'default_zone = "UTC"\nin_order = ["paper_deadline", "event_start"]\n'
        '[dates]\npaper_deadline = "p"\n"paper_deadline#2" = "q"\nevent_start = "s"\n'
    )
    good = {"id": "a", "p": "2026-01-01", "q": "2026-02-01", "s": "2026-03-01"}
    assert event_of(tmp_path, text, good).id == "a"
    assert event_of(tmp_path, text, {"id": "a", "s": "2026-03-01"}).id == "a"
    assert reason_of(tmp_path, text, {**good, "s": "2026-01-15"}) == (
        "event 'a': event_start (2026-01-15 00:00 UTC) is before paper_deadline#2 (2026-02-02 00:00 UTC)"
    )


# ----------------------------------------------------------------------------------------- duplicates


def test_records_that_complete_each_other_are_merged_if_the_map_says_so(tmp_path: Path) -> None:
    text = MINIMAL + 'name = "title"\n[dates]\npaper_deadline = "due"\nevent_start = "start"\n'
    records = [
        {"id": "a", "start": "2026-03-01", "city": "Bonn"},
        {"id": "a", "title": "A", "due": "2026-01-01", "start": "2026-03-01", "tag": "x"},
        {"id": "a", "start": "2026-03-01"},
    ]
    assert len(load(tmp_path, text, records).refused) == 3
    loaded = load(tmp_path, 'duplicates = "merge"\n' + text, records)
    assert (loaded.refused, loaded.repeated, len(loaded.events)) == ((), 2, 1)
    event = loaded.events[0]
    assert event.name == "A"
    assert event.dates == {"event_start": "2026-03-01", "paper_deadline": "2026-01-01"}
    assert event.data == {"city": "Bonn", "tag": "x"}


def test_merging_never_chooses_between_two_dates(tmp_path: Path) -> None:
    text = 'duplicates = "merge"\n' + MINIMAL + '[dates]\nevent_start = "start"\n'
    loaded = load(tmp_path, text, [{"id": "a", "start": "2026-03-01"}, {"id": "a", "start": "2026-04-01"}])
    assert loaded.events == ()
    assert [refused.place[-8:] for refused in loaded.refused] == ["record 1", "record 2"]
    assert "another date of event_start" in loaded.refused[0].reason


def test_merging_lets_the_first_stand_where_only_data_contradict(tmp_path: Path) -> None:
    text = 'duplicates = "merge"\n' + MINIMAL
    loaded = load(tmp_path, text, [{"id": "a", "city": "Bonn"}, {"id": "a", "city": "Rome"}])
    assert [event.data for event in loaded.events] == [{"city": "Bonn"}]
    assert "another city; the first stands" in loaded.refused[0].reason


# -------------------------------------------------------------------------------------------- the guide


def test_the_example_of_the_guide_does_what_the_guide_says(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "importing.md").read_text()
    parts = {kind: re.search(rf"```{kind}\n(.*?)```", guide, re.DOTALL) for kind in ("csv", "toml", "text")}
    table, map_text, report = (part[1] for part in parts.values() if part is not None)
    loaded = load(tmp_path, map_text, table, name="talks.csv")
    assert [event.id for event in loaded.events] == ["pre-fix-2026", "post-fix-2026"]
    assert set(loaded.events[0].dates) == {"paper_deadline", "event_start", "event_end"}
    assert set(loaded.events[1].dates) == {"event_start", "event_end"}
    said = [f"{refused.place.removeprefix(f'{tmp_path}/')}: {refused.reason}" for refused in loaded.refused]
    assert said == report.splitlines()


def test_the_guide_names_every_key_of_a_map() -> None:
    from duly.sources.map_file import MapFile

    guide = (Path(__file__).parents[2] / "docs" / "guide" / "importing.md").read_text()
    rows = re.findall(r"^\| `\[?(\w+)\]?` \|", guide, re.MULTILINE)
    assert sorted(rows) == sorted(MapFile.model_fields)


def test_the_example_of_an_event_file_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "event-files.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    (tmp_path / "campus.yaml").write_text(example[1])
    loaded = load_events([tmp_path / "campus.yaml"])
    assert loaded.refused == ()
    assert [(event.id, event.zone, len(event.dates)) for event in loaded.events] == [
        ("ARRCOSTU2025", "Europe/Berlin", 4),
        ("prefix-2026", "AoE", 3),
    ]
