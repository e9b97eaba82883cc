"""`duly run` and `duly catch-up`: the report, the lines, the signals, and who fires when there are two."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import apsw
import pytest

from tests.doors.terminal import CAMPUS, HOUR, MINUTE, Process, Terminal, soon

FAR = [{"event_id": "far", "event_start": "2090-01-01T10:00Z", "event_end": "2090-01-02T10:00Z"}]


# -- the report --------------------------------------------------------------------------------------------


def test_the_report_is_the_one_of_the_sketch(terminal: Terminal) -> None:
    terminal("put", terminal.write("campus.json", CAMPUS))
    terminal.clock.advance(3 * MINUTE)
    assert terminal("catch-up").lines[0] == "Nothing was missed."
    terminal.clock.advance(2 * HOUR + 14 * MINUTE)
    said = terminal("catch-up")
    assert (said.code, said.err) == (0, "")
    opened = "upcoming/registration_not_started → upcoming/registration_open"
    closed = "upcoming/registration_open → upcoming/registration_closed"
    started = "upcoming/registration_closed → ongoing/event_started"
    assert said.lines == [
        "Was down 2 h 14 min (12:03 – 14:17 Europe/Berlin). 3 triggers were missed.",
        f"  ✔ registration_open   ARRCOSTU2025  due 12:30  late 1 h 47 min  {opened}",
        f"  ✔ event_start         HACK26        due 13:00  late 1 h 17 min  {started}",
        f"  ✔ registration_close  ARRCOSTU2025  due 14:00  late 17 min      {closed}",
        "Caught up: 3 successful, 0 failed, 0 withheld. 3 triggers to come from 2 events.",
        "Next: event_end of HACK26 in 43 min (15:00 Europe/Berlin)",
    ]


def test_times_of_several_zones_each_have_their_own(terminal: Terminal) -> None:
    tokyo = {"event_id": "TOKYO", "zone": "Asia/Tokyo", "start_datetime": "2025-08-27 20:00"}
    terminal("put", terminal.write("campus.json", CAMPUS), terminal.write("tokyo.json", [tokyo]))
    terminal("catch-up")
    terminal.clock.advance(2 * HOUR + 5 * MINUTE)
    lines = terminal("catch-up").lines
    assert lines[0] == "Was down 2 h 5 min (10:00 – 12:05 UTC). 4 triggers were missed."
    assert any("due 20:00 Asia/Tokyo" in line and "late 1 h " in line for line in lines)
    assert any("due 12:30 Europe/Berlin" in line for line in lines)


def test_what_is_older_than_the_window_is_withheld_and_counted(terminal: Terminal) -> None:
    terminal("put", terminal.write("campus.json", CAMPUS))
    terminal("catch-up")
    terminal.clock.advance(2 * HOUR + 5 * MINUTE)
    lines = terminal("catch-up", "--catch-up-window", "30m").lines
    assert "Caught up: 3 successful, 0 failed, 2 withheld. 3 triggers to come from 2 events." in lines


def test_a_long_report_is_cut_and_says_where_the_rest_is(terminal: Terminal) -> None:
    many = [{"event_id": f"e{n:03}", "event_start": "2025-08-27T11:00Z"} for n in range(120)]
    terminal("put", terminal.write("many.json", many))
    terminal("catch-up")
    terminal.clock.advance(2 * HOUR)
    lines = terminal("catch-up").lines
    assert sum("✔" in line for line in lines) == 50
    assert "    … and 70 more: duly outages 1" in lines
    assert len(terminal("outages", "1").lines) == 122


def test_a_catch_up_as_json_is_one_document(terminal: Terminal) -> None:
    terminal("put", terminal.write("campus.json", CAMPUS))
    terminal("catch-up")
    terminal.clock.advance(2 * HOUR + 5 * MINUTE)
    said = terminal("catch-up", "--json").json
    numbers = {name: said[name] for name in ("detected", "successful", "failed", "withheld", "triggers_to_come")}
    assert numbers == {"detected": 3, "successful": 3, "failed": 0, "withheld": 0, "triggers_to_come": 3}
    assert [entry["milestone"] for entry in said["transitions"]] == [
        "registration_open",
        "event_start",
        "registration_close",
    ]


def test_a_second_catch_up_finds_nothing_to_do(terminal: Terminal) -> None:
    terminal("put", terminal.write("campus.json", CAMPUS))
    terminal.clock.advance(2 * HOUR + 5 * MINUTE)
    assert "3 triggers were missed" in terminal("catch-up").lines[0]
    assert terminal("catch-up").lines[0] == "Nothing was missed."


# -- a scheduler of its own --------------------------------------------------------------------------------


def run(terminal: Terminal, processes: list[Process], *arguments: str) -> Process:
    process = Process(terminal.folder, "run", *arguments)
    processes.append(process)
    return process


def test_run_loads_events_fires_them_and_tells_each_on_a_line(terminal: Terminal, processes: list[Process]) -> None:
    file = terminal.write("soon.json", [soon("w1", 2.0)])
    scheduler = run(terminal, processes, file)
    assert scheduler.wait_for("Duly 0.1.0 · sqlite:///duly.db · node ")
    assert scheduler.wait_for("created") == "1 record: 1 created, 0 changed, 0 unchanged, 0 refused."
    fired = scheduler.wait_for("event_start         w1")
    assert fired.startswith("✔ ")
    assert "UTC" in fired
    assert fired.endswith("upcoming/registration_not_required → ongoing/event_started")
    assert "on time" in fired


def test_what_is_put_beside_a_running_scheduler_is_fired_by_it(terminal: Terminal, processes: list[Process]) -> None:
    scheduler = run(terminal, processes)
    scheduler.wait_for("to come from")
    put = Process(terminal.folder, "put", terminal.write("soon.json", [soon("w1", 1.0)]))
    processes.append(put)
    assert put.code() == 0
    assert "w1" in scheduler.wait_for("event_start")


def test_dates_of_a_file_within_the_catch_up_window_were_missed_and_older_ones_born_late(
    terminal: Terminal, processes: list[Process]
) -> None:
    file = terminal.write("passed.json", [soon("hour-ago", -3600), soon("last-week", -7 * 86_400)])
    scheduler = run(terminal, processes, file)
    assert scheduler.wait_for("missed.") == "Nothing had ever run on this store. 1 trigger was missed."
    assert "hour-ago" in scheduler.wait_for("late 1 h")
    wider = run(terminal, processes, file, "--store", "sqlite:///wider.db", "--catch-up-window", "unlimited")
    assert "2 triggers were missed" in wider.wait_for("missed.")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_bad_input_82_a_signal_ends_it_in_good_order(
    terminal: Terminal, processes: list[Process], number: signal.Signals
) -> None:
    scheduler = run(terminal, processes, terminal.write("far.json", FAR))
    scheduler.wait_for("to come from")
    scheduler.signal(number)
    assert scheduler.code() == 0
    assert scheduler.lines[-1].startswith("Stopped in good order")


def test_bad_input_82_ctrl_c_twice_ends_it_at_once(terminal: Terminal, processes: list[Process]) -> None:
    scheduler = run(terminal, processes, terminal.write("far.json", FAR))
    scheduler.wait_for("to come from")
    # Somebody holds the write lock, so that it cannot write down its end: it waits, and says so.
    connection = apsw.Connection(str(terminal.folder / "duly.db"))
    connection.set_busy_timeout(5000)  # the scheduler may be writing its heartbeat just now
    connection.execute("BEGIN IMMEDIATE")
    scheduler.signal(signal.SIGINT)
    assert "Ctrl-C once more ends it at once" in scheduler.wait_for("stopping")
    scheduler.signal(signal.SIGINT)
    assert scheduler.code() == 130
    connection.close()
    assert terminal("check").code == 0


def test_bad_input_77_a_second_scheduler_stands_by_and_takes_over_from_one_that_dies(
    terminal: Terminal, processes: list[Process]
) -> None:
    first = run(terminal, processes, terminal.write("far.json", FAR))
    first.wait_for("to come from")
    second = run(terminal, processes)
    stands_by = second.wait_for("Standing by")
    assert f"pid {first.pid}" in stands_by
    first.signal(signal.SIGKILL)
    second.wait_for("from now on this one fires")
    put = Process(terminal.folder, "put", terminal.write("soon.json", [soon("w1", 1.0)]))
    processes.append(put)
    assert "w1" in second.wait_for("event_start         w1")


def test_catch_up_beside_a_scheduler_leaves_the_firing_to_it(terminal: Terminal, processes: list[Process]) -> None:
    scheduler = run(terminal, processes, terminal.write("far.json", FAR))
    scheduler.wait_for("to come from")
    said = terminal("catch-up")
    assert said.code == 0
    assert said.lines[0].startswith("Another process fires on this store (node ")
    assert terminal("catch-up", "--json").json["role"] == "standby"


def test_bad_input_77_the_lock_file_of_a_dead_process_means_nothing(
    terminal: Terminal, processes: list[Process]
) -> None:
    (terminal.folder / "duly.db.lock").write_text('{"pid": 1}')
    scheduler = run(terminal, processes, terminal.write("far.json", FAR))
    assert scheduler.wait_for("to come from") == "2 triggers to come from 1 event."


def test_json_lines_are_each_a_document(terminal: Terminal, processes: list[Process]) -> None:
    scheduler = run(terminal, processes, terminal.write("soon.json", [soon("w1", 2.0)]), "--json")
    scheduler.wait_for('"event_start"')
    scheduler.signal(signal.SIGTERM)
    assert scheduler.code() == 0
    documents = [json.loads(line) for line in scheduler.lines]
    assert [document["line"] for document in documents] == ["started", "put", "recovered", "entry", "stopped"]
    assert documents[3]["to_status"] == "ongoing/event_started"


def test_bad_input_80_a_reader_that_goes_away_ends_it_without_a_word(
    terminal: Terminal, processes: list[Process]
) -> None:
    scheduler = run(terminal, processes, terminal.write("soon.json", [soon("w1", 1.5)]))
    scheduler.wait_for("to come from")
    scheduler.stop_reading()
    assert scheduler.wait() == 0


def test_bad_records_do_not_stop_the_others(terminal: Terminal, processes: list[Process]) -> None:
    bad = {"event_id": "broken", "start_datetime": "2025-13-01 10:00"}
    scheduler = run(terminal, processes, terminal.write("mixed.json", [*FAR, bad]))
    assert "broken" in scheduler.wait_for("refused")
    assert scheduler.wait_for("to come from") == "2 triggers to come from 1 event."


def test_a_store_in_memory_is_good_for_a_run(terminal: Terminal, processes: list[Process]) -> None:
    file = terminal.write("soon.json", [soon("w1", 1.0)])
    scheduler = run(terminal, processes, file, "--store", "sqlite:///:memory:")
    assert "w1" in scheduler.wait_for("event_start")
    assert [path.name for path in terminal.folder.iterdir()] == ["soon.json"]


def test_a_store_that_is_taken_away_ends_the_run_with_a_sentence(
    terminal: Terminal, processes: list[Process]
) -> None:
    scheduler = run(terminal, processes, terminal.write("soon.json", [soon("w1", 1.0)]))
    scheduler.wait_for("to come from")
    Path(terminal.folder / "duly.db").rename(terminal.folder / "elsewhere.db")
    assert scheduler.code() == 1
    assert "moved, removed or replaced" in scheduler.lines[-1]
    assert not any("Traceback" in line for line in scheduler.lines)


@pytest.mark.parametrize("arguments", [["nosuch.yaml"], ["--chronology", "loose"], ["--misfire-grace", "-1s"]])
def test_wrong_input_is_refused_before_anything_starts(terminal: Terminal, arguments: list[str]) -> None:
    said = terminal("run", *arguments)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert list(terminal.folder.iterdir()) == []
