"""Health: what is said of servers that are well, ill, hung, or not there at all."""

import copy
import io
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from redis.exceptions import ConnectionError, MaxConnectionsError, ResponseError

from bergizi_redis import circuit, keys, vitals
from bergizi_redis import health as checking
from bergizi_redis.connections import Role, client, disconnect_all
from bergizi_redis.diagnosis import AILMENTS, diagnose, shown_url
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.health import check_redis_health, services
from bergizi_redis.management.commands.redis_health import described
from tests.deadlines import ends_within
from tests.servers import PrivateServer, free_port, private_server
from tests.terminal import Terminal

SOON = 2.0  # seconds; the promise is 1 s, the rest is for a machine under load
LOCAL = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
Located = Callable[..., None]


@pytest.fixture
def located(settings: Any) -> Iterator[Located]:
    """``located(url, **OPTIONS)`` puts the alias ``default`` there."""

    def locate(url: str, alias: str = "default", **options: Any) -> None:
        caches = copy.deepcopy(settings.CACHES)
        caches[alias] = {**caches["default"], "LOCATION": url, "OPTIONS": options}
        settings.CACHES = caches

    yield locate
    disconnect_all()


def problem_of(alias: str = "default") -> str | None:
    problem = check_redis_health([alias])["aliases"][alias]["problem"]
    return problem and problem["code"]


def soon_told() -> str | None:
    with ends_within(SOON):
        return problem_of()


