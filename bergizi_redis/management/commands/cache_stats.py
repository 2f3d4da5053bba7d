"""``manage.py cache_stats``: what the caches of all processes do, and why a key hits or misses."""

import json
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import domain_named
from bergizi_redis.cache.explain import Explanation
from bergizi_redis.cache.fleet import MOST_MINUTES
from bergizi_redis.cache.stats import Counts, summary, told
from bergizi_redis.conf import config
from bergizi_redis.exceptions import BergiziRedisError, RedisUnavailable
from bergizi_redis.management.console import CLEAR, Cell, positive_seconds, table
from bergizi_redis.tenancy import use_tenant

NOT_ASKED = 2
WATCH = 2.0  # seconds
HEADING = (
    "READS", "HITS", "NEAR", "STALE", "STORED", "COMPUTED", "COST", "P50", "P95", "P99", "BYTES READ", "BYTES STORED",
)  # fmt: skip


def minutes(text: str) -> int:
    """Parse a number of minutes that are kept."""
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_MINUTES:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number of minutes from 1 to {MOST_MINUTES}; more are not kept")


class Command(BaseCommand):
    """Exits 0, or 2 when Redis could not be asked."""

    help = (
        "Shows hits, misses, latency and more of all processes, by domain; with --domain by tenant. With --explain "
        "says why a key hits or misses. Exits 2 if Redis cannot be asked."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--minutes", type=minutes, default=60, metavar="N",
            help="of the last N minutes (default: 60); above 60 in whole hours",
        )  # fmt: skip
        parser.add_argument("--tenant", metavar="T", help="only this tenant's")
        parser.add_argument("--domain", metavar="D", help="only this domain's, by tenant; with --explain the key's")
        parser.add_argument("--alias", metavar="A", help="alias of CACHES (default: that of CACHE_ALIAS)")
        parser.add_argument("--explain", metavar="KEY", help="say why this key, or entry of --domain, hits or misses")
        parser.add_argument("--json", action="store_true", help="one JSON document; with --watch one a line")
        parser.add_argument(
            "--watch", nargs="?", type=positive_seconds, const=WATCH, metavar="SECONDS",
            help=f"repeat every SECONDS (default: {WATCH:g}) until Ctrl-C",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        """Show once, or until Ctrl-C; the exit code is that of the last time."""
        cache = self._cache(options["alias"] or config.CACHE_ALIAS)
        show = self._explain if options["explain"] is not None else self._show
        failure = self._tried(show, cache, options)
        try:
            while options["watch"]:
                time.sleep(options["watch"])
                failure = self._tried(show, cache, options)
        except KeyboardInterrupt:
            self.stdout.write("")
        if failure:
            raise SystemExit(NOT_ASKED)

    def _tried(self, show: Callable[[Any, dict[str, Any]], str], cache: Any, options: dict[str, Any]) -> bool:
        """Show it; whether Redis could not be asked."""
        try:
            text = show(cache, options)
        except RedisUnavailable as error:
            if not options["watch"]:
                raise CommandError(f"{error} See `manage.py redis_health`.", returncode=NOT_ASKED) from error
            self.stderr.write(self.style.ERROR(str(error)))
            return True
        except (BergiziRedisError, ValueError) as error:
            raise CommandError(str(error), returncode=NOT_ASKED) from error
        if options["watch"] and not options["json"]:
            if self.stdout.isatty():
                self.stdout.write(CLEAR, ending="")
            self.stdout.write(f"{time.strftime('%H:%M:%S')}, every {options['watch']:g} s; Ctrl-C ends it\n\n")
        self.stdout.write(text)
        self.stdout.flush()
        return False

    def _cache(self, alias: str) -> TaggedRedisCache:
        if alias not in caches.settings:
            known = ", ".join(sorted(caches.settings))
            raise CommandError(f"There is no CACHES[{alias!r}]; there are: {known}.", returncode=NOT_ASKED)
        cache = caches[alias]
        if not isinstance(cache, TaggedRedisCache):
            raise CommandError(
                f"CACHES[{alias!r}] is a {type(cache).__name__}, which counts nothing.", returncode=NOT_ASKED
            )
        return cache

    # Numbers

    def _show(self, cache: TaggedRedisCache, options: dict[str, Any]) -> str:
        counts = {
            key: row
            for key, row in cache.fleet_counts(options["minutes"]).items()
            if options["tenant"] in (None, key[0]) and options["domain"] in (None, key[1])
        }
        if options["json"]:
            facts = {"minutes": options["minutes"], "tenant": options["tenant"], "domain": options["domain"]}
            return json.dumps({**facts, **summary(counts)}, indent=None if options["watch"] else 2)
        return self._text(counts, options)

    def _text(self, counts: Counts, options: dict[str, Any]) -> str:
        by = "tenant" if options["domain"] is not None else "domain"
        groups: dict[str, dict[str, int]] = {}
        for (tenant, domain), row in counts.items():
            group = groups.setdefault((tenant if by == "tenant" else domain) or "–", {})
            for event, times in row.items():
                group[event] = group.get(event, 0) + times
        whole = summary(counts)
        if not groups:
            return f"Nothing was counted in the last {options['minutes']} min."
        ordered = sorted(groups.items(), key=lambda item: item[0])
        rows = [self._row(name, told(group)) for name, group in ordered]
        rows.append(self._row("all", whole))
        return "\n".join([table([by.upper(), *HEADING], rows), *self._warnings(whole, options["minutes"])])

    def _row(self, name: str, row: Mapping[str, Any]) -> list[str | Cell]:
        latency, computed = row["latency"], row["computed"]
        return [
            name,
            str(row["hits"] + row["near_hits"] + row["misses"]),
            self._rate(row["hit_rate"]),
            *(str(row[event]) for event in ("near_hits", "stale", "stores", "computed")),
            f"{row['cost_ms'] / computed:.1f} ms" if computed else "–",
            *(_ms(latency[f"p{percent}_ms"]) for percent in (50, 95, 99)),
            *(filesizeformat(row[event]).replace("\xa0", " ") for event in ("read_bytes", "stored_bytes")),
        ]

    def _rate(self, rate: float | None) -> Cell:
        if rate is None:
            return Cell("–")
        style = self.style.SUCCESS if rate >= 0.8 else self.style.WARNING if rate >= 0.5 else str
        return Cell(f"{rate:.1%}", style)

    def _warnings(self, whole: Mapping[str, Any], of: int) -> list[str]:
        lines = [""]
        if whole["errors"]:
            lines.append(self.style.WARNING(f"{whole['errors']} commands failed in an outage. See redis_health."))
        if whole["lies"]:
            lines.append(
                self.style.ERROR(f"{whole['lies']} of {whole['verified']} verified hits were wrong: see the log.")
            )
        elif whole["verified"]:
            lines.append(f"{whole['verified']} hits were verified, and all of them were right.")
        return [*lines, f"Of the last {of} min; COST is of computing, P50 … of reads that asked Redis."]

    # Reasons

    def _explain(self, cache: TaggedRedisCache, options: dict[str, Any]) -> str:
        found = self._explanation(cache, options)
        if not options["json"]:
            return str(found)
        causes = [{"tag": one.tag, "tenant": one.tenant, "at": one.at, "who": one.who} for one in found.causes]
        facts = ("key", "state", "reason", "created", "cost", "left", "size", "near")
        return json.dumps({**{name: getattr(found, name) for name in facts}, "causes": causes})

    def _explanation(self, cache: TaggedRedisCache, options: dict[str, Any]) -> Explanation:
        key, name, tenant = options["explain"], options["domain"], options["tenant"]
        if name is None:
            with nullcontext() if tenant is None else use_tenant(tenant):  # of an alias with TENANT_SCOPED
                return cache.explain(key)
        if tenant is None:
            raise CommandError("An entry of a domain belongs to a tenant: add --tenant.", returncode=NOT_ASKED)
        import_module(settings.ROOT_URLCONF)  # a project's own domains stand where its views are
        domain = domain_named(name)
        if domain is None:
            raise CommandError(f"No module that was imported makes a domain {name!r}.", returncode=NOT_ASKED)
        return cache.explain_entry(domain.lookup(tenant, key).address)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g} ms"
