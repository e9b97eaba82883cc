"""`duly webhook`: endpoints added, listed, tried, given new secrets, disabled, enabled and removed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from duly.channels.endpoint import KEEP, PREFIX, described
from duly.cli.door import FAILED, OK, Actions, Door, command, duly
from duly.cli.output import Output
from duly.cli.wording import count, duration, printable, window
from duly.deliveries import Deliveries, Wanted
from duly.errors import InvalidEndpoint, InvalidInput
from duly.model.delivery import State, Subscriber
from duly.model.lifecycle import UNSET, CatchUp, Policy
from duly.settings import UNLIMITED, read_duration
from duly.stores.outbox import DeliveryCounts
from duly.webhooks import Given, Trial, Webhooks

_FILE_BYTES_MAX: Final = 100_000
# Headers of such names carry keys, which do not belong where whoever lists the processes reads them.
_SECRET_HEADER: Final = re.compile(r"auth|cookie|key|token|secret|password|signature", re.IGNORECASE)


@duly.group("webhook", cls=Actions, invoke_without_command=True, epilog="\b\nExample:\n  duly webhook --help")
@click.pass_context
def webhook(context: click.Context) -> None:
    """Endpoints that are told by HTTP: add, list, test, rotate, disable, enable, remove."""
    if context.invoked_subcommand is None:
        Output().line(context.get_help())


# -- add ---------------------------------------------------------------------------------------------------


_secret_option = click.option(
    "--secret-file",
    type=click.Path(),
    metavar="FILE",
    help="Sign with the secret in this file (whsec_…) instead of a new one; - for standard input.",
)
_ENDPOINT_OPTIONS: Final = (
    click.option(
        "--topic",
        "topics",
        multiple=True,
        metavar="TOPIC",
        help="What it is told of: a milestone, a pattern such as 'registration_*', or news such as cancelled or "
        "outage; may be repeated, as may the next four. [default: every milestone]",
    ),
    click.option("--lifecycle", "lifecycles", multiple=True, metavar="NAME", help="Only of events of this kind."),
    click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only of events that have this tag."),
    click.option("--allow", multiple=True, metavar="NETWORK", help="A private network to reach, as 10.1.0.0/16."),
    click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="'NAME: TEXT'",
        help="Sent along. What is secret belongs into a --header-file.",
    ),
    click.option(
        "--header-file",
        type=click.Path(),
        metavar="FILE",
        help="Headers to be sent along, one on each line; - for standard input.",
    ),
    _secret_option,
    click.option("--timeout", metavar="DURATION", help="How long an attempt may take. [default: 15s]"),
    click.option("--concurrency", type=int, metavar="N", help="How many attempts at once. [default: 10]"),
    click.option(
        "--catch-up", type=click.Choice([each.value for each in Policy]), help="Which misfires it is told of."
    ),
    click.option(
        "--catch-up-window",
        metavar="DURATION",
        help="How old a misfire may be for it to be told still: 24h, unlimited.",
    ),
)


def _endpoint_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_ENDPOINT_OPTIONS):
        function = option(function)
    return function


@command("add", of=webhook, example="duly webhook add crm https://crm.example.org/duly --topic 'registration_*'")
@click.argument("name")
@click.argument("url")
@_endpoint_options
def add(door: Door, *, name: str, url: str, topics: tuple[str, ...], **given: Any) -> None:
    """Add an endpoint. Its secret is shown this once: give it to the receiver, which checks the signatures by it.

    The URL is https, and leads to public addresses; into a private network only as far as --allow says, and then
    http will do.
    """
    policy = dict(_policy(given))
    headers = _headers(given["headers"], given["header_file"])
    secret = _secret(given["secret_file"])
    with door.agenda() as agenda:
        added = Webhooks(agenda).add(
            name, url, topics or ("*",), secret=secret, allow=given["allow"], headers=headers, **policy
        )
    _tell_given(door, added, _told_of(added.subscriber))


def _policy(given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "lifecycles", given["lifecycles"]
    yield "tags", given["tags"]
    if given["timeout"] is not None:
        yield "timeout", read_duration(given["timeout"], what="--timeout")
    if given["concurrency"] is not None:
        yield "concurrency", given["concurrency"]
    said = given["catch_up_window"]
    length: Any = UNSET
    if said is not None:
        length = None if said == UNLIMITED else read_duration(said, what="--catch-up-window")
    yield "catch_up", CatchUp(None if given["catch_up"] is None else Policy(given["catch_up"]), length)


def _headers(given: Sequence[str], file: str | None) -> dict[str, str]:
    for line in given:
        name = line.partition(":")[0].strip()
        if _SECRET_HEADER.search(name):
            raise InvalidEndpoint(
                f"--header: the text of {name[:80]!a} on the command line can be seen by others; "
                "write it into a file, and give that as --header-file"
            )
    lines = [*given] if file is None else [*given, *_read(file, "--header-file").split("\n")]
    return dict(_header(line) for line in lines if line.strip())


def _header(line: str) -> tuple[str, str]:
    name, colon, text = line.partition(":")
    if not colon:
        raise InvalidEndpoint("headers: one has no colon; write it as 'X-Source: duly'")
    return name.strip(" "), text.strip(" ")


def _secret(file: str | None) -> str | None:
    return None if file is None else _read(file, "--secret-file").strip()


def _read(file: str, what: str) -> str:
    """Return the text of a small file; - is standard input."""
    content = sys.stdin.buffer.read(_FILE_BYTES_MAX) if file == "-" else _start_of(Path(file))
    if len(content) >= _FILE_BYTES_MAX:
        raise InvalidInput(f"{what}: {file} is too long for that")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(f"{what}: {file} is not text in UTF-8") from None


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_FILE_BYTES_MAX)


def _told_of(subscriber: Subscriber) -> str:
    name, where = subscriber.name, described(subscriber)["url"]
    what = "every milestone" if subscriber.topics == ("*",) else ", ".join(subscriber.topics)
    return f"{name} is told of {printable(what)}, at {where}."


def _tell_given(door: Door, given: Given, said: str) -> None:
    """Tell a secret, this once, and what goes with it."""
    out = door.out
    for warning in given.warnings:
        out.warn(warning)
    if out.as_json:
        out.json({**described(given.subscriber), "secret": given.secret, "warnings": list(given.warnings)})
        return
    name = given.subscriber.name.removeprefix(PREFIX)
    out.line(said)
    out.line(f"Its secret, which is shown this once: {given.secret}")
    out.line(f"Try it: duly webhook test {name}")


# -- list --------------------------------------------------------------------------------------------------


@command("list", of=webhook, example="duly webhook list --json")
def list_all(door: Door) -> None:
    """List the endpoints, without their secrets."""
    with door.agenda() as agenda:
        found = Webhooks(agenda).all()
        counts = agenda.store.outbox.counts()
    shown = [_described(subscriber, counts) for subscriber in found]
    if door.out.as_json:
        door.out.json(shown)
        return
    headers = ("name", "url", "told of", "standing", "pending", "failing")
    door.out.table(headers, map(_cells, shown), empty="No webhooks.")


def _described(subscriber: Subscriber, counts: DeliveryCounts) -> dict[str, Any]:
    owed = next((each for each in counts.open if each.subscriber == subscriber.name), None)
    pending, failing = (0, 0) if owed is None else (owed.pending, owed.failing)
    try:
        shown = described(subscriber)
    except InvalidEndpoint as error:
        # One that cannot be read any more is shown as that, and hides none of the others.
        shown = {"name": subscriber.name.removeprefix(PREFIX), "url": None, "topics": list(subscriber.topics)}
        shown |= {"standing": "broken", "reason": str(error)}
    return {**shown, "pending": pending, "failing": failing}


def _cells(shown: dict[str, Any]) -> Sequence[str]:
    standing = f"{shown['standing']}: {shown['reason']}" if shown["reason"] else shown["standing"]
    narrowed = [*shown.get("lifecycles", ()), *(f"#{tag}" for tag in shown.get("tags", ()))]
    told = ", ".join(shown["topics"]) + (f" (of {', '.join(narrowed)})" if narrowed else "")
    numbers = (f"{shown['pending']:,}", f"{shown['failing']:,}")
    return (shown["name"], shown["url"] or "", told, standing, *numbers)


# -- test and rotate ---------------------------------------------------------------------------------------


@command("test", of=webhook, example="duly webhook test crm")
@click.argument("name")
def test(door: Door, *, name: str) -> int:
    """Try an endpoint: send it one signed payload, from here.

    Its topic is 'test'. Nothing of it is kept, and it is not tried again. Exits 1 if it is not taken.
    """
    with door.agenda() as agenda:
        tried = Webhooks(agenda).test(name)
    if door.out.as_json:
        door.out.json({"name": name.removeprefix(PREFIX), **tried.to_json()})
    else:
        door.out.line(_tried_line(name.removeprefix(PREFIX), tried, door.out))
    return OK if tried.succeeded else FAILED


def _tried_line(name: str, tried: Trial, out: Output) -> str:
    said = printable(tried.outcome.said or tried.outcome.verdict)
    if tried.succeeded:
        said = f"{said} after {duration(tried.took)} (id {tried.delivery_id})"
        return f"{out.paint('✔', 'green')} {name} took it: {said}"
    return f"{out.paint('✘', 'red')} {name} did not take it: {said}"


@command("rotate", of=webhook, example="duly webhook rotate crm --keep '2 days'")
@click.argument("name")
@click.option("--keep", metavar="DURATION", help="For how long the old secret signs along. [default: 24h]")
@_secret_option
def rotate(door: Door, *, name: str, keep: str | None, secret_file: str | None) -> None:
    """Give an endpoint a new secret, shown this once. Until the old one ends, everything is signed with both."""
    length = KEEP if keep is None else read_duration(keep, what="--keep")
    secret = _secret(secret_file)
    with door.agenda() as agenda:
        given = Webhooks(agenda).rotate(name, keep=length, secret=secret)
    _tell_given(door, given, _rotated_line(given.subscriber, length))


def _rotated_line(subscriber: Subscriber, keep: timedelta) -> str:
    if not keep:
        return f"{subscriber.name} has a new secret; the old one is void from now on."
    return f"{subscriber.name} has a new secret; the old one signs along for {window(keep)}."


# -- disable, enable, remove -------------------------------------------------------------------------------


@command("disable", of=webhook, example='duly webhook disable crm --reason "moves house"')
@click.argument("name")
@click.option("--reason", metavar="TEXT", help="Why; shown wherever the endpoint is.")
def disable(door: Door, *, name: str, reason: str | None) -> None:
    """Tell an endpoint nothing until it is enabled again.

    What it is owed is parked. What happens meanwhile is not kept for it.
    """
    with door.agenda() as agenda:
        owed = _owed(Deliveries(agenda), name)
        changed = Webhooks(agenda).disable(name, reason=reason)
    again = f"To go on: duly webhook enable {changed.name.removeprefix(PREFIX)}"
    _tell_changed(door, changed, [f"{changed.name} is disabled.", *_parked(owed), again])


@command("enable", of=webhook, example="duly webhook enable crm")
@click.argument("name")
def enable(door: Door, *, name: str) -> None:
    """Tell an endpoint again, of what happens from now on. What is parked waits to be released."""
    with door.agenda() as agenda:
        changed = Webhooks(agenda).enable(name)
        parked = _parked_since(Deliveries(agenda), changed)
    said = [f"{changed.name} is told again, from now on."]
    if parked:
        waiting = count(parked, "delivery is", "deliveries are")
        said.append(f"{waiting} parked: duly release --subscriber {changed.name}")
    _tell_changed(door, changed, said)


@command("remove", of=webhook, example="duly webhook remove crm")
@click.argument("name")
@click.option("--reason", metavar="TEXT", help="Why; kept with what it is owed.")
def remove(door: Door, *, name: str, reason: str | None) -> None:
    """Remove an endpoint, with its secrets. What it is owed is parked; what it was told of stays on record."""
    with door.agenda() as agenda:
        owed = _owed(Deliveries(agenda), name)
        changed = Webhooks(agenda).remove(name, reason=reason)
    _tell_changed(door, changed, [f"{changed.name} is removed, and its secrets with it.", *_parked(owed)])


def _owed(deliveries: Deliveries, name: str) -> int:
    """Return how many deliveries an endpoint is still owed."""
    wanted = deliveries.webhooks.get(name).name
    return sum(each.pending for each in deliveries.counts().open if each.subscriber == wanted)


def _parked(owed: int) -> list[str]:
    if not owed:
        return []
    return [f"{count(owed, 'delivery', 'deliveries')} that it was owed {'is' if owed == 1 else 'are'} parked."]


def _parked_since(deliveries: Deliveries, subscriber: Subscriber) -> int:
    wanted = Wanted(states=(State.PARKED,), subscriber=subscriber.name, unreplayed=True)
    return sum(1 for _ in deliveries.find(wanted))


def _tell_changed(door: Door, changed: Subscriber, lines: Iterable[str]) -> None:
    if door.out.as_json:
        said = {"name": changed.name.removeprefix(PREFIX), "standing": changed.standing.value}
        door.out.json({**said, "reason": changed.reason})
        return
    for line in lines:
        door.out.line(line)
