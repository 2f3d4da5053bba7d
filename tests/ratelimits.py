"""What the tests of rate limits share: quotas made by hand, and moving a quota's time without waiting."""

import struct
import uuid
from typing import Any

import redis

from bergizi_redis.security.limiting.limits import Quota
from bergizi_redis.security.limiting.rates import Rate


def quota(limit: int, seconds: int = 60, algorithm: str = "exact", cost: int = 1, **options: Any) -> Quota:
    chosen = {
        "tag": uuid.uuid4().hex, "name": "test", "on_error": "closed", "blocks": True, "shadow": False, **options,
    }  # fmt: skip
    return Quota(rate=Rate(limit, seconds), cost=cost, algorithm=algorithm, **chosen)


def server_us(raw: "redis.Redis") -> int:
    seconds, us = raw.time()
    return int(seconds) * 1_000_000 + int(us)


def pass_time(raw: "redis.Redis", us: int, *keys: str) -> None:
    """Let ``us`` go by for the keys (all limits' where none are named): stamps and lives become so much older."""
    for key in keys or list(raw.scan_iter("*security:ratelimit:*", count=1000)):
        left = raw.pttl(key)
        if left < 0:
            continue
        kind = raw.type(key)
        if left * 1000 <= us:
            raw.delete(key)
        elif kind == b"list":
            if stamps := [int(stamp) - us for stamp in raw.lrange(key, 0, -1)]:  # else it has just run out by itself
                raw.delete(key)
                raw.rpush(key, *stamps)
                raw.pexpire(key, left - us // 1000)
        elif raw.strlen(key) == 16:
            if found := packed(raw, key):
                raw.set(key, struct.pack(">dd", found[0] - us, found[1]), px=left - us // 1000)
        else:
            raw.pexpire(key, left - us // 1000)


def stamp_of(raw: "redis.Redis", key: str) -> int | None:
    """When the last charged call was, in µs of the server; None where it has run out by itself."""
    if raw.type(key) == b"list":
        last = raw.lindex(key, -1)
        return int(last) if last is not None else None
    found = packed(raw, key)
    return int(found[0]) if found else None


def packed(raw: "redis.Redis", key: str) -> tuple[float, float] | None:
    """What gcra keeps: when, in µs, and what was owed then; None where it has run out by itself."""
    value = raw.get(key)
    if value is None:
        return None
    assert isinstance(value, bytes)
    at, owed = struct.unpack(">dd", value)
    return at, owed
