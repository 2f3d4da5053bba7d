"""Run the embedded Valkey in the foreground."""

import signal
import time
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from bergizi_redis.embedded import prepare, running, server_binary, starting
from bergizi_redis.embedded_server import HOST, PortTaken, StartFailed
from bergizi_redis.embedded_supervisor import Supervisor

START_SECONDS = 30.0


def port_number(text: str) -> int:
    """Parse a TCP port."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ArgumentTypeError(f"{text!r} is not a port; it takes a number from 1 to 65535")
    return int(text)


class Command(BaseCommand):
    """Processes that ``ensure`` the same directory meanwhile use this server; Ctrl-C stops it for all of them."""

    help = "Runs the embedded Valkey (extra [embedded]) in the foreground, for development. Ctrl-C stops it."
    requires_system_checks = ()  # the checks would ask the server that is to be started

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--port", type=port_number, default=6379, help="TCP port on 127.0.0.1 (default: 6379)")
        parser.add_argument("--dir", type=Path, help="data directory (default: .valkey in BASE_DIR, else here)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Start, say where, and wait for Ctrl-C or SIGTERM."""
        directory = prepare(options["dir"] or Path(getattr(settings, "BASE_DIR", ".")) / ".valkey")
        supervisor = Supervisor(directory, server_binary(), persist=True, port=options["port"])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in handlers:
            signal.signal(number, lambda *_: supervisor.events.put("stop"))
        try:
            self._start(supervisor)
            self._announce(supervisor)
            ending = supervisor.watch(while_used=False)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if ending == "died":
            raise CommandError(f"The server has ended without being asked to; its log is {directory / 'server.log'}.")
        self.stdout.write("Stopped; the data are kept.")

    def _start(self, supervisor: Supervisor) -> None:
        directory = supervisor.directory
        with starting(directory, time.monotonic() + START_SECONDS):
            try:
                supervisor.start(START_SECONDS)
            except StartFailed as error:
                message = f"The server did not start: {error}."
                if isinstance(error, PortTaken):
                    message = f"{error}. Choose another one: --port N."
                elif url := running(directory):
                    message = f"A server already runs in {directory}: {url}. Use it, or choose another place: --dir D."
                supervisor.close()
                raise CommandError(message) from error

    def _announce(self, supervisor: Supervisor) -> None:
        self.stdout.write(f"Valkey listens on redis://{HOST}:{supervisor.port}")
        self.stdout.write(f"Data are kept in {supervisor.directory}")
        self.stdout.write("Stop it with Ctrl-C.")
        self.stdout.flush()
