"""The URL of a webhook, read strictly: what two programs could read in two ways is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Never
from urllib.parse import unquote, urlsplit

from duly.channels.guard import Network, checked_networks, wrong_with
from duly.errors import InvalidEndpoint

URL_LENGTH_MAX: Final = 2048
HOST_LENGTH_MAX: Final = 253
LABEL_LENGTH_MAX: Final = 63
PORT_MAX: Final = 65_535
PORT_FREE_FROM: Final = 1024
DEFAULT_PORTS: Final = {"https": 443, "http": 80}
# Above 1023, where other protocols than HTTP live. Source: the Fetch standard, "port blocking".
BLOCKED_PORTS: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY: Final = re.compile(r"//([^/?]*)(.*)", re.DOTALL)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is sent. `host`: lower case, without brackets; `path`: with the query, from `/` on."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The host, where it is an address and no name."""
        if ":" in self.host:
            return IPv6Address(self.host)
        return IPv4Address(self.host) if _NUMBER.fullmatch(self.host.rpartition(".")[2]) else None

    @property
    def is_plain(self) -> bool:
        """Whether it is sent as it is, for every router to read."""
        return self.scheme == "http"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        return located(self.host, None if DEFAULT_PORTS[self.scheme] == self.port else self.port)

    @property
    def url(self) -> str:
        """The whole URL. It may hold a secret: see `shown`."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def shown(self) -> str:
        """The URL for people, without its query, which may be somebody's key."""
        path, mark, _ = self.path.partition("?")
        return f"{self.scheme}://{self.authority}{path}{mark and '?…'}"


def located(host: str, port: int | None) -> str:
    """Return a host, or host and port, as they stand in a URL."""
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def checked_url(url: str, *, allow: Sequence[str] = (), own: Sequence[str] = ()) -> Target:
    """Return where a URL leads; InvalidEndpoint if it is refused, in a sentence that does not repeat its secrets.

    `allow`: private networks that this endpoint may reach; `own`: URLs below which this application itself answers.
    Whether a name leads to a public address is for `check_resolves` and for every attempt to see.
    """
    if not url or len(url) > URL_LENGTH_MAX:
        _refuse(f"must be text of 1 to {URL_LENGTH_MAX} characters, as https://example.org/hooks")
    networks = checked_networks(allow)
    _check_characters(url)
    target = _parted(url)
    if target.is_plain and not networks:
        _refuse("is http, which anybody on the way can read; use https, or allow the private network that it is in")
    _check_literal(target, networks)
    for mine in own:
        if _is_below(target, mine):
            _refuse("is this application's own address: a delivery would bring about the next; use another")
    return target


def _check_characters(url: str) -> None:
    for place, character in enumerate(url):
        if character <= " " or character == "\x7f":
            _refuse(
                f"has a blank or control character (U+{ord(character):04X}) at position {place + 1}; leave it out"
            )
    if "\\" in url:
        _refuse("has a backslash, which some read as a slash; write / or %5C")
    if "#" in url:
        _refuse("has a fragment (#…), which is never sent; leave it out")


def _parted(url: str) -> Target:
    named = _SCHEME.match(url)
    scheme = named[1].lower() if named else ""
    # Without a scheme, `host:8000/…` looks as if it had one.
    if named is None or (scheme not in DEFAULT_PORTS and not url[named.end() :].startswith("/")):
        _refuse("does not begin with https://")
    if scheme not in DEFAULT_PORTS:
        _refuse(f"has the scheme {scheme[:20]!a}; only https is sent to (http within allowed private networks)")
    rest = _AUTHORITY.fullmatch(url, named.end())
    if rest is None:
        _refuse(f"needs two slashes behind the scheme: {scheme}://…")
    authority, path = rest[1], rest[2]
    if "@" in authority:
        _refuse(
            "carries a user name or password, which would be stored and shown; put a header to the endpoint instead"
        )
    host, port = _host_and_port(authority, DEFAULT_PORTS[scheme])
    return Target(scheme, host, port, _checked_path(path))


