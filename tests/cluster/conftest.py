"""A cluster of three primaries, and a primary behind two Sentinels: real servers, one set for a module."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import WAITS
from tests.servers import Cluster, PrivateServer, Sentinel, server_directory

PATIENCE = 60.0  # seconds; a node of a cluster, and a Sentinel, has a third of it


@pytest.fixture(autouse=True)
def patience(own_keys: None, settings: Any) -> None:
    """What is well is asked with it; what hangs, ``hurried``."""
    settings.BERGIZI_REDIS = settings.BERGIZI_REDIS | dict.fromkeys(WAITS, PATIENCE)


@contextmanager
def hurried(settings: Any, seconds: float = 0.8) -> Iterator[None]:
    """The time that users have: for what does not answer anyway, since on a busy machine what is well may need longer.

    Its connections are others than those of the patient.
    """
    before = settings.BERGIZI_REDIS
    settings.BERGIZI_REDIS = before | dict.fromkeys(WAITS, seconds)
    try:
        yield
    finally:
        settings.BERGIZI_REDIS = before


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
