"""What a webhook endpoint is told, signed how, and what its answer means."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import trustme
from jsonschema import Draft202012Validator, ValidationError
from standardwebhooks import Webhook

from duly.channels.answers import rest_asked
from duly.channels.channel import Context, Outcome, Verdict
from duly.channels.endpoint import Endpoint, described, new_endpoint, newest_secret, rotated
from duly.channels.payload import payload_of, payload_schema, trial
from duly.channels.webhooks import WebhookChannel
from duly.clock import ManualClock, SystemClock
from duly.errors import InvalidEndpoint, UnknownLifecycle
from duly.model.dates import to_datetime
from duly.model.delivery import Subscriber
from duly.model.event import Hold
from duly.testing.receiver import Received, Receiver
from duly.testing.replies import close, redirect, status
from tests.builders import DAY, HOUR, MINUTE, SECOND, T0
from tests.webhook_stage import (
    AMPLE,
    SECRET,
    Names,
    cancelled,
    context_of,
    dead,
    deliver,
    endpoint_at,
    firing,
    life,
    outage,
    revoked,
    told,
)

VALIDATOR = Draft202012Validator(payload_schema())
KINDS: list[Callable[[Subscriber], Context]] = [
    told,
    revoked,
    cancelled,
    outage,
    lambda subscriber: outage(subscriber, began_us=None),
    dead,
    lambda subscriber: trial(subscriber, "d_9", T0),
]


def sent(context: Context, receiver: Receiver) -> Received:
    """Make one attempt that succeeds, and return what came of it at the other end."""
    outcome = deliver(context)
    assert outcome == Outcome(said="HTTP 204", code=204)
    return receiver.received[-1]


# --------------------------------------------------------------------------------------------- what is told


def test_an_endpoint_is_told_of_a_transition() -> None:
    with Receiver() as receiver:
        request = sent(told(endpoint_at(receiver)), receiver)
    assert (request.method, request.path) == ("POST", "/hooks")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (request.id, request.type) == ("d_1", "registration_open")
    assert request.json["timestamp"] == "2026-05-01T11:00:00Z"
    data = request.json["data"]
    assert data["due_at"] == "2026-05-01T09:00:00Z"
    assert data["lateness_seconds"] == 7200
    assert data["caught_up"] is True
    assert data["status"] == "upcoming/registration_open"
    assert data["transition"]["seq"] == 2
    assert data["event"]["data"] == {"tags": ["blue"], "room": "Ä 1"}
    assert data["event"]["dates"]["registration_open"] == {"due_at": "2026-05-01T09:00:00Z", "fired": True}
    assert data["event"]["dates"]["event_start"]["fired"] is False


def test_nothing_is_sent_along_that_was_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with Receiver() as receiver:
        request = sent(told(endpoint_at(receiver)), receiver)
    assert set(request.headers) == {
        *("host", "content-type", "content-length", "user-agent", "accept-encoding"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }
    assert request.headers["accept-encoding"] == "identity"


def test_extra_headers_and_the_query_are_sent_along() -> None:
    with Receiver() as receiver:
        plain = endpoint_at(receiver)
        settings = {**plain.settings, "headers": {"X-Key": "k3y"}, "url": f"{receiver.url}?a=1"}
        request = sent(told(replace(plain, settings=settings)), receiver)
    assert request.headers["x-key"] == "k3y"
    assert request.path == "/hooks?a=1"


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_every_kind_of_payload_is_as_the_schema_says(kind: int) -> None:
    payload = json.loads(json.dumps(payload_of(KINDS[kind](new_endpoint("crm", "https://example.org/")))))
    VALIDATOR.validate(payload)
    about = [name for name in ("transition", "outage", "dead") if payload["data"][name] is not None]
    assert about == [["transition"], ["transition"], ["transition"], ["outage"], ["outage"], ["dead"], []][kind]


def test_the_schema_is_one_and_refuses_what_lacks_a_key() -> None:
    Draft202012Validator.check_schema(payload_schema())
    payload: Any = payload_of(told(new_endpoint("crm", "https://example.org/")))
    for part in (payload, payload["data"], payload["data"]["event"], payload["data"]["transition"]):
        for name in list(part):
            kept = part.pop(name)
            with pytest.raises(ValidationError):
                VALIDATOR.validate(payload)
            part[name] = kept
    VALIDATOR.validate(payload)


def test_the_names_of_our_hosts_and_the_errors_of_an_event_stay_inside() -> None:
    for kind in KINDS:
        text = json.dumps(payload_of(kind(new_endpoint("crm", "https://example.org/"))))
        assert '"node"' not in text
        assert '"error"' not in text
        assert '"hash"' not in text


def test_the_type_of_a_round_is_its_milestones_and_the_topic_tells_the_round() -> None:
    context = told(new_endpoint("crm", "https://example.org/"))
    context.topic = "paper_deadline#2"
    payload: Any = payload_of(context)
    assert (payload["type"], payload["data"]["topic"]) == ("paper_deadline", "paper_deadline#2")


def test_an_event_that_is_gone_or_unreadable_is_told_without_it() -> None:
    context = told(new_endpoint("crm", "https://example.org/"))

    def unknown() -> Any:
        raise UnknownLifecycle("no lifecycle 'regatta' is known here")

    context.look_up = unknown
    payload: Any = payload_of(context)
    assert payload["data"]["event"] is None
    assert payload["data"]["event_id"] == "w1"


def test_an_event_that_cannot_be_looked_up_just_now_raises_and_sends_nothing() -> None:
    def broken() -> Any:
        raise OSError("disk")

    with Receiver() as receiver:
        context = told(endpoint_at(receiver))
        context.look_up = broken
        with pytest.raises(OSError, match="disk"):
            deliver(context)
        assert receiver.connections == 0


# ------------------------------------------------------------------------------------------------ signatures


def test_the_receivers_own_library_verifies_the_signature() -> None:
    with Receiver() as receiver:
        endpoint = endpoint_at(receiver)
        deliver(told(endpoint), clock=SystemClock())
        request = receiver.received[0]
    assert Webhook(newest_secret(endpoint)).verify(request.body, dict(request.headers)) == request.json


def test_the_timestamp_is_the_attempts_by_the_clock_that_was_handed_in() -> None:
    with Receiver() as receiver:
        deliver(told(endpoint_at(receiver)), clock=ManualClock(T0 + 90 * SECOND + 1))
        request = receiver.received[0]
    assert request.headers["webhook-timestamp"] == str((T0 + 90 * SECOND) // SECOND)
    assert request.is_signed_by(SECRET)
    assert not request.is_signed_by("whsec_" + "AAAA" * 8)


def test_during_a_rotation_both_secrets_verify_and_afterwards_only_the_new_one() -> None:
    with Receiver() as receiver:
        changed = rotated(endpoint_at(receiver), T0, keep=timedelta(hours=1))
        fresh = newest_secret(changed)
        for now_us in (T0, T0 + HOUR - 1, T0 + HOUR):
            deliver(told(changed), clock=ManualClock(now_us))
        first, last_moment, after = receiver.received
    assert fresh != SECRET
    assert len(first.headers["webhook-signature"].split(" ")) == 2
    assert [request.is_signed_by(fresh) for request in (first, last_moment, after)] == [True, True, True]
    assert [request.is_signed_by(SECRET) for request in (first, last_moment, after)] == [True, True, False]


def test_at_most_two_secrets_are_live() -> None:
    endpoint = new_endpoint("crm", "https://example.org/", secret=SECRET)
    once = rotated(endpoint, T0)
    twice = rotated(once, T0 + MINUTE)
    kept = [secret.text for secret in Endpoint.of(twice).secrets]
    assert kept == [newest_secret(twice), newest_secret(once)]
    assert described(twice)["secrets"] == [
        {"fingerprint": Endpoint.of(twice).secrets[0].fingerprint, "until": None},
        {"fingerprint": Endpoint.of(once).secrets[0].fingerprint, "until": "2026-05-02T08:01:00Z"},
    ]


def test_a_secret_that_was_lost_is_retired_at_once() -> None:
    changed = rotated(new_endpoint("crm", "https://example.org/", secret=SECRET), T0, keep=timedelta(0))
    assert [secret.text for secret in Endpoint.of(changed).secrets] == [newest_secret(changed)]


def test_rotating_to_the_same_secret_or_keeping_one_for_ever_is_refused() -> None:
    endpoint = new_endpoint("crm", "https://example.org/", secret=SECRET)
    with pytest.raises(InvalidEndpoint, match="has this secret already"):
        rotated(endpoint, T0, secret=SECRET)
    for keep in (timedelta(days=31), timedelta(seconds=-1)):
        with pytest.raises(InvalidEndpoint, match="must be from 0 to 30 days"):
            rotated(endpoint, T0, keep)


# --------------------------------------------------------------------------------------------------- answers


def answered(*replies: Any, now_us: int = T0) -> Outcome:
    """Return the outcome of one attempt that is answered like this."""
    with Receiver() as receiver:
        receiver.answer(*replies)
        return deliver(told(endpoint_at(receiver)), clock=ManualClock(now_us))


@pytest.mark.parametrize("code", [200, 201, 204, 299])
def test_every_2xx_is_a_delivery(code: int) -> None:
    assert answered(status(code)) == Outcome(said=f"HTTP {code}", code=code)


@pytest.mark.parametrize("code", [400, 401, 404, 409, 422, 500, 502, 504, 599])
def test_every_other_answer_is_a_failure_that_is_tried_again(code: int) -> None:
    outcome = answered(status(code, b"no\r\n\x1b[31mroom\x00 \xff"))
    assert outcome == Outcome(verdict=Verdict.FAILED, said=f"HTTP {code}: no [31mroom �", code=code)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_not_followed(code: int) -> None:
    with Receiver() as elsewhere, Receiver() as receiver:
        receiver.answer(redirect(elsewhere.url, code))
        outcome = deliver(told(endpoint_at(receiver)))
        assert elsewhere.connections == 0
    assert outcome.verdict is Verdict.FAILED
    assert "redirects are not followed" in str(outcome.said)


def test_410_disables_the_endpoint_and_ends_the_delivery() -> None:
    outcome = answered(status(410, b"moved away"))
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, 410)
    assert outcome.said == "HTTP 410: moved away"
    assert outcome.disable == "the receiver answered 410 Gone: it wants nothing more"


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_retry_after_puts_the_delivery_off_and_pauses_the_endpoint(code: int) -> None:
    outcome = answered(status(code, retry_after="120"))
    assert outcome.verdict is Verdict.FAILED
    assert (outcome.retry_after, outcome.pause) == (timedelta(minutes=2), timedelta(minutes=2))


def test_429_without_a_word_pauses_for_ten_seconds() -> None:
    outcome = answered(status(429))
    assert (outcome.retry_after, outcome.pause) == (None, timedelta(seconds=10))


def test_retry_after_where_it_means_nothing_is_ignored() -> None:
    outcome = answered(status(404, retry_after="120"))
    assert (outcome.retry_after, outcome.pause) == (None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1), ("3600", 3600), ("3601", 3600), ("999999999999", 3600), ("9" * 5000, 3600),
        (format_datetime(to_datetime(T0 + MINUTE), usegmt=True), 60),
        (format_datetime(to_datetime(T0 + MINUTE)).replace("+0000", "-0000"), 60),
        (format_datetime(to_datetime(T0 + 900 * DAY), usegmt=True), 3600),
    ],
)  # fmt: skip
def test_a_rest_that_is_asked_for_is_at_most_an_hour(text: str, seconds: int) -> None:
    assert rest_asked(text, T0) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "0",
        "-5",
        "soon",
        "1.5",
        "\uff11",
        "1e9",
        "Thu, 99 Foo 2026",
        format_datetime(to_datetime(T0 - MINUTE)),
    ],
)
def test_a_rest_that_nobody_can_take_is_none(text: str | None) -> None:
    assert rest_asked(text, T0) is None


def test_a_receiver_that_is_away_is_a_failure_that_names_it_and_comes_back() -> None:
    with Receiver() as receiver:
        endpoint = endpoint_at(receiver)
        receiver.die()
        outcome = deliver(told(endpoint))
        assert outcome.verdict is Verdict.FAILED
        assert str(outcome.said).startswith("cannot connect to 127.0.0.1 at 127.0.0.1: ")
        receiver.come_back()
        assert deliver(told(endpoint)).verdict is Verdict.DELIVERED


def test_a_connection_that_breaks_is_a_failure() -> None:
    outcome = answered(close())
    assert outcome.verdict is Verdict.FAILED
    assert str(outcome.said).startswith("127.0.0.1 broke off: ")


def test_settings_that_went_bad_are_a_failure_that_names_the_endpoint() -> None:
    endpoint = new_endpoint("crm", "https://example.org/", secret=SECRET)
    outcome = deliver(told(replace(endpoint, settings={**endpoint.settings, "url": "https://10.0.0.1/"})))
    assert outcome.verdict is Verdict.FAILED
    assert str(outcome.said).startswith("nothing was sent: 'webhook:crm': the webhook's URL leads to 10.0.0.1")


# ------------------------------------------------------------------------------------------- names, and TLS


def test_bad_input_67_a_name_is_looked_up_at_every_attempt_and_refused_once_it_turns_private() -> None:
    names = Names([["127.0.0.1"], ["127.0.0.1"], ["10.0.0.5"]])
    with Receiver() as receiver:
        channel = WebhookChannel(ManualClock(T0), look_up=names)
        context = told(endpoint_at(receiver, host="hooks.example.org"))

        async def three() -> list[Outcome]:
            return [await channel.deliver(context) for _ in range(3)]

        first, second, third = asyncio.run(three())
        # One question for each attempt: what was checked is what was connected to.
        assert names.asked == ["hooks.example.org"] * 3
        assert receiver.connections == 2
        assert receiver.received[0].headers["host"] == f"hooks.example.org:{receiver.port}"
    assert (first.verdict, second.verdict) == (Verdict.DELIVERED, Verdict.DELIVERED)
    assert third.verdict is Verdict.FAILED
    assert str(third.said).startswith("nothing was sent: hooks.example.org is 10.0.0.5")


def test_bad_input_67_a_name_that_turns_private_between_question_and_connection_changes_nothing() -> None:
    names = Names([["127.0.0.1"], ["10.0.0.5"]])
    with Receiver() as receiver:
        outcome = deliver(told(endpoint_at(receiver, host="hooks.example.org")), look_up=names)
    assert outcome.verdict is Verdict.DELIVERED
    assert names.asked == ["hooks.example.org"]


def test_bad_input_67_a_name_with_one_bad_address_is_refused_without_a_connection() -> None:
    with Receiver() as receiver:
        context = told(endpoint_at(receiver, host="hooks.example.org"))
        outcome = deliver(context, look_up=Names([["127.0.0.1", "169.254.169.254"]]))
        assert receiver.connections == 0
    assert "credentials" in str(outcome.said)


def test_plain_http_is_not_sent_to_a_public_address_that_a_private_name_has_got() -> None:
    with Receiver() as receiver:
        context = told(endpoint_at(receiver, host="hooks.internal"))
        outcome = deliver(context, look_up=Names([["93.184.216.34"]]))
    assert "http is for allowed private networks only" in str(outcome.said)


def test_a_name_without_an_address_is_a_failure() -> None:
    with Receiver() as receiver:
        outcome = deliver(told(endpoint_at(receiver, host="hooks.example.org")), look_up=Names([[]]))
    assert (outcome.verdict, outcome.said) == (Verdict.FAILED, "nothing was sent: hooks.example.org has no address")


def test_the_second_address_is_tried_where_the_first_is_not_there() -> None:
    with Receiver() as receiver:
        context = told(endpoint_at(receiver, host="hooks.example.org"))
        outcome = deliver(context, look_up=Names([["127.0.0.2", "127.0.0.1"]]))
    assert outcome.verdict is Verdict.DELIVERED


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def by_tls(
    authority: trustme.CA, *, certified: str, host: str, trusted: bool = True
) -> tuple[Outcome, list[str | None]]:
    """Tell a receiver that has a certificate, under a name; return what came of it and the names that TLS asked for."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(certified).configure_cert(server)
    asked: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    client = ssl.create_default_context()
    if trusted:
        authority.configure_trust(client)
    with Receiver(tls=server) as receiver:
        channel = WebhookChannel(ManualClock(T0), look_up=Names([["127.0.0.1"]]), tls=client)
        return asyncio.run(channel.deliver(told(endpoint_at(receiver, host=host)))), asked


