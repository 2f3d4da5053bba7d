"""The files by which the processes around one embedded server find one another.

Who is alive is never guessed from process ids, which are reused; each party holds a ``flock`` that the kernel
releases however the party ends, ``kill -9`` included:

=================== ============================================================================================
``start.lock``      exclusive, while somebody starts, adopts or stops the server
``users.lock``      shared, by every process that uses the server; the supervisor waits for an exclusive one
``supervisor.lock`` exclusive, by the supervisor
``server.lock``     exclusive, by the server itself, which inherits the descriptor
=================== ============================================================================================

``server.json`` says the server's process id, its port and its supervisor; it is written and removed under
``start.lock``.
Standard library only, since the detached supervisor must start fast and not import Django.
"""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

START, USERS, SUPERVISOR, SERVER = "start.lock", "users.lock", "supervisor.lock", "server.lock"
STATE = "server.json"
POLL_SECONDS = 0.01


class State(NamedTuple):
    """What ``server.json`` says."""

    pid: int
    port: int
    supervisor: int  # process id: for people who look


def open_lock(path: Path) -> int:
    """Return a descriptor of the lock file, which is made when missing. Locking it is up to the caller."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(fd: int, operation: int, deadline: float) -> bool:
    """Take a lock (``fcntl.LOCK_EX`` or ``LOCK_SH``) before the monotonic ``deadline``; say whether it was had."""
    while True:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True


def is_held(path: Path) -> bool:
    """Say whether a living process holds the lock exclusively."""
    fd = open_lock(path)
    try:
        return not take(fd, fcntl.LOCK_SH, deadline=0)
    finally:
        os.close(fd)


def read_state(directory: Path) -> State | None:
    """Return what the last supervisor wrote, or None. Whether that server lives is told by ``server.lock``."""
    try:
        return State(**json.loads((directory / STATE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_state(directory: Path, state: State) -> None:
    """Write ``server.json`` in one step: a reader sees the old state or the new one."""
    partial = directory / f"{STATE}.partial"
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(state._asdict(), file)
    partial.replace(directory / STATE)


def remove_state(directory: Path, state: State) -> None:
    """Remove ``server.json`` unless it has become another server's."""
    if read_state(directory) == state:
        (directory / STATE).unlink(missing_ok=True)
