"""Celery, as a task queue: a task is published once its broker has confirmed it."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from duly.channels.task_queues import Message
from duly.errors import InvalidSetting

if TYPE_CHECKING:
    from celery import Celery

TIMEOUT: Final = timedelta(seconds=5)


class CeleryQueue:
    """Publishes tasks through a Celery application: its broker, its routes, its queues.

    It holds connections of its own, since what it promises needs other settings than an application's usual ones:
    RabbitMQ confirms each message (Redis replies anyway), every wait for the broker ends after `timeout`, and nothing
    is tried again behind the retry schedule's back. A connection is kept for the next message. As it may have been
    cut while it was idle, which says nothing about the broker, what fails on a kept one is tried once on a new one:
    a subscriber's own timeout should be more than three times this one.

    `ignore_result`: no result is stored, and the publisher does not turn to the result backend. With False, the
    delivery's id finds the result: `AsyncResult(delivery_id)`.
    """

    def __init__(self, app: Celery, *, timeout: timedelta = TIMEOUT, ignore_result: bool = True) -> None:
        if timeout <= timedelta(0):
            raise InvalidSetting(f"CeleryQueue: timeout {timeout} is too short; use a duration above zero")
        self._app = app
        self._seconds = timeout.total_seconds()
        self._ignore_result = ignore_result
        # A deque's append and pop are atomic: several threads publish at once, each on a connection of its own.
        self._kept: deque[Any] = deque()

    @classmethod
    def at(cls, broker_url: str, *, timeout: timedelta = TIMEOUT) -> CeleryQueue:
        """Publish to a broker (`redis://…`, `amqp://…`) without the application whose workers listen there."""
        try:
            from celery import Celery
        except ModuleNotFoundError as error:
            raise InvalidSetting("CeleryQueue needs Celery: pip install 'duly[celery]'") from error
        return cls(Celery("duly", broker=broker_url, set_as_current=False), timeout=timeout)

    def publish(self, message: Message) -> None:
        """Return once the broker has confirmed the task. Raises ConnectionError, or what else Celery raises."""
        if self._sent_as_before(message):
            return
        self._send(self._new_connection(), message)

    def close(self) -> None:
        """Close the connections that are kept. Whoever publishes afterwards opens new ones."""
        while (kept := self._take_kept()) is not None:
            kept.release()

    def _sent_as_before(self, message: Message) -> bool:
        kept = self._take_kept()
        if kept is None:
            return False
        try:
            self._send(kept, message)
        except Exception:  # noqa: BLE001 - a new connection will say whether the broker or the message is at fault
            return False
        return True

    def _send(self, connection: Any, message: Message) -> None:
        from kombu.exceptions import OperationalError

        ours = {
            "args": (dict(message.payload),),
            "task_id": message.id,
            "serializer": "json",
            "connection": connection,
            "retry": False,
            "timeout": self._seconds,
            "confirm_timeout": self._seconds,
            "ignore_result": self._ignore_result,
            "add_to_parent": False,
        }
        if message.queue is not None:
            ours["queue"] = message.queue
        try:
            self._app.send_task(message.task, **{**message.options, **ours})
        except BaseException as error:
            broker = connection.as_uri()  # it leaves the password out
            # It is not used again: on it, a confirmation that comes too late would be taken for the next message's.
            _drop(connection)
            if isinstance(error, OperationalError):
                raise ConnectionError(f"broker {broker}: {error}") from error
            raise
        self._kept.append(connection)

    def _take_kept(self) -> Any:
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def _new_connection(self) -> Any:
        seconds = self._seconds
        # Nobody sends heartbeats on a connection that waits for its next message: who expects some would cut it.
        connection = self._app.connection_for_write(connect_timeout=seconds, heartbeat=0)
        # Without a limit, Celery tries to connect for ever. Each of several brokers (`url;url`) is tried once.
        connection.transport_options |= {
            "max_retries": max(0, len(connection.alt) - 1),
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
            "connect_retries_timeout": seconds,
        }
        match connection.transport.driver_type:
            case "amqp":
                waits = {"confirm_publish": True, "read_timeout": seconds, "write_timeout": seconds}
            case "redis":
                waits = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry_on_timeout": False}
            case _:
                waits = {}
        connection.transport_options |= waits
        return connection


def _drop(connection: Any) -> None:
    """Forget a connection."""
    if connection.transport.driver_type == "amqp":
        # A goodbye in AMQP waits for an answer, from a broker that perhaps gives none.
        connection.collect()
    else:
        connection.release()
