"""Ask every configured server how it does."""

import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from bergizi_redis.connections import Role
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.health import AliasReport, HealthReport, check_redis_health
from bergizi_redis.management.console import CLEAR, Cell, positive_seconds, table
from bergizi_redis.vitals import RoleReport, ServerReport

WELL, ILL, NOT_ASKED = 0, 1, 2
WATCH = 2.0  # seconds


class Command(BaseCommand):
    """Exits 0 when all are well, 1 when one is ill, 2 when they could not be asked."""

    help = (
        "Asks every Redis server of CACHES, through each kind of connection: reachable, latency, version, role, "
        "memory, eviction policy, persistence, writes. Exits 0 if all are well, 1 if one is "
        "ill, 2 if none could be asked."
    )
    requires_system_checks = ()  # what they would say of CACHES, this command says itself, with its own exit code

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="one JSON document; with --watch one a line")
        parser.add_argument(
            "--watch", nargs="?", type=positive_seconds, const=WATCH, metavar="SECONDS",
            help=f"repeat every SECONDS (default: {WATCH:g}) until Ctrl-C",
        )  # fmt: skip
        parser.add_argument(
            "--alias", action="append", default=[], metavar="A",
            help="alias of CACHES to ask; may be repeated, or a list parted by commas (default: all that are Redis)",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, print, and exit with what was found; while watching, with what was found last."""
        aliases = [name for given in options["alias"] for name in str(given).split(",") if name] or None
        report = self._ask(aliases)
        try:
            self._show(report, options)
            while options["watch"]:
                time.sleep(options["watch"])
                report = self._ask(aliases)
                self._show(report, options)
        except KeyboardInterrupt:
            self.stdout.write("")
        if not report["isWell"]:
            raise SystemExit(ILL)

    def _ask(self, aliases: list[str] | None) -> HealthReport:
        try:
            report = check_redis_health(aliases)
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=NOT_ASKED) from error
        if not report["aliases"]:
            raise CommandError("CACHES has no alias that is kept in Redis.", returncode=NOT_ASKED)
        return report

    def _show(self, report: HealthReport, options: dict[str, Any]) -> None:
        watching = bool(options["watch"])
        if options["json"]:
            self.stdout.write(json.dumps(report, indent=None if watching else 2))
        else:
            if watching and self.stdout.isatty():
                self.stdout.write(CLEAR, ending="")
            if watching:
                self.stdout.write(f"{time.strftime('%H:%M:%S')}, every {options['watch']:g} s; Ctrl-C ends it\n\n")
            self.stdout.write(self._text(report["aliases"]))
        self.stdout.flush()

    def _text(self, aliases: dict[str, AliasReport]) -> str:
        connections: list[list[str | Cell]] = [
            [alias, self._state(report), report["url"], *(self._time(role) for role in report["roles"].values())]
            for alias, report in aliases.items()
        ]
        servers: list[list[str | Cell]] = [
            [alias, *described(report["server"]), ", ".join(report["usedBy"]) or "–"]
            for alias, report in aliases.items()
        ]
        parts = [
            table(["ALIAS", "STATE", "ADDRESS", *(role.value.upper() for role in Role)], connections),
            table(
                ["ALIAS", "SERVER", "ROLE", "WRITES", "MEMORY", "EVICTION", "PERSISTENCE", "USED BY"], servers
            ),
            *(self._problem(alias, report) for alias, report in aliases.items() if report["problem"]),
        ]  # fmt: skip
        return "\n\n".join(parts)

    def _state(self, report: AliasReport) -> Cell:
        return Cell("well", self.style.SUCCESS) if report["isWell"] else Cell("ill", self.style.ERROR)

    def _time(self, role: RoleReport) -> Cell:
        if role["problem"]:
            return Cell(role["problem"]["code"], self.style.ERROR)
        return Cell(f"{role['responseTime']:.2f} ms")

    def _problem(self, alias: str, report: AliasReport) -> str:
        problem = report["problem"]
        assert problem
        reason = self.style.ERROR(f"{alias}: {problem['reason']}")
        return f"{reason}\n  {problem['remedy']}"


def described(server: ServerReport) -> list[str]:
    """The cells of a server: a dash for what is not known, "not permitted" for what it does not tell us."""
    unknown = server.get("info", "–")
    if unknown == "permitted":
        unknown = "–"
    name = f"{server['name']} {server['version']}" if "name" in server else unknown
    if server.get("mode") == "cluster":
        name += " (cluster)"
    return [
        name,
        server.get("role", unknown),
        server.get("writes", "–"),
        memory(server) if "memoryUsed" in server else unknown,
        server.get("evictionPolicy", unknown),
        server.get("persistence", unknown),
    ]


def memory(server: ServerReport) -> str:
    limit = server["memoryMax"]
    used = filesizeformat(server["memoryUsed"])
    # Django writes no-break spaces; plain ones are for those who cut the table into fields.
    return f"{used} of {filesizeformat(limit) if limit else 'unlimited'}".replace("\xa0", " ")
