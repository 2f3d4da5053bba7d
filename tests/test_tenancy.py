"""The tenant: held for a block, a call, a task or a request, and never guessed.

Each guard was taken away once to see its test go red: the wrapper for async functions (the tenant was gone before the
body ran), the refusal of generators, the trusted proxies, and the 400 for what a client sends.
"""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.urls import path

from bergizi_redis import tenancy
from bergizi_redis.exceptions import ConfigurationError, TenantError
from bergizi_redis.tenancy import TenantMiddleware, TenantRequired, current_tenant, find_tenant, use_tenant


def test_without_a_tenant_there_is_an_error_with_the_remedy() -> None:
    assert find_tenant() is None
    with pytest.raises(TenantRequired, match=r"use_tenant.*TenantMiddleware.*copy_context"):
        current_tenant()


def test_a_block_holds_the_tenant_and_gives_the_one_before_back() -> None:
    with use_tenant("one") as held:
        assert (held, current_tenant()) == ("one", "one")
        with use_tenant("two"):
            assert current_tenant() == "two"
            with use_tenant(None):
                assert find_tenant() is None
            assert current_tenant() == "two"
        assert current_tenant() == "one"
    assert find_tenant() is None


def test_an_error_in_the_block_gives_the_one_before_back() -> None:
    with pytest.raises(ZeroDivisionError), use_tenant("one"):
        _ = 1 / 0
    assert find_tenant() is None


def test_one_holder_may_be_used_again_and_inside_itself() -> None:
    holder = use_tenant("one")
    with holder, use_tenant("two"), holder:
        assert current_tenant() == "one"
    assert find_tenant() is None


@pytest.mark.parametrize("tenant", ["", "a b", "a\n", "{a}", "x" * 65])
def test_what_is_no_tenant_is_refused_at_once(tenant: str) -> None:
    with pytest.raises(TenantError):
        use_tenant(tenant)


def test_a_decorated_function_runs_for_the_tenant() -> None:
    @use_tenant("one")
    def ask(extra: str) -> str:
        """Its docstring."""
        return current_tenant() + extra

    assert ask("!") == "one!"
    assert (ask.__name__, ask.__doc__) == ("ask", "Its docstring.")
    assert find_tenant() is None


def test_a_decorated_async_function_runs_for_the_tenant_to_its_end() -> None:
    """A contextmanager as a decorator lets go before the coroutine has run a line."""

    @use_tenant("one")
    async def ask() -> str:
        await asyncio.sleep(0)
        return current_tenant()

    @use_tenant("two")
    async def nested() -> tuple[str, str]:
        return await ask(), current_tenant()

    async def main() -> None:
        assert await asyncio.gather(*(nested() for _ in range(5))) == [("one", "two")] * 5
        assert find_tenant() is None

    assert iscoroutinefunction(ask)
    asyncio.run(main())


def test_a_generator_cannot_be_decorated_and_the_error_says_what_to_do() -> None:
    def rows() -> Iterator[str]:
        yield current_tenant()

    async def arows() -> AsyncIterator[str]:
        yield current_tenant()

    for generator in (rows, arows):
        with pytest.raises(TypeError, match=r"a generator.*Write `with use_tenant"):
            use_tenant("one")(generator)


def test_tasks_inherit_and_do_not_disturb_one_another() -> None:
    async def ask(tenant: str | None) -> str:
        if tenant is None:
            return current_tenant()
        with use_tenant(tenant):
            await asyncio.sleep(0)
            return current_tenant()

    async def main() -> list[str]:
        with use_tenant("outer"):
            return await asyncio.gather(*(asyncio.create_task(ask(name)) for name in ("a", None, "b")))

    assert asyncio.run(main()) == ["a", "outer", "b"]


def in_thread(work: Any) -> Any:
    said: list[Any] = []

    def run() -> None:
        try:
            said.append(work())
        except TenantRequired as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return said[0]


def test_a_thread_does_not_inherit_unless_it_is_given_the_context() -> None:
    with use_tenant("one"):
        assert isinstance(in_thread(current_tenant), TenantRequired)
        context = contextvars.copy_context()
        assert in_thread(lambda: context.run(current_tenant)) == "one"


def test_the_bridges_between_sync_and_async_keep_the_tenant() -> None:
    async def ask() -> str:
        return await sync_to_async(current_tenant)()

    with use_tenant("one"):
        assert async_to_sync(ask)() == "one"


# Resolvers


def request(**meta: Any) -> HttpRequest:
    return RequestFactory().get("/", **meta)


def signed_in(**attributes: Any) -> HttpRequest:
    asked = request()
    asked.user = SimpleNamespace(is_authenticated=True, **attributes)  # type: ignore[assignment]
    return asked


