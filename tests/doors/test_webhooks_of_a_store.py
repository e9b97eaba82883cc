"""Webhook endpoints in a store: added, listed, tried, given new secrets, disabled, enabled, removed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from socket import EAI_NONAME, gaierror

import pytest

from duly.agenda import Agenda
from duly.channels.endpoint import Endpoint, described
from duly.clock import ManualClock
from duly.errors import InvalidEndpoint, InvalidInput, UnknownSubscriber
from duly.model.delivery import Standing, State
from duly.testing import replies
from duly.testing.receiver import Receiver
from duly.webhooks import Webhooks
from tests.builders import HOUR, T0
from tests.doors.test_deliveries import workshop
from tests.outbox_stage import OutboxStage
from tests.webhook_stage import SECRET

URL = "https://example.org/hooks?key=4711"


def public(host: str, _port: int) -> list[str]:
    """Look a name up without asking anybody: all are public, and an address is itself."""
    return [host if host[0].isdigit() else "93.184.216.34"]


@pytest.fixture
def stage() -> Iterator[OutboxStage]:
    clock = ManualClock(T0)
    with Agenda("sqlite:///:memory:", clock=clock) as agenda:
        yield OutboxStage(agenda, clock)


@pytest.fixture
def webhooks(stage: OutboxStage) -> Webhooks:
    return Webhooks(stage.agenda, own=["https://duly.example.org/api"], look_up=public)


def owed(stage: OutboxStage) -> None:
    """Have every subscriber owed one delivery."""
    stage.agenda.put(workshop(now=stage.clock.now()))
    stage.clock.advance(HOUR)
    stage.fire()


def test_an_endpoint_is_added_with_a_secret_that_is_nowhere_shown_again(webhooks: Webhooks) -> None:
    given = webhooks.add("crm", URL, ["registration_*"], headers={"Authorization": "Bearer geheim"})
    assert given.secret.startswith("whsec_")
    assert given.warnings == ()
    (listed,) = webhooks.all()
    assert listed == given.subscriber == webhooks.get("webhook:crm")
    for text in (str(described(listed)), repr(given), repr(listed)):
        assert given.secret not in text
        assert "geheim" not in text
        assert "4711" not in text


def test_a_name_is_given_once_and_may_be_given_again_after_a_removal(webhooks: Webhooks) -> None:
    first = webhooks.add("crm", URL)
    with pytest.raises(InvalidEndpoint, match="there is a webhook 'crm' already; remove it first"):
        webhooks.add("webhook:crm", URL)
    webhooks.disable("crm")
    with pytest.raises(InvalidEndpoint, match="already"):
        webhooks.add("crm", URL)
    webhooks.remove("crm")
    again = webhooks.add("crm", URL)
    assert again.subscriber.standing is Standing.ACTIVE
    assert again.secret != first.secret


def test_a_removed_endpoint_leaves_its_record_and_no_secret(stage: OutboxStage, webhooks: Webhooks) -> None:
    webhooks.add("crm", URL)
    owed(stage)
    webhooks.remove("crm", reason="we have changed the system")
    assert webhooks.all() == []
    (kept,) = stage.outbox.subscribers()
    assert (kept.standing, kept.settings) == (Standing.GONE, {})
    (parked,) = stage.all()
    assert parked.state is State.PARKED
    assert parked.reason == "subscriber 'webhook:crm' is gone: we have changed the system"


def test_a_disabled_endpoint_is_owed_nothing_until_it_is_enabled(stage: OutboxStage, webhooks: Webhooks) -> None:
    webhooks.add("crm", URL)
    owed(stage)
    assert webhooks.disable("crm").reason == "disabled by a person"
    assert stage.states() == ["webhook:crm registration_open parked"]
    stage.clock.advance(HOUR)
    stage.fire()
    assert len(stage.all()) == 1
    enabled = webhooks.enable("crm")
    assert (enabled.standing, enabled.reason) == (Standing.ACTIVE, None)
    stage.clock.advance(HOUR)
    stage.fire()
    assert stage.states()[1:] == ["webhook:crm event_start pending"]


def test_a_new_secret_signs_beside_the_old_one_for_a_while(stage: OutboxStage, webhooks: Webhooks) -> None:
    first = webhooks.add("crm", URL, secret=SECRET)
    assert first.secret == SECRET
    second = webhooks.rotate("crm", keep=timedelta(hours=1))
    assert second.secret != SECRET
    live = [secret.is_live(stage.clock.now() + HOUR - 1) for secret in Endpoint.of(second.subscriber).secrets]
    over = [secret.is_live(stage.clock.now() + HOUR) for secret in Endpoint.of(second.subscriber).secrets]
    assert (live, over) == ([True, True], [True, False])
    assert len(Endpoint.of(webhooks.rotate("crm", keep=timedelta(0)).subscriber).secrets) == 1
    with pytest.raises(InvalidEndpoint, match="keep"):
        webhooks.rotate("crm", keep=timedelta(days=31))


def test_an_endpoint_that_is_not_there_is_named_with_those_that_are(webhooks: Webhooks) -> None:
    with pytest.raises(UnknownSubscriber, match="there is no webhook 'crm'; there are none yet"):
        webhooks.get("crm")
    webhooks.add("mail", URL)
    webhooks.add("bank", URL)
    for call in (webhooks.get, webhooks.rotate, webhooks.disable, webhooks.enable, webhooks.remove, webhooks.test):
        with pytest.raises(UnknownSubscriber, match="there is no webhook 'crm'; there are: bank, mail"):
            call("crm")


def test_a_handler_is_no_webhook(stage: OutboxStage, webhooks: Webhooks) -> None:
    stage.subscribe("campus:announce")
    assert webhooks.all() == []
    with pytest.raises(UnknownSubscriber):
        webhooks.disable("campus:announce")


def test_what_nobody_has_heard_of_is_doubted(webhooks: Webhooks) -> None:
    topics = ["registration_*", "paper_deadline#2", "cancelled", "outage", "registraton_open", "zzz*"]
    given = webhooks.add("crm", URL, topics, lifecycles=("campus_event", "campus"))
    assert given.warnings[:2] == (
        "no lifecycle that is known here has a milestone 'registraton_open', and there is no such news",
        "no lifecycle that is known here has a milestone 'zzz*', and there is no such news",
    )
    assert given.warnings[2].startswith("lifecycle 'campus' is not known here; known are: campus_event")
    assert len(given.warnings) == 3


def test_bad_input_67_a_host_that_leads_inside_is_refused_when_it_is_added(stage: OutboxStage) -> None:
    webhooks = Webhooks(stage.agenda, look_up=lambda _host, _port: ["93.184.216.34", "10.1.2.3"])
    with pytest.raises(InvalidEndpoint, match=r"example\.org is 10\.1\.2\.3, which is not a public"):
        webhooks.add("crm", URL)
    assert stage.outbox.subscribers() == []


def test_a_host_that_does_not_resolve_yet_is_a_warning(stage: OutboxStage) -> None:
    def nowhere(_host: str, _port: int) -> list[str]:
        raise gaierror(EAI_NONAME, "Name or service not known")

    given = Webhooks(stage.agenda, look_up=nowhere).add("crm", URL)
    assert "example.org does not resolve now" in given.warnings[0]


def test_bad_input_72_the_own_address_is_refused(stage: OutboxStage, webhooks: Webhooks) -> None:
    with pytest.raises(InvalidEndpoint, match="is this application's own address"):
        webhooks.add("crm", "https://duly.example.org/api/v1/events")
    assert stage.outbox.subscribers() == []


def test_a_reason_that_could_forge_a_line_is_refused(webhooks: Webhooks) -> None:
    webhooks.add("crm", URL)
    with pytest.raises(InvalidInput, match="control character"):
        webhooks.disable("crm", reason="a\nb")
    assert webhooks.get("crm").standing is Standing.ACTIVE
    assert webhooks.disable("crm", reason="  ").reason == "disabled by a person"


def test_a_trial_is_signed_sent_once_and_not_kept(stage: OutboxStage, webhooks: Webhooks) -> None:
    with Receiver() as receiver:
        given = webhooks.add("crm", receiver.url, allow=[receiver.network])
        webhooks.disable("crm")
        tried = webhooks.test("crm")
        (request,) = receiver.received
        receiver.answer(replies.status(503, b"busy"))
        failed = webhooks.test("crm")
        assert len(receiver.received) == 2
    assert tried.succeeded
    assert tried.outcome.code == 204
    assert (request.type, request.id) == ("test", tried.delivery_id)
    assert request.is_signed_by(given.secret)
    assert not failed.succeeded
    assert failed.to_json() | {"delivery": "", "took_seconds": 0} == {
        "delivery": "",
        "topic": "test",
        "outcome": "failed",
        "code": 503,
        "said": "HTTP 503: busy",
        "took_seconds": 0,
    }
    assert stage.all() == []
