"""Put the passwords of a breach into Redis, as bits."""

import json
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import RedisError

from bergizi_redis.connections import explain
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.management.console import Progress
from bergizi_redis.security.breaches import building
from bergizi_redis.security.breaches.bloom import Shape
from bergizi_redis.security.breaches.building import BreachListError, Build
from bergizi_redis.security.breaches.sources import Source

REFUSED, NOT_ASKED, INTERRUPTED = 1, 2, 130
LEAST_SHARE, MOST_SHARE = 1e-9, 0.5


def share(text: str) -> float:
    """Parse a share of false positives."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not LEAST_SHARE <= value <= MOST_SHARE:
        raise ArgumentTypeError(f"{text!r} is not a share from {LEAST_SHARE} to {MOST_SHARE}, such as 0.001")
    return value


def number(text: str) -> int:
    """Parse a number above 0."""
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number above 0")


def size(count: int) -> str:
    """Bytes as people read them."""
    unit = next((unit for unit in (30, 20, 10) if count >= 1 << unit), 0)
    return f"{count / (1 << unit):.3g} {({30: 'GB', 20: 'MB', 10: 'KB'}).get(unit, 'bytes')}"


class Command(BaseCommand):
    """Exits 0; 1 where the list cannot be built so; 2 where the file or the server cannot be read; 130 after Ctrl-C."""

    help = (
        "Builds the list that PASSWORD_BREACH_LIST asks, from a file of SHA-1 digests (`DIGEST:COUNT`, as of Have I "
        "Been Pwned) or of passwords, one a line, and puts it in the place of the one before in one step. Says first "
        "what it takes. Killed, it goes on with --resume. Without a file: tells which list there is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", nargs="?", metavar="FILE", type=Path, help="digests or passwords, one a line")
        parser.add_argument(
            "--false-positives", type=share, default=0.001, metavar="P",
            help="share of other passwords that may be taken for one of these (default: 0.001)",
        )  # fmt: skip
        parser.add_argument(
            "--entries", type=number, metavar="N", help="make room for N, instead of counting the lines"
        )
        parser.add_argument("--at-least", type=number, default=1, metavar="N", help="only what was seen so often")
        parser.add_argument("--resume", action="store_true", help="go on with the build that was killed")
        parser.add_argument("--restart", action="store_true", help="forget that build, and begin anew")
        parser.add_argument("--drop", action="store_true", help="take the list away")
        parser.add_argument("--json", action="store_true", help="one JSON document, at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        """Build, resume, drop or tell."""
        try:
            facts = self._facts(options)
        except BreachListError as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error}", returncode=NOT_ASKED) from error
        except RedisError as error:
            remedy = "See `manage.py redis_health`; then go on with --resume."
            raise CommandError(f"{explain(error)} {remedy}", returncode=NOT_ASKED) from error
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=NOT_ASKED) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped. --resume goes on.", returncode=INTERRUPTED) from None
        if options["json"]:
            self.stdout.write(json.dumps(facts))

    def _facts(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["drop"]:
            dropped = building.drop()
            self._say(options, "The list is gone." if dropped else "There was no list.")
            return {"dropped": dropped}
        return self._told(options) if options["file"] is None else self._built(options)

    def _told(self, options: dict[str, Any]) -> dict[str, Any]:
        shape, build = building.in_force(), building.under_way()
        self._say(options, f"In force: {self._described(shape)}." if shape else "There is no list.")
        if build is not None:
            self._say(options, f"Under way: {build.lines:,} lines of {build.source.path}; --resume goes on with it.")
        return {
            "inForce": None if shape is None else self._numbers(shape),
            "underWay": None if build is None else {"file": build.source.path, "lines": build.lines},
        }

    def _built(self, options: dict[str, Any]) -> dict[str, Any]:
        source = Source.of(options["file"])
        build = building.resumed(source) if options["resume"] else self._begun(source, options)
        kind = "digests" if source.is_digests else "passwords"
        self._say(options, f"{source.path}: {kind}. Needs {self._described(build.shape)}.")
        lively = self.stdout.isatty() and not options["json"]
        bar = Progress(self.stdout, max(build.shape.entries, 1)) if lively else None
        build = building.build_on(build, lambda lines: self._draw(bar, lines))
        if bar is not None:
            bar.end()
        found = building.finish(build)
        self._say(options, f"In force: {build.entries:,} entries; {found:.2g} of other passwords are taken for one.")
        return {
            **self._numbers(build.shape), "entries": build.entries, "lines": build.lines, "falsePositives": found,
        }  # fmt: skip

    def _begun(self, source: Source, options: dict[str, Any]) -> Build:
        if options["restart"] and (before := building.under_way()):
            building.forget(before)
        entries = options["entries"] or source.lines()
        return building.begin(source, entries, options["false_positives"], options["at_least"])

    def _draw(self, bar: Progress | None, lines: int) -> None:
        if bar is not None and lines <= bar.total:
            bar.done = max(lines - 1, bar.done)
            if bar.done < bar.total:
                bar.advance()

    def _described(self, shape: Shape) -> str:
        shards = f"{shape.shards} bitmap{'' if shape.shards == 1 else 's'}"
        return f"{size(shape.memory)} in Redis for {shape.entries:,} entries, {shards}, {shape.hashes} bits for each"

    def _numbers(self, shape: Shape) -> dict[str, Any]:
        return {"list": shape.ident, "room": shape.entries, "bytes": shape.memory, "bitmaps": shape.shards,
                "bitsForEach": shape.hashes}  # fmt: skip

    def _say(self, options: dict[str, Any], text: str) -> None:
        if not options["json"]:
            self.stdout.write(text)
            self.stdout.flush()
