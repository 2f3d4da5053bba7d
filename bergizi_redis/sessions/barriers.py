"""Barriers: a revocation holds for every session at once, before any of them has been found.

Each of the 256 shards of sessions has a hash of barriers in its own slot, which the scripts that load, save or end a
session read in the same step. A session remembers the highest number of its shard at its log-in; one that is behind
a barrier of its user, its tenant or everybody is over. Numbers grow with each barrier of the shard, so that no clock
decides whether a log-in came before or after a revocation. Permissions that changed are told in the same way.

| step | round trips |
| --- | --- |
| put a barrier up | 1; 2 on a cluster |
| note that the clean-up is done | 1 |
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis.asyncio.cluster
from django.conf import settings
from redis.cluster import RedisCluster
from redis.exceptions import NoScriptError, ResponseError

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.exchange import Exchange
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import index, quotas, statistics, steps
from bergizi_redis.sessions.asking import Call, evaluate_all, raise_first
from bergizi_redis.sessions.events import Event

SHARDS = tuple(f"{number:02x}" for number in range(256))
CLUSTERS = (RedisCluster, redis.asyncio.cluster.RedisCluster)


@dataclass(frozen=True, slots=True)
class Revocation:
    """Of a user, of a tenant, of a user in a tenant; neither: everybody. ``id`` names its clean-up."""

    id: str
    user_id: str | None = None
    tenant: str | None = None
    actor: str = ""
    reason: str = ""

    @property
    def bars(self) -> bytes:
        """The field of its barrier."""
        if self.user_id is None:
            return b"*" if self.tenant is None else b"t:" + self.tenant.encode()
        user = self.user_id.encode("utf-8", "replace")  # as the session has it
        return b"u:" + user if self.tenant is None else b"b:%s:%s" % (self.tenant.encode(), user)

    @property
    def listing(self) -> str | None:
        """The index that has its sessions; None for everybody."""
        if self.user_id is not None:
            return keys.user_sessions(self.user_id)
        return None if self.tenant is None else keys.tenant_sessions(self.tenant)

    def noted(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if name != "id" and value})


def life() -> int:
    """ms that a barrier stands: as long as a session of before may live without being used."""
    return int(1000 * max(config.SESSION_ABSOLUTE, config.SESSION_IDLE, settings.SESSION_COOKIE_AGE))


def put_up(this: Revocation, keep: str | None = None, replicas: int = 0, patience: int = 0) -> Exchange[int | None]:
    """Note the revocation, then put its barrier up in every shard; the session ``keep`` (a sid) passes it.

    Returns how many replicas have it, of ``replicas`` waited for ``patience`` ms at most; None where none are asked.
    """
    note = [("HSET", keys.revocations(), this.id, this.noted()), ("PEXPIRE", keys.revocations(), life())]
    last = [("WAIT", replicas, patience)] if replicas else []
    replies = yield from _bar(this.bars, keep, note, last)
    return int(replies[-1]) if replicas else None


def outdate(user_id: str | None) -> Exchange[None]:
    """Let the snapshots of this user's permissions, or of everybody's, be made anew at the next request."""
    yield from _bar(b"p*" if user_id is None else b"p:" + user_id.encode("utf-8", "replace"), None, [], [])


def _bar(field: bytes, keep: str | None, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> Exchange[Any]:
    replies = yield lambda client: _sent(client, field, keep, before, after, by_text=False)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        replies = yield lambda client: _sent(client, field, keep, before, after, by_text=True)
    raise_first(replies)
    if len(replies) >= len(SHARDS):
        # A cluster's shards are barred one after the other. A session that was given a new key meanwhile, in a shard
        # that was barred, by way of one that was not yet: the second time finds it.
        raise_first((yield lambda client: _sent(client, field, keep, [], after, by_text=False)))
    return replies


def _sent(
    client: Any, field: bytes, keep: str | None, before: Sequence[Any], after: Sequence[Any], *, by_text: bool
) -> Any:
    bar = script("session_bar")
    is_cluster = isinstance(client, CLUSTERS)
    if is_cluster and after:
        raise ConfigurationError("wait_replicas is not for a cluster: WAIT is about one server. Leave it out there.")
    command = ("EVAL", bar.text) if by_text else ("EVALSHA", bar.sha)
    pipeline = client.pipeline(transaction=False)
    for request in before:
        pipeline.execute_command(*request)
    for shards in [[shard] for shard in SHARDS] if is_cluster else [SHARDS]:
        kept = keep if keep is not None and keep[:2] in shards else None
        # The shard of the kept session stands last, beside it.
        ordered = sorted(shards, key=lambda shard: kept is not None and shard == kept[:2])
        named = [keys.revoked(shard) for shard in ordered] + ([keys.session(kept)] if kept else [])
        pipeline.execute_command(*command, len(named), *named, field, life(), int(kept is not None))
    for request in after:
        pipeline.execute_command(*request)
    return pipeline.execute(raise_on_error=False)


def members(this: Revocation) -> Exchange[list[str]]:
    """The sids in its listing; some may be of sessions that it does not bar."""
    listing = this.listing
    assert listing is not None
    found: list[bytes] = yield lambda client: client.zrange(listing, 0, -1)
    return [sid.decode() for sid in found]


def end_barred(sids: list[str]) -> Exchange[list[Event]]:
    """End those of the sessions that are behind a barrier: 2 round trips; returns their events."""
    end, args = script("session_end"), ["", "", "barred", *quotas.note_of(quotas.REVOKED)]
    replies = yield from evaluate_all([Call(end, keys.session(sid), args, steps.beside(sid)) for sid in sids])
    wrong_types = [reply for reply in replies if isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply)]
    raise_first([reply for reply in replies if reply not in wrong_types])
    ended = [(sid, reply) for sid, reply in zip(sids, replies, strict=True) if reply and reply not in wrong_types]
    # What somebody else has ended is theirs to tell; but they may have been killed before the lists knew.
    events = [Event(False, sid, *steps.owners(reply), "revoked") for sid, reply in ended if int(reply[2]) != 3]
    off = [(sid, index.index_keys(*steps.owners(reply))) for sid, reply in ended]
    yield from index.remove(off, statistics.calls_for(events))
    return events


def noted() -> Exchange[list[Revocation]]:
    """Revocations that hold, and whose clean-up has not ended."""
    found: dict[bytes, bytes] = yield lambda client: client.hgetall(keys.revocations())
    return [Revocation(name.decode(), **json.loads(text)) for name, text in found.items()]


def cleaned(this: Revocation) -> Exchange[None]:
    yield lambda client: client.hdel(keys.revocations(), this.id)
