"""Are passwords well kept here?"""

import json
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import INFO, CheckMessage
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils.module_loading import import_string

from bergizi_redis.management.console import Cell, table
from bergizi_redis.management.reports import as_json
from bergizi_redis.passwordchecks import FAST, OURS, weaknesses
from bergizi_redis.security.hashcounts import HashCount, hash_counts
from bergizi_redis.wiring import types_of, value_of

WEAK, NOT_ASKED = 1, 2


class Command(BaseCommand):
    """Exits 0; 1 where something is weak; 2 where the users could not be counted."""

    help = (
        "Looks at hashers, their order and cost, peppers, validators and backends in the settings, and counts users by "
        "the kind of their hash. Exits 1 if something is weak."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--database", metavar="A", help="alias of the database that holds the users")
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, count, tell."""
        try:
            counts = hash_counts(options["database"])
        except DatabaseError as error:
            raise CommandError(f"The users cannot be counted: {error}", returncode=NOT_ASKED) from error
        found = weaknesses()
        if options["json"]:
            self.stdout.write(json.dumps(self._facts(found, counts)))
        else:
            self.stdout.write("\n".join([self._hashers(), "", self._users(counts), "", *self._findings(found)]))
        if any(int(message.level) > INFO for message in found):
            raise SystemExit(WEAK)

    def _facts(self, found: Sequence[CheckMessage], counts: Sequence[HashCount]) -> dict[str, Any]:
        return {
            "hashers": list(settings.PASSWORD_HASHERS),
            "users": [as_json(count) | {"note": note(count)} for count in counts],
            "findings": [
                {"id": message.id, "level": int(message.level), "what": message.msg, "remedy": message.hint}
                for message in found
            ],
        }

    def _hashers(self) -> str:
        rows: list[list[str | Cell]] = []
        for place, path in enumerate(settings.PASSWORD_HASHERS):
            name, hasher = path.rpartition(".")[2], import_string(path)()
            work = getattr(hasher, "rounds", None) or getattr(hasher, "iterations", None) or "–"
            rows.append([name, hasher.algorithm, str(work), "makes and verifies" if not place else "verifies"])
        return table(["HASHER", "ALGORITHM", "WORK", "DOES"], rows)

    def _users(self, counts: Sequence[HashCount]) -> str:
        rows: list[list[str | Cell]] = [
            [count.kind, str(count.cost or "–"), count.pepper or "–", str(count.users), note(count)] for count in counts
        ]
        return table(["HASH", "COST", "PEPPER", "USERS", ""], rows) if rows else "There are no users."

    def _findings(self, found: Sequence[CheckMessage]) -> list[str]:
        if not found:
            return [self.style.SUCCESS("Nothing is weak.")]
        lines = []
        for message in found:
            style = self.style.NOTICE if int(message.level) <= INFO else self.style.ERROR
            lines += [style(f"{message.id}: {message.msg}"), f"  {message.hint}"]
        return lines


def note(count: HashCount) -> str:
    """What becomes of these users."""
    hashers = {import_string(path).algorithm: path for path in settings.PASSWORD_HASHERS}
    first = next(iter(hashers), None)
    if count.kind == "unusable":
        return "cannot sign in by password"
    if count.kind not in hashers:
        return "nothing verifies it"
    if count.pepper is not None and count.pepper not in value_of("PASSWORD_PEPPERS"):
        return "its pepper is gone"
    if count.kind != first:
        return "fast to try; moves at log-in" if FAST & {*types_of(hashers[count.kind])} else "moves at log-in"
    if count.kind == OURS and count.pepper != next(iter(value_of("PASSWORD_PEPPERS")), None):
        return "old pepper; moves at log-in"
    return ""
