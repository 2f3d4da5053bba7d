"""Django's own test suite, for the Django that is installed."""

from pathlib import Path

import django

from tests.contract.sources import source_of


def django_tests_path() -> Path:
    """The ``tests`` directory of the installed Django's source; it belongs on ``sys.path``.

    Raises ``SourceMissing`` when it has to be downloaded and cannot be.
    """
    return source_of("django", django.get_version()) / "tests"
