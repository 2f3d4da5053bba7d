"""Redis down at a COMMIT: what becomes of the write, and how what it voids is not forgotten.

``WRITES_ON_OUTAGE`` decides, by tag, domain or table; of several that one write concerns the strictest counts:

* ``refuse`` – the write is rolled back and ``RedisUnavailable`` raised: no reader can be lied to.
* ``outbox`` – the versions to bump are noted in a table, in the transaction itself: they are kept if and only if the
  write is (a statement that commits itself has its note before it). Relayed by the next request of a process that has
  met the outage or has just begun, by one of any process within a minute, and by ``redis_invalidate --owed``. Until
  then a process that reached Redis all the while may serve the old value.
* ``proceed`` – the write goes on, and this process bumps before it reads its cache again; lost if it dies before.

Without the table on the write's database (``migrate`` has not run there) ``outbox`` is ``proceed``, with a line in the
log.
"""

import logging
import time
from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary

from django.apps import apps
from django.db import DatabaseError, connections, router
from django.utils import timezone
from redis.exceptions import RedisError

from bergizi_redis.cache.actors import acting
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.process import LOG_EVERY
from bergizi_redis.cache.unsent import batched
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError, RedisUnavailable
from bergizi_redis.keyparts import part_of

logger = logging.getLogger("bergizi_redis.cache")

STRICTEST_FIRST = ("refuse", "outbox", "proceed")
TABLE = "bergizi_redis_owedbump"
RELAY_EVERY = 60.0  # seconds between two looks at the table, where this process has seen no outage
RETRY_AFTER = 5.0  # seconds after a look that failed: where a database is away, not every request shall wait for it
AT_ONCE = 500  # rows

_has_table: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
_told_at: WeakKeyDictionary[Any, float] = WeakKeyDictionary()  # when the log was last told that there is none


def is_noting(connection: Any, version_keys: Collection[str]) -> bool:
    """Whether what the write voids is to be noted with it. Raises ``RedisUnavailable`` where it is refused."""
    policy = policy_of(version_keys)
    if policy == "refuse":
        raise RedisUnavailable(
            "The write was refused: Redis is down, so what it makes void could not be fenced, and WRITES_ON_OUTAGE "
            "says 'refuse'. Try again when Redis answers."
        )
    if policy != "outbox" or has_table(connection):
        return policy == "outbox"
    now = time.monotonic()
    if now - _told_at.get(connection, -LOG_EVERY) >= LOG_EVERY:
        _told_at[connection] = now
        logger.warning(
            "Redis is down and the database %r has no table %s to note in what a write voids: run migrate there.",
            connection.alias, TABLE, extra={"action": "outbox_missing"},
        )  # fmt: skip
    return False


def policy_of(version_keys: Collection[str]) -> str:
    """The strictest policy of those that the versions' tags have."""
    told = config.WRITES_ON_OUTAGE
    if isinstance(told, str):
        return told
    rest = told.get("*", "outbox")
    found = {_told_of(key, told) or rest for key in version_keys}
    return min(found or {rest}, key=STRICTEST_FIRST.index)


def _told_of(version_key: str, told: dict[str, str]) -> str | None:
    for tag, policy in told.items():
        # A domain's buckets and lists are tags of their own, behind a "#".
        if version_key.partition("#")[0].endswith((f":v:{part_of(tag)}", f":e:{part_of(tag)}")):
            return policy
    return None


def note(connection: Any, version_keys: Collection[str]) -> None:
    """Note the versions on the database, in the transaction that is open.

    By plain SQL: the ORM would open and end a transaction of its own, in the middle of a COMMIT.
    """
    created = connection.ops.adapt_datetimefield_value(timezone.now())
    table, key, at = map(connection.ops.quote_name, (TABLE, "key", "created"))
    for names in batched(sorted(version_keys), AT_ONCE):
        with connection.cursor() as cursor:
            values = ", ".join(["(%s, %s)"] * len(names))
            params = [each for name in names for each in (name, created)]
            cursor.execute(f"INSERT INTO {table} ({key}, {at}) VALUES {values}", params)  # noqa: S608 – names of ours


def has_table(connection: Any) -> bool:
    """Whether the database has the outbox; asked once for a connection, again while it has not."""
    if not _has_table.get(connection):
        with connection.cursor() as cursor:
            _has_table[connection] = TABLE in connection.introspection.table_names(cursor)
    return _has_table[connection]


def relay(using: str) -> int:
    """Bump what is noted on the database, then strike it out; how many. Raises ``RedisUnavailable``, ``RedisError``.

    0 without the table. Bumped twice by two relays at once, or by a crash in between, does no harm.
    """
    if not has_table(connections[using]):
        return 0
    owed = apps.get_model("bergizi_redis", "OwedBump")._default_manager.using(using)
    relayed = 0
    while rows := list(owed.order_by("id")[:AT_ONCE].values_list("id", "key")):
        cache = tagged_cache()
        with acting("the outbox, for a write during an outage"):
            cache.ask(cache.entries.bump({key for _, key in rows}))
        owed.filter(id__in=[row for row, _ in rows]).delete()
        relayed += len({key for _, key in rows})
    return relayed


def relay_all() -> int:
    """The same for every database."""
    return sum(map(relay, connections))


def holds_any(connection: Any) -> bool:
    """Whether anything is noted on the database. By none of the queries that tests count; without the table False."""
    model = apps.get_model("bergizi_redis", "OwedBump")
    if not router.allow_migrate_model(connection.alias, model):
        return False
    first = model._default_manager.using(connection.alias).values_list("id")[:1]
    sql, params = first.query.get_compiler(using=connection.alias).as_sql()
    connection.ensure_connection()
    with connection.make_cursor(connection.create_cursor()) as cursor:
        if not _has_table.get(connection):
            _has_table[connection] = TABLE in connection.introspection.table_names(cursor)
        if not _has_table[connection]:
            return False
        cursor.execute(sql, params)
        return cursor.fetchone() is not None


class Relay:
    """What a request does for the outbox: look whether something is due, at first, after an outage and each minute."""

    def __init__(self) -> None:
        self._due_at = float("-inf")
        self._outages_seen = 0

    def is_due(self, now: float, outages: int) -> bool:
        """``now`` in seconds, of any clock; ``outages``: how many commands they have cost so far."""
        if now < self._due_at and outages == self._outages_seen:
            return False
        self._due_at = now + RELAY_EVERY
        self._outages_seen = outages
        return True

    def at_request(self, **_: Any) -> None:
        """Never fails a request: what cannot be relayed stays where it is."""
        try:
            outages = tagged_cache().state.outages
        except ConfigurationError:
            return
        if self.is_due(time.monotonic(), outages):
            for alias in connections:
                self._relay(alias)

    def _relay(self, alias: str) -> None:
        try:
            if holds_any(connections[alias]):
                relay(alias)
        except Exception as error:  # a test may forbid the database, which is nothing to tell of
            self._due_at = time.monotonic() + RETRY_AFTER
            is_outage = isinstance(error, DatabaseError | RedisError | RedisUnavailable)
            logger.log(
                logging.WARNING if is_outage else logging.DEBUG,
                "What the outbox of %r holds was not relayed: %s", alias, type(error).__name__,
                extra={"action": "outbox_kept"},
            )  # fmt: skip


RELAY = Relay()
