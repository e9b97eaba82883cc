"""Celery as a task queue, without a broker: what it is asked to send, over which connections, with which waits."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any, cast

import pytest

from duly.channels.celery_queue import CeleryQueue
from duly.channels.task_queues import Message
from duly.errors import InvalidSetting
from tests.brokers import need_celery

need_celery()

from celery import Celery  # noqa: E402 - where it is missing, this file is skipped before
from kombu.exceptions import OperationalError  # noqa: E402 - see above

MESSAGE = Message(id="d1", task="campus.announce", payload={"topic": "event_start"})


def application(broker: str = "memory://") -> Any:
    return Celery("campus", broker=broker, set_as_current=False)


class Connection:
    """A connection that sends as it is told to."""

    def __init__(self, number: int, driver: str) -> None:
        self.number = number
        self.alt: list[str] = []
        self.transport_options: dict[str, object] = {}
        self.transport = self
        self.driver_type = driver
        self.ending: str | None = None

    def as_uri(self) -> str:
        return "amqp://me:**@broker//"

    def release(self) -> None:
        self.ending = "released"

    def collect(self) -> None:
        self.ending = "collected"


class App:
    """A stand-in for an application: its errors are those given, one for each sending, None for none."""

    def __init__(self, *errors: Exception | None, driver: str = "redis") -> None:
        self.errors = list(errors)
        self.driver = driver
        self.connections: list[Connection] = []
        self.sent: list[tuple[str, object, int]] = []

    def connection_for_write(self, *, connect_timeout: float, heartbeat: float) -> Connection:
        assert (connect_timeout, heartbeat) == (5.0, 0)
        self.connections.append(Connection(len(self.connections), self.driver))
        return self.connections[-1]

    def send_task(self, task: str, *, connection: Connection, **options: object) -> None:
        self.sent.append((task, options["task_id"], connection.number))
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error

    @property
    def sent_over(self) -> list[int]:
        """The numbers of the connections, in the order of the sendings."""
        assert {(task, id_) for task, id_, _ in self.sent} == {("campus.announce", "d1")}
        return [number for _, _, number in self.sent]

    def endings(self) -> list[str | None]:
        return [connection.ending for connection in self.connections]


def queue_of(app: App) -> CeleryQueue:
    return CeleryQueue(cast("Any", app))


# ------------------------------------------------------------------------------------------------- what is sent


def test_a_task_lies_in_the_broker_under_the_deliverys_id() -> None:
    app = application()
    queue = CeleryQueue(app)
    queue.publish(Message(id="d1", task="campus.announce", payload={"topic": "event_start"}, queue="mails"))
    with app.connection_for_read() as connection:
        lying = connection.SimpleQueue("mails").get(block=False)
        assert (lying.headers["id"], lying.headers["task"]) == ("d1", "campus.announce")
        assert lying.headers["ignore_result"] is True
        assert (lying.content_type, lying.payload[0]) == ("application/json", [{"topic": "event_start"}])
        lying.ack()
    queue.close()


def test_options_reach_the_task_but_change_neither_its_id_nor_its_payload() -> None:
    app = application()
    queue = CeleryQueue(app)
    options = {
        "priority": 7,
        "queue": "elsewhere",
        "task_id": "mine",
        "args": [],
        "retry": True,
        "serializer": "yaml",
    }
    queue.publish(Message(id="d2", task="x", payload={"n": 1}, queue="options", options=options))
    with app.connection_for_read() as connection:
        lying = connection.SimpleQueue("options").get(block=False)
        assert (lying.headers["id"], lying.payload[0]) == ("d2", [{"n": 1}])
        assert lying.properties["priority"] == 7
        lying.ack()
    queue.close()


# -------------------------------------------------------------------------------------------------- connections


def test_a_connection_is_kept_for_the_next_message() -> None:
    app = App()
    queue = queue_of(app)
    queue.publish(MESSAGE)
    queue.publish(MESSAGE)
    assert (app.sent_over, app.endings()) == ([0, 0], [None])
    queue.close()
    assert app.endings() == ["released"]


def test_what_fails_on_a_kept_connection_is_tried_once_on_a_new_one() -> None:
    app = App(None, OperationalError("cut while idle"), None, None)
    queue = queue_of(app)
    for _ in range(3):
        queue.publish(MESSAGE)
    assert (app.sent_over, app.endings()) == ([0, 0, 1, 1], ["released", None])


def test_what_fails_on_a_new_connection_is_not_tried_again() -> None:
    app = App(OperationalError("[Errno 111] Connection refused"), None)
    queue = queue_of(app)
    with pytest.raises(ConnectionError, match=r"^broker amqp://me:\*\*@broker//: \[Errno 111\] Connection refused$"):
        queue.publish(MESSAGE)
    assert (app.sent_over, app.endings()) == ([0], ["released"])


def test_a_connection_that_has_failed_is_not_used_again_and_amqp_says_no_goodbye() -> None:
    # A confirmation that comes too late would be taken for the next message's.
    app = App(OperationalError("timed out"), None, driver="amqp")
    queue = queue_of(app)
    with pytest.raises(ConnectionError, match="timed out"):
        queue.publish(MESSAGE)
    queue.publish(MESSAGE)
    assert (app.sent_over, app.endings()) == ([0, 1], ["collected", None])


def test_what_else_celery_raises_is_left_as_it_is() -> None:
    with pytest.raises(KeyError, match="no such queue"):
        queue_of(App(KeyError("no such queue"))).publish(MESSAGE)


@pytest.mark.parametrize(
    ("broker", "waits"),
    [
        ("redis://127.0.0.1/0", {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "retry_on_timeout": False}),
        ("amqp://127.0.0.1//", {"confirm_publish": True, "read_timeout": 2.0, "write_timeout": 2.0}),
        ("memory://", {}),
    ],
)
def test_every_wait_for_a_broker_ends_and_rabbitmq_confirms(broker: str, waits: dict[str, object]) -> None:
    queue = CeleryQueue(application(broker), timeout=timedelta(seconds=2))
    connection = queue._new_connection()
    assert (connection.connect_timeout, connection.connected) == (2.0, False)
    limits = {"max_retries": 0, "connect_retries_timeout": 2.0}
    naps = {"interval_start": 0, "interval_step": 0, "interval_max": 0}
    assert connection.transport_options == limits | naps | waits


def test_each_of_several_brokers_is_tried_once() -> None:
    queue = CeleryQueue(application("redis://127.0.0.1:1/0;redis://127.0.0.1:2/0;redis://127.0.0.1:3/0"))
    assert queue._new_connection().transport_options["max_retries"] == 2


def test_the_applications_own_settings_stay_as_they_are() -> None:
    app = application("redis://127.0.0.1/0")
    app.conf.broker_transport_options = {"visibility_timeout": 60, "socket_timeout": 99}
    connection = CeleryQueue(app)._new_connection()
    assert (connection.transport_options["visibility_timeout"], connection.transport_options["socket_timeout"]) == (
        60,
        5.0,
    )
    assert app.conf.broker_transport_options == {"visibility_timeout": 60, "socket_timeout": 99}


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_timeout_that_is_none_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidSetting, match="too short; use a duration above zero"):
        CeleryQueue(application(), timeout=timedelta(seconds=seconds))


def test_without_celery_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(InvalidSetting, match=r"pip install 'duly\[celery\]'"):
        CeleryQueue.at("redis://127.0.0.1/0")
