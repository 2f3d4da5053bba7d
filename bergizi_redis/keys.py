"""Every Redis key, one function each. Literal braces are the cluster hash tag: what shares it shares a slot.

Schema version 1. ``BERGIZI_REDIS["KEY_PREFIX"]`` stands before all.

| key | type | life |
| --- | --- | --- |
| ``session:{<sid[:2]>}<sid[2:]>`` | hash: meta and one field per session key | idle or absolute, whichever is first |
| ``moved:{<sid[:2]>}<sid[2:]>`` | string: the session has moved in from another store | what it had left there |
| ``revoked:{<shard>}`` | hash: barrier of a user, a tenant, everybody → its number, ms | longest absolute life |
| ``moving:{run}:<ident>`` | string: how far an import from that engine came | 7 d |
| ``revoking:{@}`` | hash: revocations that hold, and whose clean-up has not ended | longest absolute life |
| ``user:{<user id>}:sessions`` | zset: sid by expiry, ms | 24 h, renewed |
| ``user:{<user id>}:online`` | zset: sid by last seen, ms; 0 while being evicted; only with a limit | 24 h, renewed |
| ``tenant:{<tenant>}:sessions`` | zset: sid by expiry, ms | 24 h, renewed |
| ``tenant:{<tenant>}:online`` | zset: sid by last seen, ms | 24 h, renewed |
| ``tenant:{<tenant>}:stats:<day>`` | hash: log-ins, log-outs, … of a day (UTC) | 40 d |
| ``sessions:{@}:tenants`` | zset: tenants that have sessions, by when that was noted, ms | 40 d |
| ``sessions:{@}:swept`` | string: a sweep began not long ago | 45 s |
| ``ended:{<sid[:2]>}<sid[2:]>`` | string: why the session was ended, for the log-in page | 15 min; else 1 min |
| ``activity:{<user id>}:user`` | list: what happened to the user's sessions, newest first | `ACTIVITY_DAYS` |
| ``activity:{<tenant>}:tenant`` | stream: the same of a tenant | `ACTIVITY_DAYS` |
| ``cache:{<tenant>}:<domain>:<ident>`` | string: envelope and payload | per domain: 2 h or 5 min |
| ``lease:<entry>`` | string: token and owner of who computes the entry | 1–30 s, by what computing costs |
| ``cache:{<tenant>}:v:<tag>`` | string: 8 random bytes, or a writer's fences | 30 d, at least the longest entry |
| ``cache:{@}:e:<tag>`` | the same: the tag at every tenant | 30 d |
| ``cache:{@}:epoch`` | the same: everything | 30 d |
| ``cache:{<tenant>}:tenant`` | the same: all of one tenant | 30 d |
| ``cache:{<tenant>}:bumps`` | stream: who voided which tags, the last 256 | 30 d |
| ``cache:{@}:minute.<n>`` | hash: what all processes counted, by tenant and domain | 1 h |
| ``cache:{@}:hour.<n>`` | the same, of whole hours | 26 h |
| ``behind:{<domain>:<shard>}:<part>`` | writes, see the guide: stream, buffer, dead, lease, … | until flushed |
| ``security:attempts:{<tag>}`` | hash: failures, generation | 24 h |
| ``security:lockout:{<tag>}`` | string: generation that closed it | 30 min |
| ``security:ratelimit:{<tag>}`` | list of µs, two doubles, or a number, by algorithm | until nothing is in use |
| ``security:audit:{<trail>}`` | stream: what a user did, hash-chained; see ``auditkeys`` | `AUDIT_RETENTION` |
| ``security:accounts:{<tenant>}`` | zset: masked identifier and tag by unlock time, ms | 24 h |
| ``stream:{<tenant>}:<channel>`` | stream: live events | trimmed |
| ``geo:{<tenant>}`` | geo set: the vehicles' last positions | as long as the vehicles |
| ``track:{<tenant>}:<vehicle>`` | stream: positions of one vehicle | trimmed |
| ``t:{<tenant>}:<part>`` | a project's own, named with ``tenant_key`` | the project's |
| ``warming:{run}:done`` | set: the tasks that `warm_cache` has done, for `--resume` | 24 h, 30 s when all are |
| ``warming:{run}`` | string: a run of `warm_cache` is under way | 30 s, renewed |
| ``warming:{run}:task:<task>`` | string: the run that has the task | 30 s, renewed |
| ``health:probe`` | string: the write that ``redis_health`` tries | 10 s |

``@`` stands for the tenant where an entry or a tag belongs to no tenant: no tenant id can hold that character.
"""

