"""What an answer may differ by: the helpers for ``@cache_view(vary=…)``. Any function of the request is one.

* ``vary_on_query("page", …)``: of the query these parameters alone; without it, all of them.
* ``vary_on_headers(…)``: these headers, and the answer's ``Vary`` names them.
* ``vary_on_language``: the language is heeded in any case; this tells browsers and proxies.
* ``vary_on_user``: each user, and each session of who is not signed in, has answers of its own.
* ``vary_on_tenant``: all users of a tenant are given the same, which is yours to know.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.tenancy import find_tenant

Part = Callable[[HttpRequest], Any]


@dataclass(frozen=True, slots=True)
class Vary:
    """What several helpers say together; ``query`` None: all parameters count."""

    values: tuple[Part, ...] = ()
    query: frozenset[str] | None = None
    headers: tuple[str, ...] = ()
    covers_user: bool = False
    by_tenant: bool = False

    def query_of(self, request: HttpRequest) -> list[tuple[str, list[str]]]:
        given = request.GET.lists()
        return sorted((name, values) for name, values in given if self.query is None or name in self.query)


@dataclass(frozen=True, slots=True)
class OnQuery:
    names: frozenset[str]

    def __call__(self, request: HttpRequest) -> None:
        """The query is heeded by itself."""


@dataclass(frozen=True, slots=True)
class OnHeaders:
    names: tuple[str, ...]

    def __call__(self, request: HttpRequest) -> list[str | None]:
        return [request.headers.get(name) for name in self.names]


def vary_on_query(*names: str) -> Part:
    """These parameters of the query tell answers apart, and no others do."""
    return OnQuery(frozenset(names))


def vary_on_headers(*names: str) -> Part:
    return OnHeaders(names)


def vary_on_language(request: HttpRequest) -> None:
    """The answer's ``Vary`` says Accept-Language; the language in force tells answers apart in any case."""


def vary_on_user(request: HttpRequest) -> list[Any]:
    """The user; of who is not signed in the session and the credentials."""
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        return ["user", user.pk]
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    return ["nobody", session, request.headers.get("Authorization")]


def vary_on_tenant(request: HttpRequest) -> str | None:
    return find_tenant()


def merged(parts: Sequence[Any]) -> Vary:
    """``ConfigurationError`` for what is no function."""
    if wrong := [part for part in parts if not callable(part)]:
        raise ConfigurationError(
            f"@cache_view: vary holds {wrong[0]!r}; expected functions of the request, such as vary_on_query('page')."
        )
    queries = [part.names for part in parts if isinstance(part, OnQuery)]
    headers = [name for part in parts if isinstance(part, OnHeaders) for name in part.names]
    if vary_on_language in parts:
        headers.append("Accept-Language")
    if vary_on_user in parts:
        headers.append("Cookie")
    return Vary(
        tuple(parts),
        frozenset[str]().union(*queries) if queries else None,
        tuple(dict.fromkeys(headers)),
        vary_on_user in parts,
        vary_on_tenant in parts,
    )


def is_somebodys(request: HttpRequest) -> bool:
    """Whether the request says who sends it: by a sign-in, a session or credentials."""
    user = getattr(request, "user", None)
    return bool(
        settings.SESSION_COOKIE_NAME in request.COOKIES
        or "Authorization" in request.headers
        or (user is not None and user.is_authenticated)
    )
