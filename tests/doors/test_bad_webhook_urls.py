"""BAD_INPUTS 65–74: what a webhook endpoint must not be, and that the refusal says why without telling secrets."""

from __future__ import annotations

import base64
from ipaddress import ip_address
from socket import EAI_NONAME, gaierror

import pytest

from duly.channels.endpoint import Endpoint, check_resolves, described, new_endpoint, newest_secret
from duly.channels.guard import checked_networks, embedded, wrong_with
from duly.channels.signing import new_secret
from duly.channels.urls import Target, checked_url
from duly.errors import InvalidEndpoint
from tests.webhook_stage import SECRET, Names

PUBLIC = "93.184.216.34"
LOOPBACK = ("127.0.0.0/8", "::1")


def refusal(url: str, *, allow: tuple[str, ...] = (), own: tuple[str, ...] = ()) -> str:
    """Return why a URL is refused."""
    with pytest.raises(InvalidEndpoint) as caught:
        checked_url(url, allow=allow, own=own)
    said = str(caught.value)
    assert "\n" not in said
    assert said.isprintable()
    return said


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.org/hooks", Target("https", "example.org", 443, "/hooks")),
        ("HTTPS://Example.ORG", Target("https", "example.org", 443, "/")),
        ("https://example.org?key=1", Target("https", "example.org", 443, "/?key=1")),
        ("https://example.org:8443/a%20b?x=1&y=2", Target("https", "example.org", 8443, "/a%20b?x=1&y=2")),
        ("https://my_service.example.org/", Target("https", "my_service.example.org", 443, "/")),
        ("https://xn--mnchen-3ya.de/", Target("https", "xn--mnchen-3ya.de", 443, "/")),
        (f"https://{PUBLIC}/", Target("https", PUBLIC, 443, "/")),
        ("https://[2606:2800:220:1::1]:8443/x", Target("https", "2606:2800:220:1::1", 8443, "/x")),
    ],
)
def test_a_plain_public_https_url_is_taken_as_it_is(url: str, target: Target) -> None:
    assert checked_url(url) == target
    assert checked_url(target.url) == target


def test_a_private_network_is_reached_where_its_owner_allows_it() -> None:
    assert checked_url("http://127.0.0.1:8000/x", allow=LOOPBACK).port == 8000
    assert checked_url("http://[::1]:8000/x", allow=LOOPBACK).authority == "[::1]:8000"
    assert checked_url("https://10.1.2.3/x", allow=("10.1.0.0/16",)).host == "10.1.2.3"
    assert "leads to 10.2.2.3" in refusal("https://10.2.2.3/x", allow=("10.1.0.0/16",))


def test_http_is_for_allowed_private_networks_only() -> None:
    assert "use https" in refusal("http://example.org/")
    assert "use https" in refusal(f"http://{PUBLIC}/", allow=LOOPBACK)


# ------------------------------------------------------------------------------------------------- 65: schemes


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://example.org/_x", "ftp://example.org/", "ws://a.org/"]
)
def test_bad_input_65_a_foreign_scheme_is_named_and_refused(url: str) -> None:
    assert f"has the scheme '{url.partition(':')[0]}'" in refusal(url, allow=LOOPBACK)


@pytest.mark.parametrize(
    "url", ["example.org/hooks", "//example.org/hooks", "localhost:8000/x", "javascript:alert(1)", "/hooks", "x", ":"]
)
def test_bad_input_65_what_has_no_scheme_is_told_to_begin_with_one(url: str) -> None:
    assert "https://" in refusal(url, allow=LOOPBACK)


@pytest.mark.parametrize("url", ["https:example.org", "https:/example.org/x"])
def test_bad_input_65_a_scheme_without_two_slashes_is_refused(url: str) -> None:
    assert "two slashes" in refusal(url)


def test_bad_input_65_an_empty_or_endless_url_is_refused() -> None:
    assert "1 to 2048 characters" in refusal("")
    assert "1 to 2048 characters" in refusal("https://example.org/" + "x" * 2048)


