"""A webhook endpoint as a subscriber of the store: made, checked, given a new secret, described without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, TypedDict, Unpack

from duly.channels.guard import (
    LookUp,
    Network,
    checked_addresses,
    checked_networks,
    system_look_up,
)
from duly.channels.signing import Secret, checked_secret, new_secret
from duly.channels.urls import Target, checked_url
from duly.errors import InvalidEndpoint
from duly.model.dates import Micros
from duly.model.delivery import MICROSECOND, Retry, Subscriber
from duly.model.lifecycle import CatchUp

CHANNEL: Final = "webhook"
PREFIX: Final = "webhook:"
# Source: the Standard Webhooks specification, "Request timeouts": 15 to 30 s.
TIMEOUT: Final = timedelta(seconds=15)
TIMEOUT_MOST: Final = timedelta(seconds=60)
CONCURRENCY: Final = 10
KEEP: Final = timedelta(hours=24)
KEEP_MOST: Final = timedelta(days=30)
HEADERS_MOST: Final = 20
HEADER_LENGTH_MAX: Final = 4096

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TOPIC: Final = re.compile(r"[^\s\x00-\x1f]{1,200}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_TEXT: Final = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?|")
# What says how the request is sent belongs to whoever sends it: a second opinion could smuggle a second request.
_OURS: Final = frozenset(
    (
        *("host", "content-length", "content-type", "content-encoding", "transfer-encoding", "accept-encoding"),
        *("connection", "keep-alive", "te", "trailer", "upgrade", "expect", "user-agent"),
        *("proxy-authorization", "proxy-connection"),
    )
)


class Policy(TypedDict, total=False):
    """For whom and how an endpoint is told, beside what and where. As in `Subscriber`."""

    lifecycles: tuple[str, ...]
    tags: tuple[str, ...]
    catch_up: CatchUp
    retry: Retry
    timeout: timedelta
    concurrency: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the settings of a webhook's subscriber say. `secrets`: newest first. Its repr tells nothing secret."""

    target: Target = field(repr=False)
    secrets: tuple[Secret, ...]
    allow: tuple[Network, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, subscriber: Subscriber) -> Endpoint:
        """Read a subscriber's settings, as strictly as if they were new; InvalidEndpoint if they are none."""
        kept: Mapping[str, Any] = subscriber.settings
        try:
            allow = list(kept.get("allow", ()))
            return cls(
                checked_url(kept["url"], allow=allow),
                tuple(Secret(checked_secret(each["secret"]), each["until_us"]) for each in kept["secrets"]),
                checked_networks(allow),
                checked_headers(kept.get("headers", {})),
            )
        except (KeyError, TypeError, AttributeError) as error:
            # The settings themselves are not repeated: they hold secrets.
            why = f"its settings cannot be read ({type(error).__name__}: {error})"
            raise InvalidEndpoint(f"'{subscriber.name}' is no webhook endpoint: {why}; add it anew") from None
        except InvalidEndpoint as error:
            raise InvalidEndpoint(f"'{subscriber.name}': {error}") from None


def new_endpoint(
    name: str,
    url: str,
    topics: Sequence[str] = ("*",),
    *,
    secret: str | None = None,
    allow: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    own: Sequence[str] = (),
    **policy: Unpack[Policy],
) -> Subscriber:
    """Return the subscriber of a new endpoint, `webhook:NAME`; InvalidEndpoint if it must not be.

    `secret`: `whsec_…`, made at random unless given. `allow`: private networks that may be reached, as
    "10.1.0.0/16". `headers`: sent along. `own`: URLs below which this application itself answers: refused.
    """
    if not _NAME.fullmatch(name):
        raise InvalidEndpoint(
            f"webhook name {ascii(name)[:80]}: use 1 to 64 of A to Z, a to z, 0 to 9, '_', '.', '-'"
        )
    target = checked_url(url, allow=allow, own=own)
    settings: dict[str, object] = {
        "url": target.url,
        "secrets": [_kept(checked_secret(secret) if secret is not None else new_secret())],
        "allow": [str(network) for network in checked_networks(allow)],
        "headers": checked_headers(headers or {}),
    }
    policy.setdefault("timeout", TIMEOUT)
    policy.setdefault("concurrency", CONCURRENCY)
    _check_policy(policy)
    return Subscriber(name=PREFIX + name, channel=CHANNEL, topics=checked_topics(topics), settings=settings, **policy)


