"""A site in this process with one of the session engines: whole requests, from the server's call to its answer."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import repeat
from typing import Any

from _bench import PATIENCE, PREFIX, URL
from _engines import ENGINES, database
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

VISITORS = 16
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
Spent = tuple[float, float]  # by the clock and by the processor


def configure(name: str, way: str, place: str) -> None:
    import django
    from django.conf import settings
    from django.core.management import call_command

    engine = ENGINES[name]
    settings.configure(
        ALLOWED_HOSTS=["*"],
        BERGIZI_REDIS={"KEY_PREFIX": PREFIX, **PATIENCE},
        CACHES={"default": {"BACKEND": engine.cache, "LOCATION": URL, "KEY_PREFIX": PREFIX}},
        DATABASES={"default": database(name, place, way)},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *engine.apps],
        MIDDLEWARE=list(engine.middleware),
        ROOT_URLCONF="_pages",
        SECRET_KEY="benchmark",
        SESSION_ENGINE=engine.engine,
        USE_TZ=True,
        **engine.settings,
    )
    django.setup()
    call_command("migrate", verbosity=0)


def visitors(name: str, way: str) -> Iterator[str]:
    """Cookies of visitors who have logged in, each a user."""
    from django.conf import settings
    from django.test import Client

    for number in range(VISITORS):
        client = Client(headers={"user-agent": AGENT})
        client.get("/sign-in", {"name": f"{PREFIX}-{name}-{way}-{number}"})
        yield f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


class Site:
    def spent(self, page: str, many: int, each: int) -> Spent:
        """Seconds for ``each`` requests of each of ``many`` visitors at a time."""
        raise NotImplementedError

    def visited(self, page: str, many: int, number: int) -> Spent:
        """µs a request, of ``many`` at a time and about ``number`` in all, by the clock and by the processor."""
        each = max(1, number // many)
        wall, cpu = self.spent(page, many, each)
        return wall / (each * many) * 1e6, cpu / (each * many) * 1e6

    def close(self) -> None:
        """The end."""


class Wsgi(Site):
    """Threads, as of gunicorn: they stay, and so do their connections."""

    def __init__(self, cookies: list[str]) -> None:
        from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

        self._cookies, self._handler, self._request = cookies, WSGIHandler(), WSGIRequest
        self._threads = ThreadPoolExecutor(VISITORS)

    def spent(self, page: str, many: int, each: int) -> Spent:
        began: list[float] = []
        gate = threading.Barrier(many, lambda: began.extend((time.perf_counter(), time.process_time())))

        def visit(cookie: str) -> None:
            self._get(page, cookie)  # a thread's first opens its connections
            gate.wait(30)
            for _ in repeat(None, each):
                self._get(page, cookie)

        for one in [self._threads.submit(visit, cookie) for cookie in self._cookies[:many]]:
            one.result()
        return time.perf_counter() - began[0], time.process_time() - began[1]

    def _get(self, page: str, cookie: str) -> None:
        environ = {
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": f"/{page}", "QUERY_STRING": "",
            "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost", "HTTP_COOKIE": cookie, "HTTP_USER_AGENT": AGENT,
            "wsgi.input": BytesIO(), "wsgi.url_scheme": "http",
        }  # fmt: skip
        check(self._handler.get_response(self._request(environ)))


class Asgi(Site):
    """Tasks of one loop, as of uvicorn."""

    def __init__(self, cookies: list[str], asks_database: bool) -> None:
        from django.core.handlers.asgi import ASGIHandler, ASGIRequest

        self._asks_database = asks_database
        self._cookies, self._handler, self._request = cookies, ASGIHandler(), ASGIRequest
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())  # and our clients with them
        self._loop.close()

    def spent(self, page: str, many: int, each: int) -> Spent:
        return self._loop.run_until_complete(self._spent(f"a{page}", many, each))

    async def _spent(self, page: str, many: int, each: int) -> Spent:
        async def visit(cookie: str, times: int) -> None:
            for _ in repeat(None, times):
                await self._get(page, cookie)

        await asyncio.gather(*(visit(cookie, 1) for cookie in self._cookies[:many]))
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(visit(cookie, each) for cookie in self._cookies[:many]))
        return time.perf_counter() - wall, time.process_time() - cpu

    async def _get(self, page: str, cookie: str) -> None:
        headers = {b"host": b"localhost", b"cookie": cookie.encode(), b"user-agent": AGENT.encode()}
        scope = {
            "type": "http", "method": "GET", "path": f"/{page}", "query_string": b"", "headers": [*headers.items()],
            "client": ("127.0.0.1", 50000), "server": ("localhost", 80),
        }  # fmt: skip
        async with ThreadSensitiveContext():  # as Django's handler has it for each request
            check(await self._handler.get_response_async(self._request(scope, BytesIO())))
            if self._asks_database:  # the thread ends, and so must its connection
                await sync_to_async(connections.close_all)()


def check(response: Any) -> None:
    if response.status_code != 200:
        raise RuntimeError(f"Answered {response.status_code}: {response.content!r}")


def site(name: str, way: str, place: str) -> Site:
    """``way``: sync or async; ``place``: of the database."""
    configure(name, way, place)
    cookies = list(visitors(name, way))
    return Asgi(cookies, ENGINES[name].database is not None) if way == "async" else Wsgi(cookies)
