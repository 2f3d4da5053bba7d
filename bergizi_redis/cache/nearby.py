"""Reading an alias's near cache, for ``cache.get`` and for lookups: 0 round trips on a hit. See ``near/shelf.py``."""

from functools import cached_property
from typing import Any

from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.alias import RedisAlias
from bergizi_redis.cache.near.opening import shelf_of
from bergizi_redis.cache.near.shelf import NearShelf
from bergizi_redis.cache.reading import MISSING, Found
from bergizi_redis.topology import servers


class NearMethods(RedisAlias):
    """``near`` is None where ``OPTIONS["NEAR_CACHE"]`` is off. While this process owes Redis something, all miss."""

    @cached_property
    def near(self) -> NearShelf | None:
        def client() -> Any:
            return self.client.get_client(write=True)

        return shelf_of(self.state, servers(self._server)[0], self.options, self.clustered, client)

    def near_value(self, name: str) -> Any:
        """The value of an entry that carries its tags, or ``MISSING``."""
        near = self.near
        record = None if near is None else near.find(name)
        if record is None or not record.named or self.state.unsent:
            return MISSING
        value = self.entries.decoded(record.payload)
        if value is not MISSING:
            self.state.counters.add("near_hits", tenant=self.scope.tenant or "")
        return value

    def near_look(self, address: Address) -> Found | None:
        near = self.near
        record = None if near is None or address.strict else near.find(address.key)
        if record is None or record.version_keys != address.version_keys or self.state.unsent:
            return None
        value = self.entries.decoded(record.payload)
        if value is MISSING:
            return None
        self.state.counters.add("near_hits", address.domain, tenant=address.tenant)
        return Found(value, record.digest)

    def near_next_time(self, name: str) -> None:
        """The entry was found in Redis: if it has tags, the next read may find it here. Waits for nothing."""
        version_keys = self.state.hints.get(name)
        if self.near is not None and version_keys is not None:
            self.near.want(name, version_keys)

    def look_next_time(self, address: Address, found: Found) -> None:
        if self.near is not None and found.value is not MISSING and not found.due:
            self.near.want(address.key, address.version_keys)