import re

from bergizi_redis.keyparts import LONGEST_PART as LONGEST_PART
from bergizi_redis.keyparts import SHARED as SHARED
from bergizi_redis.keyparts import TENANT_PATTERN as TENANT_PATTERN
from bergizi_redis.keyparts import inner_part as _inner
from bergizi_redis.keyparts import part_of as _part
from bergizi_redis.keyparts import prefixed as prefixed
from bergizi_redis.keyparts import user_trail as _trail
from bergizi_redis.keyparts import validated_tenant as validated_tenant

SCHEMA_VERSION = 1
HASH_TAG = re.compile(r"[^{]*\{[^}]+\}")
OWN_DOMAINS = {"v": "%76", "e": "%65"}  # the tags' names; a domain called so is written otherwise


def tenant_key(tenant: str, *parts: object) -> str:
    """A name for a project's own key of one tenant: ``tenant_key("sppg-1", "orders", 7)`` → ``t:{sppg-1}:orders:7``."""
    return prefixed(":".join([f"t:{{{validated_tenant(tenant)}}}", *(_inner(part) for part in parts)]))


def session(sid: str) -> str:
    return prefixed(f"session:{{{sid[:2]}}}{sid[2:]}")


def session_moved(sid: str) -> str:
    return prefixed(f"moved:{{{sid[:2]}}}{sid[2:]}")


def session_import(ident: str) -> str:
    return prefixed(f"moving:{{run}}:{_part(ident)}")


def revoked(shard: str) -> str:
    """``shard``: the first two digits of the sids that it bars."""
    return prefixed(f"revoked:{{{shard}}}")


def revocations() -> str:
    return prefixed(f"revoking:{{{SHARED}}}")


def user_sessions(user_id: object) -> str:
    return prefixed(f"user:{{{_part(user_id)}}}:sessions")


def tenant_sessions(tenant: str | None) -> str:
    """None: the sessions that belong to no tenant."""
    return prefixed(f"tenant:{{{SHARED if tenant is None else validated_tenant(tenant)}}}:sessions")


def user_online(user_id: object) -> str:
    """Beside the user's index, in its slot: when its sessions were last seen."""
    return prefixed(f"user:{{{_part(user_id)}}}:online")


def tenant_online(tenant: str | None) -> str:
    return prefixed(f"tenant:{{{SHARED if tenant is None else validated_tenant(tenant)}}}:online")


def session_stats(tenant: str | None, day: str) -> str:
    """``day``: ``2026-11-23``."""
    return prefixed(f"tenant:{{{SHARED if tenant is None else validated_tenant(tenant)}}}:stats:{day}")


def session_tenants() -> str:
    return prefixed(f"sessions:{{{SHARED}}}:tenants")


def sessions_swept() -> str:
    return prefixed(f"sessions:{{{SHARED}}}:swept")


def session_ended(sid: str) -> str:
    """In the slot of the session."""
    return prefixed(f"ended:{{{sid[:2]}}}{sid[2:]}")


def user_activity(user_id: object) -> str:
    return prefixed(f"activity:{{{_part(user_id)}}}:user")


def tenant_activity(tenant: str) -> str:
    return prefixed(f"activity:{{{validated_tenant(tenant)}}}:tenant")


def cache_entry(tenant: str | None, domain: str, ident: object) -> str:
    scope = SHARED if tenant is None else validated_tenant(tenant)
    return prefixed(f"cache:{{{scope}}}:{OWN_DOMAINS.get(domain) or _inner(domain)}:{_part(ident)}")


