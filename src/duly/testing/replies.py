"""How a receiver can answer: well, badly, slowly, endlessly, or not at all."""

from __future__ import annotations

import gzip
import socket
import struct
from collections.abc import Mapping
from threading import Event
from typing import Final, Protocol

MEBIBYTE: Final = 1 << 20
METADATA_URL: Final = "http://169.254.169.254/latest/meta-data/"


class Exchange(Protocol):
    """What a reply has in its hands: one request's connection, and the event that ends all waiting."""

    released: Event

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Write the status line and the headers."""

    def write(self, data: bytes) -> None:
        """Write a part of the body."""

    def connection(self) -> socket.socket:
        """Return the connection itself."""


class Reply(Protocol):
    """Answers one request. Raises OSError once the other side has gone: that is the end of it."""

    def __call__(self, exchange: Exchange) -> None:
        """Answer."""


def status(code: int, body: bytes = b"", **headers: str) -> Reply:
    """Answer with a status; headers by name, `_` for `-`: `status(429, retry_after="120")`."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}

    def reply(exchange: Exchange) -> None:
        exchange.head(code, {"content-length": str(len(body)), **named})
        exchange.write(body)

    return reply


def redirect(to: str = METADATA_URL, code: int = 302) -> Reply:
    """Answer with a redirect; as given, to where clouds keep their credentials."""
    return status(code, location=to)


def drip(code: int = 500, *, seconds: float = 0.02) -> Reply:
    """Answer with a body that comes byte by byte, with so much time between, until released."""

    def reply(exchange: Exchange) -> None:
        exchange.head(code, {"content-length": str(MEBIBYTE)})
        while not exchange.released.wait(seconds):
            exchange.write(b".")

    return reply


def drip_head(*, seconds: float = 0.02) -> Reply:
    """Answer with headers that come byte by byte and never end, until released."""

    def reply(exchange: Exchange) -> None:
        exchange.connection().sendall(b"HTTP/1.1 200 OK\r\nx-drip: ")
        while not exchange.released.wait(seconds):
            exchange.connection().sendall(b".")

    return reply


def flood(code: int = 500, *, size: int = 200 * MEBIBYTE) -> Reply:
    """Answer with a body of that many bytes, in chunks, made as it goes."""

    def reply(exchange: Exchange) -> None:
        exchange.head(code, {"transfer-encoding": "chunked"})
        part = b"x" * (64 * 1024)
        chunk = b"%x\r\n%s\r\n" % (len(part), part)
        for _ in range(size // len(part)):
            exchange.write(chunk)
        exchange.write(b"0\r\n\r\n")

    return reply


def gzip_bomb(code: int = 500, *, size: int = 64 * MEBIBYTE) -> Reply:
    """Answer with a small packed body that becomes that many bytes when it is unpacked."""
    packed = gzip.compress(bytes(size), compresslevel=9)

    def reply(exchange: Exchange) -> None:
        exchange.head(code, {"content-encoding": "gzip", "content-length": str(len(packed))})
        exchange.write(packed)

    return reply


def hang() -> Reply:
    """Do not answer until released; then close."""

    def reply(exchange: Exchange) -> None:
        exchange.released.wait()

    return reply


def close() -> Reply:
    """Close the connection without an answer."""

    def reply(exchange: Exchange) -> None:
        exchange.connection().shutdown(socket.SHUT_RDWR)

    return reply


def reset() -> Reply:
    """Reset the connection without an answer."""

    def reply(exchange: Exchange) -> None:
        # Lingering for zero seconds makes the closing a reset.
        exchange.connection().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return reply
