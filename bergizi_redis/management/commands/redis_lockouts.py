"""``manage.py redis_lockouts list|unlock``: locked accounts, for who looks after them."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from bergizi_redis.management.actions import NOT_ASKED, ActionCommand
from bergizi_redis.management.console import Cell, clock, table
from bergizi_redis.management.reports import as_json
from bergizi_redis.security import listing, lockout
from bergizi_redis.security.listing import Rows, shown_tenant

NONE_LOCKED = 1
ACTIONS = ("list", "unlock")


class Command(ActionCommand):
    """Exits 0; 1 where nothing of what was to be unlocked was locked; 2 where Redis could not be asked."""

    help = (
        "list: the accounts that are locked, with masked names. unlock: open them, by IDENTIFIER (a user name or "
        "e-mail address as it is typed at the log-in) or by the TAG that list shows."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help=", ".join(ACTIONS))
        parser.add_argument("identifiers", nargs="*", metavar="IDENTIFIER", help="with unlock: whose account")
        parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="with unlock: a row of the list")
        parser.add_argument(
            "--tenant", metavar="T", help="of this tenant; list shows all without it, unlock those of none"
        )
        parser.add_argument("--scope", default=lockout.PASSWORD, metavar="S", help="with unlock: default %(default)s")
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def refuse(self, options: dict[str, Any]) -> None:
        """What goes with which action."""
        named = [*options["identifiers"], *options["tag"]]
        if options["action"] == "list" and named:
            raise CommandError("An IDENTIFIER or a --tag goes with unlock.", returncode=NOT_ASKED)
        if options["action"] == "unlock" and not named:
            raise CommandError("Say whose: an IDENTIFIER, or --tag TAG from list.", returncode=NOT_ASKED)

    def _list(self, options: dict[str, Any]) -> int:
        tenant = options["tenant"]
        found: Rows = listing.everywhere() if tenant is None else {tenant: lockout.locked_accounts(tenant)}
        facts = [{"tenant": each, **as_json(row)} for each, rows in found.items() for row in rows]
        rows: list[list[str | Cell]] = [
            [
                shown_tenant(one["tenant"]), one["scope"], one["identifier"], one["tag"],
                "when unlocked" if one["capped"] else clock(one["retry_after"]),
            ]
            for one in facts
        ]  # fmt: skip
        shown = table(["TENANT", "SCOPE", "ACCOUNT", "TAG", "OPENS IN"], rows)
        self.say(options, facts, shown if rows else "No account is locked.")
        return 0

    def _unlock(self, options: dict[str, Any]) -> int:
        tenant, scope = options["tenant"], options["scope"]
        opened = {name: lockout.unlock_account(name, tenant=tenant, scope=scope) for name in options["identifiers"]} | {
            tag: self._unlock_listed(tag, tenant) for tag in options["tag"]
        }
        lines = [f"{name}: {'unlocked' if was else 'was not locked'}" for name, was in opened.items()]
        if tenant is None and not all(opened[name] for name in options["identifiers"]):
            lines.append("Accounts of a tenant need --tenant T; see redis_lockouts list.")
        self.say(options, {"unlocked": opened}, "\n".join(lines))
        return 0 if any(opened.values()) else NONE_LOCKED

    def _unlock_listed(self, tag: str, tenant: str | None) -> bool:
        tenants = listing.locked_tenants() if tenant is None else [tenant]
        return any(listing.unlock_listed(tag, tenant=each) for each in tenants)