def lease(entry: str) -> str:
    """Beside the entry, in its slot: with the entry's own hash tag, or the whole of it for one without."""
    return prefixed(f"lease:{entry}" if HASH_TAG.match(entry) else f"lease:{{{entry}}}")


def tag_version(tenant: str | None, tag: str, namespace: str = "") -> str:
    """``namespace`` is the KEY_PREFIX of the alias, so that sites on one server do not void one another's tags."""
    scope = SHARED if tenant is None else validated_tenant(tenant)
    key = f"cache:{{{scope}}}:v:{_part(tag)}"
    return prefixed(f"{namespace}:{key}" if namespace else key)


def tag_everywhere(tag: str, namespace: str = "") -> str:
    """Version of a tag at every tenant at once: bumped by a write that may have touched any of them."""
    key = f"cache:{{{SHARED}}}:e:{_part(tag)}"
    return prefixed(f"{namespace}:{key}" if namespace else key)


def epoch(namespace: str = "") -> str:
    key = f"cache:{{{SHARED}}}:epoch"
    return prefixed(f"{namespace}:{key}" if namespace else key)


def tenant_version(tenant: str, namespace: str = "") -> str:
    key = f"cache:{{{validated_tenant(tenant)}}}:tenant"
    return prefixed(f"{namespace}:{key}" if namespace else key)


def behind(domain: str, shard: int, part: str) -> str:
    """What a write-behind keeps of one shard of the domain; all its parts share a slot.

    ``stream``: the writes, in order, with the group ``flush``. ``buffer``, hash: tenant and ident → token and newest
    value. ``dead``, stream: what cannot be flushed. ``lease``: the worker that has the shard. ``failures``, hash;
    ``halted``, hash of entries with dead letters; ``replay``, set of those to flush again; ``nonce:<nonce>``, 10 s.
    """
    return prefixed(f"behind:{{{domain}:{shard}}}:{part}")


def bumps(tenant: str | None, namespace: str = "") -> str:
    scope = SHARED if tenant is None else validated_tenant(tenant)
    key = f"cache:{{{scope}}}:bumps"
    return prefixed(f"{namespace}:{key}" if namespace else key)


def stats_minute(number: object, namespace: str = "") -> str:
    """``number``: minutes since 1970."""
    key = f"cache:{{{SHARED}}}:minute.{number}"
    return prefixed(f"{namespace}:{key}" if namespace else key)


def stats_hour(number: object, namespace: str = "") -> str:
    key = f"cache:{{{SHARED}}}:hour.{number}"
    return prefixed(f"{namespace}:{key}" if namespace else key)


def attempts(tag: str) -> str:
    return prefixed(f"security:attempts:{{{tag}}}")


def lockout(tag: str) -> str:
    return prefixed(f"security:lockout:{{{tag}}}")


def ratelimit(tag: str) -> str:
    return prefixed(f"security:ratelimit:{{{tag}}}")


def locked_accounts(tenant: str | None) -> str:
    return prefixed(f"security:accounts:{{{SHARED if tenant is None else validated_tenant(tenant)}}}")


def audit(user_id: object) -> str:
    return prefixed(f"security:audit:{{{_trail(user_id)}}}")


def stream(tenant: str, channel: str) -> str:
    return prefixed(f"stream:{{{validated_tenant(tenant)}}}:{_part(channel)}")


def positions(tenant: str) -> str:
    return prefixed(f"geo:{{{validated_tenant(tenant)}}}")


def track(tenant: str, vehicle: object) -> str:
    return prefixed(f"track:{{{validated_tenant(tenant)}}}:{_part(vehicle)}")


def warming_done() -> str:
    return prefixed("warming:{run}:done")


def warming_run() -> str:
    return prefixed("warming:{run}")


def warming_task(task: str) -> str:
    return prefixed(f"warming:{{run}}:task:{_part(task)}")


def health_probe() -> str:
    return prefixed("health:probe")
