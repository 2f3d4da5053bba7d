"""Which servers the example talks to, read from the environment."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from django.core.exceptions import ImproperlyConfigured

SQLITE_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"


def database(url: str | None, directory: Path) -> dict[str, Any]:
    """Django's ``DATABASES["default"]``: PostgreSQL from ``url``, or SQLite in ``directory`` when there is none."""
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": directory / "db.sqlite3",
            # WAL: readers do not wait for a writer. IMMEDIATE: two writers queue instead of failing half-way.
            "OPTIONS": {"init_command": SQLITE_PRAGMAS, "transaction_mode": "IMMEDIATE", "timeout": 20},
        }
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            f"DATABASE_URL has the scheme {parts.scheme!r}; use postgresql://user:password@host:5432/name, "
            "or leave DATABASE_URL unset for SQLite."
        )
    if find_spec("psycopg") is None:
        raise ImproperlyConfigured(
            "DATABASE_URL names PostgreSQL, whose driver is not installed here. Install it: "
            f"{sys.executable} -m pip install 'psycopg[binary]', or leave DATABASE_URL unset for SQLite."
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
        "CONN_MAX_AGE": 60,
        "OPTIONS": dict(parse_qsl(parts.query)),
    }


def next_database(url: str) -> str:
    """``url`` with its Redis database number one higher, so that sessions do not share a database with the cache.

    The same where the number stands elsewhere, or where there is none but 0: their keys do not meet.
    """
    parts = urlsplit(url)
    number = parts.path.lstrip("/") or "0"
    if parts.scheme not in ("redis", "rediss") or "db=" in parts.query or not number.isdigit():
        return url
    return urlunsplit(parts._replace(path=f"/{int(number) + 1}"))