# ----------------------------------------------------------------------------------- 66: addresses in disguise


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "0x7f000001", "127.0.0.1.", "1.2.3"]
)
def test_bad_input_66_an_ipv4_address_in_a_form_that_few_can_read_is_refused_even_where_loopback_is_allowed(
    host: str,
) -> None:
    said = refusal(f"http://{host}/", allow=LOOPBACK)
    assert "four plain numbers" in said or "empty part" in said


@pytest.mark.parametrize("host", ["①②⑦.0.0.1", "127。0。0。1", "\uff11\uff12\uff17.0.0.1"])
def test_bad_input_66_digits_of_other_scripts_are_refused_without_a_suggestion(host: str) -> None:
    assert "no name is written like this" in refusal(f"http://{host}/", allow=LOOPBACK)


@pytest.mark.parametrize(
    "host",
    [
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[::7f00:1]",
    ],
)
def test_bad_input_66_an_address_inside_an_ipv6_address_is_judged(host: str) -> None:
    assert "leads to " in refusal(f"https://{host}/")


@pytest.mark.parametrize("host", ["[::1", "[fe80::1%25eth0]", "[::1]x", "[x]", "[]", "[127.0.0.1]"])
def test_bad_input_66_what_is_no_ipv6_address_is_refused(host: str) -> None:
    assert "IPv6" in refusal(f"https://{host}/", allow=LOOPBACK)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.8", "192.0.0.9",
        "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "239.255.255.250",
        "240.0.0.1", "255.255.255.255", "168.63.129.16", "::", "::1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a00:1",
        "64:ff9b:1::808:808", "100::1", "2001::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:808:808::1",
        "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
    ],
)  # fmt: skip
def test_bad_input_66_what_is_not_strictly_global_is_refused(address: str) -> None:
    assert wrong_with(ip_address(address), ()) is not None


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is_strictly_global_is_not_refused(address: str) -> None:
    assert wrong_with(ip_address(address), ()) is None


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "::ffff:100.100.100.200"])
def test_a_clouds_metadata_address_is_refused_even_in_an_allowed_network(address: str) -> None:
    allow = checked_networks(["100.64.0.0/10", "fc00::/7"])
    assert "credentials" in str(wrong_with(ip_address(address), allow))


@pytest.mark.parametrize("network", ["0.0.0.0/0", "8.8.8.0/24", "169.254.0.0/16", "::/0", "fe80::/10", "10.0.0.0/7"])
def test_only_a_private_network_can_be_allowed(network: str) -> None:
    with pytest.raises(InvalidEndpoint, match="no private network; use one within 10"):
        checked_networks([network])


@pytest.mark.parametrize("network", ["10.0.0.1/8", "localhost", "", "10.0.0.0/99"])
def test_what_is_no_network_cannot_be_allowed(network: str) -> None:
    with pytest.raises(InvalidEndpoint, match="is no network; write it as"):
        checked_networks([network])


@pytest.mark.parametrize("networks", ["10.0.0.0/8", ["10.0.0.0/8"] * 17])
def test_allowed_networks_are_a_list_of_a_few(networks: list[str]) -> None:
    with pytest.raises(InvalidEndpoint, match="give a list of at most 16 networks"):
        checked_networks(networks)


def test_the_hosts_own_resolver_is_asked_where_no_other_is_handed_in() -> None:
    endpoint = new_endpoint("crm", "http://localhost:8000/", allow=LOOPBACK)
    assert check_resolves(endpoint) == ()
    with pytest.raises(InvalidEndpoint, match="localhost is"):
        check_resolves(new_endpoint("crm", "https://localhost/"))


def test_an_ipv6_address_stands_for_the_ipv4_address_inside() -> None:
    assert str(embedded(ip_address("::ffff:10.0.0.1"))) == "10.0.0.1"
    assert str(embedded(ip_address("64:ff9b::a00:1"))) == "10.0.0.1"
    assert str(embedded(ip_address("2606::1"))) == "2606::1"


