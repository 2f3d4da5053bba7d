"""The sync clients: one pool per alias, role and options, shared with django-redis, safe across ``fork``.

Each guard was taken away once to see its test go red: the options in the pool's key, the role in it, the live settings
in it, and the exception of ``MaxConnectionsError`` from outages.
"""

import os
import pickle
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache import caches
from redis import exceptions as errors
from redis.sentinel import MasterNotFoundError

from bergizi_redis import connections
from bergizi_redis.connections import FACTORY, Role, alias_settings, client, explain, is_outage
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.scripts.script import Script
from tests.deadlines import ends_within
from tests.proxies import behind_tls
from tests.servers import PrivateServer, free_port, private_server


def alias(url: object, **options: Any) -> dict[str, Any]:
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "OPTIONS": {"CONNECTION_FACTORY": FACTORY, **options},
    }


@pytest.fixture
def at(settings: Any) -> Iterator[Callable[..., None]]:
    """``at(default=alias(…), …)`` – makes these the aliases."""

    def set_aliases(**aliases: Any) -> None:
        settings.CACHES = aliases

    yield set_aliases
    connections.disconnect_all()


def pool_of(name: str = "default", role: Role = Role.MAIN) -> Any:
    return client(name, role).connection_pool


def test_django_redis_and_our_scripts_share_one_pool(at: Any, redis_url: str) -> None:
    at(default=alias(redis_url, CONNECTION_POOL_KWARGS={"max_connections": 9}))
    cache: Any = caches["default"]
    assert cache.client.get_client().connection_pool is pool_of() is pool_of()
    assert pool_of().max_connections == 9