def test_tls_asks_for_the_name_and_checks_it_though_the_connection_goes_to_the_address(authority: trustme.CA) -> None:
    outcome, asked = by_tls(authority, certified="hooks.example.org", host="hooks.example.org")
    assert outcome.verdict is Verdict.DELIVERED
    assert asked == ["hooks.example.org"]


def test_a_certificate_of_another_name_is_a_failure(authority: trustme.CA) -> None:
    outcome, _ = by_tls(authority, certified="other.example.org", host="hooks.example.org")
    assert outcome.verdict is Verdict.FAILED
    assert "CERTIFICATE_VERIFY_FAILED" in str(outcome.said)


def test_a_certificate_that_nobody_vouches_for_is_a_failure_by_default(authority: trustme.CA) -> None:
    outcome, _ = by_tls(authority, certified="hooks.example.org", host="hooks.example.org", trusted=False)
    assert "CERTIFICATE_VERIFY_FAILED" in str(outcome.said)


def test_the_hosts_own_trust_is_taken_where_none_is_handed_in(authority: trustme.CA) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.org").configure_cert(server)
    with Receiver(tls=server) as receiver:
        outcome = deliver(told(endpoint_at(receiver, host="hooks.example.org")), look_up=Names([["127.0.0.1"]]))
    assert "CERTIFICATE_VERIFY_FAILED" in str(outcome.said)