# --------------------------------------------------------- 67: names (at the time of a delivery: tests/engine)


def test_bad_input_67_a_name_that_leads_to_a_private_address_is_refused_when_it_is_saved() -> None:
    endpoint = new_endpoint("crm", "https://hooks.example.org/")
    with pytest.raises(InvalidEndpoint, match=r"hooks\.example\.org is 10\.0\.0\.5, which is not a public address"):
        check_resolves(endpoint, Names([["10.0.0.5"]]))


def test_bad_input_67_one_private_address_among_public_ones_refuses_them_all() -> None:
    endpoint = new_endpoint("crm", "https://hooks.example.org/")
    with pytest.raises(InvalidEndpoint, match=r"is ::1, which"):
        check_resolves(endpoint, Names([[PUBLIC, "::1"]]))


def test_bad_input_67_a_name_that_does_not_resolve_yet_is_a_warning() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise gaierror(EAI_NONAME, "Name or service not known")

    warnings = check_resolves(new_endpoint("crm", "https://hooks.example.org/"), unknown)
    assert warnings == (
        "hooks.example.org does not resolve now (Name or service not known); it is looked up again for every delivery",
    )
    assert check_resolves(new_endpoint("crm", "https://hooks.example.org/"), Names([[PUBLIC]])) == ()


# ------------------------------------------------------------------------- 68, 70: what two readers read twice


@pytest.mark.parametrize(
    "url", ["http://good@127.0.0.1/", "https://good%40evil@example.org/", "https://@example.org/"]
)
def test_bad_input_68_a_user_before_the_host_is_refused(url: str) -> None:
    assert "user name or password" in refusal(url, allow=LOOPBACK)


def test_bad_input_68_a_backslash_is_refused() -> None:
    assert "backslash" in refusal("http://good\\@127.0.0.1/", allow=LOOPBACK)


@pytest.mark.parametrize("character", ["\t", "\n", "\r", " ", "\0", "\x7f", "\x0b"])
@pytest.mark.parametrize(
    "url", ["{}https://example.org/", "https://exam{}ple.org/", "https://example.org/a{}b", "https://example.org/{}"]
)
def test_bad_input_68_a_blank_or_control_character_is_named_with_its_place(url: str, character: str) -> None:
    said = refusal(url.format(character))
    assert f"U+{ord(character):04X}" in said
    assert f"position {url.index('{') + 1}" in said


@pytest.mark.parametrize("url", ["https://example.org/#x", "https://example.org#@evil.org/"])
def test_bad_input_68_a_fragment_is_refused(url: str) -> None:
    assert "fragment" in refusal(url)


@pytest.mark.parametrize(
    "url", ["https://example.org/a/../b", "https://example.org/%2e%2E/b", "https://example.org/."]
)
def test_bad_input_68_a_dot_segment_is_refused(url: str) -> None:
    assert "segment" in refusal(url)


def test_bad_input_68_other_letters_in_the_path_are_to_be_written_with_percent() -> None:
    assert "write them as %…" in refusal("https://example.org/ä")


def test_bad_input_70_a_password_is_refused_and_not_repeated() -> None:
    said = refusal("https://ada:s3cret@example.org/hooks")
    assert "user name or password" in said
    assert "s3cret" not in said


# -------------------------------------------------------------------------------------------------- 69: ports


@pytest.mark.parametrize(
    "port", ["0", "99999", "80:81", "\uff18\uff10", "", "-1", "+80", "8_0", "0x50", "65536", "00000443443"]
)
def test_bad_input_69_what_is_no_port_is_refused(port: str) -> None:
    assert "use a number from 1 to 65535, or none" in refusal(f"https://example.org:{port}/")


@pytest.mark.parametrize("port", [1, 22, 25, 79, 81, 445, 1023, 2049, 6000, 6667, 10080])
def test_bad_input_69_a_port_of_another_protocol_is_refused(port: int) -> None:
    assert f"has the port {port}, where other things than HTTP answer" in refusal(f"https://example.org:{port}/")


