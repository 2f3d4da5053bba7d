"""``manage.py write_behind run|drain|status|dead``: the worker of buffered writes, and who looks after them."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import RedisError

from bergizi_redis.cache import letters
from bergizi_redis.cache.flushing import Held, Visited
from bergizi_redis.cache.workers import Worker
from bergizi_redis.cache.writes import WriteBehind
from bergizi_redis.connections import explain
from bergizi_redis.management.console import Cell, table

UNFLUSHED, NOT_ASKED = 1, 2
STDERR = 2
STOPPING = b"\nStopping after the write under way; a second signal ends it at once.\n"


class Command(BaseCommand):
    """Exits 0; ``drain`` with 1 where dead letters are left, 2 when Redis or the database could not be asked."""

    help = (
        "Flushes the writes that WriteBehind buffers. run: until SIGTERM or Ctrl-C; several may run at a time. "
        "drain: until nothing waits. status: how much waits. dead: the writes that could not be flushed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("action", choices=["run", "drain", "status", "dead"], metavar="ACTION")
        parser.add_argument("--domain", action="append", default=[], metavar="D", help="only this one; may be repeated")
        parser.add_argument("--replay", action="store_true", help="with dead: have the workers flush them again, first")
        parser.add_argument("--drop", action="store_true", help="with dead: give them up for good")
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what the action says."""
        if options["replay"] + options["drop"] > (options["action"] == "dead"):
            raise CommandError("--replay or --drop goes with dead.", returncode=NOT_ASKED)
        behinds = self._behinds(options["domain"])
        try:
            getattr(self, f"_{options['action']}")(behinds, options)
        except RedisError as error:
            raise CommandError(explain(error), returncode=NOT_ASKED) from error
        except Held as error:
            raise CommandError(str(error), returncode=NOT_ASKED) from error

    def _behinds(self, names: list[str]) -> list[WriteBehind]:
        found = {behind.domain.name: behind for behind in letters.discovered()}
        if unknown := [name for name in names if name not in found]:
            raise CommandError(
                f"No WriteBehind is declared for the domain {unknown[0]!r}; there is {', '.join(found) or 'none'}. "
                "Declare it in the module `writes` of an installed app.",
                returncode=NOT_ASKED,
            )
        if not found:
            raise CommandError(
                "No WriteBehind is declared. Declare it in the module `writes` of an installed app.",
                returncode=NOT_ASKED,
            )
        return [behind for name, behind in found.items() if not names or name in names]

    def _run(self, behinds: list[WriteBehind], options: dict[str, Any]) -> None:
        with stopped_by_signals() as stopping:
            worker = Worker(behinds, stopping=stopping)
            if options["verbosity"] > 0 and not options["json"]:
                self.stdout.write(f"{worker.name} flushes {', '.join(b.domain.name for b in behinds)}; Ctrl-C ends it.")
                self.stdout.flush()
            self._say(worker.run(), options)

    def _drain(self, behinds: list[WriteBehind], options: dict[str, Any]) -> None:
        with stopped_by_signals() as stopping:
            self._say(Worker(behinds, stopping=stopping).drain(), options)
        if any(report.dead for report in letters.reports(behinds)) or stopping.is_set():
            raise SystemExit(UNFLUSHED)

    def _status(self, behinds: list[WriteBehind], options: dict[str, Any]) -> None:
        reports = letters.reports(behinds)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(report) for report in reports]))
            return
        rows: list[list[str | Cell]] = [
            [report.domain, str(report.waiting), _ago(report.since), str(report.dead), str(len(report.workers))]
            for report in reports
        ]
        self.stdout.write(table(["DOMAIN", "WAITING", "OLDEST", "DEAD", "WORKERS"], rows))

    def _dead(self, behinds: list[WriteBehind], options: dict[str, Any]) -> None:
        found = [letter for behind in behinds for letter in letters.dead_letters(behind)]
        for behind in behinds:
            if options["replay"]:
                letters.replay(behind)
            elif options["drop"]:
                letters.drop(behind)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(letter) for letter in found]))
            return
        rows: list[list[str | Cell]] = [
            [each.domain, each.tenant, each.ident, str(each.failures), each.reason] for each in found
        ]
        if not rows:
            self.stdout.write("There are no dead letters.")
            return
        self.stdout.write(table(["DOMAIN", "TENANT", "IDENT", "FAILURES", "REASON"], rows))
        if options["replay"] or options["drop"]:
            self.stdout.write("They are flushed again." if options["replay"] else "They are dropped.")

    def _say(self, done: Visited, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(asdict(done)))
        elif options["verbosity"] > 0:
            self.stdout.write(f"{done.flushed} flushed, {done.failed} failures, {done.died} dead.")


def _ago(since: float | None) -> str:
    return "–" if since is None else f"{max(0.0, time.time() - since):.0f} s ago"


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """The event that SIGTERM and SIGINT set; a second one does what it did before. None arrives in another thread."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(*_: object) -> None:
        stopping.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        with suppress(OSError):
            os.write(STDERR, STOPPING)

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
