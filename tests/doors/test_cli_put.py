"""`duly put`: what is written, what is refused, and what would be."""

from __future__ import annotations

from tests.doors.terminal import CAMPUS, Terminal

MAP = """
id = "{title|slug}"
name = "title"
default_zone = "Europe/Berlin"
[dates]
event_start = "from"
event_end = "to"
"""
TALKS = "title,from,to\nOn Time,2025-09-01 10:00,2025-09-01 11:00\n"


def test_good_records_are_written_and_counted(terminal: Terminal) -> None:
    said = terminal("put", terminal.write("campus.json", CAMPUS))
    assert said.code == 0
    assert said.lines[-1] == "2 records: 2 created, 0 changed, 0 unchanged, 0 refused."
    assert [event["id"] for event in terminal("events", "--json").json] == ["ARRCOSTU2025", "HACK26"]


def test_bad_input_89_a_second_import_changes_nothing_and_says_so(terminal: Terminal) -> None:
    campus = terminal.write("campus.json", CAMPUS)
    terminal("put", campus)
    before = terminal("history", "--json").out
    said = terminal("put", campus)
    assert said.lines == ["Nothing changed. 2 records: 0 created, 0 changed, 2 unchanged, 0 refused."]
    assert terminal("history", "--json").out == before


def test_bad_input_89_of_an_import_half_bad_the_good_half_is_written_and_the_bad_half_named(
    terminal: Terminal,
) -> None:
    bad = {"event_id": "broken", "start_datetime": "2025-13-01 10:00"}
    file = terminal.write("campus.json", {**CAMPUS, "events": [CAMPUS["events"][0], bad]})
    said = terminal("put", file)
    assert said.code == 1
    assert said.lines[-1] == "2 records: 1 created, 0 changed, 0 unchanged, 1 refused."
    refusal = next(line for line in said.lines if line.startswith("refused"))
    assert "campus.json" in refusal
    assert "broken" in refusal
    assert "2025-13-01" in refusal


def test_bad_input_89_strictly_an_import_half_bad_writes_nothing(terminal: Terminal) -> None:
    bad = {"event_id": "broken", "start_datetime": "2025-13-01 10:00"}
    file = terminal.write("campus.json", {**CAMPUS, "events": [CAMPUS["events"][0], bad]})
    said = terminal("put", file, "--strict")
    assert said.code == 1
    assert said.lines[-1] == "Nothing was written (--strict)."
    assert not (terminal.folder / "duly.db").exists()
    assert terminal("put", file, "--strict", "--json").json["written"] is False


def test_strictly_an_import_without_fault_is_written(terminal: Terminal) -> None:
    said = terminal("put", terminal.write("campus.json", CAMPUS), "--strict", "--json")
    assert (said.code, said.json["created"], said.json["written"]) == (0, 2, True)


def test_a_clash_of_ids_is_refused_and_named(terminal: Terminal) -> None:
    first = {"event_id": "a", "start_datetime": "2025-09-01 10:00"}
    second = {"event_id": "a", "start_datetime": "2025-09-02 10:00"}
    said = terminal("put", terminal.write("a.json", {"zone": "UTC", "events": [first, second]}), "--json")
    assert said.code == 1
    assert said.json["created"] == 0
    assert {refused["name"] for refused in said.json["refused"]} == {"a"}


def test_a_dry_run_says_what_would_be_done_and_makes_no_store(terminal: Terminal) -> None:
    said = terminal("put", terminal.write("campus.json", CAMPUS), "--dry-run")
    assert said.code == 0
    assert said.lines[-1] == "Dry run, nothing is written. 2 records: 2 created, 0 changed, 0 unchanged, 0 refused."
    assert [path.name for path in terminal.folder.iterdir()] == ["campus.json"]


def test_a_dry_run_compares_with_the_store_and_says_what_would_fire_or_be_revoked(terminal: Terminal) -> None:
    terminal("put", terminal.write("campus.json", CAMPUS))
    terminal.clock.advance(3 * 3600 * 1_000_000)
    terminal("catch-up")
    hack = {**CAMPUS["events"][1], "start_datetime": "2025-08-28 13:00", "end_datetime": "2025-08-28 15:00"}
    art = {**CAMPUS["events"][0], "start_datetime": "2025-08-27 14:10"}
    changed = terminal.write("changed.json", {**CAMPUS, "events": [art, hack]})
    before = terminal("history", "--json").out
    said = terminal("put", changed, "--dry-run")
    assert "would fire event_start of ARRCOSTU2025 at once: its date moves to 27 Aug 2025 12:10 UTC" in said.lines
    assert "would revoke event_start of HACK26, which has fired" in said.lines
    assert "0 created, 2 changed" in said.lines[-1]
    assert terminal("history", "--json").out == before
    assert "0 created, 2 changed" in terminal("put", changed).lines[-1]