def test_the_pool_is_shared_where_the_factory_stands_in_djangos_setting(at: Any, redis_url: str, settings: Any) -> None:
    settings.DJANGO_REDIS_CONNECTION_FACTORY = FACTORY
    at(default={"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url})
    cache: Any = caches["default"]
    assert cache.client.get_client().connection_pool is pool_of()


def test_one_url_with_other_options_gets_a_pool_of_its_own(at: Any, redis_url: str) -> None:
    """django-redis keeps pools by URL alone: the second alias would get the first one's."""
    at(
        default=alias(redis_url),
        small=alias(redis_url, CONNECTION_POOL_KWARGS={"max_connections": 2}),
        quick=alias(redis_url, SOCKET_TIMEOUT=0.1),
        same=alias(redis_url),
        packed=alias(redis_url, SERIALIZER="django_redis.serializers.json.JSONSerializer"),
    )
    assert pool_of("small") is not pool_of("default")
    assert pool_of("quick") is not pool_of("default")
    assert pool_of("same") is pool_of("default") is pool_of("packed")
    assert (pool_of("small").max_connections, pool_of("default").max_connections) == (2, 100)
    assert pool_of("quick").connection_kwargs["socket_timeout"] == 0.1


@pytest.mark.usefixtures("usual_time")
def test_each_role_has_a_pool_and_times_of_its_own(at: Any, redis_url: str) -> None:
    at(default=alias(redis_url))
    assert len({id(pool_of(role=role)) for role in Role}) == 4
    waits = {role: pool_of(role=role).connection_kwargs["socket_timeout"] for role in Role}
    assert waits == {"main": 0.8, "publisher": 0.8, "subscriber": None, "blocking": 65.0}
    assert {role: vars(client(role=role))["budget"] for role in Role} == {
        "main": 0.8, "publisher": 0.8, "subscriber": None, "blocking": None
    }  # fmt: skip


def test_settings_are_read_live(at: Any, redis_url: str, settings: Any) -> None:
    at(default=alias(redis_url))
    before = pool_of()
    settings.BERGIZI_REDIS = {"REQUEST_BUDGET": 0.3, "MAX_CONNECTIONS": 5}
    assert (vars(client())["budget"], pool_of().max_connections) == (0.3, 5)
    assert pool_of() is not before


def test_a_client_is_made_once_by_many_threads(at: Any, redis_url: str) -> None:
    at(default=alias(redis_url))
    with ThreadPoolExecutor(30) as pool:
        assert len({id(made) for made in pool.map(lambda _: client(), range(300))}) == 1


def test_making_a_client_opens_no_connection(at: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        at(default=alias(f"redis://127.0.0.1:{listener.getsockname()[1]}/0"))
        client()
        with pytest.raises(TimeoutError):
            listener.accept()


def test_closing_all_leaves_no_connection_and_new_ones_open_on_demand(at: Any, server: PrivateServer) -> None:
    at(default=alias(server.url))
    held = client()
    held.ping()
    connections.disconnect_all()
    with server.client() as look:
        assert look.info("clients")["connected_clients"] == 1
    assert held.ping()
    assert client().ping()


@pytest.mark.parametrize("scheme", ["redis", "unix", "rediss"])
def test_every_plain_scheme_serves_commands_pipelines_and_scripts(at: Any, scheme: str, tmp_path: Path) -> None:
    with private_server("--unixsocket", str(tmp_path / "s")) as server, behind_tls(server.port, tmp_path) as (tls, crt):
        urls = {
            "redis": f"{server.url.removesuffix('/0')}/3",
            "unix": f"unix://{tmp_path}/s?db=3",
            "rediss": f"rediss://localhost:{tls.port}/3?ssl_ca_certs={crt}",
        }
        at(default=alias(urls[scheme]))
        assert client().set("a", "1")
        pipeline = client().pipeline()
        pipeline.get("a")
        pipeline.incr("a")
        assert pipeline.execute() == [b"1", 2]
        assert Script("swap").run(client(), ["a"], ["2", "3", 5000]) == 1
        assert client().get("a") == b"3"
        with redis.Redis(port=server.port, db=3) as look:
            assert look.get("a") == b"3"


def test_a_server_that_keeps_its_certificate_to_itself_is_refused(
    at: Any, server: PrivateServer, tmp_path: Path
) -> None:
    with behind_tls(server.port, tmp_path) as (tls, _):
        at(default=alias(f"rediss://localhost:{tls.port}/0"))
        with ends_within(), pytest.raises(errors.ConnectionError, match="certificate"):
            client().ping()


def test_an_acl_user_comes_from_the_url_or_from_options(at: Any) -> None:
    with private_server() as server, server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "kitchen", "on", ">s3cret/@", "~*", "+@all")
        at(
            default=alias(f"redis://kitchen:s3cret%2F%40@127.0.0.1:{server.port}/0"),
            options=alias(server.url, USERNAME="kitchen", PASSWORD="s3cret/@"),
        )
        assert client().acl_whoami() == client("options").acl_whoami() == "kitchen"


def test_the_primary_is_the_first_of_a_location_of_several(at: Any, redis_url: str) -> None:
    at(default=alias([redis_url, "redis://replica:6379/0"]), text=alias(f"{redis_url},redis://replica:6379/0"))
    assert alias_settings("default")[0] == alias_settings("text")[0] == redis_url


def test_a_missing_alias_is_named(at: Any) -> None:
    at(default=alias("redis://localhost/0"))
    with pytest.raises(ConfigurationError, match=r"no CACHES\['sesions'\]; the aliases are default"):
        client("sesions")


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (None, "is empty"),
        ("", "is empty"),
        ([], "is empty"),
        (7, "is not a URL"),
        ("127.0.0.1:11211", "is not a URL"),
        ("http://:s3cret@h/0", "is http://…; expected one of redis://"),
        ("redis://:s3cret@h:port/0", "a port is not a number"),
        ("redis://:s3cret@h:99999/0", "a port is not a number"),
        ("redis://h:0/0", "a port is not a number"),
        ("redis://:s3c/ret@h/0", "not a number"),
        ("redis://:s3cret@h/kitchen", "the database is not a number"),
        ("redis://:s3cret@h/0/1", "the database is not a number"),
        ("redis://:s3cret@h/0?db=x", "'db' in the URL's query"),
        ("redis://:s3cret@h/0?socket_timeout=soon", "'socket_timeout' in the URL's query"),
        ("redis://[:s3cret@h/0", "cannot be read as a URL"),
        ("unix://", "names no socket"),
    ],
)
def test_a_location_that_cannot_be_used_is_a_clear_error_without_the_password(
    at: Any, location: object, says: str
) -> None:
    at(default=alias(location))
    with pytest.raises(ConfigurationError) as caught:
        client()
    error = caught.value
    assert says in str(error)
    assert "CACHES['default']['LOCATION']" in str(error)
    for shown in (error, error.__cause__, None if error.__suppress_context__ else error.__context__):
        assert "s3c" not in str(shown)


# Roles that wait


def test_a_blocking_client_waits_longer_than_the_request_budget(at: Any, redis_url: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 0.1}
    at(default=alias(redis_url))
    with ends_within(60, at_least=0.4):
        assert client("default", Role.BLOCKING).blpop("nothing comes here", timeout=0.5) is None


def test_a_subscriber_stays_through_a_silence_longer_than_the_budget(
    at: Any, redis_url: str, settings: Any, prefix: str, raw: "redis.Redis"
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 0.1}
    at(default=alias(redis_url))
    with client("default", Role.SUBSCRIBER).pubsub() as heard:
        heard.subscribe(prefix)
        assert heard.get_message(timeout=60)["type"] == "subscribe"
        with ends_within(60, at_least=0.4):
            assert heard.get_message(timeout=0.4) is None
        raw.publish(prefix, "news")
        while (message := heard.get_message(timeout=60)) is None:
            pass  # after a pause of five seconds it is the answer to a probe
        assert message["data"] == b"news"


