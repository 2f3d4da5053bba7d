"""``manage.py redis_audit show|verify|anchor``: the audit trails, for who looks after them."""

from argparse import ArgumentTypeError
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from bergizi_redis.exceptions import BergiziRedisError
from bergizi_redis.management.actions import NOT_ASKED, ActionCommand
from bergizi_redis.management.console import Cell, table
from bergizi_redis.security import alerts, audit
from bergizi_redis.security.anchors import Anchor, read_anchors, write_anchors
from bergizi_redis.security.chain import Signer
from bergizi_redis.security.courier import COURIER
from bergizi_redis.security.entries import plain
from bergizi_redis.security.examining import anchored, every_trail, examined, trail_of
from bergizi_redis.security.sinks import told
from bergizi_redis.security.steps import run
from bergizi_redis.security.verdicts import Verdict, facts

BROKEN = 1
ACTIONS = ("show", "verify", "anchor")


def moment(text: str) -> datetime:
    """Parse a time in ISO 8601; UTC where it names no zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no time; write it like 2026-11-23T06:00") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def above_zero(text: str) -> int:
    """Parse a number above 0."""
    if text.isascii() and text.isdecimal() and int(text[:9]) > 0:
        return int(text[:9])
    raise ArgumentTypeError(f"{text!r} is not a number above 0")


class Command(ActionCommand):
    """Exits 0; 1 where a chain is broken; 2 where Redis or a file of anchors could not be read."""

    expected = (BergiziRedisError, ValueError, OSError)
    help = (
        "show: what is in a trail, oldest first. verify: whether trails are whole, and where they are not. anchor: "
        "where they end, to be kept where nobody who writes to Redis can write."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help=", ".join(ACTIONS))
        parser.add_argument("users", nargs="*", metavar="USER", help="ids of users, not names")
        parser.add_argument("--tenant", metavar="T", help="without USER: of who is unknown at the tenant; @: at none")
        parser.add_argument("--all", action="store_true", help="with verify and anchor: every trail")
        parser.add_argument("--since", type=moment, metavar="TIME", help="with show: ISO 8601, UTC")
        parser.add_argument("--event", metavar="E", help="with show: events of this name")
        parser.add_argument("--limit", type=above_zero, default=50, metavar="N", help="with show: default %(default)s")
        parser.add_argument("--file", metavar="FILE", help="with anchor: append to it; with verify: compare with it")
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def refuse(self, options: dict[str, Any]) -> None:
        """What goes with which action."""
        if not (options["users"] or options["tenant"] or options["all"]):
            raise CommandError("Say whose: USER, --tenant T, or --all.", returncode=NOT_ASKED)

    def _show(self, options: dict[str, Any]) -> int:
        if options["all"]:
            raise CommandError("Say whose: --all is for verify and anchor.", returncode=NOT_ASKED)
        found = [
            entry
            for user in options["users"] or [None]
            for entry in audit.events(user, options["since"], tenant=_tenant(options), limit=100_000)
            if options["event"] in (None, entry.event)
        ]
        shown = sorted(found, key=lambda entry: entry.at)[-options["limit"] :]
        cells = [
            [
                (entry.noted or entry.at).strftime("%Y-%m-%d %H:%M:%S"), entry.event, entry.outcome,
                entry.user_id, entry.tenant, entry.actor, entry.network,
                f"{entry.reason or '–'}{f' (+{entry.times})' if entry.times else ''}",
            ]
            for entry in shown
        ]  # fmt: skip
        rows: list[list[str | Cell]] = [[_shown(cell) for cell in row] for row in cells]
        lines = [table(["UTC", "EVENT", "OUTCOME", "USER", "TENANT", "ACTOR", "NETWORK", "REASON"], rows)]
        if len(found) > len(shown):
            lines.append(f"{len(shown)} of {len(found)}; --limit shows more.")
        nothing = f"There are no events.{' USER is the id of a user, not the name.' if options['users'] else ''}"
        self.say(options, [told(entry) for entry in shown], "\n".join(lines) if rows else nothing)
        return 0

    def _verify(self, options: dict[str, Any]) -> int:
        anchors = read_anchors(options["file"], Signer.in_force()) if options["file"] else []
        verdicts = [run(examined(trail, anchors)) for trail in self._trails(options, anchors)]
        broken = [verdict for verdict in verdicts if not verdict.ok]
        self._alert(verdicts)
        document = [
            {
                "trail": each.trail, "ok": each.ok, "events": each.events, "waiting": each.waiting,
                "trimmed": each.trimmed, "problems": [facts(problem) for problem in each.problems],
            }
            for each in verdicts
        ]  # fmt: skip
        self.say(options, document, self._findings(verdicts, broken))
        return BROKEN if broken else 0

    def _findings(self, verdicts: list[Verdict], broken: list[Verdict]) -> str:
        rows: list[list[str | Cell]] = [
            [
                _shown(each.trail),
                str(problem.seq or "–"),
                problem.id or "–",
                Cell(plain(problem.what), self.style.ERROR),
            ]
            for each in broken
            for problem in each.problems
        ]
        if rows:
            count = f"{len(broken)} of {len(verdicts)} trails {'is' if len(broken) == 1 else 'are'} not as written."
            return "\n".join([table(["TRAIL", "EVENT", "ID", "WHAT"], rows), count])
        total = sum(each.events for each in verdicts)
        waiting = sum(each.waiting for each in verdicts)
        seals = f", {waiting} of them to be sealed with the next" if waiting else ""
        return self.style.SUCCESS(f"{_counted(len(verdicts), 'trail')} whole: {_counted(total, 'event')}{seals}.")

    def _alert(self, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.ok:
                alerts.end_alert(alerts.BROKEN, verdict.trail, None)
            else:
                first = verdict.problems[0]
                what = {"problems": len(verdict.problems), "first": first.seq, "what": first.what}
                alerts.raise_alert(alerts.Alert(alerts.BROKEN, verdict.trail, None, what))
        COURIER.join()

    def _anchor(self, options: dict[str, Any]) -> int:
        found = [anchor for trail in self._trails(options, ()) if (anchor := run(anchored(trail))) is not None]
        if options["file"]:
            write_anchors(options["file"], found)
            self.say(options, {"anchors": len(found)}, f"{_counted(len(found), 'anchor')} appended.")
        else:
            for anchor in found:
                self.stdout.write(anchor.line)
        return 0

    def _trails(self, options: dict[str, Any], anchors: "list[Anchor] | tuple[()]") -> Iterator[str]:
        """Those named, or all; with anchors also those that are no longer there."""
        if options["all"]:
            seen = set(every_trail()) | {anchor.trail for anchor in anchors}
            yield from sorted(seen)
        else:
            yield from (trail_of(user, _tenant(options)) for user in options["users"] or [None])


def _tenant(options: dict[str, Any]) -> str | None:
    return None if options["tenant"] == "@" else options["tenant"]


def _shown(text: object) -> str:
    """As it stands in Redis, unless somebody has put there what would steer a terminal."""
    shown = "–" if text in (None, "") else str(text)
    return shown if shown.isprintable() else plain(shown)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
