"""Whether the machine stood still while something was tried that has little time: then the trial says nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from redis.exceptions import RedisError

from tests.servers import PrivateServer

T = TypeVar("T")
EVERY = 0.01  # seconds between a server's answer and the next question
STILL = 0.1  # seconds; so late no answer comes on a machine that is merely busy
PATIENCE = 60.0  # seconds


class Pulse:
    """``longest``: seconds that a server, or this process, has been silent."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.over = threading.Event()

    def feel(self, client: Any) -> None:
        at, ends = time.monotonic(), False
        while not ends:
            ends = self.over.wait(EVERY)
            client.ping()
            now = time.monotonic()
            self.longest, at = max(self.longest, now - at), now


@contextmanager
def pulse(servers: tuple[PrivateServer, ...]) -> Iterator[Pulse]:
    felt = Pulse()
    with ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for server in servers]
        threads = [threading.Thread(target=felt.feel, args=(client,)) for client in clients]
        for client, thread in zip(clients, threads, strict=True):
            client.ping()
            thread.start()
        try:
            yield felt
        finally:
            felt.over.set()
            for thread in threads:
                thread.join()


def undisturbed(act: Callable[[], T], *servers: PrivateServer) -> T:
    """What it gives, or how it fails while this process and those servers are awake: asleep they had no chance."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with pulse(servers) as felt:
            try:
                return act()
            except (RedisError, AssertionError) as error:
                failure = error
        if felt.longest < STILL or time.monotonic() > deadline:
            raise failure
