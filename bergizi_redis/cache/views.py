"""``@cache_view``: remember what a view answers to GET, until its tags move; with an ETag, and 304 for who has it.

Promise: race-free as ``cache.lookup`` is, and nobody is answered with what was made for another. An answer belongs to
its address with the query, its arguments, the language and time zone in force and, by default, the tenant; without a
tenant such a view is not cached. A request that may be somebody's own – signed in, with a session or credentials – is
answered by the view, unless ``vary`` says what of it matters (``vary_on_user``, ``vary_on_tenant``). Never kept: other
answers than 200, streams, cookies, ``Cache-Control: private``, ``no-store`` or ``no-cache``, a ``Vary`` that ``vary``
does not cover, messages and CSRF tokens. Round trips: 1 on a hit, 2 on a miss. Redis down: the view answers,
with its ETag.

Put it under what checks access: ``@login_required`` first, then ``@cache_view``. A ``TemplateResponse`` is rendered
inside, before middleware for template responses sees it.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers
from django.utils.http import quote_etag

from bergizi_redis.cache.addresses import address_of
from bergizi_redis.cache.answers import is_keepable, kept, restored
from bergizi_redis.cache.domains import checked_life, tagged_cache
from bergizi_redis.cache.fingerprint import fingerprint
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.variants import plain, surroundings
from bergizi_redis.cache.vary import Vary, is_somebodys, merged
from bergizi_redis.tenancy import find_tenant

V = TypeVar("V", bound=Callable[..., Any])

CACHED = ("GET", "HEAD")


class CachedView:
    """How one view is cached; ``timeout`` in seconds."""

    def __init__(
        self, view: Callable[..., Any], timeout: float, tags: tuple[str, ...], per_tenant: bool, vary: Vary
    ) -> None:
        self.view = view
        self.timeout = timeout
        self.tags = tags
        self.per_tenant = per_tenant
        self.vary = vary

    def answer(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        lookup = self._lookup(request, args, kwargs)
        if lookup is None:
            response: HttpResponseBase = self.view(request, *args, **kwargs)
            return response
        with lookup as entry:
            if not entry.missed:
                return self._conditional(request, restored(entry.value))
            given: HttpResponseBase = rendered(self.view(request, *args, **kwargs))
            fresh = self._finished(request, given)
            if fresh is None:
                return given
            if request.method == "GET":
                entry.store(kept(fresh), self.timeout)
        return self._conditional(request, fresh)

    async def aanswer(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method in CACHED:
            await load_user(request)
        lookup = self._lookup(request, args, kwargs)
        if lookup is None:
            response: HttpResponseBase = await self.view(request, *args, **kwargs)
            return response
        async with lookup as entry:
            if not entry.missed:
                return self._conditional(request, restored(entry.value))
            given: HttpResponseBase = await arendered(await self.view(request, *args, **kwargs))
            fresh = self._finished(request, given)
            if fresh is None:
                return given
            if request.method == "GET":
                await entry.astore(kept(fresh), self.timeout)
        return self._conditional(request, fresh)

    def _lookup(self, request: HttpRequest, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Lookup | None:
        """None where the view answers by itself."""
        tenant = find_tenant()
        if request.method not in CACHED or (tenant is None and (self.per_tenant or self.vary.by_tenant)):
            return None
        if not (self.vary.covers_user or self.vary.by_tenant) and is_somebodys(request):
            return None
        cache = tagged_cache()
        name = [
            request.get_host(), request.scheme, request.path, self.vary.query_of(request),
            [plain(arg) for arg in args], {key: plain(arg) for key, arg in kwargs.items()},
            [plain(each(request)) for each in self.vary.values], surroundings(),
        ]  # fmt: skip
        scope = tenant if self.per_tenant or self.vary.by_tenant else None
        address = address_of(cache.key_prefix, scope, name_of_view(self.view), "", fingerprint(name), self.tags)
        # No herd: until a view has answered nobody knows whether its answer may be kept, so nobody should wait for it.
        return Lookup(cache, address, herd=False)

    def _finished(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponse | None:
        """The answer with its ETag and what browsers and proxies must know; None where it may not be kept."""
        if not isinstance(response, HttpResponse) or not is_keepable(request, response, self.vary):
            return None
        if not response.has_header("ETag"):
            digest = hashlib.blake2b(response.content, digest_size=16)
            for header in ("Content-Type", "Content-Language"):
                digest.update(response.headers.get(header, "").encode())
            response.headers["ETag"] = quote_etag(digest.hexdigest())
        if not response.has_header("Cache-Control"):
            is_own = self.per_tenant or self.vary.by_tenant or self.vary.covers_user
            patch_cache_control(response, no_cache=True, **({"private": True} if is_own else {}))
        if self.vary.headers:  # or Django adds an empty header
            patch_vary_headers(response, self.vary.headers)
        return response

    def _conditional(self, request: HttpRequest, response: HttpResponse) -> HttpResponseBase:
        etag = response.headers["ETag"]
        return get_conditional_response(request, etag=etag, response=response) or response


def cache_view(
    *, timeout: float, tags: Sequence[str] = (), per_tenant: bool = True,
    vary: Callable[[HttpRequest], Any] | Sequence[Callable[[HttpRequest], Any]] = (),
) -> Callable[[V], V]:  # fmt: skip
    """Keep a view's answers for ``timeout`` seconds, until one of ``tags`` is invalidated. Sync and async views.

    ``vary``: functions of the request, such as ``vary_on_query("page")``; what they return tells answers apart. Raises
    ``ConfigurationError`` for a timeout that is not positive. Class-based: ``@method_decorator(cache_view(…), name=
    "dispatch")``.
    """
    names = checked_life("@cache_view", timeout, tags)
    parts = merged([vary] if callable(vary) else vary)

    def decorate(view: V) -> V:
        cached = CachedView(view, timeout, names, per_tenant, parts)

        @wraps(view)
        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            return cached.answer(request, *args, **kwargs)

        @wraps(view)
        async def aanswered(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            return await cached.aanswer(request, *args, **kwargs)

        return aanswered if is_async(view) else answered  # type: ignore[return-value]

    return decorate


def is_async(view: Any) -> bool:
    """``method_decorator`` hands over the bound ``dispatch``, a plain function even where it returns a coroutine."""
    return iscoroutinefunction(view) or bool(getattr(_bound_to(view), "view_is_async", False))


def _bound_to(view: Any) -> Any:
    """The class-based view that a bound method belongs to, or None."""
    return getattr(getattr(view, "func", view), "__self__", None)


def name_of_view(view: Any) -> str:
    """What the answers are kept and counted under, and a tag of theirs."""
    owner = _bound_to(view)
    named = getattr(view, "func", view) if owner is None else type(owner)
    return f"view.{named.__module__}.{named.__qualname__}"


def rendered(response: Any) -> Any:
    render = getattr(response, "render", None)
    return render() if callable(render) else response


async def arendered(response: Any) -> Any:
    render = getattr(response, "render", None)
    return await sync_to_async(render)() if callable(render) else response


async def load_user(request: HttpRequest) -> None:
    """So that nobody asks for ``request.user`` in the event loop."""
    if hasattr(request, "auser"):
        request.user = await request.auser()
