"""One embedded Valkey process: starting it on a free port, asking whether it answers, stopping it.

Standard library only, since the detached supervisor must start fast and not import Django.
"""

import fcntl
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bergizi_redis.embedded_files import POLL_SECONDS, SERVER, open_lock, take

HOST = "127.0.0.1"
STOP_SECONDS = 20.0  # a stopping server writes what it has not written yet
PROBE_SECONDS = 1.0
ADOPT_SECONDS = 10.0  # a server that runs already may be on a busy machine, and is asked once


class StartFailed(Exception):
    """The server did not come up; the message says why."""


class PortTaken(StartFailed):
    """Another process listens on the port."""


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def serving_pid(port: int, seconds: float = PROBE_SECONDS) -> int | None:
    """Return the process id of the server that answers on the port and has loaded its data, or None."""
    try:
        with socket.create_connection((HOST, port), timeout=seconds) as connection:
            connection.sendall(b"INFO server\r\nINFO persistence\r\nQUIT\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return None
    pid = re.search(rb"process_id:(\d+)", answer)
    # The line, since there is an "async_loading" as well.
    return int(pid[1]) if pid and b"\nloading:0" in answer else None


def launch(
    directory: Path, binary: Path, *, persist: bool, port: int | None, preferred: int | None, deadline: float
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server that answers, on ``port``, or else on ``preferred`` or any free port.

    Raises ``PortTaken`` or ``StartFailed``. The caller holds ``start.lock``.
    """
    refusal = StartFailed("no port was tried")
    for candidate in _candidates(port, preferred):
        process = _spawn(directory, binary, persist=persist, port=candidate)
        try:
            _await_ready(process, directory, candidate, deadline)
        except PortTaken as error:  # somebody bound it between our choosing and the server's binding
            refusal = error
        else:
            return process, candidate
    raise refusal


def stop(directory: Path, gone: int, pid: int | None) -> None:
    """Stop the server: politely, so that it saves, then by force. ``gone`` is a descriptor of its ``server.lock``.

    It is taken as a sharer does, lest a look at it meanwhile find a server.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not take(gone, fcntl.LOCK_SH, deadline=0):
            _signal(directory, pid, number)
        if take(gone, fcntl.LOCK_SH, time.monotonic() + STOP_SECONDS):
            break
    fcntl.flock(gone, fcntl.LOCK_UN)


def _signal(directory: Path, pid: int | None, number: int) -> None:
    try:
        # server.pid is the server's own: it is there even when a supervisor died before it wrote the state.
        os.kill(pid or int((directory / "server.pid").read_text()), number)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        pass  # it is ending already; the lock tells when it has


def _candidates(port: int | None, preferred: int | None) -> Iterator[int]:
    if port:
        yield port
        return
    if preferred:  # those who know the address from before keep it
        yield preferred
    for _ in range(20):
        yield free_port()


def _spawn(directory: Path, binary: Path, *, persist: bool, port: int) -> subprocess.Popen[bytes]:
    options = {
        "bind": HOST,
        "port": str(port),
        "protected-mode": "yes",
        "maxmemory-policy": "noeviction",  # sessions and locks must not vanish
        "appendonly": "yes" if persist else "no",
        "save": "",  # the append-only file loses less, and stopping needs no last big write
        "pidfile": "server.pid",
    }
    lock = open_lock(directory / SERVER)
    try:
        if not take(lock, fcntl.LOCK_EX, time.monotonic() + STOP_SECONDS):
            raise StartFailed(f"a server that cannot be stopped still runs in {directory}")
        with (directory / "server.log").open("wb") as log:
            return subprocess.Popen(
                [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                start_new_session=True,  # Ctrl-C is for the supervisor, which then stops the server
            )
    finally:
        os.close(lock)  # the server has its own copy


def _await_ready(process: subprocess.Popen[bytes], directory: Path, port: int, deadline: float) -> None:
    # The id is compared because a stranger's server may have got the port first, and would answer.
    while process.poll() is None and serving_pid(port) != process.pid:
        if time.monotonic() >= deadline:
            process.kill()
            process.wait()
            raise StartFailed(f"the server did not answer in time; its log is {directory / 'server.log'}")
        time.sleep(POLL_SECONDS)
    if process.returncode is not None:
        log = (directory / "server.log").read_text(errors="replace").strip()
        if "already in use" in log:
            raise PortTaken(f"port {port} is already in use on {HOST}")
        last = re.sub(r"^\S+ \d+ \w+ \d+ [\d:.]+ . ", "", log.rpartition("\n")[2])  # without the date
        raise StartFailed(f"the server ended with status {process.returncode}: {last}")
