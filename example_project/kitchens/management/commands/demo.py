"""``manage.py demo``: from nothing to a running site in one command."""

import errno
import io
import os
import socket
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.health import check_redis_health
from kitchens.command_line import manage_command
from kitchens.management.commands.seed_kitchens import SAMPLE_PASSWORD
from kitchens.models import Kitchen
from kitchens.sample.kitchen import kitchen_of

FROM_ENVIRONMENT = "LOCATION is REDIS_URL here; without REDIS_URL and REDIS_HOST an embedded server is started."
PASSING = ("silent", "loading")
TOUR = """
  What to try
    1. Sign in as the first person and open Menus: the first look reads the database, the next the cache.
    2. Change a menu: the list is new at once, and the strip says it was read from the database.
    3. Sign in as the second person in a private window: the other kitchen's rows are nowhere, by any address.
    4. Sign out, give "budi" five wrong passwords: the account is locked, with the time left. "budi" of the other
       kitchen still signs in.
    5. In a second terminal, in the same directory, ask the server how it does, or start a second process, which
       shares sessions and cache with this one:
         {manage} redis_health
         {manage} demo --port {other}
"""


class Command(BaseCommand):
    """Prepare the example and serve it."""

    help = "Migrate, write sample kitchens if there are none, say what to try, and serve."
    requires_system_checks: list[str] = []  # the tables and the sample data may not be there yet

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to serve."""
        parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1 (default 8000)")
        parser.add_argument("--no-serve", action="store_true", help="prepare and print, but do not serve")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare, print, serve until Ctrl-C."""
        if not settings.DEBUG:
            raise CommandError("The demonstration has well-known passwords: it only runs with DJANGO_DEBUG=1.")
        port = options["port"]
        if not options["no_serve"]:
            require_free(port)
        require_servers()
        self.stdout.write("Preparing the database …")
        call_command("migrate", verbosity=0, interactive=False)
        if not Kitchen.objects.exists():
            call_command("seed_kitchens", stdout=self.stdout)
        self.stdout.write(self.welcome(port))
        if not options["no_serve"]:
            self.serve(port)

    def welcome(self, port: int) -> str:
        """The address, who can sign in, and a tour."""
        lines = ["", f"  Open          http://127.0.0.1:{port}/", ""]
        for kitchen in Kitchen.objects.filter(pk__in=[kitchen_of(1).pk, kitchen_of(2).pk]).order_by("-pk"):
            lines.append(f"  {kitchen.name}")
            lines.append(f"    kitchen {kitchen.pk}   user siti (or budi)   password {SAMPLE_PASSWORD}")
        lines.append(f"  Admin of the network   http://127.0.0.1:{port}/admin/")
        lines.append(f"    user admin   password {SAMPLE_PASSWORD}")
        return "\n".join(lines) + "\n" + TOUR.format(manage=manage_command(), other=port + 1)

    def serve(self, port: int) -> None:
        """Serve until Ctrl-C."""
        self.stdout.write("  Stop with Ctrl-C.\n")
        os.environ["DJANGO_RUNSERVER_HIDE_WARNING"] = "true"
        # Its banner would repeat, in other words, what was just printed.
        call_command("runserver", f"127.0.0.1:{port}", use_reloader=False, skip_checks=True, stdout=io.StringIO())


def require_free(port: int) -> None:
    """``CommandError`` when nothing can listen on ``port``."""
    if not 0 < port < 65536:
        raise CommandError(f"{port} is not a port; give --port a number from 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                other = f"--port {port + 1}"
                message = (
                    f'Port {port} is in use by another program. Choose another one: {other} (make demo ARGS="{other}").'
                )
            else:
                message = f"Cannot listen on port {port}: {error.strerror}. Choose another one with --port."
            raise CommandError(message) from error


def require_servers() -> None:
    """``CommandError`` that says why, when a Redis server of the settings cannot be used.

    One that is only slow may yet answer; the pages say so if it does not.
    """
    try:
        reports = check_redis_health()["aliases"].values()
    except ConfigurationError as error:
        raise CommandError(f"{error} {FROM_ENVIRONMENT}") from error
    for report in reports:
        problem = report["problem"]
        if problem and not report["isConnected"] and problem["code"] not in PASSING:
            raise CommandError(f"{report['url']}: {problem['reason']} {problem['remedy']} {FROM_ENVIRONMENT}")
