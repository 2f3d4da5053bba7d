"""Whose a session was that has run out: it took that along, and the indices name sessions alone.

What is known without keeping anything more: the tenant's trail tells of log-ins, newest first, some thousand entries.
A log-in that is beyond them, that was none (a session that moved in), or that was of no tenant, is not known.
"""

import json
from collections.abc import Mapping, Sequence

from bergizi_redis import keys
from bergizi_redis.exchange import Exchange
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions.asking import Call, evaluate_all, raise_first


def owners_of(ended: Mapping[str | None, Sequence[str]]) -> Exchange[dict[str, str]]:
    """Tenant → sids; returns sid → user, as far as it is known. 1 round trip; 0 where no trail can tell."""
    calls = [
        Call(script("session_owners"), keys.tenant_activity(tenant), sids)
        for tenant, sids in ended.items()
        if tenant is not None and sids
    ]
    replies = (yield from evaluate_all(calls)) if calls else []
    raise_first(replies)
    told = [json.loads(entry.partition(b" ")[2]) for entries in replies for entry in entries]
    return {sid: user_id for _, sid, user_id, *_ in told}
