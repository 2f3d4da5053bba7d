"""The Redis keys of the lockout beside those in ``keys``, one function each. ``<tag>`` is a keyed hash.

| key | type | life |
| --- | --- | --- |
| ``security:attempts:{<tag>}:<device>`` | hash: failures, generation of a trusted device | 24 h |
| ``security:lockout:{<tag>}:<device>`` | string: generation that closed it | 30 min |
| ``security:record:{<tag>}`` | hash: failures in a row, locks since the last success | `LOCKOUT_MEMORY` |
| ``security:record:{<tag>}:<device>`` | the same of a trusted device | `LOCKOUT_MEMORY` |
| ``security:origins:{<tag>}`` | HyperLogLog: networks that tried the account | 15 min |
| ``security:devices:{<tag>}`` | string: cookies of trusted devices from before it hold no more | `DEVICE_COOKIE_AGE` |
| ``security:devices:{<tag>}:locked`` | set: trusted devices that are locked, for an unlock | as their locks |
| ``security:unlock:{<tag>}`` | string: digest of the link that unlocks the account | `UNLOCK_LINK_SECONDS` |
| ``security:replayed:{<tag>}:<nonce>`` | string: what was counted in an outage has been added | 24 h |
| ``security:network:{<tag>}`` | zset: attempts from a network by time, ms | its window |
| ``security:spray:{<tag>}`` | HyperLogLog: accounts that a network tried | 15 min |
| ``security:outcomes:{<tenant>}`` | hash: log-ins that were tried, and passed | 15 min |
| ``security:locking`` | zset: tenants with locked accounts, by when the last of them opens, ms | 24 h |
| ``security:told:{<tag>}`` | string: an alert of this network, account or tenant was sent | 15 min |
"""

from bergizi_redis.keyparts import prefixed


def attempts(tag: str, device: str) -> str:
    return prefixed(f"security:attempts:{{{tag}}}:{device}")


def lockout(tag: str, device: str) -> str:
    return prefixed(f"security:lockout:{{{tag}}}:{device}")


def record(tag: str) -> str:
    return prefixed(f"security:record:{{{tag}}}")


def device_record(tag: str, device: str) -> str:
    return prefixed(f"security:record:{{{tag}}}:{device}")


def origins(tag: str) -> str:
    return prefixed(f"security:origins:{{{tag}}}")


def devices(tag: str) -> str:
    return prefixed(f"security:devices:{{{tag}}}")


def locked_devices(tag: str) -> str:
    return prefixed(f"security:devices:{{{tag}}}:locked")


def unlock_link(tag: str) -> str:
    return prefixed(f"security:unlock:{{{tag}}}")


def replayed(tag: str, nonce: str) -> str:
    return prefixed(f"security:replayed:{{{tag}}}:{nonce}")


def network(tag: str) -> str:
    return prefixed(f"security:network:{{{tag}}}")


def spray(tag: str) -> str:
    return prefixed(f"security:spray:{{{tag}}}")


def outcomes(tenant: str) -> str:
    return prefixed(f"security:outcomes:{{{tenant}}}")


def told(tag: str) -> str:
    return prefixed(f"security:told:{{{tag}}}")


def locking() -> str:
    return prefixed("security:locking")
