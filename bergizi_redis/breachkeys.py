"""The Redis keys of the breach list, one function each.

| key | type | life |
| --- | --- | --- |
| ``security:breaches:{@}:list`` | string: which list is in force, its shards, bits and hashes | until the next list |
| ``security:breaches:{@}:build`` | string: the list that is being built, and how far | 7 d |
| ``security:breaches:{<list>.<shard>}`` | bitmap of a shard, 8 MB at most | as long as the list; 7 d while built |
| ``security:breaches:{<list>.<shard>}:part`` | bitmap that is added to it next | 10 min |
"""

from bergizi_redis.keyparts import SHARED, prefixed


def in_force() -> str:
    return prefixed(f"security:breaches:{{{SHARED}}}:list")


def build() -> str:
    return prefixed(f"security:breaches:{{{SHARED}}}:build")


def shard(ident: str, number: int) -> str:
    return prefixed(f"security:breaches:{{{ident}.{number}}}")


def part(ident: str, number: int) -> str:
    """In the slot of the shard."""
    return f"{shard(ident, number)}:part"