def health(*words: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    out = io.StringIO()
    try:
        call_command("redis_health", *words, stdout=out, no_color=True)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


# Well


def test_a_server_that_is_well_is_described(server: PrivateServer, settings: Any) -> None:
    settings.SESSION_ENGINE = "bergizi_redis.sessions.backend"
    began = time.perf_counter()
    report = check_redis_health()
    took = time.perf_counter() - began
    assert report["isConnected"] is True
    assert report["isWell"] is True
    assert 0 < report["responseTime"] <= took * 1000
    assert set(report["services"]) == {"cache", "sessions", "security", "realtime"}
    assert report["services"]["cache"]["alias"] == "default"
    assert report["server"] == report["aliases"]["default"]["server"]
    facts = report["server"]
    with closing(server.client()) as raw:
        name = "Valkey" if "valkey_version" in raw.info("server") else "Redis"
    assert (facts["name"], facts["role"], facts["mode"]) == (name, "primary", "standalone")
    assert facts["version"].count(".") == 2
    assert (facts["memoryMax"], facts["evictionPolicy"], facts["persistence"]) == (0, "noeviction", "none")
    assert facts["writes"] == "accepted"
    assert facts["memoryUsed"] > 0


def test_the_server_of_the_suite_is_well_whatever_it_is(redis_url: str) -> None:
    report = check_redis_health(["default"])
    assert report["isWell"]
    assert report["server"]["name"] in {"Redis", "Valkey"}


def test_every_role_is_asked_on_its_own(server: PrivateServer) -> None:
    roles = check_redis_health()["aliases"]["default"]["roles"]
    assert set(roles) == {role.value for role in Role}
    assert all(role["isConnected"] and role["responseTime"] > 0 for role in roles.values())


def test_the_probe_has_the_sites_prefix_and_goes_by_itself(
    server: PrivateServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vitals.PROBE_LIFE == 10
    monkeypatch.setattr(vitals, "PROBE_LIFE", 3600)  # it is looked at first, however busy the machine is
    check_redis_health()
    with closing(server.client()) as raw:
        assert raw.keys("*health*") == [f"{prefix}:health:probe".encode()]
        assert 0 < raw.ttl(keys.health_probe()) <= 3600


@pytest.mark.parametrize(
    ("options", "persistence"),
    [
        (["--save", "3600 1"], "RDB"),
        (["--appendonly", "yes"], "AOF"),
        (["--appendonly", "yes", "--save", "3600 1"], "AOF+RDB"),
    ],
)
def test_persistence_is_told(located: Located, options: list[str], persistence: str) -> None:
    with private_server(*options) as server:
        located(server.url)
        assert check_redis_health()["server"]["persistence"] == persistence


def test_limit_and_policy_are_told(located: Located) -> None:
    with private_server("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as server:
        located(server.url)
        facts = check_redis_health()["server"]
    assert (facts["memoryMax"], facts["evictionPolicy"]) == (64 * 2**20, "allkeys-lru")


def test_a_cluster_is_asked_too(located: Located) -> None:
    with private_server("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        located(f"redis+cluster://127.0.0.1:{server.port}")
        assert problem_of() == "cluster down"
        with closing(server.client()) as raw:
            raw.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            deadline = time.monotonic() + 60
            while raw.cluster("info")["cluster_state"] != "ok":
                assert time.monotonic() < deadline
        # A cluster's first connection asks for its slots; on a loaded machine that may take longer than a check has.
        while not (report := check_redis_health())["isWell"]:
            assert time.monotonic() < deadline, report
        assert report["server"]["mode"] == "cluster"
        assert "(cluster)" in described(report["server"])[0]


# Ill


def test_a_refused_port_is_told_at_once(located: Located) -> None:
    located(f"redis://127.0.0.1:{free_port()}/0")
    code = soon_told()
    assert code == "refused"


def test_a_missing_socket_is_refused(located: Located) -> None:
    located("unix:///nonexistent/redis.sock")
    assert problem_of() == "refused"


def test_a_hung_server_is_told_in_time(server: PrivateServer) -> None:
    server.pause()
    code = soon_told()
    assert code == "silent"


def test_a_server_that_falls_silent_after_it_was_well_is_told_in_time(
    server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "PROBE", 20.0)  # a busy machine may need longer to see that it is well again
    assert problem_of() is None
    server.pause()
    with mock.patch.object(checking, "DEADLINE", 1.0):
        code = soon_told()
    assert code == "silent"
    server.resume()
    assert problem_of() is None


@pytest.mark.usefixtures("usual_time")
def test_a_host_that_accepts_and_says_nothing_is_told_in_time(located: Located) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        located(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        code = soon_told()
    assert code == "silent"


HOLD = threading.Event()


class StuckFactory:
    """A project's own connection factory, stuck as one is in a name look-up that nothing can bound."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def connect(self, url: str) -> Any:
        HOLD.wait(60)
        raise ConnectionError("too late")


@pytest.mark.usefixtures("usual_time")
def test_what_cannot_be_bounded_is_left_behind(located: Located, redis_url: str) -> None:
    HOLD.clear()
    located(redis_url, CONNECTION_FACTORY=f"{__name__}.StuckFactory")
    try:
        code = soon_told()
    finally:
        HOLD.set()
    assert code == "silent"


def test_one_ill_server_leaves_the_others_well(server: PrivateServer, located: Located, settings: Any) -> None:
    located(f"redis://127.0.0.1:{free_port()}/0", alias="other")
    report = check_redis_health()
    assert list(report["aliases"]) == ["default", "other"]
    assert report["aliases"]["default"]["isWell"]
    assert not report["aliases"]["other"]["isConnected"]
    assert not report["isConnected"]
    assert report["services"]["cache"]["isWell"]


def test_passwords(located: Located) -> None:
    with private_server("--requirepass", "sesame-7") as server:
        place = f"127.0.0.1:{server.port}/0"
        expected = {
            f"redis://:sesame-7@{place}": None,
            f"redis://:wrong-9@{place}": "wrong password",
            f"redis://{place}": "no password",
        }
        for url, code in expected.items():
            located(url)
            report = check_redis_health()
            assert problem_of() == code
            assert report["aliases"]["default"]["url"] == f"redis://{place}"
            assert "sesame-7" not in json.dumps(report)
            assert "wrong-9" not in json.dumps(report)


def test_a_password_that_the_server_does_not_have_is_wrong(server: PrivateServer, located: Located) -> None:
    # Over RESP3 a server without a password accepts any.
    located(f"redis://:sesame-7@127.0.0.1:{server.port}/0", CONNECTION_POOL_KWARGS={"protocol": 2})
    assert problem_of() == "wrong password"


def test_a_replica_refuses_writes_and_is_ill(server: PrivateServer, located: Located) -> None:
    with private_server("--replicaof", f"127.0.0.1 {server.port}") as replica:
        located(replica.url)
        report = check_redis_health()
        assert report["aliases"]["default"]["problem"]
        assert report["aliases"]["default"]["problem"]["code"] == "read-only"
        assert (report["isConnected"], report["isWell"]) == (True, False)
        assert (report["server"]["role"], report["server"]["writes"]) == ("replica", "refused")
        with closing(replica.client()) as raw:
            raw.config_set("replica-read-only", "no")
        assert problem_of() == "stray replica"


def test_a_full_server_is_ill(located: Located) -> None:
    with private_server("--maxmemory", "100kb", "--maxmemory-policy", "noeviction") as server:
        located(server.url)
        assert problem_of() == "out of memory"


def test_a_server_that_cannot_save_is_ill(located: Located) -> None:
    with private_server("--save", "3600 1") as server, closing(server.client()) as raw:
        located(server.url)
        shutil.rmtree(server.directory)
        raw.bgsave()
        deadline = time.monotonic() + 60
        while raw.info("persistence")["rdb_last_bgsave_status"] == "ok":
            assert time.monotonic() < deadline
        assert problem_of() == "cannot save"


def test_a_database_that_is_not_there_is_told(server: PrivateServer, located: Located) -> None:
    located(f"redis://127.0.0.1:{server.port}/99")
    assert problem_of() == "no such database"


def test_a_server_with_too_many_clients_is_ill(located: Located) -> None:
    with private_server() as server, closing(server.client()) as first:
        first.config_set("maxclients", 1)  # not at the start: the question whether it listens would be the one
        located(server.url)
        assert problem_of() == "too many clients"


def test_a_pool_in_use_is_not_a_dead_server(server: PrivateServer, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "MAX_CONNECTIONS": 1}
    ours: Any = client("default")
    pool = ours.connection_pool
    connection = pool.get_connection()
    ours.budget = 0.3
    try:
        assert problem_of() == "pool in use"
    finally:
        pool.release(connection)


def test_what_does_not_speak_redis_is_told(located: Located) -> None:
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer() -> None:
            while True:
                try:
                    peer, _ = web.accept()
                except OSError:
                    return
                with peer, suppress(OSError):  # who asked may have gone
                    peer.recv(4096)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        located(f"redis://127.0.0.1:{web.getsockname()[1]}/0")
        assert problem_of() == "no Redis"
        web.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def test_an_option_that_does_not_exist_is_told(server: PrivateServer, located: Located) -> None:
    located(server.url, CONNECTION_POOL_KWARGS={"sokcet_timeout": 1})
    assert problem_of() == "wrong LOCATION"


# What the server does not permit


def user(server: PrivateServer, rules: str) -> str:
    with closing(server.client()) as raw:
        raw.execute_command("ACL", "SETUSER", "kitchen", "on", ">sesame", *rules.split())
    return f"redis://kitchen:sesame@127.0.0.1:{server.port}/0"


def test_without_permission_for_info_it_says_so(server: PrivateServer, located: Located) -> None:
    located(user(server, "~* &* +@all -info"))
    report = check_redis_health()
    assert report["isWell"]
    assert report["server"] == {"info": "not permitted", "writes": "accepted"}
    assert "not permitted" in health()[1]


def test_without_permission_for_config_snapshots_are_unknown(server: PrivateServer, located: Located) -> None:
    located(user(server, "~* &* +@all -config"))
    assert check_redis_health()["server"]["persistence"] == "not permitted"


def test_a_user_that_may_write_other_keys_is_well(server: PrivateServer, located: Located) -> None:
    located(user(server, "~session:* &* +@all"))
    report = check_redis_health()
    assert report["isWell"]
    assert report["server"]["writes"] == "not permitted"


def test_a_user_that_may_not_write_at_all_is_ill(server: PrivateServer, located: Located) -> None:
    located(user(server, "~* &* +@all -set"))
    assert problem_of() == "not permitted"


# Which aliases and services


def test_an_alias_that_is_missing_or_not_redis_is_an_error(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "local": LOCAL, "odd": {"BACKEND": "no.such.Backend"}}
    for alias, message in [
        ("nope", "There is no CACHES['nope']"),
        ("local", "not kept in Redis"),
        ("odd", "cannot be"),
    ]:
        with pytest.raises(ConfigurationError, match=message.replace("[", r"\[")):
            check_redis_health([alias])


def test_a_location_that_cannot_be_read_is_an_error_without_the_password(located: Located) -> None:
    located("redis://:se/same@127.0.0.1:6379/0")
    with pytest.raises(ConfigurationError) as caught:
        check_redis_health()
    assert "se/" not in str(caught.value)
    assert "same" not in str(caught.value)


def test_services_follow_their_settings(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "other": settings.CACHES["default"], "local": LOCAL}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.BERGIZI_REDIS = {"SECURITY_ALIAS": "other"}
    assert services() == {"cache": "default", "security": "other", "realtime": "default"}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    settings.SESSION_CACHE_ALIAS = "other"
    assert services()["sessions"] == "other"
    settings.BERGIZI_REDIS = {"CACHE_ALIAS": "local"}
    assert "cache" not in services()


@pytest.mark.parametrize("setting", ["SECURITY_ALIAS", "SESSION_CACHE_ALIAS"])
def test_a_service_on_a_missing_alias_is_an_error(settings: Any, setting: str) -> None:
    settings.SESSION_ENGINE = "bergizi_redis.sessions.backend"
    if setting == "SESSION_CACHE_ALIAS":
        settings.SESSION_CACHE_ALIAS = "nope"
    else:
        settings.BERGIZI_REDIS = {setting: "nope"}
    with pytest.raises(ConfigurationError, match=f"{setting}.* is 'nope'; the aliases of CACHES are default"):
        check_redis_health()


# Telling what ails


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionError("Error -2 connecting. Name or service not known."), "error"),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), "too few replicas"),
        (ResponseError("DENIED Redis is running in protected mode"), "protected mode"),
        (ConnectionError("Connection closed by server."), "closed"),
        (MaxConnectionsError("full"), "pool in use"),
        (ValueError("Port could not be cast to integer value as 'pa'"), "wrong LOCATION"),
        (ConfigurationError("LOCATION is odd"), "wrong settings"),
    ],
)
def test_an_error_gets_its_name(error: Exception, code: str) -> None:
    assert diagnose(error).code == code


def test_what_stands_behind_an_error_counts() -> None:
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("127.0.0.1", 6379, family=socket.AF_INET6)
    error = ConnectionError("Error connecting")
    error.__context__ = caught.value  # as redis-py raises it
    assert diagnose(error).code == "unknown host"


def test_every_ailment_has_a_reason_and_a_remedy() -> None:
    for ailment in AILMENTS:
        assert ailment.problem.reason.endswith(".")
        assert ailment.problem.remedy.endswith(".") or ailment.problem.remedy.endswith("&*.")
        assert len(ailment.problem.code) <= 16


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:6379/0", "redis://host:6379/0"),
        ("redis://host/0?password=secret", "redis://host/0"),
        ("redis://:sec/ret@host:6379/0", "redis://…"),
        ("redis://:sec?ret@host:6379/0", "redis://…"),
        ("redis://:sec#ret@host:6379/0", "redis://…"),
        ("redis://[::1/0", "redis://…"),
        ("unix://user:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("redis+sentinel://:secret@a:26379,b:26379/kitchen/0", "redis+sentinel://a:26379,b:26379/kitchen/0"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


# The command


def test_the_command_prints_an_aligned_table_and_exits_0(server: PrivateServer) -> None:
    code, text = health()
    lines = text.splitlines()
    assert code == 0
    assert lines[0].split() == ["ALIAS", "STATE", "ADDRESS", "MAIN", "PUBLISHER", "SUBSCRIBER", "BLOCKING"]
    assert lines[1].startswith("default  well")
    assert lines[0].index("ADDRESS") == lines[1].index("redis://")
    assert lines[3].index("USED BY") == lines[4].index("cache, security, realtime")
    assert "of unlimited" in lines[4]
    assert "\x1b" not in text


def test_the_command_gives_reason_and_remedy_and_exits_1(located: Located) -> None:
    located(f"redis://127.0.0.1:{free_port()}/0")
    code, text = health()
    assert code == 1
    assert "default: Nothing listens there.\n  Start the server" in text
    assert text.count("refused") == len(Role)


@pytest.mark.parametrize("words", [["--alias", "nope"], ["--watch", "0"], ["--watch", "often"]])
def test_the_command_exits_2_when_it_cannot_ask(words: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        health(*words)
    assert caught.value.returncode == 2 or words[0] == "--watch"


def test_without_a_redis_alias_there_is_nothing_to_ask(settings: Any) -> None:
    settings.CACHES = {"default": LOCAL}
    with pytest.raises(CommandError, match="no alias that is kept in Redis") as caught:
        health()
    assert caught.value.returncode == 2


def test_aliases_are_repeated_or_listed(server: PrivateServer, located: Located) -> None:
    located(server.url, alias="other")
    located(server.url, alias="third")
    for words in (["--alias", "third,other"], ["--alias", "third", "--alias", "other"]):
        assert list(json.loads(health("--json", *words)[1])["aliases"]) == ["third", "other"]


def test_json_is_one_document_with_the_same_exit_code(server: PrivateServer) -> None:
    code, text = health("--json")
    report = json.loads(text)
    assert code == 0
    assert {"isConnected", "responseTime", "services", "server"} <= set(report)
    server.kill()
    code, text = health("--json")
    assert code == 1
    assert json.loads(text)["isConnected"] is False


def test_watch_repeats_until_ctrl_c_and_ends_clean(server: PrivateServer) -> None:
    with Terminal("redis_health", "--watch", "0.05", REDIS_URL=server.url) as terminal:
        terminal.until("USED BY", times=3)
        terminal.interrupt()
        assert terminal.end() == 0
        assert "\x1b[2J" in terminal.shown
        assert "\x1b[32;1mwell" in terminal.shown
        assert "Traceback" not in terminal.shown


def test_watch_in_json_writes_a_line_each_and_ends_with_the_last_state(server: PrivateServer) -> None:
    with Terminal("redis_health", "--watch", "0.05", "--json", "--no-color", REDIS_URL=server.url) as terminal:
        terminal.until('"isWell": true, "responseTime"')
        server.kill()
        terminal.until('"code": "refused"')
        terminal.until("}\r\n", times=terminal.shown.count("}\r\n") + 1)
        terminal.interrupt()
        assert terminal.end() == 1
        lines = [json.loads(line) for line in terminal.shown.splitlines() if line.startswith("{")]
        assert any(line["isWell"] for line in lines)
        assert not lines[-1]["isWell"]
