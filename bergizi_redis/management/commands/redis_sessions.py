"""``manage.py redis_sessions list|stats|revoke|doctor|sweep|import``: sessions, for who looks after them."""

import threading
from argparse import ArgumentTypeError
from collections import Counter
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from bergizi_redis.cache.pacing import Pace
from bergizi_redis.management.actions import NOT_ASKED, ActionCommand
from bergizi_redis.management.console import Cell, Progress, table
from bergizi_redis.management.reports import as_json, counted, told
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.doctor import Finding, examine, server_faults
from bergizi_redis.sessions.importing import bring_in
from bergizi_redis.sessions.info import SessionInfo
from bergizi_redis.sessions.paging import MOST
from bergizi_redis.sessions.sources import source_of

FOUND = 1
ACTIONS = ("list", "stats", "revoke", "doctor", "sweep", "import")


def number(text: str) -> int:
    """Parse a number above 0."""
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number above 0")


class Command(ActionCommand):
    """Exits 0; 1 where there was nothing to end, the doctor found what it did not repair, or an import failed; 2."""

    help = (
        "list: who is signed in. stats: counts of a tenant. revoke: end sessions, by SID, user or tenant. doctor: what "
        "has come apart. sweep: tell of what has run out, and take it off the lists. import: bring in the sessions of "
        "another engine."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help=", ".join(ACTIONS))
        parser.add_argument("sids", nargs="*", metavar="SID", help="with revoke: public ids of sessions, as list shows")
        parser.add_argument("--user", metavar="U", help="sessions of this user id")
        parser.add_argument("--tenant", metavar="T", help="sessions of this tenant only; list, stats: @ of none")
        parser.add_argument("--everybody", action="store_true", help="with revoke: all that are signed in, everywhere")
        parser.add_argument("--reason", default="", metavar="WHY", help="with revoke: for the audit trail")
        parser.add_argument("--limit", type=number, default=50, metavar="N", help="with list: at most N (default: 50)")
        parser.add_argument("--repair", action="store_true", help="with doctor: put it right")
        parser.add_argument("--from", dest="engine", metavar="ENGINE", help="with import: what SESSION_ENGINE was")
        parser.add_argument("--rate", type=number, metavar="N", help="with import: at most N sessions a second")
        parser.add_argument("--resume", action="store_true", help="with import: go on where the last one stopped")
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def refuse(self, options: dict[str, Any]) -> None:
        """What goes with which action."""
        if (options["sids"] or options["everybody"]) and options["action"] != "revoke":
            raise CommandError("A SID or --everybody goes with revoke.", returncode=NOT_ASKED)

    # Lists and counts

    def _list(self, options: dict[str, Any]) -> int:
        shown, total = self._chosen(options)
        rows: list[list[str | Cell]] = [
            [
                info.public_id, info.user_id, info.tenant or "–", info.client or "–", info.ip or "–",
                _time(info.authenticated), _time(info.last_seen), _time(info.expires),
            ]
            for info in shown
        ]  # fmt: skip
        lines = [table(["SID", "USER", "TENANT", "DEVICE", "ADDRESS", "SINCE", "SEEN", "EXPIRES"], rows)]
        if total > len(shown):
            lines.append(f"{len(shown)} of {total}; --limit shows more.")
        self.say(options, [as_json(info) for info in shown], "\n".join(lines) if rows else "There are no sessions.")
        return 0

    def _chosen(self, options: dict[str, Any]) -> tuple[list[SessionInfo], int]:
        """Those to show, and how many there are."""
        user, tenant, limit = options["user"], options["tenant"], options["limit"]
        if user is not None:
            found = [info for info in sessions.sessions_for_user(user) if tenant in (None, info.tenant or "@")]
            return found[:limit], len(found)
        if tenant is None:
            raise CommandError("Say whose: --user U, --tenant T, or both.", returncode=NOT_ASKED)
        page = sessions.page_for_tenant(tenant, size=min(limit, MOST))
        shown = list(page.sessions)
        while page.cursor and len(shown) < limit:
            page = sessions.page_for_tenant(tenant, page.cursor, min(limit - len(shown), MOST))
            shown += page.sessions
        return shown, page.total

    def _stats(self, options: dict[str, Any]) -> int:
        if options["tenant"] is None:
            raise CommandError("Say whose: --tenant T.", returncode=NOT_ASKED)
        facts = told(sessions.stats(options["tenant"]))
        self.say(options, facts, table(["COUNT", "OF"], [[str(value), name] for name, value in counted(facts)]))
        return 0

    # Ending

    def _revoke(self, options: dict[str, Any]) -> int:
        user, tenant, sids = options["user"], options["tenant"], options["sids"]
        who = {"actor": "manage.py redis_sessions", "reason": options["reason"]}
        if sids and user is not None:
            raise CommandError("Name sessions by SID, or a user, not both.", returncode=NOT_ASKED)
        if options["everybody"] and (sids or user is not None or tenant is not None):
            raise CommandError("--everybody goes with no SID, --user or --tenant.", returncode=NOT_ASKED)
        if options["everybody"]:
            ended = sessions.revoke_everybody(**who)
        elif sids:
            ended = sum(bool(sessions.revoke(sid, tenant=tenant, **who)) for sid in sids)
        elif user is not None:
            ended = sessions.revoke_user(user, tenant=tenant, **who)
        elif tenant is not None:
            ended = sessions.revoke_tenant(tenant, **who)
        else:
            raise CommandError("Say which: a SID, --user U, --tenant T, or --everybody.", returncode=NOT_ASKED)
        self.say(options, {"ended": ended}, f"Ended {ended} session{'' if ended == 1 else 's'}.")
        return 0 if ended else FOUND

    def _sweep(self, options: dict[str, Any]) -> int:
        swept = sessions.sweep()
        self.say(options, {"expired": swept}, f"Told of {swept} session{'' if swept == 1 else 's'} that ran out.")
        return 0

    # Looking after

    def _doctor(self, options: dict[str, Any]) -> int:
        faults, findings, looked_at = server_faults(), list[Finding](), 0
        lively = self.stdout.isatty() and not options["json"]
        for batch in examine(repair=options["repair"]):
            looked_at += batch.keys
            findings += batch.findings
            if lively:
                self.stdout.write(f"\r{looked_at} looked at, {len(findings)} found\x1b[K", ending="")
                self.stdout.flush()
        if lively:
            self.stdout.write("\r\x1b[K", ending="")
        kinds = Counter(finding.kind for finding in findings)
        facts = {
            "looked_at": looked_at, "server": faults, "found": dict(kinds), "repaired": options["repair"],
            "where": [[finding.kind, finding.where] for finding in findings[: options["limit"]]],
        }  # fmt: skip
        self.say(options, facts, self._findings(facts, findings, options))
        return FOUND if faults or (findings and not options["repair"]) else 0

    def _findings(self, facts: dict[str, Any], findings: list[Finding], options: dict[str, Any]) -> str:
        lines = [self.style.ERROR(fault) for fault in facts["server"]]
        shown = findings[: options["limit"]]
        if shown:
            lines.append(table(["FOUND", "WHERE"], [[finding.kind, finding.where] for finding in shown]))
            lines.append(f"{len(findings)} found in {facts['looked_at']} keys: " + ", ".join(
                f"{times} {kind}" for kind, times in facts["found"].items()
            ))  # fmt: skip
            lines.append("They are repaired." if options["repair"] else "--repair puts them right.")
        elif not lines:
            lines.append(self.style.SUCCESS(f"All is well with {facts['looked_at']} keys."))
        return "\n".join(lines)

    def _import(self, options: dict[str, Any]) -> int:
        if not options["engine"]:
            raise CommandError("Say where from: --from ENGINE, what SESSION_ENGINE was.", returncode=NOT_ASKED)
        source, became, never = source_of(options["engine"]), Counter[str](), threading.Event()
        pace = Pace(options["rate"])
        bar = Progress(self.stdout, source.count()) if self.stdout.isatty() and not options["json"] else None
        try:
            for one in bring_in(source, resume=options["resume"]):
                became[one.became] += 1
                if one.error:
                    self.stderr.write(f"{one.sid}: {one.error}")
                if bar is not None and bar.done < bar.total:
                    bar.advance(one.became)
                pace.wait(never)
        finally:
            if bar is not None:
                bar.end()
        text = ", ".join(f"{times} {word}" for word, times in sorted(became.items())) or "There was nothing to import"
        self.say(options, dict(became), f"{text}.")
        return FOUND if became["failed"] else 0


def _time(moment: datetime | None) -> str:
    return "–" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")