@pytest.mark.parametrize("port", [80, 443, 1024, 8000, 8443, 65535])
def test_a_port_where_http_may_live_is_taken(port: int) -> None:
    assert checked_url(f"https://example.org:{port}/").port == port


# -------------------------------------------------------------------------------------------------- 71: names


def test_bad_input_71_a_homograph_is_refused_with_the_name_that_it_really_is() -> None:
    assert "write it as xn--pypal-4ve.com" in refusal("https://p\u0430ypal.com/")
    assert "write it as xn--mnchen-3ya.de" in refusal("https://münchen.de/")


@pytest.mark.parametrize("host", ["xn--", "xn--a", "xn--abc-", "xn--99999999", "xn--\u00e4"])
def test_bad_input_71_punycode_that_means_nothing_is_refused(host: str) -> None:
    assert "host name" in refusal(f"https://{host}.org/")


@pytest.mark.parametrize("host", ["a..b", ".example.org", "example.org.", "", "."])
def test_bad_input_71_an_empty_part_of_a_name_is_refused(host: str) -> None:
    assert "empty part" in refusal(f"https://{host}/")


@pytest.mark.parametrize("host", ["a" * 300 + ".org", "a" * 64 + ".org", ".".join(["abcdefgh"] * 40)])
def test_bad_input_71_a_name_that_is_too_long_is_refused_without_being_repeated(host: str) -> None:
    said = refusal(f"https://{host}/")
    assert "too long" in said
    assert len(said) < 200


@pytest.mark.parametrize(
    "host", ["-a.org", "a-.org", "a b.org", "a%20b.org", "a*b.org", "ex!ample.org", "%31.org", "a,b"]
)
def test_bad_input_71_other_characters_in_a_name_are_refused(host: str) -> None:
    refusal(f"https://{host}/")


# ----------------------------------------------------------------------------------------------- 72: own address


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.org/duly/api/v1/events",
        "https://APP.example.org:443/duly",
        "https://app.example.org/duly?x",
        "https://app.example.org/dul%79/api",
        "https://other.example.org/anything",
    ],
)
def test_bad_input_72_the_applications_own_address_is_refused(url: str) -> None:
    own = ("https://app.example.org/duly/", "https://other.example.org")
    assert "own address" in refusal(url, own=own)


def test_bad_input_72_what_else_lives_on_the_same_host_is_not_our_own() -> None:
    own = ("https://app.example.org/duly",)
    assert checked_url("https://app.example.org/dulyness", own=own).path == "/dulyness"
    assert checked_url("https://app.example.org:8443/duly", own=own).port == 8443


# -------------------------------------------------------------------------------------------------- 73: secrets


def whsec(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (whsec(23), "has 23 bytes; use 24 to 64"),
        (whsec(65), "has 65 bytes; use 24 to 64"),
        ("whsec_", "has 0 bytes"),
        ("", "must begin with 'whsec_'"),
        (base64.b64encode(bytes(32)).decode(), "must begin with 'whsec_'"),
        ("whsk_" + whsec(32)[6:], "must begin with 'whsec_'"),
        ("whsec_not base64, really not at all", "is not base64"),
        ("whsec_" + "ü" * 40, "is not base64"),
        (whsec(32) + "\n", "is not base64"),
    ],
)
def test_bad_input_73_a_secret_that_is_none_is_refused_and_not_repeated(secret: str, why: str) -> None:
    with pytest.raises(InvalidEndpoint, match=why) as caught:
        new_endpoint("crm", "https://example.org/", secret=secret)
    assert len(secret) < 8 or secret.removeprefix("whsec_") not in str(caught.value)


@pytest.mark.parametrize("secret", [whsec(24), whsec(64), whsec(32).rstrip("=")])
def test_a_secret_of_24_to_64_bytes_is_taken(secret: str) -> None:
    assert newest_secret(new_endpoint("crm", "https://example.org/", secret=secret)) == secret


