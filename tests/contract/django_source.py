"""Django's own test suite, which is in its source distribution only: fetched once from the package index.

It is kept outside the version control, in ``.cache/django-src/<version>``, for the Django that is installed.
"""

import fcntl
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "django-src"
FETCH_SECONDS = 300


class DjangoSourceMissing(Exception):
    """Django's source distribution is neither here nor to be had."""


def django_tests_path(cache: Path = CACHE) -> Path:
    """Return the ``tests`` directory of the installed Django's source; it belongs on ``sys.path``.

    Raises ``DjangoSourceMissing`` when it has to be downloaded and cannot be.
    """
    version = django.get_version()
    place = cache / version
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes start at once; one fetches
        if not place.exists():
            _fetch(version, place)
    return place / "tests"


def _fetch(version: str, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        archive = _download(version, Path(scratch))
        with tarfile.open(archive) as source:
            source.extractall(scratch, filter="data")
        # Moved in one step: an interrupted unpacking leaves nothing that looks complete.
        next(Path(scratch).glob("[Dd]jango-*/tests")).parent.rename(place)


def _download(version: str, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "django"]
    try:
        subprocess.run(
            [*command, "--dest", str(scratch), f"django=={version}"],
            check=True,
            timeout=FETCH_SECONDS,
            capture_output=True,
            text=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip()
        raise DjangoSourceMissing(
            f"The contract tests need Django {version}'s source distribution, which could not be downloaded"
            f" (pip download --no-deps --no-binary django django=={version}). With a package index in reach run them"
            f" once more, or unpack the archive to {CACHE / version}.\n{told[-2000:]}"
        ) from error
    return next(scratch.glob("*.tar.gz"))
