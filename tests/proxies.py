"""Servers that misbehave on purpose, in front of the real one: slow, dribbling, closing, silent; and one behind TLS."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

Serve = Callable[[socket.socket], None]


class Proxy:
    """Serves each connection in a thread of its own until it is closed; ``url`` names it."""

    def __init__(self, serve: Serve) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.serve = serve
        self.lock = threading.Lock()
        self.is_over = False
        self.links: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if self.is_over:
                    link.close()
                    return
                self.links.append(link)
                self.threads.append(threading.Thread(target=self._serve, args=(link,)))
                self.threads[-1].start()

    def _serve(self, link: socket.socket) -> None:
        with link:
            try:
                self.serve(link)
            except OSError:  # the client, or the end of the test, has closed the link
                pass

    def close(self) -> None:
        with self.lock:  # a link that is accepted from now on is closed at once
            self.is_over = True
        for link in [self.listener, *self.links]:  # closed by the thread that uses it: its number may come again
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()
        self.listener.close()


@contextmanager
def proxy(serve: Serve) -> Iterator[Proxy]:
    running = Proxy(serve)
    try:
        yield running
    finally:
        running.close()


def relay(link: socket.socket, port: int, reply: Callable[[bytes], None]) -> None:
    """Hand each piece from the client to the real server, and what it answers to ``reply``."""
    with socket.create_connection(("127.0.0.1", port)) as server:
        while asked := link.recv(65536):
            server.sendall(asked)
            reply(server.recv(65536))


@contextmanager
def slow(port: int, seconds: float) -> Iterator[Proxy]:
    """Each reply comes ``seconds`` late."""
    over = threading.Event()

    def serve(link: socket.socket) -> None:
        def reply(data: bytes) -> None:
            over.wait(seconds)
            link.sendall(data)

        relay(link, port, reply)

    with proxy(serve) as running:
        try:
            yield running
        finally:
            over.set()


@contextmanager
def dribbling(port: int, seconds: float) -> Iterator[Proxy]:
    """Replies come byte by byte, ``seconds`` apart: no single wait is long."""
    over = threading.Event()

    def serve(link: socket.socket) -> None:
        def reply(data: bytes) -> None:
            for byte in data:
                over.wait(seconds)
                link.sendall(bytes([byte]))

        relay(link, port, reply)

    with proxy(serve) as running:
        try:
            yield running
        finally:
            over.set()


@contextmanager
def holding(port: int) -> Iterator[tuple[Proxy, threading.Event]]:
    """Replies wait for the event, then come late, in order: to tell a late reply from the next command's."""
    release = threading.Event()
    release.set()

    def serve(link: socket.socket) -> None:
        def reply(data: bytes) -> None:
            release.wait(60)
            link.sendall(data)

        relay(link, port, reply)

    with proxy(serve) as running:
        try:
            yield running, release
        finally:
            release.set()


def closing(link: socket.socket) -> None:
    """Accepts, and closes at once."""


def silent(link: socket.socket) -> None:
    """Accepts and reads, and never says a word."""
    while link.recv(65536):
        pass


def babbling(link: socket.socket) -> None:
    """Speaks another protocol."""
    link.recv(65536)
    link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@contextmanager
def behind_tls(port: int, directory: Path) -> Iterator[tuple[Proxy, Path]]:
    """The real server behind TLS, and the certificate that vouches for it."""
    certificate, key = directory / "server.crt", directory / "server.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-addext", "keyUsage=critical,digitalSignature,keyCertSign",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    secured: list[ssl.SSLSocket] = []

    def serve(link: socket.socket) -> None:
        with context.wrap_socket(link, server_side=True) as secure:
            secured.append(secure)
            relay(secure, port, partial(ssl.SSLSocket.sendall, secure))

    with proxy(serve) as running:
        yield running, certificate
        for secure in secured:  # wrapping has taken the socket out of the link's hands
            try:
                secure.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
