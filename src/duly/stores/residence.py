"""Whether a store is a copy (P18): what it says of where it lives, against where it is. Copies do not speak.

A store keeps its residence: a random name, the fingerprint of its file, the environment that somebody named, and a
count of its owner's beats. The owner leaves the name and the count beside the file as well, always after the commit:
so that a store which says less than that witness has been put back to an earlier state. See
docs/decisions/0009-clone-guard.md.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from duly.errors import WrongState
from duly.model.delivery import Delivery, State
from duly.stores.copies import COPY_KEY, Copy, copy_kept
from duly.stores.outbox import IDENTITY_KEY, LAST, identified
from duly.stores.outbox_verbs import park_all
from duly.stores.surroundings import Fingerprint, same_file
from duly.stores.verb import Statement, Verb
from duly.stores.verbs import meta_json, put_meta_json

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.stores.store import Store

logger = logging.getLogger("duly.stores")

RESIDENCE_KEY: Final = "residence"
VARIABLE: Final = "DULY_ENVIRONMENT"
_PAGE: Final = 1000
_PUT_BACK: Final = "its file has been put back to an earlier state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Residence:
    """Where a store lives. `home` is the random name of this residence, `before` that of the one before."""

    home: str
    before: str | None
    file: Fingerprint
    environment: str | None
    beats: int

    @property
    def witness(self) -> dict[str, object]:
        """What is left beside the store."""
        return {"home": self.home, "beats": self.beats, "file": dict(self.file)}


def named_environment() -> str | None:
    """Return the name of this environment that DULY_ENVIRONMENT gives, None if it gives none."""
    return os.environ.get(VARIABLE, "").strip() or None


# -- for whoever asks -------------------------------------------------------------------------------------


def copy_of(store: Store) -> str | None:
    """Return the sentence which says that a store has been found to be a copy, None if it has not. One short read."""
    copy = store.read(copy_kept())
    return None if copy is None else copy.sentence


def look(store: Store, environment: str | None) -> Copy | None:
    """Return what makes a store a copy, None if nothing does; also before any owner has noticed. Changes nothing."""
    witness = store.surroundings.witness()  # see `take_up` for the order
    return store.read(_looked(store.surroundings.fingerprint(), witness, environment))


def would_send(store: Store, copy: Copy) -> Iterator[Delivery]:
    """Yield the deliveries that a copy would make if it were none, newest first."""
    for state in (State.PENDING, State.PARKED):
        before = LAST
        while page := store.outbox.deliveries(state=state, unreplayed=True, before=before, most=_PAGE):
            yield from (found for found in page if state is State.PENDING or found.reason == copy.reason)
            before = page[-1].number


# -- for the owner ----------------------------------------------------------------------------------------


def take_up(store: Store, environment: str | None, now_us: Micros) -> Copy | None:
    """Find out whether the store is a copy. To be called by its owner, before anything fires.

    Of a copy everything open is parked, and whatever is born later is born parked, until `adopt`. Returns why it is
    one, None if it is none.
    """
    # Another process may have adopted it, and given it another identity.
    store.outbox.forget_identity()
    here = store.surroundings
    # The witness first: the store is never behind it, as long as it is the same store.
    witness = here.witness()
    found = store.write(_taken_up(here.fingerprint(), witness, environment, now_us))
    here.hear()
    if isinstance(found, Copy):
        logger.warning("%s; nothing is sent", found.sentence)
        return found
    if found is not None:
        here.bear_witness(found.witness)
    return None


def beaten(statement: Statement, *, is_heard: bool) -> Verb[dict[str, object] | None]:
    """Write an owner's heartbeat, and count it. Returns what may be left as the witness once that is committed.

    Before the witness of the last owner has been heard (see `take_up`) nothing is counted or left.
    """
    yield statement
    known = (yield from _residence()) if is_heard else None
    if known is None or (yield from copy_kept()) is not None:
        return None
    counted = replace(known, beats=known.beats + 1)
    yield from put_meta_json(RESIDENCE_KEY, asdict(counted))
    return counted.witness


# -- for a person -----------------------------------------------------------------------------------------


def adopt(store: Store, environment: str | None, now_us: Micros) -> Copy | None:
    """Confirm that a copy is a store of its own, which may send: with a new identity, at home here.

    What it would have sent until now is parked and stays so. Returns what made it a copy, None if it is none.
    Raises WrongState while a scheduler that does not take it for a copy fires on it.
    """
    copy = look(store, environment)
    if copy is None or copy.since_us is not None:
        return _adopted(store, environment, now_us)
    # No owner has noticed yet. One that runs, in an environment that goes by another name, must not have its
    # deliveries parked under its hands.
    if not store.own():
        raise WrongState(
            f"store {store.url}: {copy.why}, but a scheduler that does not take it for a copy fires on it; "
            f"stop that first, or set {VARIABLE} to the name that it runs under"
        )
    try:
        return _adopted(store, environment, now_us)
    finally:
        store.disown()


def _adopted(store: Store, environment: str | None, now_us: Micros) -> Copy | None:
    here = store.surroundings
    copy = store.write(_adopt(here.fingerprint(), here.witness(), environment, now_us))
    store.outbox.forget_identity()
    return copy


# -- the verbs --------------------------------------------------------------------------------------------


def _residence() -> Verb[Residence | None]:
    kept = yield from meta_json(RESIDENCE_KEY)
    return None if kept is None else Residence(**kept)


def _looked(here: Fingerprint | None, witness: Any, environment: str | None) -> Verb[Copy | None]:
    copy = yield from copy_kept()
    known = yield from _residence()
    if copy is not None or known is None or here is None:
        return copy
    why = _moved(known, here, witness, environment)
    return None if why is None else Copy(str((yield from meta_json(IDENTITY_KEY))), why, None)


def _moved(known: Residence, here: Fingerprint, witness: Any, environment: str | None) -> str | None:
    """Say what is not as it was where the store lived, None if all is."""
    if environment is not None and known.environment not in {None, environment}:
        return f"it lived in the environment '{known.environment}', and this one is '{environment}'"
    if not same_file(known.file, here):
        return "its file is not the one that it lived in"
    return _contradicted(known, here, witness)


def _contradicted(known: Residence, here: Fingerprint, witness: Any) -> str | None:
    """Say what the witness knows and the store does not. One of another file, or a torn one, is none."""
    if not (isinstance(witness, Mapping) and isinstance(witness.get("file"), Mapping)):
        return None
    home, beats = witness.get("home"), witness.get("beats")
    # Just adopted, and killed before the witness could be renewed.
    outdated = home == known.before
    if outdated or not isinstance(beats, int) or not same_file(witness["file"], here):
        return None
    return _PUT_BACK if home != known.home or beats > known.beats else None


def _taken_up(
    here: Fingerprint | None, witness: Any, environment: str | None, now_us: Micros
) -> Verb[Residence | Copy | None]:
    copy = yield from _looked(here, witness, environment)
    if copy is not None:
        copy = copy if copy.since_us is not None else copy._replace(since_us=now_us)
        yield from put_meta_json(COPY_KEY, copy._asdict())
        yield from park_all(copy.reason, now_us)
        return copy
    if here is None:
        return None
    known = yield from _residence()
    if known is None:
        # A store with a residence has an identity: of which another could say that it is a copy.
        yield from identified(_fresh())
        known = Residence(home=_fresh(), before=None, file=here, environment=environment, beats=0)
    # An environment that is named for the first time is no other one; one that is not named now is kept.
    known = replace(known, file=here, environment=environment or known.environment, beats=known.beats + 1)
    yield from put_meta_json(RESIDENCE_KEY, asdict(known))
    return known


def _adopt(here: Fingerprint | None, witness: Any, environment: str | None, now_us: Micros) -> Verb[Copy | None]:
    copy = yield from _looked(here, witness, environment)
    if copy is None:
        return None
    yield from park_all(copy.reason, now_us)
    known = yield from _residence()
    before = None if known is None else known.home
    if here is not None:
        settled = Residence(home=_fresh(), before=before, file=here, environment=environment, beats=0)
        yield from put_meta_json(RESIDENCE_KEY, asdict(settled))
    # The ids of deliveries begin with it: a receiver must not take ours for those of the store that we were.
    yield from put_meta_json(IDENTITY_KEY, _fresh())
    yield from put_meta_json(COPY_KEY, None)
    return copy


def _fresh() -> str:
    return secrets.token_hex(4)