def _host_and_port(authority: str, default: int) -> tuple[str, int]:
    if authority.startswith("["):
        literal, bracket, rest = authority[1:].partition("]")
        if not bracket or rest[:1] not in {"", ":"}:
            _refuse("has an IPv6 address that is not wholly in brackets; write [2001:…]:port")
        return _checked_ipv6(literal), _checked_port(rest, default)
    name, colon, port = authority.partition(":")
    return _checked_host(name), _checked_port(colon + port, default)


def _checked_ipv6(literal: str) -> str:
    try:
        # A zone (%eth0) means something on one host only.
        return str(IPv6Address(literal)) if "%" not in literal else _refuse("has an IPv6 address with a zone")
    except AddressValueError:
        _refuse(f"has {literal[:60]!a} in brackets, which is no IPv6 address")


def _checked_port(given: str, default: int) -> int:
    if not given:
        return default
    text = given[1:]
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= PORT_MAX:
        _refuse(f"has the port {text[:20]!a}; use a number from 1 to {PORT_MAX}, or none")
    port = int(text)
    if port in BLOCKED_PORTS or (port < PORT_FREE_FROM and port not in DEFAULT_PORTS.values()):
        _refuse(
            f"has the port {port}, where other things than HTTP answer; use 443, 80, or one from {PORT_FREE_FROM}"
        )
    return port


def _checked_host(name: str) -> str:
    if not name.isascii():
        _refuse(f"has a host name with other letters than a to z: {_as_punycode(name)}")
    host = name.lower()
    labels = host.split(".")
    if len(host) > HOST_LENGTH_MAX or any(len(label) > LABEL_LENGTH_MAX for label in labels):
        _refuse(
            f"has a host name that is too long: at most {HOST_LENGTH_MAX} characters, {LABEL_LENGTH_MAX} between dots"
        )
    if _NUMBER.fullmatch(labels[-1]):
        return _checked_ipv4(host)
    for label in labels:
        if not label:
            _refuse("has no host, or an empty part in it (two dots in a row, or one at an end)")
        if not _LABEL.fullmatch(label):
            _refuse(f"has {label!a} in its host name; use a to z, 0 to 9, - and _ between dots")
        if label.startswith("xn--") and not _decodes(label):
            _refuse(f"has {label!a} in its host name, which no name is written as")
    return host


def _checked_ipv4(host: str) -> str:
    # What ends in a number is an address to every browser and C library, in forms that few people can read.
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        _refuse(f"has the host {host!a}; write an IPv4 address as four plain numbers, as 192.0.2.1")


def _as_punycode(name: str) -> str:
    """Return how a host name of other letters is written, for people to compare with what they meant."""
    import httpx2

    try:
        written = httpx2.URL(f"https://{name}/").raw_host.decode("ascii")
    except (httpx2.InvalidURL, UnicodeError):
        written = ""
    return f"if it is really meant, write it as {written}" if "xn--" in written else "no name is written like this"


def _decodes(label: str) -> bool:
    try:
        meant = label.removeprefix("xn--").encode().decode("punycode")
    except (UnicodeError, IndexError, OverflowError):
        return False
    return meant.isprintable() and not meant.isascii()


def _checked_path(path: str) -> str:
    if not path.isascii():
        _refuse("has other letters than ASCII in its path or query; write them as %…")
    plain = unquote(path.partition("?")[0])
    if any(segment in {".", ".."} for segment in plain.split("/")):
        _refuse("has a segment '.' or '..' in its path; write the path that it leads to")
    return path if path.startswith("/") else f"/{path}"


def _check_literal(target: Target, allow: Sequence[Network]) -> None:
    address = target.address
    why = None if address is None else wrong_with(address, allow, only_allowed=target.is_plain)
    if why is not None:
        _refuse(f"leads to {target.host}, which {why}")


def _is_below(target: Target, own: str) -> bool:
    mine = urlsplit(own)
    prefix = unquote(mine.path).rstrip("/")
    path = unquote(target.path.partition("?")[0])
    is_mine = (target.host, target.port) == (mine.hostname, mine.port or DEFAULT_PORTS.get(mine.scheme))
    return is_mine and (path == prefix or path.startswith(f"{prefix}/"))


def _refuse(said: str) -> Never:
    raise InvalidEndpoint(f"the webhook's URL {said}")
