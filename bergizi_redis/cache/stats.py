"""What the numbers mean: rows of counted events, and what people and programs are told of them.

| event | counts |
| --- | --- |
| ``hits`` · ``near_hits`` | reads that found a living value, in Redis and in the near cache of their process |
| ``misses`` | reads that found none |
| ``stale`` | of the misses, those that met a void entry |
| ``stores`` · ``computed`` | values stored; values computed after a miss, stored or not |
| ``errors`` | commands that an outage made fail |
| ``read_bytes`` · ``stored_bytes`` | bytes of values of domains and functions, as they are in Redis |
| ``cost_ms`` | time that computing took, ms |
| ``verified`` · ``lies`` | hits that were computed again (``VERIFY_SAMPLE``); those of them that were wrong |
| ``us`` · ``b0`` … ``b24`` | time of reads that asked Redis, µs: their sum, and how many took below 2ⁿ µs |
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str]  # tenant, domain
Counts = Mapping[Key, Mapping[str, int]]

OTHERS = "~"  # no tenant id and no domain: those that were too many to be told apart
EVENTS = (
    "hits", "misses", "near_hits", "stale", "stores", "computed", "errors", "read_bytes", "stored_bytes", "cost_ms",
    "verified", "lies",
)  # fmt: skip
SLOWEST = 24  # 2²⁴ µs are 17 s; what is slower counts there too
BUCKETS = tuple(f"b{number}" for number in range(SLOWEST + 1))


@dataclass(frozen=True, slots=True)
class Row:
    """What was counted for one domain of one tenant; "" where it belongs to none. For metrics and the dashboard."""

    tenant: str
    domain: str
    counts: Mapping[str, int]


def rows(counts: Counts) -> Iterator[Row]:
    """The rows in the order of their names."""
    for (tenant, domain), row in sorted(counts.items()):
        yield Row(tenant, domain, row)


def summary(counts: Counts) -> dict[str, Any]:
    """All in all, and the same ``by_domain`` and ``by_tenant``."""
    total: dict[str, int] = {}
    by_domain: dict[str, dict[str, int]] = {}
    by_tenant: dict[str, dict[str, int]] = {}
    for (tenant, domain), row in counts.items():
        _add(total, row)
        if domain:
            _add(by_domain.setdefault(domain, {}), row)
        if tenant:
            _add(by_tenant.setdefault(tenant, {}), row)
    return {
        **told(total),
        "by_domain": {domain: told(row) for domain, row in sorted(by_domain.items())},
        "by_tenant": {tenant: told(row) for tenant, row in sorted(by_tenant.items())},
    }


def told(row: Mapping[str, int]) -> dict[str, Any]:
    """Events, ``hit_rate`` (0–1, None without reads) and ``latency`` of one row."""
    hits = row.get("hits", 0) + row.get("near_hits", 0)
    reads = hits + row.get("misses", 0)
    return {
        **{event: row.get(event, 0) for event in EVENTS},
        "hit_rate": hits / reads if reads else None,
        "latency": latency(row),
    }


def latency(row: Mapping[str, int]) -> dict[str, float | int | None]:
    """Of reads that asked Redis, in ms: ``mean_ms``, ``p50_ms``, ``p95_ms``, ``p99_ms``; None without any.

    A percentile is the upper bound of its bucket, at most twice the true time.
    """
    asked = [row.get(bucket, 0) for bucket in BUCKETS]
    reads = sum(asked)
    found: dict[str, float | int | None] = {"reads": reads}
    found["mean_ms"] = row.get("us", 0) / reads / 1000 if reads else None
    for percent in (50, 95, 99):
        found[f"p{percent}_ms"] = _percentile(asked, reads, percent)
    return found


def _percentile(asked: list[int], reads: int, percent: int) -> float | None:
    passed = 0
    for number, times in enumerate(asked):
        passed += times
        if reads and passed * 100 >= reads * percent:
            return float(1 << number) / 1000
    return None


def _add(total: dict[str, int], row: Mapping[str, int]) -> None:
    for event, times in row.items():
        total[event] = total.get(event, 0) + times
