"""Keeps one embedded Valkey running for as long as somebody uses it.

A small detached process, started by ``embedded.ensure``; ``manage.py redis_server`` runs the same class in the
foreground. Standard library only, since the process must start fast and not import Django.
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from subprocess import Popen

from bergizi_redis.embedded_files import (
    SERVER,
    START,
    SUPERVISOR,
    USERS,
    State,
    is_held,
    open_lock,
    read_state,
    remove_state,
    take,
    write_state,
)
from bergizi_redis.embedded_server import ADOPT_SECONDS, STOP_SECONDS, StartFailed, launch, serving_pid, stop

# A server that dies this soon after it was started would die again: give up instead of starting it for ever.
CRASH_SECONDS = 1.0


class Supervisor:
    """Starts or adopts, watches and stops the server of one directory."""

    def __init__(self, directory: Path, binary: Path, *, persist: bool, port: int | None = None) -> None:
        self.directory, self.binary, self.persist, self.port = directory, binary, persist, port
        self.events: SimpleQueue[str] = SimpleQueue()
        self.state: State | None = None
        self.process: Popen[bytes] | None = None  # None for an adopted server: another process's child
        self.started = 0.0
        # Opened now, so that they are the same files even when the directory is moved or removed later.
        self.locks = {name: open_lock(directory / name) for name in (START, USERS, SUPERVISOR, SERVER)}
        self.watched = {"died": open_lock(directory / SERVER), "left": open_lock(directory / USERS)}

    def start(self, seconds: float) -> State:
        """Adopt the directory's running server, or start one. The caller holds ``start.lock``."""
        deadline = time.monotonic() + seconds
        if not take(self.locks[SUPERVISOR], fcntl.LOCK_EX, deadline=0):
            raise StartFailed(f"another supervisor keeps the server in {self.directory}")
        last = read_state(self.directory)
        if is_held(self.directory / SERVER):
            # Its supervisor was killed. Those who use it are better off with it than with a new one.
            if last and last.port == (self.port or last.port) and serving_pid(last.port, ADOPT_SECONDS) == last.pid:
                return self._record(last.pid, last.port)
            stop(self.directory, self.locks[SERVER], last.pid if last else None)
        return self._launch(deadline, last)

    def watch(self, *, while_used: bool) -> str:
        """Block until the event "stop" or, with ``while_used``, until the last user has left; then stop the server.

        A server that died is started again on its port while it is used; in the foreground its end is the end.
        Returns the event that was the last: "stop", "left" or "died".
        """
        self._announce("died")
        if while_used:
            self._announce("left")
        while True:
            event = self.events.get()
            # Never wait for start.lock with users.lock in hand: a joiner takes them in the opposite order.
            fcntl.flock(self.locks[START], fcntl.LOCK_EX)
            if event == "left" and not take(self.locks[USERS], fcntl.LOCK_EX, deadline=0):
                self._announce("left")  # somebody joined meanwhile
            elif event == "died" and while_used and self._restart():
                self._announce("died")
            else:
                self.close()
                return event
            fcntl.flock(self.locks[START], fcntl.LOCK_UN)

    def close(self) -> None:
        """Stop the server, then let go, of ``start.lock`` last: a joiner is never given a dying server."""
        if self.state:
            stop(self.directory, self.locks[SERVER], self.state.pid)
            remove_state(self.directory, self.state)
        if self.process:
            self.process.wait()
        for name in (SERVER, SUPERVISOR, USERS, START):
            os.close(self.locks.pop(name))

    def _announce(self, event: str) -> None:
        """Put the event in the queue as soon as nobody holds its lock any more.

        The server's is asked for as a sharer: who looks in that moment takes an exclusive lock for a living server.
        """
        lock = fcntl.LOCK_SH if event == "died" else fcntl.LOCK_EX

        def wait() -> None:
            fcntl.flock(self.watched[event], lock)
            fcntl.flock(self.watched[event], fcntl.LOCK_UN)
            self.events.put(event)

        threading.Thread(target=wait, name=event, daemon=True).start()

    def _launch(self, deadline: float, last: State | None) -> State:
        self.process, port = launch(
            self.directory,
            self.binary,
            persist=self.persist,
            port=self.port,
            preferred=last.port if last else None,
            deadline=deadline,
        )
        self.started = time.monotonic()
        return self._record(self.process.pid, port)

    def _record(self, pid: int, port: int) -> State:
        self.state = State(pid, port, supervisor=os.getpid())
        write_state(self.directory, self.state)
        return self.state

    def _restart(self) -> bool:
        if self.process:
            self.process.wait()
        if time.monotonic() - self.started < CRASH_SECONDS:
            return False
        try:
            self._launch(time.monotonic() + STOP_SECONDS, self.state)
        except (StartFailed, OSError) as error:
            sys.stderr.write(f"{error}\n")  # the detached process's log file
            return False
        return True


def main(directory: str, binary: str, persist: str, seconds: str, start_lock: str, report: str) -> int:
    """Be the detached supervisor. Two descriptors are inherited: a held ``start.lock``, and a pipe for the answer."""
    if os.fork():
        os._exit(0)  # the starter need not wait for us
    supervisor = Supervisor(Path(directory), Path(binary), persist=persist == "persist")
    signal.signal(signal.SIGTERM, lambda *_: supervisor.events.put("stop"))
    answer: dict[str, object]
    try:
        answer = {"port": supervisor.start(float(seconds)).port}
    except (StartFailed, OSError) as error:
        answer = {"error": str(error)}
    try:
        os.write(int(report), json.dumps(answer).encode())
    except BrokenPipeError:
        pass  # the starter is gone; that nobody uses the server is noticed below
    os.close(int(report))
    os.close(int(start_lock))
    if "port" in answer:
        supervisor.watch(while_used=True)
    return 0
