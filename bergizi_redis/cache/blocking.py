"""Django's cache methods, blocking. What each says to the server stands in ``reading.py`` and ``writing.py``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from redis.exceptions import RedisError

from bergizi_redis.cache.alias import RedisAlias, moved_to
from bergizi_redis.cache.envelope import is_enveloped
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.tags import tag_names
from bergizi_redis.cache.writing import is_over


class BlockingMethods(RedisAlias):
    """``client`` is django-redis's argument: another client, such as a pipeline's, to send the command with."""

    def get(self, key: str, default: Any = None, version: int | None = None, client: Any = None) -> Any:
        name = self.made(key, version)
        entries, scope = self.entries, self.scope
        if entries.is_plain(name):  # the usual case, without the cost of an exchange
            try:
                raw = (client or self.reader()).get(name)
            except RedisError as error:
                self.tolerate(error, default)
                return default
            if raw is None or not is_enveloped(raw):
                found = entries.bare(raw)
            else:
                found = self.ask(entries.judged(name, raw, scope), MISSING, client)
        else:
            found = self.ask(entries.get(name, scope), MISSING, client)
        return default if found is MISSING else found

    def get_many(self, keys: Iterable[str], version: int | None = None, client: Any = None) -> dict[str, Any]:
        names = {self.made(key, version): key for key in keys}
        found = self.ask(self.entries.get_many(list(names), self.scope), {}, client) if names else {}
        return {names[name]: value for name, value in found.items()}

    def has_key(self, key: str, version: int | None = None, client: Any = None) -> bool:
        return self.get(key, MISSING, version, client) is not MISSING

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, client: Any = None,
        nx: bool = False, xx: bool = False, *, tags: Sequence[str] | None = None,
    ) -> bool:  # fmt: skip
        """True when stored. With ``nx`` only if the key is missing, with ``xx`` only if it is there."""
        name = self.made(key, version)
        exchange = self.entries.set(name, value, self.seconds(timeout), self.scope, tag_names(tags), nx, xx)
        return bool(self.ask(exchange, False, client, deleted=[name]))

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, client: Any = None,
        *, tags: Sequence[str] | None = None,
    ) -> bool:  # fmt: skip
        name = self.made(key, version)
        return bool(
            self.ask(self.entries.add(name, value, self.seconds(timeout), self.scope, tag_names(tags)), False, client)
        )

    def set_many(
        self, data: Mapping[str, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, client: Any = None,
        *, tags: Sequence[str] | None = None,
    ) -> list[str]:  # fmt: skip
        """The keys that could not be stored: none, or with Redis down all."""
        named = {self.made(key, version): value for key, value in data.items()}
        exchange = self.entries.set_many(named, self.seconds(timeout), self.scope, tag_names(tags))
        return list(data) if self.ask(exchange, MISSING, client, deleted=named) is MISSING else []

    def delete(self, key: str, version: int | None = None, client: Any = None) -> bool:
        name = self.made(key, version)
        return bool(self.ask(self.entries.delete([name]), False, client, deleted=[name]))

    def delete_many(self, keys: Iterable[str], version: int | None = None, client: Any = None) -> int | None:
        """How many there were, as django-redis has it; None for no keys, as Django has it."""
        names = [self.made(key, version) for key in keys]
        return int(self.ask(self.entries.delete(names), 0, client, deleted=names)) if names else None

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, client: Any = None) -> bool:
        name, seconds = self.made(key, version), self.seconds(timeout)
        exchange = self.entries.touch(name, seconds, self.scope)
        return bool(self.ask(exchange, False, client, deleted=[name] if is_over(seconds) else ()))

    def incr(
        self, key: str, delta: int = 1, version: int | None = None, client: Any = None, ignore_key_check: bool = False
    ) -> int:
        """The new number. ``ValueError`` without one, unless ``ignore_key_check``; ``RedisUnavailable`` when down."""
        if ignore_key_check:
            return int(super().incr(key, delta, version=version, client=client, ignore_key_check=True))
        number: int = self.ask(self.entries.incr(self.made(key, version), delta, self.scope), client=client)
        return number

    def decr(self, key: str, delta: int = 1, version: int | None = None, client: Any = None) -> int:
        return self.incr(key, -delta, version, client)

    def incr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        version = self.version if version is None else version
        exchange = self.entries.move(self.made(key, version), self.made(key, version + delta), self.scope)
        return moved_to(key, self.ask(exchange), version + delta)

    def decr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self.incr_version(key, -delta, version)
