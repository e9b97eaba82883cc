"""One POST to one address that was checked: no proxy, redirect, cookie or unpacking, and not a byte too much."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from duly.channels.answers import Answer
from duly.channels.urls import Target, located

if TYPE_CHECKING:
    import httpx2

# Enough for any reason that a receiver gives; what comes after it is cut off with the connection.
BODY_MOST: Final = 64 * 1024
# A name may have many addresses, and all of them may be down.
ADDRESSES_MOST: Final = 3


def default_tls() -> ssl.SSLContext:
    """Return the host's trust in certificates, as `SSL_CERT_FILE` and `SSL_CERT_DIR` have it. Reads files."""
    import httpx2

    return httpx2.create_ssl_context()


@dataclass(frozen=True, slots=True, repr=False)
class Post:
    """What is sent, and where: `addresses` were checked, and are tried in turn. No repr: it is full of secrets."""

    target: Target
    addresses: Sequence[str]
    headers: Sequence[tuple[str, str]]
    body: bytes


async def send(post: Post, answer: Answer, *, tls: ssl.SSLContext, seconds: float) -> None:
    """Fill in what one of the addresses has answered, or why none has. Cancelled, it closes its connection.

    The connection goes to the address itself, so that a name that changes meanwhile changes nothing; Host, SNI and
    the check of the certificate keep the name. `seconds`: what all of it may take; each address gets its share.
    """
    import httpx2

    tried = post.addresses[:ADDRESSES_MOST]
    for address in tried:
        request = _request(post, address, seconds / (len(tried) + 1))
        try:
            # A connection of its own for every attempt: none is left to go stale, or to be taken for another name's.
            # The transport itself, without the client around it, knows neither proxies nor redirects nor cookies.
            async with httpx2.AsyncHTTPTransport(verify=tls, trust_env=False) as transport:
                await _exchange(transport, request, answer)
            return
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            # Nothing has been sent yet: the next address may do.
            answer.wrong = f"cannot connect to {post.target.host} at {address}: {_why(error)}"
        except httpx2.HTTPError as error:
            # With a status, the verdict is known, and only the rest of its reason is missing.
            answer.wrong = f"{post.target.host} broke off: {_why(error)}"
            return


def _request(post: Post, address: str, seconds: float) -> httpx2.Request:
    import httpx2

    target = post.target
    return httpx2.Request(
        "POST",
        f"{target.scheme}://{located(address, target.port)}{target.path}",
        headers=[("host", target.authority), *post.headers],
        content=post.body,
        extensions={"sni_hostname": target.host, "timeout": {"connect": seconds}},
    )


async def _exchange(transport: httpx2.AsyncHTTPTransport, request: httpx2.Request, answer: Answer) -> None:
    response = await transport.handle_async_request(request)
    try:
        answer.headers = response.headers
        answer.status = response.status_code
        # Who has said that it went well has nothing to add: a body that drips, or never ends, is not waited for.
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            await _read(response, answer)
    finally:
        await response.aclose()


async def _read(response: httpx2.Response, answer: Answer) -> None:
    import httpx2

    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream)  # noqa: S101 - an asynchronous transport's
    # The stream itself, not the response's reading of it, which would unpack what is packed.
    async for part in stream:
        answer.body += part[: BODY_MOST - len(answer.body)]
        if len(answer.body) >= BODY_MOST:
            return


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