# ------------------------------------------------------------------------------------------- the endpoint itself


def test_an_endpoint_is_a_subscriber_with_the_specifications_schedule() -> None:
    endpoint = new_endpoint(
        "crm", "https://example.org/x", ["registration_*", "outage"], tags=("blue",), timeout=AMPLE
    )
    assert (endpoint.name, endpoint.channel) == ("webhook:crm", "webhook")
    assert endpoint.topics == ("registration_*", "outage")
    assert (endpoint.retry.attempts, endpoint.retry.delays[0]) == (10, timedelta(seconds=5))
    assert json.loads(json.dumps(endpoint.settings)) == endpoint.settings
    assert json.loads(json.dumps(described(endpoint)))["name"] == "crm"


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1), timedelta(minutes=2)])
def test_a_timeout_out_of_reason_is_refused(timeout: timedelta) -> None:
    with pytest.raises(InvalidEndpoint, match="timeout"):
        new_endpoint("crm", "https://example.org/", timeout=timeout)


def test_the_event_is_told_as_it_is_at_the_attempt() -> None:
    lived = life()
    context = context_of(new_endpoint("crm", "https://example.org/"), firing(lived), lived)
    lived.hold(T0 + 4 * HOUR, Hold.POSTPONED)
    payload: Any = payload_of(context)
    assert payload["data"]["status"] == "upcoming/registration_open"
    assert payload["data"]["event"]["hold"] == "postponed"
