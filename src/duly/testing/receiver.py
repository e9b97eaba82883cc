"""A webhook receiver on this machine, for tests: it records what it is told, and misbehaves as it is asked to."""

from __future__ import annotations

import hmac
import json
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Thread
from typing import Any, Final, Self

from typing_extensions import override

from duly.testing import replies
from duly.testing.replies import Exchange, Reply

HOST: Final = "127.0.0.1"
NETWORK: Final = "127.0.0.0/8"
PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in. `headers` by lower-case name. `number` counts from 1 over the receiver's life."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    @property
    def id(self) -> str:
        """The delivery's id, the same over all attempts at it."""
        return self.headers.get("webhook-id", "")

    @property
    def type(self) -> str:
        """What it tells of: the name of a milestone, or `revoked`, `outage` and their like."""
        return str(self.json["type"])

    def is_signed_by(self, secret: str) -> bool:
        """Say whether one of its signatures was made with that secret, over this very id, timestamp and body.

        Unlike the library's own `verify`, it asks for no recent timestamp, so that it works with a manual clock too.
        """
        from standardwebhooks import Webhook

        at = datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), tz=UTC)
        expected = Webhook(secret).sign(self.id, at, self.body.decode())
        signatures = self.headers.get("webhook-signature", "").split(" ")
        return any(hmac.compare_digest(expected, signature) for signature in signatures)


class Receiver:
    """A receiver on 127.0.0.1, on a port of its own, in threads of its own. A context manager.

    ::

        with Receiver() as receiver:
            endpoint = new_endpoint("crm", receiver.url, allow=[receiver.network])
            receiver.answer(status(503), hang())    # the next two requests; then 204 again
            ...
            first, *_ = receiver.wait_for(3)

    `tls`: speak https with that certificate.
    """

    network: Final = NETWORK

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._news = Condition()
        self._received: list[Received] = []
        self._script: deque[Reply] = deque()
        self._usual: Reply = replies.status(204)
        self._released = Event()
        self._connections = 0
        self._sent = 0
        self._server: _Server | None = None
        self._thread: Thread | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self.come_back()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.die()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'http' if self._tls is None else 'https'}://{HOST}:{self._port}/hooks"

    @property
    def port(self) -> int:
        """The port, the same over dying and coming back."""
        return self._port

    @property
    def received(self) -> list[Received]:
        """All requests so far, in the order in which they were read. Recorded before they are answered."""
        with self._news:
            return list(self._received)

    @property
    def connections(self) -> int:
        """How often somebody has connected, with or without a request."""
        return self._connections

    @property
    def bytes_sent(self) -> int:
        """How much of all bodies could be written before the other side had enough."""
        return self._sent

    def answer(self, *scripted: Reply) -> None:
        """Answer the next requests like this, one each; then as usual again."""
        with self._news:
            self._script.extend(scripted)

    def answer_always(self, reply: Reply) -> None:
        """Answer like this from now on, where nothing is scripted. At first it is 204."""
        self._usual = reply

    def wait_for(self, count: int, within: float = PATIENCE) -> list[Received]:
        """Return all requests once there are so many; raise TimeoutError if that takes too long. Blocks."""
        with self._news:
            if not self._news.wait_for(lambda: len(self._received) >= count, within):
                raise TimeoutError(f"the receiver has {len(self._received)} of {count} requests after {within:g} s")
            return list(self._received)

    def release(self) -> None:
        """End all waiting: what hangs is closed, what drips ends. Later replies wait again."""
        with self._news:
            self._released.set()
            self._released = Event()

    def die(self) -> None:
        """Stop listening and break all connections, as if its process had been killed."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self._server = self._thread = None
        server.shutdown()
        server.break_all()
        self.release()
        server.server_close()
        thread.join()

    def come_back(self) -> None:
        """Listen again, on the same port."""
        if self._server is not None:
            return
        server = _Server(self._port, self._tls, self._serve, self._connected)
        self._server, self._port = server, server.server_address[1]
        self._thread = Thread(target=server.serve_forever, args=(0.02,), name="duly-receiver", daemon=True)
        self._thread.start()

    def _connected(self) -> None:
        with self._news:
            self._connections += 1

    def _serve(self, handler: _Handler, body: bytes) -> None:
        headers = {name.lower(): text for name, text in handler.headers.items()}
        with self._news:
            number = len(self._received) + 1
            self._received.append(Received(number, handler.command, handler.path, headers, body))
            reply = self._script.popleft() if self._script else self._usual
            released = self._released
            self._news.notify_all()
        reply(_Exchange(handler, released, self._wrote))

    def _wrote(self, count: int) -> None:
        with self._news:
            self._sent += count


class _Exchange(Exchange):
    def __init__(self, handler: _Handler, released: Event, wrote: Callable[[int], None]) -> None:
        self.released = released
        self._handler = handler
        self._wrote = wrote

    @override
    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self._handler.send_response(status)
        for name, text in headers.items():
            self._handler.send_header(name, text)
        self._handler.end_headers()

    @override
    def write(self, data: bytes) -> None:
        self._handler.wfile.write(data)
        self._wrote(len(data))

    @override
    def connection(self) -> socket.socket:
        connection: socket.socket = self._handler.connection
        return connection


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    @override
    def handle(self) -> None:
        self.server.connected()
        super().handle()

    def do_POST(self) -> None:
        """Read a request whole, and have it answered; one connection carries one request."""
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.serve(self, body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Closing does not wait for the threads: those that hang are released, and end by themselves.
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        tls: ssl.SSLContext | None,
        serve: Callable[[_Handler, bytes], None],
        connected: Callable[[], None],
    ) -> None:
        self.serve = serve
        self.connected = connected
        self._open: set[socket.socket] = set()
        super().__init__((HOST, port), _Handler)
        if tls is not None:
            # The handshake is made in the connection's own thread, when it first reads.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def break_all(self) -> None:
        """End every connection under its thread."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It has ended by itself meanwhile.
                continue

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    @override
    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        # The other side has gone, or has never spoken HTTP: for a receiver that is asked to misbehave, no news.
        return