def test_a_dry_run_of_bad_records_fails_like_the_real_one(terminal: Terminal) -> None:
    file = terminal.write("a.json", [{"event_id": "a", "start_datetime": "2025-09-01 10:00"}])
    said = terminal("put", file, "--dry-run")
    assert said.code == 1
    assert "has no zone" in said.out


def test_a_zone_on_the_command_line_is_that_of_the_records(terminal: Terminal) -> None:
    file = terminal.write("a.json", [{"event_id": "a", "start_datetime": "2025-09-01 10:00"}])
    assert terminal("put", file, "--time-zone", "Asia/Tokyo").code == 0
    shown = terminal("show", "a", "--json").json
    assert shown["dates"]["event_start"]["due_at"] == "2025-09-01T01:00:00Z"
    assert shown["zone"] == "Asia/Tokyo"


def test_a_map_reads_records_of_any_shape(terminal: Terminal) -> None:
    terminal.write("map.toml", MAP)
    said = terminal("put", terminal.write("talks.csv", TALKS), "--map", "map.toml")
    assert (said.code, said.lines[-1]) == (0, "1 record: 1 created, 0 changed, 0 unchanged, 0 refused.")
    assert terminal("show", "on-time", "--json").json["dates"]["event_end"]["due_at"] == "2025-09-01T09:00:00Z"


def test_a_lifecycle_on_the_command_line_is_that_of_records_which_name_none(terminal: Terminal) -> None:
    file = terminal.write("a.json", [{"event_id": "a", "paper_deadline": "2025-09-01"}])
    assert terminal("put", file, "--lifecycle", "conference").code == 0
    assert terminal("show", "a", "--json").json["lifecycle"] == "conference"
    assert "unknown lifecycle 'confrence'" in terminal("put", file, "--lifecycle", "confrence").out


def test_a_lifecycle_that_a_file_brings_is_known_to_the_store_from_then_on(terminal: Terminal) -> None:
    lifecycle = {
        "name": "sale",
        "tracks": {"sale": {"before": "announced"}},
        "milestones": [{"name": "opens", "track": "sale", "state": "open"}],
    }
    event = {"event_id": "s1", "lifecycle": "sale", "opens": "2025-09-01T10:00Z"}
    file = terminal.write("sale.json", {"lifecycles": [lifecycle], "events": [event]})
    assert terminal("put", file, "--dry-run").code == 0
    assert terminal("put", file).code == 0
    assert terminal("events", "--lifecycle", "sale", "--json").json[0]["status"] == "announced/announced"
    assert "sale" in {each["name"] for each in terminal("lifecycles", "--json").json}
    again = terminal.write("again.json", [{**event, "event_id": "s2"}])
    assert terminal("put", again).code == 0


def test_what_had_passed_already_is_warned_about_and_long_lists_are_cut(terminal: Terminal) -> None:
    passed = [{"event_id": f"e{n}", "start_datetime": "2025-01-01T10:00Z"} for n in range(30)]
    said = terminal("put", terminal.write("passed.json", passed))
    assert said.code == 0
    assert sum(line.startswith("warning") for line in said.lines) == 21
    assert "and 10 more warnings: see --json" in said.out
    assert (
        len(
            terminal("put", terminal.write("new.json", passed), "--json", "--store", "sqlite:///b.db").json[
                "warnings"
            ]
        )
        == 30
    )


def test_a_file_without_records_is_no_fault(terminal: Terminal) -> None:
    said = terminal("put", terminal.write("none.json", []))
    assert (said.code, said.lines) == (0, ["There are no records in it; nothing changed."])


def test_a_path_that_is_not_there_is_wrong_input(terminal: Terminal) -> None:
    said = terminal("put", "nosuch.yaml")
    assert (said.code, said.out, said.err) == (2, "", "duly: nosuch.yaml: there is no such file or directory\n")


def test_bad_input_60_a_record_cannot_steer_the_terminal_that_refuses_it(terminal: Terminal) -> None:
    record = {"event_id": "a\x1b[2J\nok", "start_datetime": "2025-09-01T10:00Z"}
    said = terminal("put", terminal.write("a.json", [record]))
    assert said.code == 1
    assert "\x1b" not in said.out
    assert len(said.lines) == 2
