"""Does this write void that entry? Asked of the cache itself, with the reasons in the failure.

Promise: an entry stands before the block – the one that the code under test has stored, else one that is put there –
and is asked for after it, when what the block wrote has been committed. In Django's ``TestCase``, which never commits,
the functions that wait for the commit are run. What was voided is read from what this process sent to Redis.
"""

import copy
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import connections
from django.db.models import Model
from django.test import TestCase

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.envelope import is_enveloped, unpack
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.transactions import pending_of
from bergizi_redis.rehearsal.roundtrips import RoundTrips, counting
from bergizi_redis.scripts.script import script

VALUE = "put here by bergizi_redis.testing"
LIFE = 300  # seconds
MISSING = object()
BUMPING = ("fence_lower", "tags_bump")
VERSION_KEY = re.compile(r"cache:\{(?P<tenant>[^}]*)\}:(?:(?P<kind>[ve]):(?P<tag>.*)|epoch|tenant)$", re.DOTALL)


class Entry:
    """What is asked for: a key of an alias with its tags, or a lookup of a domain or a ``@cached`` function."""

    def __init__(self, key: "str | Lookup", tags: Sequence[str], alias: str | None) -> None:
        if not isinstance(key, str | Lookup):
            raise TypeError(
                f"{key!r} names no entry: give a key, or a lookup such as menu.lookup(tenant, 42) or "
                "menu_list.lookup(status='active')."
            )
        self.key, self.tags = key, tags
        cache = tagged_cache() if alias is None else caches[alias]
        if not isinstance(cache, TaggedRedisCache):
            raise TypeError(f"CACHES[{alias!r}] is a {type(cache).__name__}, which knows no tags.")
        self.cache = cache

    def __str__(self) -> str:
        return repr(self.key) if isinstance(self.key, str) else repr(self.key.address.key)

    def is_served(self) -> bool:
        if isinstance(self.key, str):
            return self.cache.get(self.key, MISSING) is not MISSING
        with copy.copy(self.key) as entry:
            return not entry.missed

    def put(self) -> None:
        if isinstance(self.key, str):
            if not self.tags:
                raise ValueError(f"{self} is not in the cache. Store it before the block, or give tags=[…].")
            self.cache.set(self.key, VALUE, LIFE, tags=self.tags)
        else:
            with copy.copy(self.key) as entry:
                if entry.missed:
                    entry.store(VALUE, LIFE)

    def depends_on(self) -> tuple[str, ...]:
        """The version keys; none for an entry without tags."""
        if not isinstance(self.key, str):
            return self.key.address.version_keys
        raw = self.cache.client.get_client(write=True).get(self.cache.made(self.key))
        envelope = unpack(raw) if raw is not None and is_enveloped(raw) else None
        if envelope is None or envelope.untagged or envelope.names is None:
            return ()
        return self.cache.scope.read_by(envelope.names)


class Watched(AbstractContextManager["Watched"]):
    """The block of ``assert_invalidates`` and ``assert_keeps_warm``, ``with`` or ``async with``."""

    def __init__(self, entry: Entry, subject: str, *, warm: bool) -> None:
        self._entry, self._subject, self._warm = entry, subject, warm
        self._stack = ExitStack()
        self._trips = RoundTrips()
        self._entered = False
        self._depends_on: tuple[str, ...] = ()

    def __enter__(self) -> "Watched":
        self._entered = True
        _commit_earlier_writes()
        if not self._entry.is_served():
            self._entry.put()
            if not self._entry.is_served():
                raise AssertionError(
                    f"{self._entry} cannot be stored: Redis is down, or an open transaction of this test has written "
                    "what it depends on."
                )
        self._depends_on = self._entry.depends_on()
        self._trips = self._stack.enter_context(counting())
        self._stack.enter_context(_committing())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)
        if error is None and self._entry.is_served() is not self._warm:
            raise AssertionError(self._told())

    async def __aenter__(self) -> "Watched":
        return await sync_to_async(self.__enter__)()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await sync_to_async(self.__exit__)(kind, error, at)

    def __del__(self) -> None:
        if not self._entered:
            warnings.warn(f"{self._entry} was never checked: write `with assert_…(…):`.", RuntimeWarning, stacklevel=2)

    def _told(self) -> str:
        depends = ", ".join(named(self._depends_on)) or "nothing: it has no tags, so no write can void it"
        voided = ", ".join(named(bumped(self._trips))) or "nothing"
        what = "is void now, and should have stayed" if self._warm else "is still served"
        return (
            f"{self._entry} {what} after the write{self._subject}.\n"
            f"  It depends on: {depends}.\n"
            f"  The write voided: {voided}."
        )


def watched(subject: "type[Model] | Model | None", key: Any, tags: Sequence[str], alias: str | None, warm: bool) -> Any:
    """The block; with an instance in the place of a model the block is ``instance.save()``, run at once."""
    model = subject if subject is None or isinstance(subject, type) else type(subject)
    if model is not None and not issubclass(model, Model):
        raise TypeError(f"{subject!r} is neither a model nor an instance of one, nor None.")
    names = tags or ((model._meta.db_table,) if model is not None else ())
    about = f" of {model.__name__}" if model is not None else ""
    block = Watched(Entry(key, names, alias), about, warm=warm)
    if not isinstance(subject, Model):
        return block
    with block:
        subject.save()
    return None


def bumped(trips: RoundTrips) -> list[str]:
    """The version keys that were made anew, in order."""
    texts = {script(name).text.encode() for name in BUMPING}
    found: dict[str, None] = {}
    for name, *arguments in trips.commands:
        if name.upper() == b"EVAL" and arguments[0] in texts:
            found |= dict.fromkeys(key.decode() for key in arguments[2 : 2 + int(arguments[1])])
    return list(found)


def named(version_keys: Sequence[str]) -> list[str]:
    """Version keys in a user's words."""
    found: dict[str, None] = {}
    for key in version_keys:
        if match := VERSION_KEY.search(key):
            owner = "" if match["tenant"] == "@" else f" of {match['tenant']}"
            everywhere = " at every tenant" if match["kind"] == "e" else owner
            found[f"{match['tag']}{everywhere}" if match["kind"] else f"everything{owner}"] = None
    return list(found)


@contextmanager
def _committing() -> Iterator[None]:
    """Run what waits for the commit on the connections of a test case, which never commits."""
    with ExitStack() as stack:
        for connection in _of_test_case():
            stack.enter_context(TestCase.captureOnCommitCallbacks(using=connection.alias, execute=True))
        yield


def _commit_earlier_writes() -> None:
    """What the test has saved before counts as committed: it would forbid to store anything that depends on it."""
    for connection in _of_test_case():
        for batch in list(pending_of(connection)):
            if callable(batch):
                batch()


def _of_test_case() -> list[Any]:
    return [
        connection
        for connection in connections.all(initialized_only=True)
        if any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
    ]
