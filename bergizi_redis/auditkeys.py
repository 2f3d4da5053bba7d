"""The Redis keys of audit and alerts beside ``keys.audit``, one function each.

``<trail>`` is a digest of the user's id; of who is unknown at a tenant it is ``@<tenant>``, or ``@`` without one.

| key | type | life |
| --- | --- | --- |
| ``security:audit:{<trail>}`` | stream: what was done | `AUDIT_RETENTION` |
| ``security:audit:{<trail>}:chain`` | hash: where its hash chain ends, and what was trimmed | `AUDIT_RETENTION` |
| ``security:alerts:{@}:<part>`` | alerts: ``open``, zset by when they are over; ``texts``; ``counts`` | 40 d |
"""

from bergizi_redis.keyparts import SHARED, prefixed, validated_tenant
from bergizi_redis.keyparts import user_trail as user_trail


def unknown_trail(tenant: str | None) -> str:
    """The trail of who is no known user of the tenant; None: of none."""
    return SHARED if tenant in (None, SHARED) else f"{SHARED}{validated_tenant(tenant)}"


def trail(name: str) -> str:
    return prefixed(f"security:audit:{{{name}}}")


def chain(name: str) -> str:
    return prefixed(f"security:audit:{{{name}}}:chain")


def alerts(part: str) -> str:
    return prefixed(f"security:alerts:{{{SHARED}}}:{part}")
