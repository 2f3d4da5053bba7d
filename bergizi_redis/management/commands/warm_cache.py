"""Fill the caches before the first visitor does."""

import json
import os
import signal
import threading
import time
import traceback
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from bergizi_redis.cache.ledger import shared_run
from bergizi_redis.cache.pacing import Pace
from bergizi_redis.cache.warming import Task, Warmed, plan, run
from bergizi_redis.exceptions import BergiziRedisError
from bergizi_redis.management.console import Progress

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
MOST_THREADS = 64
STDERR = 2
STOPPING = b"\nStopping after the warmers under way; Ctrl-C again leaves them behind.\n"


def thread_count(text: str) -> int:
    """Parse a number of threads."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_THREADS:
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_THREADS}")
    return int(text)


def per_second(text: str) -> float:
    """Parse a rate."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0, such as 5 or 0.5")
    return rate


class Command(BaseCommand):
    """Exits 0, 1 when a warmer failed, 2 for a wrong argument, 130 after Ctrl-C."""

    help = (
        "Runs the warmers that apps declare with @warmer in their module `warmers`: those named, or all, for every "
        "tenant. Exits 1 if any failed. Ctrl-C lets those under way end and starts no other. Several runs at one time "
        "share the work."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("names", nargs="*", metavar="NAME", help="warmers to run (default: all)")
        parser.add_argument(
            "--tenant", action="append", default=[], metavar="T",
            help="tenant to warm for; may be repeated (default: those of BERGIZI_REDIS['TENANTS'])",
        )  # fmt: skip
        parser.add_argument(
            "--concurrency", type=thread_count, default=1, metavar="N", help="warmers at a time (default: 1)"
        )
        parser.add_argument(
            "--rate", type=per_second, metavar="N", help="warmers started a second at most, spread evenly"
        )
        parser.add_argument(
            "--resume", action="store_true",
            help="go on where the last run stopped, within a day: what is done is skipped, what failed is tried again",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="a line of JSON each, as without a terminal")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run them, show how far it is, and say what failed."""
        try:
            tasks = plan(options["names"], options["tenant"])
        except BergiziRedisError as error:
            raise CommandError(str(error), returncode=MISUSED) from error
        lines = options["json"] or not self.stdout.isatty()
        began = time.monotonic()
        try:
            with stopped_by_ctrl_c() as stopping, shared_run(options["resume"]) as ledger:
                pace = Pace(options["rate"])
                results = run(tasks, concurrency=options["concurrency"], stopping=stopping, pace=pace, ledger=ledger)
                shown = self._lines(results, options) if lines else self._bar(results, tasks, options)
                ledger.end(complete=is_complete(tasks, shown))
        except KeyboardInterrupt:  # the second one: what is under way is left behind
            raise SystemExit(INTERRUPTED) from None
        done = Done(len(tasks), shown, time.monotonic() - began, stopping.is_set())
        if lines:
            self.stdout.write(json.dumps(done.as_json()))
        else:
            self._report(done, options["verbosity"])
        if code := done.exit_code():
            raise SystemExit(code)

    def _lines(self, results: Iterator[Warmed], options: dict[str, Any]) -> list[Warmed]:
        shown = []
        for result in results:
            shown.append(result)
            if options["verbosity"] > 0:
                self.stdout.write(json.dumps(as_json(result, options["verbosity"])))
                self.stdout.flush()
        return shown

    def _bar(self, results: Iterator[Warmed], tasks: list[Task], options: dict[str, Any]) -> list[Warmed]:
        bar = Progress(self.stdout, len(tasks))
        shown = []
        try:
            for result in results:
                shown.append(result)
                if options["verbosity"] > 0:
                    bar.advance(named(result))
        finally:
            bar.end()
        return shown

    def _report(self, done: "Done", verbosity: int) -> None:
        for failure in done.failures:
            self.stderr.write(f"{named(failure)}: {said(failure.error)}")
            if verbosity > 1:
                self.stderr.write("".join(traceback.format_exception(failure.error)))
        if not done.total:
            self.stdout.write("There is nothing to warm: no warmer, or no tenant.")
        elif verbosity > 0 or done.exit_code():
            self.stdout.write(str(done))


@dataclass(frozen=True, slots=True)
class Done:
    """What a run came to: tasks planned, results, seconds, whether Ctrl-C ended it."""

    total: int
    results: list[Warmed]
    seconds: float
    interrupted: bool

    @property
    def failures(self) -> list[Warmed]:
        return [result for result in self.results if result.error]

    @property
    def skipped(self) -> int:
        return sum(result.skipped for result in self.results)

    def exit_code(self) -> int:
        return INTERRUPTED if self.interrupted else FAILED if self.failures else 0

    def as_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "done": len(self.results),
            "skipped": self.skipped,
            "failed": len(self.failures),
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "failures": [as_json(failure) for failure in self.failures],
        }

    def __str__(self) -> str:
        warmed = len(self.results) - len(self.failures) - self.skipped
        text = f"{warmed} of {self.total} warmed in {self.seconds:.1f} s"
        text += f", {self.skipped} done before or elsewhere" if self.skipped else ""
        text += f", {len(self.failures)} failed." if self.failures else "."
        return f"Interrupted: {text}" if self.interrupted else text


def is_complete(tasks: list[Task], results: list[Warmed]) -> bool:
    return len(results) == len(tasks) and not any(result.error for result in results)


def named(result: Warmed) -> str:
    return result.warmer if result.tenant is None else f"{result.warmer} for {result.tenant}"


def said(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"


def as_json(result: Warmed, verbosity: int = 1) -> dict[str, Any]:
    """The line of one result; ``traceback`` in it from verbosity 2 on."""
    line: dict[str, Any] = {"warmer": result.warmer, "tenant": result.tenant, "seconds": round(result.seconds, 3)}
    line |= {"skipped": True} if result.skipped else {}
    line["error"] = said(result.error) if result.error else None
    if result.error and verbosity > 1:
        line["traceback"] = "".join(traceback.format_exception(result.error))
    return line


@contextmanager
def stopped_by_ctrl_c() -> Iterator[threading.Event]:
    """The event that Ctrl-C sets meanwhile; a second Ctrl-C interrupts. In another thread Ctrl-C never arrives."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def stop(*_: object) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, before)
        with suppress(OSError):
            os.write(STDERR, STOPPING)  # not through the stream, which this may have interrupted in the middle

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)
