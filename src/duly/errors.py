"""Every refusal that Duly can utter.

::

    DulyError
    ├── InvalidInput (also a ValueError)   what was given is wrong; nothing has changed
    │   ├── InvalidDate                    a date that cannot be read, or means nothing
    │   │   └── InvalidZone                a time zone that is unknown or ambiguous
    │   ├── InvalidLifecycle               a lifecycle that contradicts itself
    │   ├── InvalidEvent                   an event whose parts do not fit together
    │   ├── InvalidSource                  a file or mapping that cannot be read
    │   ├── InvalidSetting                 a setting, flag or environment variable
    │   └── InvalidEndpoint                a webhook's URL, secret, header or network
    ├── NotFound (also a LookupError)
    │   ├── UnknownEvent
    │   ├── UnknownLifecycle
    │   ├── UnknownSubscriber
    │   └── UnknownDelivery
    ├── Conflict                           the thing has changed since it was read
    │   └── RevisionConflict
    ├── StoreError
    │   ├── StoreRefused                   not a store of ours, or not one that can be used safely
    │   ├── StoreFull                      no room: nothing written, reads go on, try again
    │   ├── StoreRejected                  the database refuses what one event brings about
    │   ├── StoreBusy                      somebody else holds the write lock for too long
    │   └── StoreStopped                   fail-stop: the store can no longer be trusted
    ├── Reject                             raised by a handler: trying again will not help
    ├── RetryLater                         raised by a handler: not before so long
    └── WrongState                         a call that makes no sense now (not started, stopped, forked)

A message names the thing, what was wrong with it, and what would be right.
"""

from __future__ import annotations

from datetime import timedelta


class DulyError(Exception):
    """The root: catch this to catch every refusal of Duly's."""


class InvalidInput(DulyError, ValueError):
    """What was given is wrong. Nothing has changed."""


class InvalidDate(InvalidInput):
    """A date that cannot be read, or that means nothing."""


class InvalidZone(InvalidDate):
    """A time zone that is unknown or ambiguous."""


class InvalidLifecycle(InvalidInput):
    """A lifecycle that contradicts itself."""


class InvalidEvent(InvalidInput):
    """An event whose parts do not fit together."""


class InvalidSource(InvalidInput):
    """A file, a record or a mapping that cannot be read."""


class InvalidSetting(InvalidInput):
    """A setting, a flag or an environment variable with an impossible value."""


class InvalidEndpoint(InvalidInput):
    """A webhook endpoint that cannot be used, or that must not be: its URL, secret, headers or networks."""


class NotFound(DulyError, LookupError):
    """Nothing goes by that name."""


class UnknownEvent(NotFound):
    """No event has this id."""


class UnknownLifecycle(NotFound):
    """No lifecycle of this name is known here."""


class UnknownSubscriber(NotFound):
    """Nobody of this name is told of anything."""


class UnknownDelivery(NotFound):
    """No delivery has this number."""


class Conflict(DulyError):
    """The thing has changed since it was read. Nothing has been written."""


class RevisionConflict(Conflict):
    """The event's revision is not the one that the edit was made for."""


class StoreError(DulyError):
    """The store cannot do what was asked."""


class StoreRefused(StoreError):
    """Not a store of Duly's, or not one that can be used safely."""


class StoreFull(StoreError):
    """There is no room. Nothing was written; reads go on; it may be tried again."""


class StoreRejected(StoreError):
    """The database refuses what was to be written: it contradicts what is there. Nothing was written."""


class StoreBusy(StoreError):
    """Somebody else has held the store's write lock for too long."""


class StoreStopped(StoreError):
    """Fail-stop: the store can no longer be trusted, so nothing more is written."""


class Reject(DulyError):
    """Raised by a handler: this delivery will never succeed. It is dead at once, and can be replayed."""


class RetryLater(DulyError):
    """Raised by a handler: not now. The next attempt is made no sooner than `after` from now."""

    def __init__(self, said: str = "", *, after: timedelta) -> None:
        """Say why, and for how long."""
        super().__init__(said or f"asked to be tried again in {after}")
        self.after = after


class WrongState(DulyError):
    """A call that makes no sense now: not started, already stopped, or in a forked child."""
