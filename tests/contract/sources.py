"""Test suites of others, which are in their source distributions only: fetched once from the package index.

They are kept outside the version control, in ``.cache/<name>-src/<version>``.
"""

import fcntl
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache"
FETCH_SECONDS = 300


class SourceMissing(Exception):
    """A source distribution is neither here nor to be had."""


def source_of(name: str, version: str, cache: Path = CACHE) -> Path:
    """The unpacked source distribution. Raises ``SourceMissing`` when it has to be downloaded and cannot be."""
    place = cache / f"{name}-src" / version
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes start at once; one fetches
        if not place.exists():
            _fetch(name, version, place)
    return place


def _fetch(name: str, version: str, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        archive = _download(name, version, Path(scratch), place)
        with tarfile.open(archive) as source:
            source.extractall(scratch, filter="data")
        # Moved in one step: an interrupted unpacking leaves nothing that looks complete.
        next(Path(scratch).glob("*-*/tests")).parent.rename(place)


def _download(name: str, version: str, scratch: Path, place: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name]
    try:
        subprocess.run(
            [*command, "--dest", str(scratch), f"{name}=={version}"],
            check=True,
            timeout=FETCH_SECONDS,
            capture_output=True,
            text=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip()
        raise SourceMissing(
            f"The contract tests need the source distribution of {name} {version}, which could not be downloaded"
            f" (pip download --no-deps --no-binary {name} {name}=={version}). With a package index in reach run them"
            f" once more, or unpack the archive to {place}.\n{told[-2000:]}"
        ) from error
    return next(scratch.glob("*.tar.gz"))
