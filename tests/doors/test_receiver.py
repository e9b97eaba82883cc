"""The receiver that ships for users' tests: it records, and does what it is asked to."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from duly.testing.receiver import Receiver
from duly.testing.replies import close, hang, redirect, reset, status
from tests.builders import T0
from tests.webhook_stage import SECRET


def post(receiver: Receiver, body: str = "{}", **headers: str) -> http.client.HTTPResponse:
    """Send one request with the plainest client that there is."""
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    try:
        connection.request("POST", "/hooks", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def test_what_came_in_is_recorded_in_its_order() -> None:
    with Receiver() as receiver:
        assert receiver.url == f"http://127.0.0.1:{receiver.port}/hooks"
        for number in (1, 2):
            post(receiver, json.dumps({"type": f"t{number}"}), **{"Webhook-Id": f"d_{number}"})
        received = receiver.wait_for(2)
    assert [(each.number, each.id, each.type, each.path) for each in received] == [
        (1, "d_1", "t1", "/hooks"),
        (2, "d_2", "t2", "/hooks"),
    ]


def test_scripted_answers_come_one_by_one_and_then_the_usual_one_again() -> None:
    with Receiver() as receiver:
        receiver.answer(status(503, b"later", retry_after="7"), redirect())
        first, second, third = post(receiver), post(receiver), post(receiver)
        receiver.answer_always(status(418))
        fourth = post(receiver)
    assert (first.status, first.headers["retry-after"]) == (503, "7")
    assert (second.status, second.headers["location"]) == (302, "http://169.254.169.254/latest/meta-data/")
    assert (third.status, fourth.status) == (204, 418)


@pytest.mark.parametrize("reply", [close(), reset()])
def test_a_connection_can_end_without_an_answer(reply: object) -> None:
    with Receiver() as receiver:
        receiver.answer_always(reply)  # type: ignore[arg-type]  # both are replies
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            post(receiver)
        assert len(receiver.received) == 1


def test_a_signature_is_checked_by_the_library_over_the_very_bytes() -> None:
    at = datetime.fromtimestamp(T0 // 1_000_000, tz=UTC)
    headers = {
        "webhook-id": "d_1",
        "webhook-timestamp": str(T0 // 1_000_000),
        "webhook-signature": "v1,bm8= " + Webhook(SECRET).sign("d_1", at, '{"a": 1}'),
    }
    with Receiver() as receiver:
        post(receiver, '{"a": 1}', **headers)
        post(receiver, '{"a":1}', **headers)
        right, wrong = receiver.received
    assert right.is_signed_by(SECRET)
    assert not right.is_signed_by("whsec_" + "A" * 40)
    assert not wrong.is_signed_by(SECRET)


def test_it_dies_and_comes_back_on_the_same_port_with_what_it_knew() -> None:
    with Receiver() as receiver:
        post(receiver)
        receiver.die()
        receiver.die()
        with pytest.raises(ConnectionError):
            post(receiver)
        receiver.come_back()
        receiver.come_back()
        post(receiver)
        assert [each.number for each in receiver.received] == [1, 2]


def test_waiting_for_what_does_not_come_ends_and_says_what_came() -> None:
    with Receiver() as receiver:
        post(receiver)
        with pytest.raises(TimeoutError, match=r"has 1 of 2 requests after 0\.05 s"):
            receiver.wait_for(2, within=0.05)


def test_it_ends_though_requests_hang() -> None:
    with Receiver() as receiver:
        receiver.answer_always(hang())
        connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        connection.request("POST", "/hooks", "{}")
        receiver.wait_for(1)
    with pytest.raises((ConnectionError, http.client.BadStatusLine)):
        connection.getresponse()
    connection.close()


def test_dying_breaks_what_is_under_way() -> None:
    with Receiver() as receiver:
        receiver.answer_always(hang())
        connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        connection.request("POST", "/hooks", "{}")
        receiver.wait_for(1)
        receiver.die()
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            connection.getresponse()
        connection.close()
