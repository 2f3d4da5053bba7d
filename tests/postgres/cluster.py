"""A throw-away PostgreSQL of the tests' own, from Debian's package or whatever ``initdb`` is there."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers import free_port, server_directory

UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "unix_socket_directories=")


def programs() -> Path | None:
    """Where ``initdb`` and ``pg_ctl`` are, the newest if there are several; None where PostgreSQL is missing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _user() -> str | None:
    """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
    return "postgres" if os.getuid() == 0 else None


@contextmanager
def postgresql() -> Iterator[int]:
    """The port of a running server with the user ``postgres``, no password, on 127.0.0.1."""
    bin_directory = programs()
    assert bin_directory is not None
    user = _user()
    # Root's own temporary directory may be closed to the user that the server runs as.
    with server_directory("/tmp" if user else None) as place:  # noqa: S108
        if user:
            shutil.chown(place, user)
        data, port = Path(place) / "data", free_port()

        def run(program: str, *arguments: str) -> None:
            with (Path(place) / "log").open("ab") as log:
                as_user: dict[str, Any] = {}
                if user:
                    as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
                subprocess.run(
                    [bin_directory / program, "-D", data, *arguments],
                    check=True, timeout=200, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    **as_user,
                )  # fmt: skip

        options = [f"-c {option}" for option in (*UNSAFE, f"port={port}", "listen_addresses=127.0.0.1")]
        try:
            run("initdb", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", "--wal-segsize=1")
            run("pg_ctl", "-w", "-t", "180", "-o", " ".join(options), "start")
        except subprocess.SubprocessError as error:
            raise AssertionError((Path(place) / "log").read_text()[-2000:]) from error
        try:
            yield port
        finally:
            run("pg_ctl", "-w", "-t", "180", "-m", "immediate", "stop")
