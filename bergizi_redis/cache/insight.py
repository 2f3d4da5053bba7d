"""What an alias tells of itself: numbers, and why a read hits or misses. For people and meters, not for requests."""

from dataclasses import replace
from time import time
from typing import Any

from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.alias import RedisAlias
from bergizi_redis.cache.explain import Explanation, explain_entry, explain_key
from bergizi_redis.cache.fleet import read_fleet
from bergizi_redis.cache.stats import Counts, summary


class InsightMethods(RedisAlias):
    """With Redis down they raise ``RedisUnavailable``, but for the numbers of this process."""

    def stats(self, fleet: bool = False, minutes: int = 60) -> dict[str, Any]:
        """Hits, misses, stale (void entries met), latency…, in all, ``by_domain`` and ``by_tenant``: see ``stats.py``.

        Of this process since it began; with ``fleet`` of all processes in the last ``minutes``: 1 to 1560, above 60
        in whole hours.
        """
        return summary(self.fleet_counts(minutes)) if fleet else self.state.counters.snapshot()

    async def astats(self, fleet: bool = False, minutes: int = 60) -> dict[str, Any]:
        if not fleet:
            return self.state.counters.snapshot()
        await self.asend_stats(everything=True)
        return summary(await self.aask(read_fleet(self.key_prefix, minutes, time())))

    def fleet_counts(self, minutes: int) -> Counts:
        """Counts by (tenant, domain) of all processes, this one's up to now among them; ``stats.rows`` lists them."""
        self.send_stats(everything=True)
        counts: Counts = self.ask(read_fleet(self.key_prefix, minutes, time()))
        return counts

    def explain(self, key: str, version: int | None = None) -> Explanation:
        """Why ``get(key)`` hits or misses: print it. For domains and functions ask their own ``explain``."""
        return self._placed(self.ask(explain_key(self.made(key, version), self.scope, self.clustered)))

    async def aexplain(self, key: str, version: int | None = None) -> Explanation:
        return self._placed(await self.aask(explain_key(self.made(key, version), self.scope, self.clustered)))

    def explain_entry(self, address: Address) -> Explanation:
        """The same for what a domain or a function keeps under this address."""
        return self._placed(self.ask(explain_entry(address, self.clustered)))

    async def aexplain_entry(self, address: Address) -> Explanation:
        return self._placed(await self.aask(explain_entry(address, self.clustered)))

    def _placed(self, found: Explanation) -> Explanation:
        near = getattr(self, "near", None)
        return replace(found, near=near is not None and near.find(found.key) is not None)