@pytest.mark.parametrize(
    ("value", "tenant"),
    [
        ("sppg-1", "sppg-1"),
        (lambda: "sppg-2", "sppg-2"),
        (7, "7"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (None, None),
        ("", None),
    ],
)
def test_the_users_attribute_names_the_tenant(value: Any, tenant: str | None) -> None:
    assert tenancy.tenant_from_user(signed_in(tenant=value)) == tenant


def test_nobody_signed_in_or_no_attribute_is_no_tenant(settings: Any) -> None:
    assert tenancy.tenant_from_user(request()) is None
    anonymous = request()
    anonymous.user = SimpleNamespace(is_authenticated=False, tenant="x")  # type: ignore[assignment]
    assert tenancy.tenant_from_user(anonymous) is None
    assert tenancy.tenant_from_user(signed_in()) is None
    settings.BERGIZI_REDIS = {"TENANT_USER_ATTRIBUTE": "kitchen"}
    assert tenancy.tenant_from_user(signed_in(tenant="x", kitchen="k")) == "k"


@pytest.mark.parametrize("value", ["two words", True, object()])
def test_a_user_whose_tenant_is_none_is_a_fault_that_names_the_attribute(value: object) -> None:
    with pytest.raises(TenantError, match=r"The user's 'tenant' \(TENANT_USER_ATTRIBUTE\)"):
        tenancy.tenant_from_user(signed_in(tenant=value))


@pytest.mark.parametrize(
    ("resolver", "of_account"),
    [("tenant_from_user", None), ("tenant_from_host", None), (["tenant_from_host", "tenant_from_header"], "sppg-1")],
)
def test_the_tenant_of_a_typed_name_is_neither_the_visitors_nor_the_hosts(
    settings: Any, resolver: Any, of_account: str | None
) -> None:
    paths = [f"bergizi_redis.tenancy.{name}" for name in ([resolver] if isinstance(resolver, str) else resolver)]
    found_by = {"TENANT_RESOLVER": paths, "TENANT_DOMAIN": "example.org", "TRUSTED_PROXIES": ["127.0.0.1"]}
    settings.BERGIZI_REDIS = found_by
    settings.ALLOWED_HOSTS = ["*"]
    asked = signed_in(tenant="sppg-1")
    asked.META.update(HTTP_X_TENANT="sppg-1", HTTP_HOST="sppg-1.example.org" if "host" in paths[-1] else "testserver")

    def view(request: HttpRequest) -> list[str | None]:
        found = [tenancy.find_tenant(), tenancy.find_tenant_of_account()]
        with use_tenant("sppg-2"):
            found.append(tenancy.find_tenant_of_account())
        return [*found, tenancy.find_tenant_of_account()]

    assert TenantMiddleware(view)(asked) == ["sppg-1", of_account, "sppg-2", of_account]  # type: ignore[arg-type]
    assert tenancy.find_tenant_of_account() is None


@pytest.mark.parametrize(
    ("proxies", "peer", "believed"),
    [
        ((), "127.0.0.1", False),
        (("127.0.0.1",), "127.0.0.1", True),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (("10.0.0.0/8",), "11.1.2.3", False),
        (("10.0.0.0/8",), "::ffff:11.1.2.3", False),
        (("fd00::/8",), "fd00::1", True),
        (("fd00::/8",), "10.1.2.3", False),
        (("10.0.0.1/8",), "10.200.0.1", True),
        (("10.0.0.0/8",), "", False),
        (("10.0.0.0/8",), "10.1.2.3, 11.0.0.1", False),
        (("0.0.0.0/0",), "unix:", False),
    ],
)
def test_only_trusted_proxies_may_name_the_tenant_in_a_header(
    settings: Any, proxies: Any, peer: str, believed: bool
) -> None:
    settings.BERGIZI_REDIS = {"TRUSTED_PROXIES": proxies}
    asked = request(HTTP_X_TENANT="sppg-1", HTTP_X_FORWARDED_FOR="10.0.0.1", REMOTE_ADDR=peer)
    assert tenancy.tenant_from_header(asked) == ("sppg-1" if believed else None)


def test_the_headers_name_is_a_setting(settings: Any) -> None:
    settings.BERGIZI_REDIS = {"TRUSTED_PROXIES": ["127.0.0.1"], "TENANT_HEADER": "X-Kitchen"}
    assert tenancy.tenant_from_header(request(HTTP_X_KITCHEN="k", HTTP_X_TENANT="t")) == "k"
    assert tenancy.tenant_from_header(request(HTTP_X_TENANT="t")) is None


@pytest.mark.parametrize(
    ("host", "tenant"),
    [
        ("sppg-1.example.org", "sppg-1"),
        ("SPPG-1.Example.ORG:8000", "sppg-1"),
        ("sppg-1.example.org.", "sppg-1"),
        ("example.org", None),
        ("a.b.example.org", None),
        ("sppg-1.example.org.evil.net", None),
        ("evilexample.org", None),
        ("[::1]:8000", None),
        ("localhost", None),
    ],
)
def test_the_host_names_the_tenant(settings: Any, host: str, tenant: str | None) -> None:
    for domain in ("example.org", ".example.org"):
        settings.BERGIZI_REDIS = {"TENANT_DOMAIN": domain}
        assert tenancy.tenant_from_host(request(HTTP_HOST=host)) == tenant


def test_the_host_without_a_domain_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigurationError, match="TENANT_DOMAIN"):
        tenancy.tenant_from_host(request())


