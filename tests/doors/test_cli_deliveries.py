"""Deliveries on the command line: listed, shown, replayed, released, parked, and wherever else they are told of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from duly.agenda import Agenda
from duly.cli import delivery_lines
from duly.cli.output import Output
from duly.cli.telling import DeliveryListener, Teller
from duly.clock import SECOND
from duly.engine.telling import Telling
from duly.model.delivery import WAITING_US, Lease, Standing, State
from duly.model.lifecycle import CatchUp
from tests.doors.terminal import CAMPUS, HOUR, MINUTE, Said, Terminal
from tests.outbox_stage import OutboxStage

OPENED = "registration_open of ARRCOSTU2025"


@pytest.fixture
def stage(terminal: Terminal) -> Iterator[OutboxStage]:
    """Return a store with two subscribers, as it stands once the registration of a course has opened on time."""
    terminal("put", terminal.write("campus.json", CAMPUS))
    with Agenda("sqlite:///duly.db", clock=terminal.clock) as agenda:
        made = OutboxStage(agenda, terminal.clock)
        made.subscribe("webhook:crm", channel="webhook")
        made.subscribe("campus:announce", "registration_open")
        terminal.clock.advance(30 * MINUTE)
        made.fire()
        yield made


def refused(said: Said, code: int = 2) -> str:
    assert (said.code, said.out) == (code, "")
    assert len(said.err.splitlines()) == 1
    return said.err.removeprefix("duly: ").rstrip("\n")


def fail_once(stage: OutboxStage) -> Lease:
    """Have the webhook fail once, and wait for its second attempt."""
    lease = next(each for each in stage.lease() if each.subscriber == 1)
    stage.settle(lease, State.PENDING, said="HTTP 503: busy", code=503, again_in=timedelta(minutes=5))
    return lease


def kill_all(stage: OutboxStage) -> None:
    stage.settle_all(State.DEAD, said="HTTP 500: no", code=500)


# -- deliveries --------------------------------------------------------------------------------------------


def test_deliveries_are_listed_newest_first_with_what_became_of_them(terminal: Terminal, stage: OutboxStage) -> None:
    fail_once(stage)
    store = stage.outbox.identity
    assert terminal("deliveries").lines == [
        "id          state    subscriber       topic              event         tries  what",
        f"{store}-2  pending  campus:announce  registration_open  ARRCOSTU2025  1      under way on node node-1",
        (
            f"{store}-1  pending  webhook:crm      registration_open  ARRCOSTU2025  1      "
            "tried again in 5 min (12:35 Europe/Berlin): HTTP 503: busy"
        ),
    ]


def test_no_deliveries_are_said_in_words_and_in_json(terminal: Terminal) -> None:
    terminal("put", terminal.write("none.json", []))
    assert terminal("deliveries").lines == ["No deliveries."]
    assert terminal("deliveries", "--dead").lines == ["There are no such deliveries."]
    assert terminal("deliveries", "--json").json == []
    assert "deliveries" not in terminal("status").out
    assert terminal("status", "--json").json["deliveries"]["pending"] == 0


def test_deliveries_are_filtered(terminal: Terminal, stage: OutboxStage) -> None:
    kill_all(stage)
    terminal.clock.advance(90 * MINUTE)
    stage.fire()

    def numbers(*arguments: str) -> list[int]:
        return [each["number"] for each in terminal("deliveries", *arguments, "--json").json]

    assert numbers() == [4, 3, 2, 1]
    assert numbers("--dead") == [2, 1]
    assert numbers("--pending") == [4, 3]
    assert numbers("--pending", "--dead") == [4, 3, 2, 1]
    assert numbers("--parked") == numbers("--missed") == numbers("--withdrawn") == numbers("--delivered") == []
    assert numbers("--subscriber", "campus:announce") == [2]
    assert numbers("--subscriber", "crm", "--dead") == [1]
    assert numbers("--event", "HACK26") == [3]
    assert numbers("--topic", "registration_close") == [4]
    assert numbers("--since", "1h") == numbers("--since", "2025-08-27 11:00Z") == [4, 3]
    assert numbers("--most", "1") == [4]
    assert terminal("deliveries", "--most", "1").lines[-1] == "The newest 1; more with --most."


def test_one_delivery_is_shown_with_every_attempt(terminal: Terminal, stage: OutboxStage) -> None:
    fail_once(stage)
    terminal.clock.advance(5 * MINUTE)
    stage.settle(next(each for each in stage.lease() if each.subscriber == 1))
    store = stage.outbox.identity
    assert terminal("deliveries", "1").lines == [
        f"delivery    {store}-1",
        "state       delivered  12:35 Europe/Berlin",
        "subscriber  webhook:crm",
        f"tells of    {OPENED}",
        "entry       2 of its history",
        "due         27 Aug 2025 12:30 Europe/Berlin",
        "born        27 Aug 2025 12:30 Europe/Berlin",
        "",
        "attempt  ended                took    outcome    code  what was said   node",
        "1        12:30 Europe/Berlin  200 ms  failed     503   HTTP 503: busy  node-1",
        "2        12:35 Europe/Berlin  200 ms  delivered                        node-1",
    ]
    shown = terminal("deliveries", f"{store}-1", "--json").json
    assert (shown["id"], shown["state"], shown["attempts"]) == (f"{store}-1", "delivered", 2)
    assert [each["outcome"] for each in shown["attempt_log"]] == ["failed", "delivered"]


def test_a_delivery_that_was_never_attempted_says_so(terminal: Terminal, stage: OutboxStage) -> None:
    lines = terminal("deliveries", "2").lines
    assert "state       pending  about to be tried" in lines
    assert lines[-1] == "It has not been attempted."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["17"], "there is no delivery 17"),
        (["seventeen"], "'seventeen' names no delivery; give its number or its id, as 17 or "),
        (["1_0"], "'1_0' names no delivery"),
        (["a\x1b[2J"], "'a\\x1b[2J' names no delivery"),
        (["00000000-1"], "delivery 00000000-1 is of another store; the ids of this one begin with "),
        (["--subscriber", "crn"], "there is no subscriber 'crn'; there are: campus:announce, webhook:crm"),
        (["--event", "nosuch"], "there is no event 'nosuch'"),
        (["--since", "yesterday"], "--since 'yesterday' is no duration"),
        (["--since", "24"], "--since '24' has no unit; write 24h"),
        (["--since", "2025-08-27 11:00"], "--since: 2025-08-27 11:00 has no zone"),
        (["--since", "2025-13-01"], "2025-13-01"),
        (["--since", "-1h"], "--since '-1h' is negative"),
        (["1", "--dead"], "give an ID or say which, not both"),
        (["--most", "0"], "--most"),
    ],
)
def test_what_names_no_deliveries_is_wrong_input(
    terminal: Terminal, stage: OutboxStage, arguments: list[str], said: str
) -> None:
    assert said in refused(terminal("deliveries", *arguments))


def test_a_bare_day_without_a_zone_is_read_in_the_configured_one(
    terminal: Terminal, stage: OutboxStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DULY_TIME_ZONE", "Europe/Berlin")
    assert len(terminal("deliveries", "--since", "2025-08-27", "--json").json) == 2
    assert terminal("deliveries", "--since", "2025-08-28", "--json").json == []


# -- replay ------------------------------------------------------------------------------------------------


def test_ids_are_replayed_at_once(terminal: Terminal, stage: OutboxStage) -> None:
    kill_all(stage)
    store = stage.outbox.identity
    said = terminal("replay", "1", f"{store}-2")
    assert (said.code, said.err) == (0, "")
    assert said.lines == [f"{store}-1 is made again as {store}-3", f"{store}-2 is made again as {store}-4"]
    assert stage.states()[2:] == [
        "webhook:crm registration_open pending",
        "campus:announce registration_open pending",
    ]
    assert f"replayed as  {store}-3" in terminal("deliveries", "1").lines
    assert "made again  of delivery 1" in terminal("deliveries", "3").lines


def test_what_was_replayed_is_no_trouble_any_more_but_still_there(terminal: Terminal, stage: OutboxStage) -> None:
    kill_all(stage)
    terminal("replay", "1")
    assert [each["number"] for each in terminal("deliveries", "--dead", "--json").json] == [2]
    assert [each["number"] for each in terminal("deliveries", "--dead", "--all", "--json").json] == [2, 1]
    again = terminal("replay", "1")
    assert again.code == 1
    assert again.lines == [f"refused  {stage.outbox.identity}-1: it has been replayed already; replay that one"]
    assert terminal("replay", "1", "--json").json["made"] == []


def test_a_filter_first_shows_what_it_means_and_does_it_with_yes(terminal: Terminal, stage: OutboxStage) -> None:
    kill_all(stage)
    shown = terminal("replay", "--dead")
    assert shown.code == 0
    assert len(shown.lines) == 4
    assert shown.lines[-1] == "2 deliveries would be made again. Nothing is done yet; --yes does it."
    foreseen = terminal("replay", "--dead", "--subscriber", "crm", "--json").json
    assert (foreseen["dry_run"], [each["number"] for each in foreseen["deliveries"]]) == (True, [1])
    assert len(stage.all()) == 2
    done = terminal("replay", "--dead", "--yes", "--json").json
    assert [each["delivery"][-2:] for each in done["made"]] == ["-1", "-2"]
    assert terminal("replay", "--dead").lines == ["There is nothing of that kind to be made again."]
    assert terminal("replay", "--dead", "--yes").lines == ["There is nothing of that kind to be made again."]


def test_a_long_filter_shows_its_beginning(terminal: Terminal, stage: OutboxStage) -> None:
    many = [{"event_id": f"e{n:02}", "event_start": "2025-08-27T11:00Z"} for n in range(25)]
    terminal("put", terminal.write("many.json", many))
    terminal.clock.advance(30 * MINUTE)
    stage.fire()
    kill_all(stage)
    lines = terminal("replay", "--dead", "--topic", "event_start").lines
    assert len(lines) == 23
    assert lines[-2] == "… and 6 more"
    assert lines[-1].startswith("26 deliveries would be made again.")
    assert terminal("replay", "--dead", "--topic", "event_start", "--yes").lines[-1] == "… and 6 more"


def test_a_filter_says_beforehand_what_would_be_refused(terminal: Terminal, stage: OutboxStage) -> None:
    kill_all(stage)
    crm = stage.outbox.subscriber("webhook:crm")
    stage.outbox.put_subscriber(replace(crm, standing=Standing.DISABLED, reason="410 Gone"), terminal.clock.now())
    why = "its subscriber 'webhook:crm' is disabled (410 Gone); name another"
    lines = terminal("replay", "--dead").lines
    assert lines[-2:] == [
        f"refused  1 would be: {why}",
        "1 delivery would be made again. Nothing is done yet; --yes does it.",
    ]
    said = terminal("replay", "--dead", "--yes")
    assert (said.code, said.lines[-1]) == (1, f"refused  {stage.outbox.identity}-1: {why}")
    assert terminal("replay", "1", "--to", "campus:announce").code == 0
    assert stage.states()[-1] == "campus:announce registration_open pending"


def test_what_nobody_was_told_of_is_told_for_the_first_time(terminal: Terminal, stage: OutboxStage) -> None:
    stage.subscribe("late:comer")
    said = terminal("replay", "--event", "ARRCOSTU2025", "--milestone", "registration_open", "--to", "late:comer")
    assert said.lines == [f"late:comer will be told of {OPENED}, by delivery {stage.outbox.identity}-3."]
    shown = terminal("deliveries", "3").lines
    assert "made again  a person had it announced" in shown
    again = terminal("replay", "--event", "ARRCOSTU2025", "--milestone", "registration_open", "--to", "late:comer")
    assert refused(again) == "'late:comer' has been told of entry 2 already, by delivery 3; replay that"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say which: IDs, or --dead, --missed, --parked, --withdrawn or --delivered; see 'duly replay --help'"),
        (["--subscriber", "crm", "--yes"], "say which: IDs, or --dead"),
        (["1", "--dead"], "give IDs or say which, not both"),
        (["1", "--milestone", "x"], "give IDs or say which, not both"),
        (["--pending"], "--pending"),
        (["1", "99"], "there is no delivery 99"),
        (["1", "--to", "nobody"], "there is no subscriber 'nobody'; there are: "),
        (["--dead", "--to", "nobody"], "there is no subscriber 'nobody'; there are: "),
        (["--milestone", "event_start", "--event", "HACK26"], "--milestone goes with --event and --to"),
        (["--milestone", "event_start", "--to", "crm"], "--milestone goes with --event and --to"),
        (["--milestone", "event_start", "--event", "HACK26", "--to", "crm", "--dead"], "with nothing else"),
        (["--milestone", "event_end", "--event", "HACK26", "--to", "crm"], "has not fired; there is nothing to be"),
        (["--milestone", "party", "--event", "HACK26", "--to", "crm"], "has no milestone 'party'"),
        (["--milestone", "event_start", "--event", "nosuch", "--to", "crm"], "there is no event 'nosuch'"),
    ],
)
def test_a_replay_that_contradicts_itself_or_names_nothing_is_refused(
    terminal: Terminal, stage: OutboxStage, arguments: list[str], said: str
) -> None:
    kill_all(stage)
    assert said in refused(terminal("replay", *arguments))
    assert len(stage.all()) == 2


# -- park and release --------------------------------------------------------------------------------------


def test_what_is_parked_waits_until_it_is_released(terminal: Terminal, stage: OutboxStage) -> None:
    store = stage.outbox.identity
    said = terminal("park", "1", "2", "--reason", "the receivers move house")
    assert (said.code, said.lines) == (0, [f"{store}-1 is parked", f"{store}-2 is parked"])
    assert terminal("deliveries", "--parked").lines[-1].endswith("12:30 Europe/Berlin: the receivers move house")
    assert terminal("release", "1").lines == [f"{store}-1 is made again as {store}-3"]
    assert "would be made again" in terminal("release", "--all").out
    assert terminal("release", "--all", "--yes").lines == [f"{store}-2 is made again as {store}-4"]
    assert terminal("release", "--subscriber", "crm", "--yes", "--json").json == {"made": [], "refused": []}


def test_what_cannot_be_parked_or_released_is_said_and_the_code_is_1(terminal: Terminal, stage: OutboxStage) -> None:
    kill_all(stage)
    store = stage.outbox.identity
    said = terminal("park", "1", "--reason", "x")
    assert (said.code, said.lines) == (1, [f"refused  {store}-1: it is not pending"])
    assert terminal("park", "1", "--reason", "x", "--json").json == {
        "parked": [],
        "refused": [{"delivery": f"{store}-1", "reason": "it is not pending"}],
    }
    said = terminal("release", "1")
    assert said.code == 1
    assert said.lines == [f"refused  {store}-1: it is dead, not parked; a replay makes it again"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["park", "1"], "missing option '--reason'"),
        (["park", "--reason", "x"], "missing argument 'ID...'"),
        (["park", "1", "--reason", " "], "parking needs a reason"),
        (["park", "1", "--reason", "a\nb"], "control character"),
        (["park", "99", "--reason", "x"], "there is no delivery 99"),
        (["release"], "say which: IDs, --all, or a filter"),
        (["release", "1", "--all"], "one of these"),
        (["release", "--all", "--subscriber", "crm"], "one of these"),
        (["release", "--subscriber", "crn"], "there is no subscriber 'crn'"),
        (["release", "99"], "there is no delivery 99"),
    ],
)
def test_parking_and_releasing_need_to_know_what(
    terminal: Terminal, stage: OutboxStage, arguments: list[str], said: str
) -> None:
    assert said in refused(terminal(*arguments))
    assert stage.outbox.counts().pending == 2


# -- where else deliveries are told of ---------------------------------------------------------------------


def test_status_shows_who_is_owed_what_and_what_is_in_trouble(terminal: Terminal, stage: OutboxStage) -> None:
    fail_once(stage)
    lines = terminal("status").lines
    assert "subscribers  2 active" in lines
    assert "deliveries   2 pending (1 under way, 1 failing)" in lines
    assert lines[-3:] == [
        "subscriber       pending  under way  failing  next",
        "campus:announce  1        1          0",
        "webhook:crm      1        0          1        in 5 min",
    ]
    said = terminal("status", "--json").json
    assert said["deliveries"]["by_subscriber"]["webhook:crm"] == {"pending": 1, "under_way": 0, "failing": 1}
    terminal("webhook", "disable", "crm")
    crm = stage.outbox.subscriber("webhook:crm")
    stage.outbox.put_subscriber(replace(crm, standing=Standing.DISABLED, reason="410 Gone"), terminal.clock.now())
    lines = terminal("status").lines
    assert "subscribers  1 active, 1 disabled" in lines
    assert "deliveries   1 pending (1 under way), 1 parked: see 'duly deliveries --parked'" in lines
    assert "disabled     webhook:crm: 410 Gone" in lines


def test_show_has_the_deliveries_of_the_event(terminal: Terminal, stage: OutboxStage) -> None:
    kill_all(stage)
    lines = terminal("show", "ARRCOSTU2025").lines
    assert lines[-3].split() == ["id", "state", "subscriber", "topic", "tries", "what"]
    assert lines[-2].endswith("webhook:crm      registration_open  1      12:30 Europe/Berlin: HTTP 500: no")
    assert [each["number"] for each in terminal("show", "ARRCOSTU2025", "--json").json["deliveries"]] == [1, 2]
    assert "subscriber" not in terminal("show", "HACK26").out


def test_why_tells_what_became_of_each_delivery_and_what_is_next(terminal: Terminal, stage: OutboxStage) -> None:
    fail_once(stage)
    stage.settle(Lease(2, 2, "ARRCOSTU2025", "registration_open", 2, 1, 1, 0, 0, is_late=False))
    lines = terminal("why", "ARRCOSTU2025", "registration_open").lines
    assert lines[-2:] == [
        "pending    webhook:crm (1 attempt): tried again in 5 min (12:35 Europe/Berlin): HTTP 503: busy",
        "delivered  campus:announce at 12:30 Europe/Berlin, 1st attempt",
    ]
    terminal.clock.advance(5 * MINUTE)
    stage.settle_all()
    line = terminal("why", "ARRCOSTU2025", "registration_open").lines[-2]
    assert line == "delivered  webhook:crm at 12:35 Europe/Berlin, 2nd attempt after HTTP 503: busy"
    said = terminal("why", "ARRCOSTU2025", "registration_open", "--json").json
    assert [each["subscriber"] for each in said["deliveries"]] == ["webhook:crm", "campus:announce"]


def test_why_says_that_nobody_was_told_and_how_somebody_is(terminal: Terminal, stage: OutboxStage) -> None:
    line = terminal("why", "HACK26", "registration_open").lines[-1]
    assert line == (
        "told      nobody; if somebody should be: "
        "duly replay --event HACK26 --milestone registration_open --to SUBSCRIBER"
    )
    assert "told " not in terminal("why", "HACK26", "event_end").out


def test_why_tells_of_what_was_withheld_and_made_again(terminal: Terminal, stage: OutboxStage) -> None:
    stage.subscribe("strict:one", catch_up=CatchUp(window=timedelta(minutes=10)))
    stage.after_outage(hours=1)
    line = next(line for line in terminal("why", "HACK26", "event_start").lines if "strict:one" in line)
    assert line == "missed    strict:one: 13:30 Europe/Berlin: older than the catch-up window of 0:10:00"
    terminal("replay", "--missed", "--yes")
    line = next(line for line in terminal("why", "HACK26", "event_start").lines if line.startswith("missed"))
    assert line.endswith(f"; made again as {stage.outbox.identity}-5")


def test_outages_count_what_became_of_their_deliveries(terminal: Terminal, stage: OutboxStage) -> None:
    outage = stage.after_outage(hours=2)
    stage.settle(next(each for each in stage.lease() if each.event_id == "HACK26"))
    listed = terminal("outages").lines
    assert listed[0].endswith("withheld  deliveries")
    assert listed[1].endswith("1 delivered, 1 pending")
    assert terminal("outages", "--json").json[0]["deliveries"] == {"delivered": 1, "pending": 1}
    assert terminal("outages", str(outage)).lines[1] == "Of its deliveries: 1 delivered, 1 pending."
    assert terminal("outages", str(outage), "--json").json["deliveries"] == {"delivered": 1, "pending": 1}


# -- how they are said -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (13, "13th"), (21, "21st"), (112, "112th")],
)
def test_attempts_are_counted_as_people_do(number: int, said: str) -> None:
    assert delivery_lines.ordinal(number) == said


def test_what_a_delivery_waits_for_is_said(stage: OutboxStage) -> None:
    now = stage.clock.now()
    each = stage.all()[0]

    def said(wake: int, node: str | None = None, attempts: int = 0) -> str:
        return delivery_lines.what_became(replace(each, wake_us=wake, node=node, attempts=attempts), "UTC", now)

    assert said(WAITING_US) == "waits for the one before it"
    assert said(now, attempts=2) == "about to be tried again"
    assert said(now + HOUR) == "tried in 1 h (11:30 UTC)"
    assert said(now + SECOND, "n1") == "under way on node n1"
    assert said(now - SECOND, "n1") == "under way on node n1; nobody has heard of it since, so another takes over"


# -- a scheduler's log -------------------------------------------------------------------------------------


def telling(state: State, **more: Any) -> Telling:
    made = Telling(
        delivery_id="bd53944c-17",
        subscriber="webhook:crm",
        event_id="w12",
        topic="registration_open",
        state=state,
        attempt=1,
        lateness=timedelta(milliseconds=200),
        said=None,
    )
    return replace(made, **more)


def listened(stage: OutboxStage, *tellings: Telling, as_json: bool = False) -> None:
    def never(error: Exception) -> None:
        raise AssertionError from error

    teller = Teller(never)
    DeliveryListener(teller, stage.agenda, Output(as_json=as_json))(tellings)
    assert teller.close() is True


def test_what_came_of_deliveries_is_told_on_a_line_each(
    stage: OutboxStage, capsys: pytest.CaptureFixture[str]
) -> None:
    listened(
        stage,
        telling(State.DELIVERED),
        telling(State.DELIVERED, event_id="", topic="outage", lateness=timedelta(seconds=-1)),
        telling(State.PENDING, said="HTTP 503:\x1b[2J busy"),
        telling(State.PENDING, attempt=0, lateness=None),
        telling(State.DEAD, attempt=10, said="HTTP 500"),
        telling(State.MISSED, attempt=0, lateness=None, said="older than the catch-up window"),
    )
    assert capsys.readouterr().out.splitlines() == [
        "✓ 10:30:00 UTC  told webhook:crm of registration_open of w12 (attempt 1, 200 ms late)",
        "✓ 10:30:00 UTC  told webhook:crm of outage (attempt 1, 0 ms late)",
        (
            "! 10:30:00 UTC  could not tell webhook:crm of registration_open of w12 "
            "(attempt 1, to be tried again): HTTP 503:\\x1b[2J busy"
        ),
        "✘ 10:30:00 UTC  gave up telling webhook:crm of registration_open of w12 after 10 attempts: HTTP 500",
        "· 10:30:00 UTC  webhook:crm is not told of registration_open of w12, missed: older than the catch-up window",
    ]


def test_what_came_of_deliveries_is_one_json_document_each(
    stage: OutboxStage, capsys: pytest.CaptureFixture[str]
) -> None:
    listened(stage, telling(State.DELIVERED), telling(State.DEAD, said="no"), as_json=True)
    told, dead = map(json.loads, capsys.readouterr().out.splitlines())
    assert told == {
        "line": "delivery",
        "delivery": "bd53944c-17",
        "subscriber": "webhook:crm",
        "event": "w12",
        "topic": "registration_open",
        "state": "delivered",
        "attempt": 1,
        "lateness_seconds": 0.2,
        "said": None,
    }
    assert (dead["state"], dead["said"]) == ("dead", "no")


def test_the_engine_hands_over_what_the_lines_are_made_of(
    stage: OutboxStage, capsys: pytest.CaptureFixture[str]
) -> None:
    result = stage.settle(stage.lease()[0])
    listened(stage, Telling.of(result, "bd53944c-1", "webhook:crm"))
    assert capsys.readouterr().out == f"✓ 10:30:00 UTC  told webhook:crm of {OPENED} (attempt 1, 0 ms late)\n"