def rotated(
    subscriber: Subscriber, now_us: Micros, keep: timedelta = KEEP, *, secret: str | None = None
) -> Subscriber:
    """Return the endpoint with a new secret; the one that it had signs along for as long as `keep`.

    At most two are live: rotating again meanwhile retires the older one at once. Read the new one by `newest_secret`.
    """
    if not timedelta(0) <= keep <= KEEP_MOST:
        raise InvalidEndpoint(f"keep {keep} must be from 0 to {KEEP_MOST.days} days")
    fresh = checked_secret(secret) if secret is not None else new_secret()
    newest = Endpoint.of(subscriber).secrets[0]
    if newest.text == fresh:
        raise InvalidEndpoint(f"'{subscriber.name}' has this secret already; give another, or none")
    kept = [_kept(fresh)]
    if keep > timedelta(0):
        kept.append(_kept(newest.text, now_us + keep // MICROSECOND))
    return replace(subscriber, settings={**subscriber.settings, "secrets": kept})


def newest_secret(subscriber: Subscriber) -> str:
    """Return the secret that the receiver is to be given, to be shown once, to whoever added or rotated it."""
    return Endpoint.of(subscriber).secrets[0].text


def described(subscriber: Subscriber) -> dict[str, object]:
    """Return an endpoint for people, as plain values: without secrets, header texts, and the URL's query."""
    endpoint = Endpoint.of(subscriber)
    return {
        "name": subscriber.name.removeprefix(PREFIX),
        "url": endpoint.target.shown,
        "topics": list(subscriber.topics),
        "lifecycles": list(subscriber.lifecycles),
        "tags": list(subscriber.tags),
        "allow": [str(network) for network in endpoint.allow],
        "headers": sorted(endpoint.headers),
        "secrets": [secret.to_json() for secret in endpoint.secrets],
        "catch_up": subscriber.catch_up.to_json(),
        "retry": subscriber.retry.to_json(),
        "timeout_seconds": subscriber.timeout.total_seconds(),
        "concurrency": subscriber.concurrency,
        "standing": subscriber.standing.value,
        "reason": subscriber.reason,
    }


def check_resolves(subscriber: Subscriber, look_up: LookUp = system_look_up) -> tuple[str, ...]:
    """Look an endpoint's name up, and refuse it (InvalidEndpoint) if any of its addresses must not be sent to.

    Returns warnings: a name that does not resolve (yet) may do so by the time that something is sent. Blocks.
    """
    endpoint = Endpoint.of(subscriber)
    target = endpoint.target
    try:
        found = look_up(target.host, target.port)
    except OSError as error:
        why = error.strerror or error
        return (f"{target.host} does not resolve now ({why}); it is looked up again for every delivery",)
    checked_addresses(found, target.host, endpoint.allow, only_allowed=target.is_plain)
    return ()


def checked_topics(topics: Sequence[str]) -> tuple[str, ...]:
    """Return what an endpoint is told of; InvalidEndpoint if it is nothing, or no list of names."""
    if isinstance(topics, str) or not topics:
        raise InvalidEndpoint("topics: give a list of milestones or news, as ['registration_open'], or ['*']")
    for topic in topics:
        if not _TOPIC.fullmatch(topic):
            raise InvalidEndpoint(
                f"topics: {ascii(topic)[:80]} is no milestone and no news; write a name without blanks"
            )
    return tuple(topics)


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return extra headers; InvalidEndpoint, which does not repeat their texts, for what must not be one."""
    if len(headers) > HEADERS_MOST:
        raise InvalidEndpoint(f"headers: {len(headers)} are too many; at most {HEADERS_MOST}")
    if len({str(name).lower() for name in headers}) < len(headers):
        raise InvalidEndpoint("headers: one is given twice, in upper and in lower case; give it once")
    for name, text in headers.items():
        if not _HEADER.fullmatch(name):
            raise InvalidEndpoint(f"headers: {ascii(name)[:80]} is no name of a header; use letters, digits and '-'")
        if name.lower() in _OURS or name.lower().startswith("webhook-"):
            raise InvalidEndpoint(f"headers: '{name}' is set by Duly itself; leave it out")
        if len(text) > HEADER_LENGTH_MAX or not _HEADER_TEXT.fullmatch(text):
            right = f"one line of printable ASCII, at most {HEADER_LENGTH_MAX} characters"
            raise InvalidEndpoint(f"headers: the text of '{name}' must be {right}")
    return dict(headers)


def _check_policy(policy: Policy) -> None:
    if not timedelta(0) < policy["timeout"] <= TIMEOUT_MOST:
        raise InvalidEndpoint(f"timeout {policy['timeout']} must be more than zero, and at most {TIMEOUT_MOST}")
    if policy["concurrency"] < 1:
        raise InvalidEndpoint(f"concurrency {policy['concurrency']} must be at least 1")


def _kept(secret: str, until_us: Micros | None = None) -> dict[str, object]:
    return {"secret": secret, "until_us": until_us}
