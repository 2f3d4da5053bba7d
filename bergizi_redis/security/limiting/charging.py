"""Charges a call to its quotas, in Redis or, when Redis is down, as ``on_error`` says.

One round trip for all limits of a call; on a cluster one for each slot, in order, until one refuses: what was charged
before it stays charged, so the error is to the strict side. Time is the server's own, always the primary's.
"""

import logging
from collections.abc import Sequence

import redis.asyncio.cluster
from redis import RedisCluster
from redis.crc import key_slot
from redis.exceptions import MaxConnectionsError, RedisError

from bergizi_redis.aconnections import aclient
from bergizi_redis.connections import client, is_outage
from bergizi_redis.exchange import Exchange, aspeak, evaluate, speak
from bergizi_redis.scripts.script import script
from bergizi_redis.security.limiting import theirs
from bergizi_redis.security.limiting.fallback import LOCAL
from bergizi_redis.security.limiting.limits import Quota, Verdict
from bergizi_redis.security.turnstile import async_turnstile, turnstile

logger = logging.getLogger("bergizi_redis.security")

CLUSTERS = (RedisCluster, redis.asyncio.cluster.RedisCluster)


def charge(quotas: Sequence[Quota], *, count: bool = True) -> list[Verdict]:
    """A verdict for each quota, charged unless ``count`` is False. Never raises for an outage."""
    if not quotas:
        return []
    connection = client(theirs.alias())
    clustered = isinstance(connection, CLUSTERS)
    try:
        return turnstile().run(lambda: speak(_ask(quotas, count, clustered), connection))
    except RedisError as error:
        return without_redis(quotas, count, error)


async def acharge(quotas: Sequence[Quota], *, count: bool = True) -> list[Verdict]:
    """The same, awaiting."""
    if not quotas:
        return []
    connection = aclient(theirs.alias())
    clustered = isinstance(connection, CLUSTERS)
    try:
        return await async_turnstile().run(lambda: aspeak(_ask(quotas, count, clustered), connection))
    except RedisError as error:
        return without_redis(quotas, count, error)


def _ask(quotas: Sequence[Quota], count: bool, clustered: bool) -> Exchange[list[Verdict]]:
    verdicts: list[Verdict] = []
    for group in _by_slot(quotas) if clustered else [quotas]:
        arguments = [part for quota in group for part in quota.asked]
        reply = yield from evaluate(script("ratelimit"), [quota.key for quota in group], [int(count), *arguments])
        found = _read(group, reply)
        verdicts += found
        if count and any(verdict.refused and verdict.quota.blocks for verdict in found):
            break
    LOCAL.note([verdict for verdict in verdicts if verdict.quota.on_error == "degrade"])
    return verdicts


def _read(quotas: Sequence[Quota], reply: Sequence[int]) -> list[Verdict]:
    fours = zip(reply[::4], reply[1::4], reply[2::4], reply[3::4], strict=True)
    return [
        Verdict(quota, bool(refused), count, wait, reset)
        for quota, (refused, count, wait, reset) in zip(quotas, fours, strict=True)
    ]


def _by_slot(quotas: Sequence[Quota]) -> list[list[Quota]]:
    groups: dict[int, list[Quota]] = {}
    for quota in quotas:
        groups.setdefault(key_slot(quota.key.encode()), []).append(quota)
    return list(groups.values())


def without_redis(quotas: Sequence[Quota], count: bool, error: RedisError) -> list[Verdict]:
    """What ``on_error`` says. A full pool is no outage: this process would count what Redis counts as well."""
    is_full = isinstance(error, MaxConnectionsError)
    if not is_full and not is_outage(error):
        raise error
    modes = ", ".join(sorted({quota.on_error for quota in quotas}))
    logger.error("Redis cannot count calls (%s): %s", error, modes, extra={"action": "ratelimit", "mode": modes})
    degrading = [] if is_full else [quota for quota in quotas if quota.on_error == "degrade"]
    counted = {id(verdict.quota): verdict for verdict in LOCAL.take(degrading, count)}
    return [counted.get(id(quota)) or _uncounted(quota, error) for quota in quotas]


def _uncounted(quota: Quota, error: RedisError) -> Verdict:
    if quota.on_error == "open" and quota.cost <= quota.rate.limit:
        return Verdict(quota, False, 0, 0, 0)
    return Verdict(quota, True, quota.rate.limit, 0, 0, error)