def test_a_generated_secret_has_32_bytes_and_is_never_the_same() -> None:
    first, second = new_secret(), newest_secret(new_endpoint("crm", "https://example.org/"))
    assert first != second
    assert len(base64.b64decode(second.removeprefix("whsec_"), validate=True)) == 32


def test_a_secret_is_in_no_repr_and_in_no_listing() -> None:
    hidden = {"authorization": "Bearer t0ken"}
    endpoint = new_endpoint("crm", "https://example.org/x?key=k3y", secret=SECRET, headers=hidden)
    shown = f"{endpoint} {Endpoint.of(endpoint)} {described(endpoint)}"
    assert SECRET.removeprefix("whsec_") not in shown
    assert "t0ken" not in shown
    assert "k3y" not in shown
    assert described(endpoint)["url"] == "https://example.org/x?…"
    assert described(endpoint)["headers"] == ["authorization"]


# -------------------------------------------------------------------------------------------------- 74: headers


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "Webhook-Id", "webhook-signature", "Connection"]
)
def test_bad_input_74_a_header_that_is_ours_is_refused(name: str) -> None:
    with pytest.raises(InvalidEndpoint, match=f"'{name}' is set by Duly itself"):
        new_endpoint("crm", "https://example.org/", headers={name: "x"})


@pytest.mark.parametrize("name", ["", "a b", "x\r\ny", "x:", "ä", "x" * 101])
def test_bad_input_74_a_header_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidEndpoint, match="no name of a header"):
        new_endpoint("crm", "https://example.org/", headers={name: "x"})


@pytest.mark.parametrize(
    "text", ["s3cret\r\nHost: evil", "s3cret\n", "s3cret\0", "s3cretä", " s3cret", "s3cret" * 1000]
)
def test_bad_input_74_a_header_text_that_is_no_line_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidEndpoint, match="the text of 'x-key' must be one line") as caught:
        new_endpoint("crm", "https://example.org/", headers={"x-key": text})
    assert "s3cret" not in str(caught.value)


def test_bad_input_74_one_header_twice_and_too_many_headers_are_refused() -> None:
    with pytest.raises(InvalidEndpoint, match="given twice"):
        new_endpoint("crm", "https://example.org/", headers={"X-Key": "a", "x-key": "b"})
    with pytest.raises(InvalidEndpoint, match="21 are too many"):
        new_endpoint("crm", "https://example.org/", headers={f"x-{k}": "" for k in range(21)})


# ------------------------------------------------------------------------------------------- the rest of it


@pytest.mark.parametrize("name", ["", "a b", "ä", "-x", "x" * 65, "a/b", "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidEndpoint, match="webhook name"):
        new_endpoint(name, "https://example.org/")


@pytest.mark.parametrize("topics", [[], "registration_open", ["a b"], [""], ["x" * 201]])
def test_topics_that_are_none_are_refused(topics: list[str]) -> None:
    with pytest.raises(InvalidEndpoint, match="topics"):
        new_endpoint("crm", "https://example.org/", topics)


def test_an_endpoint_without_room_for_a_request_is_refused() -> None:
    with pytest.raises(InvalidEndpoint, match="concurrency 0 must be at least 1"):
        new_endpoint("crm", "https://example.org/", concurrency=0)


def test_settings_that_are_no_endpoints_are_refused_without_being_repeated() -> None:
    good = new_endpoint("crm", "https://example.org/", secret=SECRET)
    for broken in ({}, {"url": 5}, {"secrets": [SECRET]}, {"url": "https://127.0.0.1/"}):
        settings = {**good.settings, **broken} if broken else {}
        with pytest.raises(InvalidEndpoint, match="'webhook:crm'") as caught:
            Endpoint.of(type(good)(name=good.name, channel=good.channel, topics=good.topics, settings=settings))
        assert SECRET not in str(caught.value)
