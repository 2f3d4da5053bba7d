"""What to type to run this project's ``manage.py`` here: the demonstration's Python is not the one on the path."""

import shlex
import sys
from contextlib import suppress
from pathlib import Path

from django.conf import settings


def manage_command() -> str:
    """``.venv/bin/python example_project/manage.py``, as seen from the directory that this process runs in."""
    return shlex.join(map(_from_here, (Path(sys.executable), Path(settings.BASE_DIR) / "manage.py")))


def _from_here(path: Path) -> str:
    with suppress(ValueError):  # it lies elsewhere
        path = path.relative_to(Path.cwd())
    return str(path)