def test_a_client_that_sends_what_is_no_tenant_has_made_a_bad_request(settings: Any) -> None:
    settings.BERGIZI_REDIS = {"TRUSTED_PROXIES": ["127.0.0.1"], "TENANT_DOMAIN": "example.org"}
    with pytest.raises(BadRequest, match="is not a tenant id"):
        tenancy.tenant_from_header(request(HTTP_X_TENANT="{a}"))
    with pytest.raises(BadRequest, match="is not a tenant id"):
        tenancy.tenant_from_host(request(HTTP_HOST=f"{'x' * 65}.example.org"))


# The middleware, in whole requests


def show(request: Any) -> HttpResponse:
    return HttpResponse(f"{request.tenant} {find_tenant()}")


async def ashow(request: Any) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse(f"{request.tenant} {find_tenant()}")


urlpatterns = [path("sync/", show), path("async/", ashow)]
HEADER = "bergizi_redis.tenancy.tenant_from_header"


def of_query(request: HttpRequest) -> str | None:
    return request.GET.get("tenant")


@pytest.fixture
def site(settings: Any) -> Any:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["bergizi_redis.tenancy.TenantMiddleware"]
    settings.BERGIZI_REDIS = {"TENANT_RESOLVER": HEADER, "TRUSTED_PROXIES": ["127.0.0.1"]}
    return settings


@pytest.mark.parametrize("view", ["sync", "async"])
@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_a_request_runs_for_its_tenant_and_leaves_nothing_behind(site: Any, view: str, server: str) -> None:
    def get(**headers: str) -> Any:
        if server == "wsgi":
            return Client().get(f"/{view}/", headers=headers)
        return async_to_sync(AsyncClient().get)(f"/{view}/", headers=headers)

    assert get(x_tenant="sppg-1").content == b"sppg-1 sppg-1"
    assert get().content == b"None None"
    assert get(x_tenant="two words").status_code == 400
    assert find_tenant() is None


def test_the_first_resolver_that_answers_is_believed_and_checked(site: Any) -> None:
    site.BERGIZI_REDIS = {**site.BERGIZI_REDIS, "TENANT_RESOLVER": [HEADER, f"{__name__}.of_query"]}
    assert Client().get("/sync/?tenant=q").content == b"q q"
    assert Client().get("/sync/?tenant=q", headers={"x-tenant": "h"}).content == b"h h"
    with pytest.raises(TenantError, match="'a b' is not a tenant id"):
        Client().get("/sync/?tenant=a b")


def test_a_resolver_that_cannot_be_imported_is_named(site: Any) -> None:
    site.BERGIZI_REDIS = {"TENANT_RESOLVER": "kitchens.nobody"}
    with pytest.raises(ConfigurationError, match=r"TENANT_RESOLVER.*kitchens.nobody"):
        Client().get("/sync/")


def test_an_async_request_loads_its_user_natively_and_only_for_a_resolver_that_asks(settings: Any) -> None:
    loaded: list[int] = []

    async def auser() -> Any:
        loaded.append(1)
        return SimpleNamespace(is_authenticated=True, tenant="sppg-1")

    async def view(request: Any) -> HttpResponse:
        return HttpResponse(current_tenant())

    async def ask(**settings_given: Any) -> bytes:
        settings.BERGIZI_REDIS = settings_given
        asked: Any = AsyncRequestFactory().get("/?tenant=q")
        asked.auser = auser
        response = await TenantMiddleware(view)(asked)
        return bytes(response.content)

    assert asyncio.run(ask()) == b"sppg-1"
    assert asyncio.run(ask(TENANT_RESOLVER=f"{__name__}.of_query")) == b"q"
    assert loaded == [1]
