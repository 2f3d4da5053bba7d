"""A connection that breaks when the server has done what it was asked, and before it could say so."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.proxies import proxy


@contextmanager
def cutting(port: int, after: bytes) -> Iterator[int]:
    """A proxy that lets the server do what the client asks, and hangs up instead of answering ``after``."""

    def serve(link: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            cut = threading.Event()

            def answers() -> None:
                try:
                    while answer := server.recv(65536):
                        if cut.is_set() and b"Z" in answer:  # ReadyForQuery: it is done
                            link.shutdown(socket.SHUT_RDWR)
                            return
                        link.sendall(answer)
                except OSError:  # the client has hung up
                    pass

            thread = threading.Thread(target=answers)
            thread.start()
            try:
                while asked := link.recv(65536):
                    if after in asked:
                        cut.set()
                    server.sendall(asked)
            finally:
                server.shutdown(socket.SHUT_RDWR)
                thread.join(60)

    with proxy(serve) as running:
        yield running.port
