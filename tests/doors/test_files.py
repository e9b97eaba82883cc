"""Files in: YAML, JSON, TOML and CSV, each strictly. Bad inputs 85, 86, 88, 89 and 90."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duly.errors import InvalidSource, InvalidZone
from duly.sources import files
from duly.sources.files import Row, find_files, read_document
from duly.sources.loading import Reading, load_events

DEFINITION = """
lifecycles:
  - name: lecture
    tracks: {talk: {before: planned}}
    milestones:
      - {name: begin, track: talk, state: on, field: starts}
      - {name: finish, track: talk, state: over, side: closing}
"""


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def content_of(folder: Path, name: str, content: str | bytes) -> Any:
    return read_document(written(folder, name, content)).content


def refusal_of(folder: Path, name: str, content: str | bytes) -> str:
    path = written(folder, name, content)
    with pytest.raises(InvalidSource) as refusal:
        read_document(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


# ------------------------------------------------------------------------------------------------ YAML


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("1:30", "1:30"),
        ("22:22", "22:22"),
        ("2024-11-12", "2024-11-12"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("42", 42),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("007", "007"),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("'42'", "42"),
        ('"true"', "true"),
        ("!!str 42", "42"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_bad_input_85_yaml_words_are_what_they_look_like(tmp_path: Path, text: str, expected: object) -> None:
    found = content_of(tmp_path, "a.yaml", f"value: {text}\n")["value"]
    assert found == expected
    assert type(found) is type(expected)


def test_bad_input_85_keys_of_yaml_are_text_as_written(tmp_path: Path) -> None:
    assert content_of(tmp_path, "a.yaml", "no: 1\n2024: 2\n1:30: 3\n") == {"no": 1, "2024": 2, "1:30": 3}


def test_bad_input_85_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    said = refusal_of(tmp_path, "a.yaml", "id: a\nname: x\nid: b\n")
    assert said == "line 3: the key 'id' is there twice (the mapping begins in line 1)"
    assert "line 1: the key 'a'" in refusal_of(tmp_path, "a.yaml", "[{a: 1, a: 2}]")


def test_bad_input_85_a_tab_is_named(tmp_path: Path) -> None:
    said = refusal_of(tmp_path, "a.yaml", "events:\n\t- id: a\n")
    assert said == "line 2: a tab cannot indent YAML; use spaces"


@pytest.mark.parametrize(
    "tag", ["!!python/object:os.system", "!!python/name:os.system", "!!timestamp", "!!int", "!own", "!!binary"]
)
def test_bad_input_85_tags_are_refused(tmp_path: Path, tag: str) -> None:
    assert "line 2: the tag " in refusal_of(tmp_path, "a.yaml", f"a: 1\nb: {tag} x\n")
    assert "is not allowed" in refusal_of(tmp_path, "a.yaml", f"a: 1\nb: {tag} [x]\n")


def test_bad_input_85_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    said = refusal_of(tmp_path, "a.yaml", "\n".join(["l0: &l0 [lol, lol]", *levels]))
    assert "the aliases grow beyond 1,000,000 values" in said


def test_bad_input_85_a_value_cannot_contain_itself(tmp_path: Path) -> None:
    assert "a value cannot contain itself" in refusal_of(tmp_path, "a.yaml", "a: &a [*a]")
    assert "*b names no value before it" in refusal_of(tmp_path, "a.yaml", "a: *b")


def test_aliases_and_merges_may_save_writing(tmp_path: Path) -> None:
    text = "base: &base {zone: UTC, kind: x}\nevents:\n  - {<<: *base, id: a, kind: y}\n  - {<<: [*base], id: b}\n"
    assert content_of(tmp_path, "a.yaml", text)["events"] == [
        {"id": "a", "kind": "y", "zone": "UTC"},
        {"id": "b", "zone": "UTC", "kind": "x"},
    ]
    assert content_of(tmp_path, "a.yaml", "a: &k text\n*k : 1\n") == {"a": "text", "text": 1}
    assert "'<<' takes a mapping" in refusal_of(tmp_path, "a.yaml", "a: {<<: 5}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested deeper than 64"),
        ("? [a]\n: b\n", "a key must be text, not a list or mapping"),
        ("a: &a [1]\nb: {*a : 1}\n", "a key must be text"),
        ("a: 1\n---\nb: 2\n", "line 2: a second document begins"),
        ("a: .inf\n", "line 1: .inf is no number that can be kept"),
        ("a: .nan\n", ".nan is no number"),
        ("a: 1e999\n", "is too large a number"),
        (f"a: {'9' * 5_000}\n", "a number of 5,000 digits"),
        ("a: [1\n", "this is not YAML"),
        ("a: b: c\n", "line 1, column 5: this is not YAML: mapping values are not allowed"),
        ("a: \x07\n", "this is not YAML"),
    ],
)
def test_yaml_that_cannot_be_kept_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal_of(tmp_path, "a.yaml", text)


# ------------------------------------------------------------------------------------------------ JSON


def test_json_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    assert content_of(tmp_path, "a.json", b'\xef\xbb\xbf[{"id": "a", "n": 1.5}]') == [{"id": "a", "n": 1.5}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"id": 1, "id": 2}', "the key 'id' is there twice in one object"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("[1e400]", "1e400 is too large a number"),
        ("[" + "9" * 5_000 + "]", "a number of 5,000 digits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ', "line 1, column 7: this is not JSON"),
        ("", "line 1, column 1: this is not JSON"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal_of(tmp_path, "a.json", text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.csv", "a.toml"])
def test_bad_input_86_other_encodings_are_named(tmp_path: Path, name: str, encoding: str) -> None:
    assert "UTF-16" in refusal_of(tmp_path, name, '{"id": "a"}'.encode(encoding))


def test_bad_input_86_windows_1252_is_named_with_its_line(tmp_path: Path) -> None:
    said = refusal_of(tmp_path, "a.csv", "id,name\na,x\nb,Café\n".encode("cp1252"))
    assert said.startswith("line 3 is not UTF-8 (byte 0xE9)")
    assert "Windows-1252" in said


# ------------------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_bad_input_86_the_header_shows_the_delimiter(tmp_path: Path, delimiter: str, ending: str) -> None:
    lines = [["id", "name"], ["a", '"x, y; z"'], ["", ""], ["b", '"two\nlines"'], ["c", ""]]
    text = "\ufeff" + ending.join(delimiter.join(cells) for cells in lines) + ending
    assert content_of(tmp_path, "a.csv", text) == [
        Row(2, {"id": "a", "name": "x, y; z"}),
        Row(4, {"id": "b", "name": "two\nlines"}),
        Row(6, {"id": "c", "name": None}),
    ]


def test_bad_input_86_ragged_rows_and_repeated_headers_are_refused_one_by_one(tmp_path: Path) -> None:
    rows = content_of(tmp_path, "a.csv", "id,name\na,x\nb\nid,name\nc,y,z\nd,w\n")
    assert [(row.line, row.refusal) for row in rows] == [
        (2, ""),
        (3, "has 1 cells where the header has 2"),
        (4, "repeats the header"),
        (5, "has 3 cells where the header has 2"),
        (6, ""),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('id,name\na,x\nb,"y\nc,z\n', "line 3: a quote is opened and never closed"),
        ('id,name\na,"x"y\n', "line 2: "),
        ("Registration,,Event,\nid,opens,start,end\n", "line 1: column 2 has no name; is this a title above"),
        ("id,name,id\n", "line 1: the column 'id' is there twice"),
        ("", "is empty; its first line must name the columns"),
        ("\n\n", "is empty"),
    ],
)
def test_bad_input_86_a_table_that_cannot_be_read_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal_of(tmp_path, "a.csv", text)


# ------------------------------------------------------------------------------------- files as such


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"PK\x03\x04....", "a zip archive"), (b"\x1f\x8b...", "gzip"), (b"SQLite format 3\0", "a database")],
)
def test_bad_input_88_packed_files_are_never_unpacked(tmp_path: Path, content: bytes, said: str) -> None:
    assert f"this is {said}" in refusal_of(tmp_path, "a.json", content)


def test_bad_input_88_a_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BYTES_MAX", 2 * 1024 * 1024)
    path = written(tmp_path, "a.json", "[]")
    with path.open("r+b") as file:
        file.truncate(3 * 1024 * 1024)
    with pytest.raises(InvalidSource, match="larger than 2 MB; split it"):
        read_document(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no endless file here")
def test_bad_input_88_an_endless_file_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BYTES_MAX", 1024 * 1024)
    with pytest.raises(InvalidSource, match="larger than 1 MB"):
        read_document("/dev/zero", format="json")


def test_bad_input_90_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "a.json", "[]")
    read = files._bytes_of

    def read_while_somebody_writes(file: Any, name: str) -> bytes:
        content = read(file, name)
        path.write_bytes(b"[1]")
        return content

    monkeypatch.setattr(files, "_bytes_of", read_while_somebody_writes)
    with pytest.raises(InvalidSource, match="the file changed while it was read; read it again"):
        read_document(path)


def test_a_file_says_what_it_is_by_its_suffix_or_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "events.txt", "a,b\n1,2\n")
    with pytest.raises(InvalidSource, match="what kind of file this is, its name does not say"):
        read_document(path)
    assert read_document(path, format="csv").content == [Row(2, {"a": "1", "b": "2"})]
    with pytest.raises(InvalidSource, match="unknown format 'xml'"):
        read_document(path, format="xml")


def test_toml_is_read_or_refused(tmp_path: Path) -> None:
    assert content_of(tmp_path, "a.toml", '[[events]]\nid = "a"\n') == {"events": [{"id": "a"}]}
    assert "this is not TOML" in refusal_of(tmp_path, "a.toml", "a = 1\na = 2\n")


def test_what_is_not_there_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="there is no such file or directory"):
        list(find_files([tmp_path / "none.yaml"]))
    with pytest.raises(InvalidSource, match=r"cannot be read: Is a directory"):
        read_document(tmp_path, format="yaml")
    with pytest.raises(InvalidSource, match=r"no file in this directory ends in \.yaml"):
        list(find_files([tmp_path]))
    with pytest.raises(InvalidSource, match=r"no file in this directory matches 20\*.json"):
        list(find_files([tmp_path], match=("20*.json",)))


def test_a_directory_means_its_files_sorted_and_no_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.json", "notes.md", ".hidden.yaml", "sub/c.csv", ".git/d.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [os.path.relpath(path, tmp_path) for path in find_files([tmp_path])] == ["a.json", "b.yaml", "sub/c.csv"]
    assert list(find_files([tmp_path], match=("sub/*.csv",))) == [tmp_path / "sub" / "c.csv"]


def test_standard_input_is_yaml_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (b"events: [{id: a}]", b'{"events": [{"id": "a"}]}'):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
        assert [event.id for event in load_events(["-"]).events] == ["a"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"[")))
    with pytest.raises(InvalidSource, match=r"^standard input: line 2"):
        load_events(["-"])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidSource, match="standard input: is closed"):
        load_events(["-"])


# ------------------------------------------------------------------------------------- event files


def test_an_event_file_says_the_zone_and_the_lifecycle_of_its_events(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "campus.yaml",
        "zone: Europe/Berlin\nlifecycle: conference\nevents:\n"
        "  - {id: a, paper_deadline: 2026-05-01 10:00, 'paper_deadline#2': 2026-09-01, tag: x}\n"
        "  - {id: b, lifecycle: campus_event, zone: UTC, start_datetime: 2026-05-01 10:00}\n",
    )
    loaded = load_events([path])
    assert loaded.refused == ()
    first, second = loaded.events
    assert (first.lifecycle, first.zone, first.data) == ("conference", "Europe/Berlin", {"tag": "x"})
    assert set(first.dates) == {"paper_deadline", "paper_deadline#2"}
    assert (second.lifecycle, second.zone) == ("campus_event", "UTC")


def test_an_event_file_may_bring_its_own_lifecycles(tmp_path: Path) -> None:
    path = written(
        tmp_path, "a.yaml", DEFINITION + "events: [{id: a, lifecycle: lecture, starts: 2026-01-01T00:00:00Z}]\n"
    )
    loaded = load_events([path])
    assert [lifecycle.name for lifecycle in loaded.lifecycles] == ["lecture"]
    assert loaded.events[0].dates == {"starts": "2026-01-01T00:00:00Z"}
    written(tmp_path, "lecture.toml", loaded_toml())
    beside = written(tmp_path, "b.yaml", "lifecycles: [lecture.toml]\nlifecycle: lecture\nevents: [{id: b}]\n")
    assert load_events([beside]).events[0].lifecycle == "lecture"


def loaded_toml() -> str:
    return (
        'name = "lecture"\n[tracks.talk]\nbefore = "planned"\n'
        '[[milestones]]\nname = "begin"\ntrack = "talk"\nstate = "on"\nfield = "starts"\n'
        '[[milestones]]\nname = "finish"\ntrack = "talk"\nstate = "over"\nside = "closing"\n'
    )


def test_two_definitions_of_one_lifecycle_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "a.yaml", DEFINITION + "events: []\n")
    written(tmp_path, "b.yaml", DEFINITION.replace("planned", "announced") + "events: []\n")
    loaded = load_events([tmp_path])
    assert [refused.place for refused in loaded.refused] == [str(tmp_path / "b.yaml")]
    assert "'lecture' is defined twice, differently" in loaded.refused[0].reason
    path = written(tmp_path, "a.yaml", DEFINITION.replace("lecture", "contest") + "events: []\n")
    with pytest.raises(InvalidSource, match="'contest' is defined twice"):
        load_events([path])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("event: [{id: a}]", "unknown key 'event' beside the events; did you mean 'events'?"),
        ("zone: UTC", "has no 'events'"),
        ("zone: CET\nevents: []", "zone 'CET' is ambiguous"),
        ("lifecycle: conferenc\nevents: []", "unknown lifecycle 'conferenc'; did you mean 'conference'?"),
        ("lifecycles: 5\nevents: []", "lifecycles must be a list"),
        ("lifecycles: [5]\nevents: []", "lifecycle 1 must be a definition"),
        ("lifecycles: [{name: x}]\nevents: []", "lifecycle 1: 'tracks' is missing"),
        ("events: {a: 1}", "the records must be a list"),
        ("just text", "the records must be a list"),
        ("", "the records must be a list"),
    ],
)
def test_an_event_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, "a.yaml", text)
    with pytest.raises(InvalidSource) as refusal:
        load_events([path])
    assert str(refusal.value).startswith(f"{path}: ")
    assert said in str(refusal.value)


def test_one_record_is_a_file_too(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '{"event_id": "w12", "event_name": "x"}')
    assert load_events([path]).events[0].id == "w12"


def test_a_table_of_events_is_an_event_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a.csv",
        "event_id;event_name;start_datetime;end_datetime;zone;room\n"
        "a;x;2026-05-01 10:00;2026-05-01 12:00;Europe/Berlin;5\nb;y;;;;\n",
    )
    first, second = load_events([path]).events
    assert first.dates == {"start_datetime": "2026-05-01 10:00", "end_datetime": "2026-05-01 12:00"}
    assert first.data == {"room": "5"}
    assert (second.dates, second.zone) == ({}, None)


def test_bad_input_1_a_wall_time_needs_a_zone_from_somewhere(tmp_path: Path) -> None:
    path = written(tmp_path, "a.yaml", "events: [{id: a, start_datetime: 2026-05-01 10:00}]")
    refused = load_events([path]).refused
    assert "event 'a': event_start: " in refused[0].reason
    assert load_events([path], reading=Reading(zone="UTC")).events[0].zone == "UTC"
    assert load_events([path], reading=Reading(scheduler_zone="UTC")).events[0].zone is None
    with pytest.raises(InvalidZone):
        load_events([path], reading=Reading(zone="CET"))


def test_bad_input_89_a_half_bad_file_names_each_bad_record_and_keeps_the_good(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a.yaml",
        "zone: UTC\nevents:\n"
        "  - {id: a, start_datetime: 2026-05-01, end_datetime: 2026-04-01}\n"
        "  - {id: b, start_datetime: 2026-05-01}\n"
        "  - {event_name: 'no id'}\n"
        "  - 5\n"
        "  - {id: c, start_datetime: TBA}\n"
        "  - {id: d, lifecycle: party}\n"
        "  - {id: e, lifecycle: [x]}\n",
    )
    loaded = load_events([path])
    assert [event.id for event in loaded.events] == ["b"]
    assert loaded.records == 7
    assert [(refused.place.removeprefix(f"{path}: "), refused.name) for refused in loaded.refused] == [
        ("record 1", "a"),
        ("record 3", "no id"),
        ("record 4", ""),
        ("record 5", "c"),
        ("record 6", "d"),
        ("record 7", "e"),
    ]
    reasons = [refused.reason for refused in loaded.refused]
    assert "event_end (2026-04-01) is before event_start (2026-05-01)" in reasons[0]
    assert "has no id" in reasons[1]
    assert "must have names and values" in reasons[2]
    assert "'TBA'" in reasons[3]
    assert "unknown lifecycle 'party'" in reasons[4]


def test_bad_input_89_the_same_record_twice_is_one_event(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        written(tmp_path, name, "events: [{id: a, start_datetime: 2026-05-01T10:00:00Z}]")
    loaded = load_events([tmp_path])
    assert [event.id for event in loaded.events] == ["a"]
    assert (loaded.records, loaded.repeated, loaded.refused) == (2, 1, ())


def test_bad_input_89_of_records_that_disagree_when_an_event_is_none_is_taken(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a.yaml",
        "zone: UTC\nevents:\n  - {id: a, start_datetime: 2026-05-01}\n  - {id: b}\n"
        "  - {id: a, start_datetime: 2026-05-02}\n  - {id: a, start_datetime: 2026-05-01}\n",
    )
    loaded = load_events([path])
    assert [event.id for event in loaded.events] == ["b"]
    assert [refused.place[-8:] for refused in loaded.refused] == ["record 1", "record 3", "record 4"]
    assert loaded.refused[0].reason == (
        f"event 'a': {path}: record 3 has the same id but another date of start_datetime; "
        "which of them is right cannot be known, so neither was taken"
    )
    assert "record 3 has the same id" in loaded.refused[2].reason


def test_bad_input_89_of_records_that_differ_in_name_only_the_first_stands(tmp_path: Path) -> None:
    path = written(tmp_path, "a.yaml", "events: [{id: a, name: x, p: 1, q: 1, r: 1}, {id: a, name: y}]")
    loaded = load_events([path])
    assert [event.name for event in loaded.events] == ["x"]
    assert len(loaded.refused) == 1
    assert loaded.refused[0].place.endswith("record 2")
    assert "record 1 has the same id but another name, p, q …; the first stands" in loaded.refused[0].reason


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    written(tmp_path, "a.json", "[{")
    written(tmp_path, "b.json", '[{"id": "b"}]')
    loaded = load_events([tmp_path])
    assert [event.id for event in loaded.events] == ["b"]
    assert loaded.refused[0].place == str(tmp_path / "a.json")
    assert loaded.refused[0].reason.startswith("line 1, column 3: this is not JSON")
    with pytest.raises(InvalidSource, match="this is not JSON"):
        load_events([tmp_path / "a.json"])


def test_known_lifecycles_of_others_are_not_given_back(tmp_path: Path) -> None:
    lecture = load_events([written(tmp_path, "a.yaml", DEFINITION + "events: []\n")]).lifecycles[0]
    path = written(tmp_path, "b.yaml", "events: [{id: a, lifecycle: lecture, starts: 2026-01-01T00:00:00Z}]")
    loaded = load_events([path], reading=Reading(lifecycles={"lecture": lecture}))
    assert [event.id for event in loaded.events] == ["a"]
    assert loaded.lifecycles == ()
