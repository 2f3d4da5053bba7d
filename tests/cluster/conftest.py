"""A cluster of three primaries, and a primary behind two Sentinels: real servers, one set for a module."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.servers import Cluster, PrivateServer, Sentinel, server_directory


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with server_directory() as directory:
        running = Cluster(directory)
        try:
            yield running.start()
        finally:
            running.kill()


@dataclass
class Watched:
    primary: PrivateServer
    other: PrivateServer
    sentinels: list[Sentinel]

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels) + "/kitchen/0"


@pytest.fixture
def watched() -> Iterator[Watched]:
    with ExitStack() as stack:
        directory = stack.enter_context(server_directory())
        primary, other = (PrivateServer(directory=directory) for _ in range(2))
        sentinels = [Sentinel(primary.port, directory) for _ in range(2)]
        for server in (primary, other, *sentinels):
            stack.callback(server.start().kill)
        yield Watched(primary, other, sentinels)