# Fork


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked process, or the error that it raised there."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            said: Any = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, pickle.dumps(said))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pickle.loads(pipe.read())  # noqa: S301 – our own child wrote it
    os.waitpid(child, 0)
    return said


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_worker_uses_sockets_of_its_own(at: Any, server: PrivateServer) -> None:
    """As gunicorn does with preload: the parent has used the pool before it forks."""
    at(default=alias(server.url))
    kept = client()
    mine = kept.client_id()
    numbers = [in_child(lambda: (kept.client_id(), client().client_id(), client().set("a", "b"))) for _ in range(3)]
    seen = {mine, *(number for first, second, _ in numbers for number in (first, second))}
    assert len(seen) == 4, "one connection for the parent and one for each child"
    assert kept.client_id() == mine
    assert kept.get("a") == b"b"


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_command_leaves_the_parents_answer_alone(at: Any, server: PrivateServer) -> None:
    at(default=alias(server.url))
    pool = pool_of()
    connection = pool.get_connection()
    connection.send_command("ECHO", "mine")
    assert in_child(lambda: client().echo("childs")) == b"childs"
    assert connection.read_response() == b"mine"
    pool.release(connection)


# Errors

OUTAGES = {
    errors.ConnectionError: True,
    errors.TimeoutError: True,
    errors.BusyLoadingError: True,
    errors.AuthenticationError: True,
    errors.AuthorizationError: True,
    errors.InvalidResponse: True,
    errors.ReadOnlyError: True,
    errors.OutOfMemoryError: True,
    errors.ClusterError: True,
    errors.ClusterDownError: True,
    errors.MasterDownError: True,
    errors.SlotNotCoveredError: True,
    errors.TryAgainError: True,
    MasterNotFoundError: True,
    errors.MaxConnectionsError: False,
    errors.NoPermissionError: False,
    errors.NoScriptError: False,
    errors.ResponseError: False,
    errors.ExecAbortError: False,
    errors.WatchError: False,
    errors.DataError: False,
    errors.LockError: False,
    errors.PubSubError: False,
    errors.ClusterCrossSlotError: False,
    ValueError: False,
    TypeError: False,
}


@pytest.mark.parametrize(("kind", "outage"), OUTAGES.items())
def test_what_counts_as_an_outage(kind: type[Exception], outage: bool) -> None:
    error = kind.__new__(kind)
    assert is_outage(error) is outage
    assert kind.__name__ in explain(error)


def explained(act: Callable[[], Any]) -> str:
    with ends_within(), pytest.raises(redis.RedisError) as caught:
        act()
    return explain(caught.value)


def test_each_common_failure_is_explained_with_its_remedy(at: Any) -> None:
    with private_server("--requirepass", "right") as server:
        at(
            refused=alias(f"redis://127.0.0.1:{free_port()}/0"),
            anonymous=alias(server.url),
            default=alias(f"redis://:right@127.0.0.1:{server.port}/0"),
            reader=alias(f"redis://reader:pw@127.0.0.1:{server.port}/0"),
        )
        client().execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+get")
        assert "cannot be reached" in explained(client("refused").ping)
        assert "refuses the user name or password" in explained(client("anonymous").ping)
        assert "ACL user may not" in explained(lambda: client("reader").set("a", "b"))
        client().config_set("maxmemory", 1)
        assert "memory is full" in explained(lambda: client().set("a", "b"))
        client().config_set("maxmemory", 0)
        client().replicaof("127.0.0.1", free_port())
        assert "replica" in explained(lambda: client().set("a", "b"))
        silent: Any = client()
        silent.budget = 0.5
        server.pause()
        try:
            assert "did not answer in time" in explained(silent.ping)
        finally:
            server.resume()


def test_a_command_of_ours_that_is_wrong_is_not_blamed_on_the_server() -> None:
    assert "arguments are at fault" in explain(errors.ResponseError("WRONGTYPE"))
    assert "MAX_CONNECTIONS" in explain(errors.MaxConnectionsError())


# Other people's classes


class OtherPool(redis.ConnectionPool):
    pass


def test_a_pool_class_of_the_projects_own_keeps_the_budget(at: Any, redis_url: str) -> None:
    at(default=alias(redis_url, CONNECTION_POOL_CLASS="tests.test_connections.OtherPool"))
    assert isinstance(pool_of(), OtherPool)
    assert "Budgeted" in pool_of().connection_class.__name__
    assert client().ping()


def test_a_connection_factory_of_the_projects_own_decides_for_every_role(at: Any, redis_url: str) -> None:
    at(default=alias(redis_url, CONNECTION_FACTORY="django_redis.pool.ConnectionFactory"))
    assert client().ping()
    assert type(client()) is redis.Redis
    assert pool_of() is pool_of(role=Role.BLOCKING)
    connections.ConnectionFactory({}).disconnect(client())


def test_what_holds_a_password_does_not_show_it(at: Any) -> None:
    at(default=alias("redis://user:s3cret@127.0.0.1:1/0"))
    assert "s3cret" not in f"{client()!r}{pool_of()!r}"
