"""What can be a handler, and what one can listen to: everything that is wrong is refused when it is declared."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from duly.errors import InvalidInput
from duly.model.delivery import Retry, Subscriber
from duly.model.lifecycle import CatchUp, Policy
from duly.rules.audience import NEWS

if TYPE_CHECKING:
    from duly.model.lifecycle import Lifecycle

TIMEOUT_MOST: Final = timedelta(days=7)
NAME_MOST: Final = 200
# The names of endpoints: a handler of such a name would take the place of one.
RESERVED: Final = "webhook:"


def checked_topics(topics: Iterable[object]) -> tuple[str, ...]:
    """Return topics. Raises InvalidInput."""
    found = tuple(topics)
    texts = tuple(topic for topic in found if isinstance(topic, str) and topic.strip())
    if not found or len(texts) < len(found):
        raise InvalidInput("a handler listens to something: on('registration_open'), on('*'), on('cancelled')…")
    return texts


def checked_names(what: str, said: object) -> tuple[str, ...]:
    """Return the one name, or the several, by which a handler's events are narrowed down. Raises InvalidInput."""
    names = (said,) if isinstance(said, str) else said
    if not isinstance(names, Sequence | set | frozenset) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"{what}={said!r} is no name, nor a list of names")
    return tuple(names)


def checked_policy(said: object) -> CatchUp:
    """Return a policy. Raises InvalidInput."""
    if said is None or isinstance(said, CatchUp):
        return said or CatchUp()
    try:
        return CatchUp(Policy(str(said)))
    except ValueError:
        raise InvalidInput(f"catch_up={said!r} is none of {', '.join(Policy)}; nor a CatchUp") from None


def check_function(function: object) -> None:
    """Refuse what cannot be called for each delivery. Raises InvalidInput."""
    if inspect.isclass(function):
        raise InvalidInput(
            f"a handler is a function: {function.__name__} is a class; give an object of it, or a method"
        )
    if not callable(function):
        raise InvalidInput(f"a handler is a function, not {type(function).__name__}")
    for each in _bodies(function):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise InvalidInput(f"handler {_shown(function)} has a 'yield' in it: calling it would run nothing of it")


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a handler is to be awaited."""
    return any(inspect.iscoroutinefunction(each) for each in _bodies(function))


def _bodies(function: object) -> Iterator[Any]:
    """Yield what is behind a callable: the function of a partial, and what an object does when it is called."""
    while isinstance(function, functools.partial):
        function = function.func
    yield function
    yield getattr(function, "__call__", None)  # noqa: B004 - an object whose call is async, or a generator


def lasting_name(function: object) -> str:
    """Return the name by which the store knows a function from run to run. Raises InvalidInput."""
    check_function(function)
    if isinstance(function, functools.partial):
        raise InvalidInput("a functools.partial has no name of its own; give the handler one: name=…")
    qualified = getattr(function, "__qualname__", None) or type(function).__qualname__
    if "<lambda>" in qualified:
        raise InvalidInput("a lambda has no name that lasts from run to run; give the handler one: name=…")
    return f"{getattr(function, '__module__', None) or type(function).__module__}:{qualified}"


def check_subscriber(subscriber: Subscriber) -> None:
    """Refuse a name, a timeout or a concurrency that cannot be. Raises InvalidInput."""
    name: object = subscriber.name
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_MOST or not name.isprintable():
        raise InvalidInput(
            f"name={name!r}: a handler's name is a text of at most {NAME_MOST} characters, on one line"
        )
    if name.startswith(RESERVED):
        raise InvalidInput(f"handler '{name}': names that begin with '{RESERVED}' are those of webhooks")
    timeout, concurrency, retry = _as_given(subscriber)
    if not isinstance(timeout, timedelta):
        raise InvalidInput(f"handler '{name}': timeout {timeout!r} must be a timedelta: timedelta(seconds=30)")
    if not timedelta(0) < timeout <= TIMEOUT_MOST:
        raise InvalidInput(f"handler '{name}': timeout {timeout} must be more than zero, and a week at most")
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise InvalidInput(f"handler '{name}': concurrency {concurrency!r} must be a whole number, at least 1")
    if not isinstance(retry, Retry):
        raise InvalidInput(f"handler '{name}': retry {retry!r} must be a Retry: Retry.exponential(5)")


def _as_given(subscriber: Subscriber) -> tuple[object, object, object]:
    # Whatever their annotations promise.
    return subscriber.timeout, subscriber.concurrency, subscriber.retry


def unheard(subscribers: Iterable[Subscriber], lifecycles: Mapping[str, Lifecycle]) -> Iterator[str]:
    """Yield a sentence for each topic and lifecycle of subscribers that nothing here can bring about."""
    for subscriber in subscribers:
        for name in subscriber.lifecycles:
            if name not in lifecycles:
                said = f"'{subscriber.name}' listens to events of lifecycle '{name}', and there is none of that name"
                yield said + _suggestion(name, lifecycles)
        of = [lifecycles[name] for name in subscriber.lifecycles or lifecycles if name in lifecycles]
        milestones = {milestone for lifecycle in of for milestone in lifecycle.by_name}
        for topic in subscriber.topics:
            if of and topic not in NEWS and not _matches(topic, milestones):
                where = f"lifecycle '{of[0].name}'" if len(of) == 1 else "no lifecycle"
                has = "has no such milestone" if len(of) == 1 else "has such a milestone"
                said = f"'{subscriber.name}' listens to '{topic}', but {where} {has}, nor is it other news"
                yield said + _suggestion(topic, milestones | NEWS)


def _matches(topic: str, milestones: Collection[str]) -> bool:
    base = topic.partition("#")[0]  # a round
    return any(fnmatchcase(milestone, topic) or fnmatchcase(milestone, base) for milestone in milestones)


def _suggestion(said: str, known: Iterable[str]) -> str:
    close = get_close_matches(said, sorted(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _shown(function: object) -> str:
    return f"'{getattr(function, '__qualname__', type(function).__qualname__)}'"
