"""What a write says to the transaction it is part of: void the entry at COMMIT, and put the new value after it.

Promise: an older value is never put over a newer one. The token of the put holds the versions that were read before
the COMMIT, and for those that this transaction fenced the ones that its own release made – and only if nobody else has
fenced or bumped them in between. Whoever commits later makes at least one of them anew: what was put is dead then, in
whatever order two writers commit, release and put. Whoever is in doubt puts nothing, which costs a miss.

In a transaction that goes on, what is written afterwards past this module withdraws the put: it may be the same row.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from bergizi_redis.cache import tags
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.commits import fence_commits, release
from bergizi_redis.cache.domains import Domain, tagged_cache
from bergizi_redis.cache.envelope import digest_of
from bergizi_redis.cache.sqltables import ANY, statement_of
from bergizi_redis.cache.transactions import Made, pending_of

Execute = Callable[[str, Any, bool, dict[str, Any]], Any]


class Voiding:
    """One entry's part in a transaction: voided at its COMMIT, together with the domain's lists.

    Django's list of hooks holds it, so that a savepoint that is rolled back drops it.
    """

    def __init__(self, domain: Domain, tenant: str, ident: object, connection: Any) -> None:
        self.domain, self.tenant, self.ident = domain, tenant, ident
        self.connection = connection
        self.cache: TaggedRedisCache = tagged_cache()
        self.version_keys: set[str] = set(domain.voided_by(tenant, ident))
        self.made: Made = {}

    def arrange(self) -> None:
        """Take part in the transaction that is open on the connection."""
        fence_commits(self.connection)
        pending_of(self.connection).add(self)
        self.connection.on_commit(self, robust=True)

    def __call__(self) -> None:
        """After the commit, which has released the fence; where there was none – a test case's – make versions anew."""
        release(self.version_keys)
        self.version_keys = set()


class Put(Voiding):
    """The same, and the value to store afterwards. Made before the write: the versions that stand then are half of its
    token."""

    def __init__(self, domain: Domain, tenant: str, ident: object, data: Any, connection: Any) -> None:
        super().__init__(domain, tenant, ident, connection)
        self.payload = self.cache.entries.payload(data)  # now: what cannot be stored is told before anything is written
        self.address: Address = domain.lookup(tenant, ident).address
        self.own = frozenset(self.version_keys)
        self.place = next(_places)
        self.is_withdrawn = False
        exchange = tags.read_each(self.address.version_keys, self.cache.clustered)
        self.versions: dict[str, bytes | None] = self.cache.ask(exchange, None, is_strict=False) or {}

    def arrange(self) -> None:
        super().arrange()
        _open_on(self.connection).add(self)
        if watched not in self.connection.execute_wrappers:
            self.connection.execute_wrappers.append(watched)

    def __call__(self) -> None:
        is_test_case = bool(self.version_keys)  # nothing was committed, and nobody else writes
        super().__call__()
        if self.is_withdrawn or self._is_superseded():
            return
        token = None if is_test_case else self._token()
        if is_test_case or token:
            value = self.cache.entries.decode(self.payload)
            self.cache.put(self.address, value, self.domain.ttl, token, stale=self.domain.stale)

    def _is_superseded(self) -> bool:
        return any(put.address == self.address and put.place > self.place for put in _open_on(self.connection))

    def _token(self) -> bytes | None:
        versions = self.versions | self.made
        return digest_of(self.address.version_keys, [versions.get(key) for key in self.address.version_keys])


_places = count()
_open: WeakKeyDictionary[Any, WeakSet[Put]] = WeakKeyDictionary()
_saving: WeakKeyDictionary[Any, int] = WeakKeyDictionary()  # how many writes through are under way on a connection


def _open_on(connection: Any) -> "WeakSet[Put]":
    """What is to be put after the connection's commit."""
    return _open.setdefault(connection, WeakSet())


@contextmanager
def saving(connection: Any) -> Iterator[None]:
    """What is written inside belongs to a write through, and withdraws no other."""
    _saving[connection] = _saving.get(connection, 0) + 1
    try:
        yield
    finally:
        _saving[connection] -= 1


def watched(execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Django's execute wrapper: a write past this module withdraws what is to be put."""
    connection = context["connection"]
    puts = _open.get(connection)
    if puts and not _saving.get(connection):
        statement = statement_of(sql) if isinstance(sql, str) else None
        if statement is None or statement.tables is ANY or statement.tables:
            for put in puts:
                put.is_withdrawn = True
    return execute(sql, params, many, context)
