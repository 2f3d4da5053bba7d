"""``postgres``: configure database aliases on a server that all tests of a process share."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.apps import apps
from django.db import connections

from tests.postgres.cluster import postgresql, programs

APPS = ("contenttypes", "tests", "bergizi_redis")


def _settings(port: int, **changes: Any) -> dict[str, Any]:
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": "127.0.0.1",
                "PORT": port, "TEST": {}}  # fmt: skip
    configured: dict[str, dict[str, Any]] = connections.configure_settings({"default": database | changes})
    return configured["default"]


def forget(alias: str) -> None:
    """Close this thread's connection, and let it be none of the thread's."""
    if hasattr(connections._connections, alias):  # type: ignore[attr-defined]
        connections[alias].close()
        del connections[alias]


@pytest.fixture(scope="session")
def postgres_port(django_db_blocker: Any) -> Iterator[int]:
    if programs() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is required in CI: apt-get install postgresql")
        pytest.skip("no PostgreSQL here (apt-get install postgresql)")
    with postgresql() as port:
        with django_db_blocker.unblock():
            _make_tables(port)
        yield port


def _make_tables(port: int) -> None:
    connections.settings["pg"] = _settings(port)
    try:
        with connections["pg"].schema_editor() as editor:
            for app in APPS:
                for model in apps.get_app_config(app).get_models():
                    if model._meta.can_migrate(editor.connection):  # no proxy
                        editor.create_model(model)
    finally:
        forget("pg")
        del connections.settings["pg"]


class Postgres:
    """``alias("pg", ISOLATION)`` adds a database to Django's; ``elsewhere`` acts as another process's thread does."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.aliases: set[str] = set()
        self.thread = ThreadPoolExecutor(1)

    def alias(self, name: str = "pg", **changes: Any) -> str:
        connections.settings[name] = _settings(self.port, **changes)
        self.aliases.add(name)
        return name

    def elsewhere(self, act: Callable[[], Any]) -> Any:
        """Run it in a thread with connections of its own that stay open, and wait for it."""
        return self.thread.submit(act).result(60)

    def meanwhile(self, act: Callable[[], Any]) -> threading.Thread:
        """Run it in a thread that may have to wait for us; join it."""

        def run() -> None:
            try:
                act()
            finally:
                self.forget_all()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def forget_all(self) -> None:
        for name in self.aliases:
            forget(name)

    def close(self) -> None:
        self.thread.submit(self.forget_all).result(60)
        self.thread.shutdown()
        self.forget_all()
        for name in self.aliases:
            del connections.settings[name]


@pytest.fixture
def postgres(postgres_port: int, django_db_blocker: Any) -> Iterator[Postgres]:
    with django_db_blocker.unblock():
        running = Postgres(postgres_port)
        with connections[running.alias()].cursor() as cursor:
            tables = ", ".join(connections["pg"].introspection.table_names())
            cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
        forget("pg")
        yield running
        running.close()
