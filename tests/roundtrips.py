"""Round trips, by the server's own count of reads: a pipeline or a MULTI is one, however many commands it carries."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import PrivateServer


@contextmanager
def round_trips(server: PrivateServer) -> Iterator[list[int]]:
    """``with round_trips(server) as counted:`` – ``counted[0]`` afterwards. Connect before: a handshake is one too."""
    counted: list[int] = []
    with server.client() as watcher:
        watcher.ping()
        before = watcher.info("stats")["total_reads_processed"]
        yield counted
        counted.append(watcher.info("stats")["total_reads_processed"] - before - 1)
