"""`duly webhook`: endpoints added, listed, tried, given new secrets, disabled, enabled, removed; and BAD_INPUTS 65–74."""

from __future__ import annotations

import io
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from duly.agenda import Agenda
from duly.testing import replies
from duly.testing.receiver import NETWORK, Receiver
from tests.doors.terminal import CAMPUS, MINUTE, Said, Terminal
from tests.outbox_stage import OutboxStage
from tests.webhook_stage import SECRET

URL = "https://crm.example.org/duly"
LEADS_TO = {"inside.example.org": ["10.0.0.7"], "both.example.org": ["93.184.216.34", "192.168.1.1"]}


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have names looked up here instead of on the network: public ones, but for LEADS_TO."""
    asked = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **how: Any) -> Any:
        if not str(host).endswith(".example.org"):
            return asked(host, port, *args, **how)
        found = LEADS_TO.get(str(host), ["93.184.216.34"])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr("duly.channels.guard.socket.getaddrinfo", look_up)


@pytest.fixture
def store(terminal: Terminal) -> Terminal:
    terminal("put", terminal.write("campus.json", CAMPUS))
    return terminal


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def refused(said: Said, code: int = 2) -> str:
    assert (said.code, said.out) == (code, "")
    assert len(said.err.splitlines()) == 1
    return said.err.removeprefix("duly: ").rstrip("\n")


def listed(store: Terminal) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store("webhook", "list", "--json").json
    return found


def add(store: Terminal, url: str = URL, *more: str) -> Said:
    return store("webhook", "add", "crm", url, *more)


# -- add and list ------------------------------------------------------------------------------------------


def test_an_endpoint_is_added_and_its_secret_shown_this_once(store: Terminal) -> None:
    said = add(store)
    assert (said.code, said.err) == (0, "")
    assert said.lines[0] == "webhook:crm is told of every milestone, at https://crm.example.org/duly."
    assert said.lines[1].startswith("Its secret, which is shown this once: whsec_")
    assert said.lines[2] == "Try it: duly webhook test crm"
    secret = said.lines[1].rpartition(" ")[2]
    for command in (["webhook", "list"], ["webhook", "list", "--json"], ["status"], ["status", "--json"]):
        shown = store(*command)
        assert (shown.code, shown.err) == (0, "")
        assert secret not in shown.out
    assert len(listed(store)) == 1


def test_all_that_can_be_said_of_an_endpoint_is_kept_and_listed(store: Terminal) -> None:
    told = ["--topic", "registration_*", "--topic", "cancelled", "--lifecycle", "campus_event", "--tag", "blue"]
    how = ["--timeout", "5s", "--concurrency", "3", "--catch-up", "current", "--catch-up-window", "2 days"]
    sent = ["--header", "X-Source: campus", "--allow", "10.1.0.0/16"]
    said = add(store, f"{URL}?key=4711", *told, *how, *sent, "--json").json
    assert said["secret"].startswith("whsec_")
    assert said["warnings"] == []
    (shown,) = listed(store)
    assert {key: value for key, value in said.items() if key not in {"secret", "warnings"}}.items() <= shown.items()
    assert (shown["url"], shown["topics"]) == (f"{URL}?…", ["registration_*", "cancelled"])
    assert (shown["lifecycles"], shown["tags"], shown["headers"]) == (["campus_event"], ["blue"], ["X-Source"])
    assert (shown["timeout_seconds"], shown["concurrency"]) == (5, 3)
    assert shown["catch_up"] == {"policy": "current", "window_hours": 48}
    assert [re.split(" {2,}", line) for line in store("webhook", "list").lines] == [
        ["name", "url", "told of", "standing", "pending", "failing"],
        ["crm", f"{URL}?…", "registration_*, cancelled (of campus_event, #blue)", "active", "0", "0"],
    ]


def test_no_webhooks_are_said_in_words_and_in_json(store: Terminal) -> None:
    assert store("webhook", "list").lines == ["No webhooks."]
    assert listed(store) == []


def test_one_that_is_damaged_hides_none_of_the_others(store: Terminal) -> None:
    add(store)
    with Agenda("sqlite:///duly.db", clock=store.clock) as agenda:
        OutboxStage(agenda, store.clock).subscribe("webhook:broken", channel="webhook", settings={"url": 7})
    shown = {each["name"]: each["standing"] for each in listed(store)}
    assert shown == {"broken": "broken", "crm": "active"}
    assert "broken: 'webhook:broken'" in store("webhook", "list").lines[1]


def test_what_nobody_has_heard_of_is_warned_about_and_added(store: Terminal) -> None:
    said = add(store, URL, "--topic", "registraton_open")
    assert said.code == 0
    assert said.err == (
        "duly: warning: no lifecycle that is known here has a milestone 'registraton_open', and there is no such news\n"
    )
    assert len(listed(store)) == 1


def test_a_secret_and_headers_come_from_files_or_from_standard_input(
    store: Terminal, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = store.write("headers.txt", "Authorization: Bearer geheim\n\nX-Source: campus\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{SECRET}\n".encode())))
    said = add(store, receiver.url, "--allow", NETWORK, "--secret-file", "-", "--header-file", headers)
    assert said.code == 0
    assert SECRET in said.out
    assert "geheim" not in said.out + store("webhook", "list", "--json").out
    assert store("webhook", "test", "crm").code == 0
    (request,) = receiver.received
    assert request.is_signed_by(SECRET)
    assert (request.headers["authorization"], request.headers["x-source"]) == ("Bearer geheim", "campus")


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "cookie", "x-secret"])
def test_bad_input_84_a_secret_header_on_the_command_line_is_refused_and_not_repeated(
    store: Terminal, name: str
) -> None:
    said = refused(add(store, URL, "--header", f"{name}: geheim"))
    assert said == (
        f"--header: the text of '{name}' on the command line can be seen by others; "
        "write it into a file, and give that as --header-file"
    )
    assert listed(store) == []


# -- bad inputs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "url", "said"),
    [
        (65, "file:///etc/passwd", "has the scheme 'file'"),
        (65, "gopher://crm.example.org/", "has the scheme 'gopher'"),
        (65, "javascript:alert(1)", "https://"),
        (65, "crm.example.org/duly", "does not begin with https://"),
        (65, "http://crm.example.org/", "use https"),
        (66, "https://127.1/", "write an IPv4 address as four plain numbers"),
        (66, "https://2130706433/", "write an IPv4 address as four plain numbers"),
        (66, "https://0x7f.1/", "write an IPv4 address as four plain numbers"),
        (66, "https://0177.0.0.1/", "write an IPv4 address as four plain numbers"),
        (66, "https://0/", "write an IPv4 address as four plain numbers"),
        (66, "https://①②⑦.0.0.1/", "other letters than a to z"),
        (66, "https://127。0。0。1/", "other letters than a to z"),
        (66, "https://127.0.0.1/", "is not a public address"),
        (66, "https://[::ffff:169.254.169.254]/", "serves a cloud's credentials"),
        (66, "https://[64:ff9b::a9fe:a9fe]/", "serves a cloud's credentials"),
        (66, "https://[2002:7f00:1::]/", "is not a public address"),
        (66, "https://[::]/", "is not a public address"),
        (67, "https://inside.example.org/", "inside.example.org is 10.0.0.7, which is not a public address"),
        (67, "https://both.example.org/", "both.example.org is 192.168.1.1, which is not a public address"),
        (68, "http://good@127.0.0.1/", "user name or password"),
        (68, "http://good\\@127.0.0.1/", "has a backslash"),
        (68, "https://crm.example.org/a\tb", "control character"),
        (68, "https://crm.example.org/a\nb", "control character"),
        (69, "https://crm.example.org:0/", "has the port '0'"),
        (69, "https://crm.example.org:99999/", "has the port '99999'"),
        (69, "https://crm.example.org:22/", "has the port 22"),
        (69, "https://crm.example.org:80:81/", "has the port '80:81'"),
        (69, "https://crm.example.org:\uff18\uff10/", "has the port"),
        (70, "https://ada:geheim@crm.example.org/", "user name or password"),
        (71, "https://crm.ex\u0430mple.org/", "other letters than a to z: if it is really meant, write it as"),
        (71, "https://xn--zzzzzz99999999/", "which no name is written as"),
        (71, "https://a..b/", "an empty part"),
        (71, f"https://{'a' * 300}.org/", "too long"),
    ],
)
def test_bad_inputs_65_to_71_a_url_that_must_not_be_is_refused(
    store: Terminal, number: int, url: str, said: str
) -> None:
    message = refused(add(store, url))
    assert said in message, number
    assert "geheim" not in message
    assert listed(store) == []


def test_bad_input_72_the_own_host_is_reached_only_where_that_is_allowed(store: Terminal) -> None:
    assert "is not a public address; allow its network" in refused(add(store, "https://127.0.0.1:8642/api/v1"))
    assert "is http" in refused(add(store, "http://127.0.0.1:8642/api/v1"))
    assert add(store, "http://127.0.0.1:8642/hooks", "--allow", NETWORK).code == 0


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("whsec_Z2VoZWlt", "has 6 bytes; use 24 to 64"),
        ("whsec_" + "A" * 88, "has 66 bytes; use 24 to 64"),
        ("whsec_geheim!" * 3, "is not base64"),
        ("geheim" * 8, "must begin with 'whsec_'"),
        ("", "must begin with 'whsec_'"),
    ],
)
def test_bad_input_73_a_secret_that_is_none_is_refused_and_not_repeated(
    store: Terminal, secret: str, said: str
) -> None:
    file = store.write("secret.txt", secret)
    message = refused(add(store, URL, "--secret-file", file))
    assert said in message
    assert "geheim" not in message
    assert listed(store) == []
    add(store)
    assert said in refused(store("webhook", "rotate", "crm", "--secret-file", file))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("X-A: 1\r\nX-B: 2", "the text of 'X-A' must be one line of printable ASCII"),
        ("X-A\r\nX-B: 2", "is no name of a header"),
        ("X-A: 1\x00", "must be one line of printable ASCII"),
        ("X A: 1", "is no name of a header"),
        (": 1", "is no name of a header"),
        ("X-A", "has no colon"),
        ("Host: evil.example.org", "'Host' is set by Duly itself"),
        ("Content-Length: 0", "'Content-Length' is set by Duly itself"),
        ("webhook-id: 1", "'webhook-id' is set by Duly itself"),
    ],
)
def test_bad_input_74_a_header_that_must_not_be_is_refused(store: Terminal, line: str, said: str) -> None:
    assert said in refused(add(store, URL, "--header", line))
    assert listed(store) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["crm/1", URL], "webhook name 'crm/1'"),
        (["", URL], "webhook name ''"),
        (["a\x1b[2J", URL], "webhook name 'a\\x1b[2J'"),
        (["crm"], "missing argument 'URL'; see 'duly webhook add --help'"),
        (["crm", URL, "--topic", "a b"], "topics: 'a b'"),
        (["crm", URL, "--allow", "10.0.0.1/33"], "allow: '10.0.0.1/33' is no network"),
        (["crm", URL, "--allow", "8.8.8.0/24"], "is no private network"),
        (["crm", URL, "--timeout", "0"], "timeout 0:00:00 must be more than zero"),
        (["crm", URL, "--timeout", "1h"], "timeout 1:00:00"),
        (["crm", URL, "--timeout", "5"], "--timeout '5' has no unit"),
        (["crm", URL, "--concurrency", "0"], "concurrency 0 must be at least 1"),
        (["crm", URL, "--catch-up", "some"], "'some' is not one of"),
        (["crm", URL, "--catch-up-window", "-1h"], "--catch-up-window '-1h' is negative"),
        (["crm", URL, "--secret", "whsec_x"], "'--secret'"),
    ],
)
def test_an_endpoint_that_cannot_be_meant_is_refused(store: Terminal, arguments: list[str], said: str) -> None:
    message = refused(store("webhook", "add", *arguments))
    assert said in message
    assert listed(store) == []


def test_a_file_that_is_not_there_or_no_text_is_refused(store: Terminal) -> None:
    said = refused(add(store, URL, "--secret-file", "nowhere.txt"), code=1)
    assert said == "nowhere.txt: No such file or directory"
    (store.folder / "binary").write_bytes(b"\xff\xfe\x00")
    assert "binary is not text in UTF-8" in refused(add(store, URL, "--header-file", "binary"))
    store.write("long", "x" * 100_001)
    assert "long is too long for that" in refused(add(store, URL, "--secret-file", "long"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["webhook", "lst"],
            "there is no command 'lst'; did you mean 'duly webhook list'?; see 'duly webhook --help'",
        ),
        (["webhook", "xyz"], "there is no command 'xyz'; see 'duly webhook --help'"),
        (["webhook", "test"], "missing argument 'NAME'; see 'duly webhook test --help'"),
        (["webhook", "test", "bank"], "there is no webhook 'bank'; there are: crm"),
        (["webhook", "rotate", "bank"], "there is no webhook 'bank'; there are: crm"),
        (["webhook", "disable", "bank"], "there is no webhook 'bank'; there are: crm"),
        (["webhook", "enable", "bank"], "there is no webhook 'bank'; there are: crm"),
        (["webhook", "remove", "bank"], "there is no webhook 'bank'; there are: crm"),
        (["webhook", "rotate", "crm", "--keep", "soon"], "--keep 'soon' is no duration"),
        (["webhook", "rotate", "crm", "--keep", "31 days"], "must be from 0 to 30 days"),
        (["webhook", "disable", "crm", "--reason", "a\nb"], "control character"),
        (["webhook", "add", "crm", URL], "there is a webhook 'crm' already"),
    ],
)
def test_what_names_no_endpoint_is_wrong_input(store: Terminal, arguments: list[str], said: str) -> None:
    add(store)
    before = listed(store)
    assert said in refused(store(*arguments))
    assert listed(store) == before


def test_webhook_alone_shows_what_can_be_done(terminal: Terminal) -> None:
    said = terminal("webhook")
    assert (said.code, said.err) == (0, "")
    commands = [line.split()[0] for line in said.lines[said.lines.index("Commands:") + 1 :] if line[2:3].strip()]
    assert commands[:7] == ["add", "list", "test", "rotate", "disable", "enable", "remove"]


def test_nothing_is_made_by_looking_at_a_store_that_is_not_there(terminal: Terminal) -> None:
    for command in (["deliveries"], ["webhook", "list"], ["webhook", "add", "crm", URL], ["release", "--all"]):
        assert "there is no such file" in refused(terminal(*command))
    assert list(terminal.folder.iterdir()) == []


# -- test --------------------------------------------------------------------------------------------------


def test_a_trial_tells_what_came_of_it_and_exits_by_that(store: Terminal, receiver: Receiver) -> None:
    add(store, receiver.url, "--allow", NETWORK)
    said = store("webhook", "test", "crm")
    (request,) = receiver.received
    assert (said.code, said.err) == (0, "")
    assert said.lines == [f"✔ crm took it: HTTP 204 after 0 ms (id {request.id})"]
    receiver.answer(replies.status(500, b"no\x1b[2J"), replies.status(410), replies.redirect())
    assert store("webhook", "test", "webhook:crm") == Said(1, "✘ crm did not take it: HTTP 500: no [2J\n", "")
    assert store("webhook", "test", "crm").code == 1
    moved = store("webhook", "test", "crm", "--json")
    assert (moved.code, moved.json["outcome"], moved.json["code"]) == (1, "failed", 302)
    # Trying is no delivery: nobody is disabled by it, and nothing is kept.
    assert listed(store)[0]["standing"] == "active"
    assert store("deliveries", "--json").json == []


def test_a_trial_of_who_is_not_there_fails_in_a_sentence(store: Terminal) -> None:
    with Receiver() as gone:
        add(store, gone.url, "--allow", NETWORK)
    said = store("webhook", "test", "crm")
    assert said.code == 1
    assert said.out.startswith("✘ crm did not take it: cannot connect to 127.0.0.1")


# -- rotate, disable, enable, remove -----------------------------------------------------------------------


def test_a_new_secret_is_shown_once_and_signs_beside_the_old_one(store: Terminal, receiver: Receiver) -> None:
    first = add(store, receiver.url, "--allow", NETWORK, "--json").json["secret"]
    said = store("webhook", "rotate", "crm")
    assert said.lines[0] == "webhook:crm has a new secret; the old one signs along for 24 h."
    second = said.lines[1].rpartition(" ")[2]
    store("webhook", "test", "crm")
    (request,) = receiver.received
    assert request.is_signed_by(first)
    assert request.is_signed_by(second)
    third = store("webhook", "rotate", "crm", "--keep", "0", "--json").json
    assert second not in str(third)
    assert len(third["secrets"]) == 1
    assert store("webhook", "rotate", "crm", "--keep", "0").lines[0].endswith("the old one is void from now on.")


def test_disabling_parks_what_is_owed_and_enabling_says_so(store: Terminal) -> None:
    add(store)
    store.clock.advance(30 * MINUTE)
    with Agenda("sqlite:///duly.db", clock=store.clock) as agenda:
        OutboxStage(agenda, store.clock).fire()
    assert listed(store)[0]["pending"] == 1
    assert store("webhook", "disable", "crm", "--reason", "moves house").lines == [
        "webhook:crm is disabled.",
        "1 delivery that it was owed is parked.",
        "To go on: duly webhook enable crm",
    ]
    assert "disabled: moves house" in store("webhook", "list").out
    assert store("webhook", "disable", "crm", "--json").json == {
        "name": "crm",
        "standing": "disabled",
        "reason": "disabled by a person",
    }
    assert store("webhook", "enable", "crm").lines == [
        "webhook:crm is told again, from now on.",
        "1 delivery is parked: duly release --subscriber webhook:crm",
    ]
    assert store("release", "--subscriber", "webhook:crm", "--yes").code == 0
    assert store("webhook", "enable", "crm").lines == ["webhook:crm is told again, from now on."]


def test_what_is_removed_is_gone_and_keeps_its_record(store: Terminal) -> None:
    add(store)
    store.clock.advance(30 * MINUTE)
    with Agenda("sqlite:///duly.db", clock=store.clock) as agenda:
        OutboxStage(agenda, store.clock).fire()
    assert store("webhook", "remove", "crm", "--reason", "we have changed the system").lines == [
        "webhook:crm is removed, and its secrets with it.",
        "1 delivery that it was owed is parked.",
    ]
    assert listed(store) == []
    (record,) = store("deliveries", "--json").json
    assert record["reason"] == "subscriber 'webhook:crm' is gone: we have changed the system"
    assert add(store).code == 0
