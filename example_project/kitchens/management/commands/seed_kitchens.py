"""``manage.py seed_kitchens``: sample kitchens with people, menus, store, orders, batches and deliveries."""

import argparse
import datetime
import sys
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.models import User
from kitchens.progress import Progress
from kitchens.sample.seeding import missing_numbers, seed

SAMPLE_PASSWORD = "dapur-sehat-2026"  # shown to whoever runs the demonstration
MOST = 20_000


def number_of_kitchens(text: str) -> int:
    """A number from 1 to ``MOST``."""
    if not text.isdigit() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST}")
    return int(text)


def date_of(text: str) -> datetime.date:
    """An ISO date."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-01-31") from None


class Command(BaseCommand):
    """Open the first N kitchens; those that exist are left as they are."""

    help = "Write sample kitchens. Running it again adds only those that are missing."

    def add_arguments(self, parser: CommandParser) -> None:
        """How many, for which day, and with which password."""
        parser.add_argument("--kitchens", type=number_of_kitchens, default=3, help="how many (default 3)")
        parser.add_argument("--day", type=date_of, help="the day that counts as today (default: today)")
        parser.add_argument("--password", help="everybody's password; needed unless DEBUG is on")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write what is missing, and say what was done."""
        password = options["password"] or (SAMPLE_PASSWORD if settings.DEBUG else None)
        if not password:
            raise CommandError("DEBUG is off: give everybody's password with --password.")
        numbers = missing_numbers(options["kitchens"])
        # One hash for all: a thousand kitchens would otherwise cost a thousand slow hashes of the same sample word.
        encoded = make_password(password)
        started = time.monotonic()
        progress = Progress(len(numbers), sys.stderr)
        try:
            for written in seed(numbers, options["day"] or timezone.localdate(), encoded):
                progress.advance(written)
        except KeyboardInterrupt:
            raise CommandError(f"Stopped after {progress.done} kitchens; run it again to go on.") from None
        finally:
            progress.close()
        if not User.objects.filter(login="admin").exists():
            User.objects.create_superuser("admin", password, name="Admin Jaringan")
        if options["verbosity"] > 0:
            seconds = time.monotonic() - started
            there = options["kitchens"] - len(numbers)
            self.stdout.write(f"{len(numbers)} kitchens written in {seconds:.1f} s, {there} were there already.")
