"""System checks: each is provoked, each is silent for the settings that the documentation shows."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.core.checks import CheckMessage, registry
from django.core.management import call_command

from bergizi_redis import checklist
from bergizi_redis.cache import writes
from bergizi_redis.cache.buffers import buffers
from bergizi_redis.cache.domains import Domain
from bergizi_redis.cache.writes import WriteBehind
from bergizi_redis.checklist import RULES, Rule
from bergizi_redis.checks import check_aliases, check_lives, check_models, check_servers, check_settings, check_wiring
from bergizi_redis.connections import disconnect_all
from tests.servers import PrivateServer, free_port, private_server

TAGGED = "bergizi_redis.cache.backend.TaggedRedisCache"
STOCK = "django_redis.cache.RedisCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
LOCAL = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
SESSION = "bergizi_redis.sessions.middleware.SessionMiddleware"
DJANGO_SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
USER = "django.contrib.auth.middleware.AuthenticationMiddleware"
TENANT = "bergizi_redis.tenancy.TenantMiddleware"
LOCKOUT = "bergizi_redis.security.middleware.LockoutMiddleware"
LOCKOUT_BACKEND = "bergizi_redis.security.backends.LockoutModelBackend"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
DEFAULTS = {
    "SESSION_ENGINE": "django.contrib.sessions.backends.db",
    "AUTHENTICATION_BACKENDS": [MODEL_BACKEND],
    "MIDDLEWARE": [DJANGO_SESSION, USER],
    "BERGIZI_REDIS": {},
}
not_callable = "text"


@pytest.fixture(autouse=True)
def contract(settings: Any) -> None:
    """The block of settings that the documentation shows."""
    settings.CACHES = {
        "default": {"BACKEND": TAGGED, "LOCATION": "redis://localhost:6379/0"},
        "sessions": {"BACKEND": TAGGED, "LOCATION": "redis://localhost:6379/1"},
    }
    settings.SESSION_ENGINE = "bergizi_redis.sessions.backend"
    settings.AUTHENTICATION_BACKENDS = [LOCKOUT_BACKEND]
    settings.MIDDLEWARE = [SESSION, USER, TENANT, LOCKOUT]
    settings.BERGIZI_REDIS = {"KEY_PREFIX": "kitchen"}


def found() -> list[CheckMessage]:
    return [*check_settings(), *check_aliases(), *check_models(), *check_wiring(), *check_lives()]


def ids(messages: Sequence[CheckMessage] | None = None) -> list[str]:
    return [str(message.id).removeprefix("bergizi_redis.") for message in (found() if messages is None else messages)]


def only(rule: Rule, messages: Sequence[CheckMessage] | None = None) -> CheckMessage:
    """The one finding there is, which is of this rule."""
    messages = found() if messages is None else messages
    assert ids(messages) == [rule.number]
    assert messages[0].msg
    assert messages[0].hint
    assert str(messages[0].level) == str(checklist.LEVELS[rule.number[0]])
    return messages[0]


# Silence


def test_the_documented_settings_are_silent() -> None:
    assert found() == []


@pytest.mark.parametrize("name", [*DEFAULTS, "all"])
def test_each_line_taken_out_leaves_silence(settings: Any, name: str) -> None:
    for each, default in DEFAULTS.items():
        if name in (each, "all"):
            setattr(settings, each, default)
    if name == "AUTHENTICATION_BACKENDS":
        assert ids() == []
    elif name == "MIDDLEWARE":  # Django's list has two lines less, each of which a feature in use misses
        assert set(ids()) == {"W004", "I001"}
    else:
        assert ids() == []


@pytest.mark.parametrize("line", [SESSION, TENANT])
def test_each_middleware_taken_out_leaves_silence(settings: Any, line: str) -> None:
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if path != line]
    assert found() == []


def test_without_a_redis_alias_and_without_features_there_is_nothing_to_check(settings: Any) -> None:
    for name, default in DEFAULTS.items():
        setattr(settings, name, default)
    settings.CACHES = {"default": LOCAL, "odd": {"BACKEND": "no.such.Backend"}}
    assert found() == []


def test_checks_of_settings_open_no_connection(settings: Any) -> None:
    with private_server() as server:
        settings.CACHES["default"]["LOCATION"] = server.url
        before = accepted(server)
        call_command("check")
        assert accepted(server) == before + 1  # that of asking


def accepted(server: PrivateServer) -> int:
    with server.client() as raw:
        return int(raw.info("stats")["total_connections_received"])


def test_they_are_registered_with_their_tags() -> None:
    assert "bergizi_redis" in registry.registry.tags_available()
    checks = registry.registry.get_checks
    assert {check_settings, check_aliases, check_wiring} <= set(checks())
    assert check_servers not in checks()
    assert check_servers in checks(include_deployment_checks=True)


# The table


def test_ids_and_names_are_unique_and_every_rule_is_complete() -> None:
    assert len({rule.id for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES) >= 20
    for rule in RULES:
        assert getattr(checklist, rule.name) is rule
        assert rule.level in {"Error", "Warning", "Info"}
        assert rule.what.endswith(".")
        assert rule.remedy.endswith(".")
        assert rule.deploy == rule.number.startswith("W1")


# Models


def test_a_listed_model_must_exist_and_cache_its_queries(settings: Any) -> None:
    settings.BERGIZI_REDIS = {"QUERY_CACHE": {"tests.Recipe": 300, "tests.recipe": 60}}
    assert found() == []
    settings.BERGIZI_REDIS = {"QUERY_CACHE": {"tests.Recipes": 300}}
    assert only(checklist.UNKNOWN_MODEL).hint == "Did you mean 'tests.Recipe'?"
    settings.BERGIZI_REDIS = {"QUERY_CACHE": {"tests.Dish": 300}}
    assert "tests.Dish" in only(checklist.UNCACHED_MODEL).msg
    settings.BERGIZI_REDIS = {"QUERY_CACHE": {"tests.Recipe": "long"}}
    only(checklist.WRONG_VALUE)


def test_cached_queries_need_redis(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "default": LOCAL}
    settings.AUTHENTICATION_BACKENDS = [MODEL_BACKEND]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.MIDDLEWARE = [DJANGO_SESSION, USER]
    settings.BERGIZI_REDIS = {"QUERY_CACHE": {"tests.Recipe": 300}}
    assert "CACHE_ALIAS" in only(checklist.NOT_REDIS).msg


def test_domains_and_queries_need_tags(settings: Any) -> None:
    """They would be told so at their first use, and no write would void anything."""
    settings.CACHES = {**settings.CACHES, "plain": {"BACKEND": STOCK, "LOCATION": "redis://localhost:6379/2"}}
    settings.BERGIZI_REDIS = {"CACHE_ALIAS": "plain"}
    assert "holds no tags" in only(checklist.NOT_REDIS).msg


def test_a_model_whose_rows_have_tags_must_exist(settings: Any) -> None:
    settings.BERGIZI_REDIS = {"ROW_TAGS": ["tests.Dish"]}
    assert found() == []
    settings.BERGIZI_REDIS = {"ROW_TAGS": ["tests.Recipes"]}
    assert only(checklist.UNKNOWN_MODEL).hint == "Did you mean 'tests.Recipe'?"


@pytest.mark.parametrize("field", ["tenant", "kitchen", "kitchen_id", ("kitchen", "tenant"), "", ()])
def test_the_tenants_field_may_be_any_that_a_model_has(settings: Any, field: Any) -> None:
    settings.BERGIZI_REDIS = {"TENANT_FIELD": field}
    assert found() == []


def test_a_tenants_field_that_no_model_has(settings: Any) -> None:
    settings.BERGIZI_REDIS = {"TENANT_FIELD": ("kitchen", "sppgs")}
    assert "'sppgs'" in only(checklist.NO_TENANT_FIELD).msg


# Settings


@pytest.mark.parametrize("given", [["KEY_PREFIX"], None, 5])
def test_settings_that_are_no_dict(given: object, settings: Any) -> None:
    settings.BERGIZI_REDIS = given
    assert f"is a {type(given).__name__}; expected a dict" in only(checklist.NOT_A_DICT).msg
    ours = [check for check in registry.registry.get_checks(True) if check.__module__.startswith("bergizi_redis.")]
    told = [message.id for check in ours for message in check(app_configs=None, databases=None)]
    assert told.count(checklist.NOT_A_DICT.id) == 1, "one check tells of it, and no other stumbles over it"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LOCKOUT_ATEMPTS", "Did you mean 'LOCKOUT_ATTEMPTS'?"),
        ("key_prefix", "Did you mean 'KEY_PREFIX'?"),
        ("XYZZY", "The settings are ACTIVITY_DAYS,"),
        (7, "The settings are"),
    ],
)
def test_an_unknown_setting(settings: Any, name: object, hint: str) -> None:
    settings.BERGIZI_REDIS = {name: 3}
    message = only(checklist.UNKNOWN_SETTING)
    assert repr(str(name)) in message.msg
    assert hint in str(message.hint)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("LOCKOUT_ATTEMPTS", "5", "is '5'; expected int. Default: 5."),
        ("LOCKOUT_ATTEMPTS", 0, "is 0, which is out of range."),
        ("LOCKOUT_ON_OUTAGE", "shrug", "is 'shrug', which is out of range."),
        ("TENANT_RESOLVER", 7, "is 7; expected str or tuple or list."),
        ("CACHE_ALIAS", None, "is None; expected str"),
    ],
)
def test_a_wrong_value(settings: Any, name: str, value: object, problem: str) -> None:
    settings.BERGIZI_REDIS = {name: value}
    assert f"BERGIZI_REDIS[{name!r}] {problem}" in only(checklist.WRONG_VALUE).msg


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("TENANTS", "no.such.module.callable", "cannot be imported"),
        ("TENANTS", f"{__name__}.not_callable", "cannot be called"),
        ("TENANT_RESOLVER", "bergizi_redis.tenancy.tenant_from_moon", "cannot be imported"),
        ("TENANT_RESOLVER", ["bergizi_redis.tenancy.tenant_from_host", 7], "cannot be imported"),
        ("SESSION_PERMISSIONS", "accounts.permissions_of", "cannot be imported"),
        ("SESSION_ADMIN_TENANTS", f"{__name__}.not_callable", "cannot be called"),
    ],
)
def test_a_path_that_cannot_be_imported(settings: Any, name: str, path: object, reason: str) -> None:
    settings.BERGIZI_REDIS = {name: path}
    assert reason in only(checklist.NOT_IMPORTABLE).msg


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("django.contrib.sessions.backends.dbs", "cannot be used"),
        (("django.contrib.sessions.backends.db", "django.contrib.sessions.backends.cache@old"), "which is no alias"),
        ("bergizi_redis.sessions.backend", "own engine"),
    ],
)
def test_an_engine_of_before_that_there_is_not(settings: Any, engine: object, reason: str) -> None:
    settings.BERGIZI_REDIS = {"SESSION_MOVE_FROM": engine}
    assert reason in only(checklist.WRONG_VALUE).msg


def test_the_table_of_sessions_of_before_must_be_there(settings: Any) -> None:
    settings.BERGIZI_REDIS = {"SESSION_MOVE_FROM": "django.contrib.sessions.backends.cached_db"}
    assert found() == []
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django.contrib.sessions"]
    assert "INSTALLED_APPS" in only(checklist.WRONG_VALUE).msg


def test_a_merge_function_that_cannot_be_imported(settings: Any) -> None:
    settings.BERGIZI_REDIS = {"SESSION_MERGE": {"cart": "shop.merge"}}
    assert "'SESSION_MERGE'] is 'shop.merge', which cannot be imported" in only(checklist.NOT_IMPORTABLE).msg


@pytest.mark.parametrize(
    "lives",
    [
        {"SESSION_IDLE": 60},
        {"SESSION_IDLE": 7200, "SESSION_ABSOLUTE": 3600},
        {"SESSION_PRESET": "strict", "SESSION_IDLE": 13 * 3600},
        {"SESSION_PRESET": "strict", "TOUCH_EVERY": 900},
    ],
)
def test_a_life_that_is_never_reached(settings: Any, lives: dict[str, Any]) -> None:
    settings.BERGIZI_REDIS = lives
    only(checklist.USELESS_LIVES)


@pytest.mark.parametrize("preset", ["", "strict", "office", "shift", "relaxed"])
def test_the_lives_of_presets_are_silent(settings: Any, preset: str) -> None:
    settings.BERGIZI_REDIS = {"SESSION_PRESET": preset}
    assert found() == []


def test_paths_that_can_be_imported_are_silent(settings: Any) -> None:
    settings.BERGIZI_REDIS = {
        "TENANTS": "tests.warmers.every_kitchen",
        "TENANT_RESOLVER": ["bergizi_redis.tenancy.tenant_from_host", "bergizi_redis.tenancy.tenant_from_header"],
        "TRUSTED_PROXIES": ["10.0.0.0/8", "::1", "192.0.2.7"],
    }
    assert found() == []


@pytest.mark.parametrize("network", ["10.0.0.0/99", "proxy.example.org", None, 7])
def test_a_wrong_network(settings: Any, network: object) -> None:
    settings.BERGIZI_REDIS = {"TRUSTED_PROXIES": ["10.0.0.0/8", network]}
    assert repr(network) in only(checklist.WRONG_NETWORK).msg


# Aliases


def name_alias(settings: Any, setting: str, alias: str) -> None:
    if setting == "SESSION_CACHE_ALIAS":
        settings.SESSION_CACHE_ALIAS = alias
    else:
        settings.BERGIZI_REDIS = {setting: alias}


ALIAS_SETTINGS = ["CACHE_ALIAS", "SECURITY_ALIAS", "REALTIME_ALIAS", "SESSION_CACHE_ALIAS"]


@pytest.mark.parametrize("setting", ALIAS_SETTINGS)
def test_a_missing_alias(settings: Any, setting: str) -> None:
    name_alias(settings, setting, "sesions")
    message = only(checklist.MISSING_ALIAS)
    assert setting in message.msg
    assert "'default', 'sessions'" in message.msg


@pytest.mark.parametrize("setting", ALIAS_SETTINGS)
def test_an_alias_that_is_not_in_redis(settings: Any, setting: str) -> None:
    settings.CACHES["local"] = LOCAL
    name_alias(settings, setting, "local")
    assert setting in only(checklist.NOT_REDIS).msg


def test_sessions_elsewhere_need_no_redis(settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.SESSION_CACHE_ALIAS = "sesions"
    assert found() == []


@pytest.mark.parametrize(
    "location",
    ["localhost:6379", "", "http://localhost", "redis://:pa/ss@localhost:6379/0", "redis+sentinel://localhost", None,
     ["redis://localhost/0", "reddis://localhost"]],
)  # fmt: skip
def test_a_location_that_cannot_be_read(settings: Any, location: object) -> None:
    settings.CACHES["default"]["LOCATION"] = location
    message = only(checklist.WRONG_LOCATION)
    assert "CACHES['default']['LOCATION']" in message.msg
    assert "ss@" not in message.msg


def test_the_location_of_somebody_elses_alias_is_theirs(settings: Any) -> None:
    settings.CACHES["django"] = {"BACKEND": DJANGO, "LOCATION": "odd"}
    settings.CACHES["stock"] = {"BACKEND": STOCK, "LOCATION": "odd"}
    settings.CACHES["factory"] = {"BACKEND": STOCK, "LOCATION": "odd", "OPTIONS": {"CONNECTION_FACTORY": "no.such"}}
    assert found() == []


@pytest.mark.parametrize("how", ["alias", "global"])
def test_errors_hidden_from_sessions_and_locks(settings: Any, how: str) -> None:
    settings.SESSION_CACHE_ALIAS = "sessions"
    if how == "alias":
        settings.CACHES["sessions"]["OPTIONS"] = {"IGNORE_EXCEPTIONS": True}
        assert "SESSION_CACHE_ALIAS is 'sessions'" in only(checklist.HIDDEN_ERRORS).msg
    else:
        settings.DJANGO_REDIS_IGNORE_EXCEPTIONS = True
        assert ids() == ["W001", "W001"]


def test_errors_hidden_from_the_cache_alone_are_nobodys_business(settings: Any) -> None:
    settings.CACHES["default"]["OPTIONS"] = {"IGNORE_EXCEPTIONS": True}
    settings.SESSION_CACHE_ALIAS = "sessions"
    settings.BERGIZI_REDIS = {"SECURITY_ALIAS": "sessions"}
    assert found() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("SECURE_PROXY_SSL_HEADER", ("HTTP_X_FORWARDED_PROTO", "https")), ("USE_X_FORWARDED_HOST", True)],
)
def test_a_proxy_that_is_not_trusted_hides_who_visits(settings: Any, name: str, value: Any) -> None:
    assert found() == []
    setattr(settings, name, value)
    assert f"{name} is set" in only(checklist.UNTRUSTED_PROXY).msg
    remedies: tuple[tuple[str, Any], ...] = (
        ("TRUSTED_PROXIES", 1), ("TRUSTED_PROXIES", ["10.0.0.0/8"]), ("NETWORK_LOCKOUT", {}),
    )  # fmt: skip
    for remedy, given in remedies:
        settings.BERGIZI_REDIS = {remedy: given}
        assert found() == []


def test_a_resolver_that_is_none_is_found(settings: Any) -> None:
    settings.BERGIZI_REDIS = {"IDENTIFIER_RESOLVER": "bergizi_redis.nowhere.resolver"}
    assert "IDENTIFIER_RESOLVER" in only(checklist.NOT_IMPORTABLE).msg


@pytest.mark.parametrize(
    ("backend", "rule"), [(TAGGED, checklist.TWO_POOLS), (STOCK, checklist.SHARED_POOL), (DJANGO, None)]
)
def test_one_url_with_different_pool_options(settings: Any, backend: str, rule: Rule | None) -> None:
    for alias, connections in (("a", 10), ("b", 20)):
        options = {"CONNECTION_POOL_KWARGS": {"max_connections": connections}}
        settings.CACHES[alias] = {"BACKEND": backend, "LOCATION": "redis://localhost:6379/7", "OPTIONS": options}
    if rule:
        assert "CACHES['a'] and CACHES['b']" in only(rule).msg
    else:
        assert found() == []


def test_one_url_with_the_same_pool_options_is_silent(settings: Any) -> None:
    settings.CACHES["other"] = copy.deepcopy(settings.CACHES["default"])
    settings.CACHES["other"]["OPTIONS"] = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
    assert found() == []


# Backends and middleware


@pytest.mark.parametrize(
    ("backends", "where"),
    [([MODEL_BACKEND, LOCKOUT_BACKEND], "before"), ([LOCKOUT_BACKEND, MODEL_BACKEND], "beside")],
)
def test_a_backend_that_is_not_counted(settings: Any, backends: list[str], where: str) -> None:
    settings.AUTHENTICATION_BACKENDS = backends
    assert f"{MODEL_BACKEND!r} checks passwords {where} the guarded backend" in only(checklist.UNGUARDED_BACKEND).msg


@pytest.mark.parametrize("other", ["django.contrib.auth.backends.RemoteUserBackend", "no.such.Backend"])
def test_a_backend_that_checks_no_password_is_silent(settings: Any, other: str) -> None:
    settings.AUTHENTICATION_BACKENDS = [LOCKOUT_BACKEND, other]
    assert found() == []


def test_without_djangos_auth_backends_are_not_looked_at(settings: Any) -> None:
    settings.INSTALLED_APPS = ["bergizi_redis"]
    settings.AUTHENTICATION_BACKENDS = [MODEL_BACKEND, LOCKOUT_BACKEND]
    assert found() == []


def test_a_lockout_without_its_middleware(settings: Any) -> None:
    settings.MIDDLEWARE = [SESSION, USER, TENANT]
    assert LOCKOUT in only(checklist.NO_LOCKOUT_MIDDLEWARE).msg


def test_a_lockout_middleware_before_the_user(settings: Any) -> None:
    settings.MIDDLEWARE = [SESSION, LOCKOUT, USER, TENANT]
    assert "number 2" in only(checklist.LOCKOUT_BEFORE_USER).msg


@pytest.mark.parametrize(
    ("middleware", "where"), [([SESSION, TENANT, USER, LOCKOUT], "before"), ([SESSION, TENANT, LOCKOUT], "without")]
)
def test_a_tenant_middleware_that_finds_no_user(settings: Any, middleware: list[str], where: str) -> None:
    settings.MIDDLEWARE = middleware
    assert f"stands {where} AuthenticationMiddleware" in only(checklist.TENANT_BEFORE_USER).msg
    settings.BERGIZI_REDIS = {"TENANT_RESOLVER": "bergizi_redis.tenancy.tenant_from_host"}
    assert found() == []


def test_both_session_middlewares(settings: Any) -> None:
    settings.MIDDLEWARE = [DJANGO_SESSION, SESSION, USER, TENANT, LOCKOUT]
    assert DJANGO_SESSION in only(checklist.TWO_SESSION_MIDDLEWARES).msg


def test_djangos_session_middleware_is_worth_a_word(settings: Any) -> None:
    settings.MIDDLEWARE = [DJANGO_SESSION, USER, TENANT, LOCKOUT]
    assert DJANGO_SESSION in only(checklist.STOCK_SESSION_MIDDLEWARE).msg


# Servers


@pytest.fixture
def deployed(settings: Any) -> Callable[[PrivateServer], list[CheckMessage]]:
    def ask(server: PrivateServer) -> list[CheckMessage]:
        settings.CACHES = {"default": {"BACKEND": TAGGED, "LOCATION": server.url}}
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0}
        try:
            return check_servers()
        finally:
            disconnect_all()

    return ask


Deployed = Callable[[PrivateServer], list[CheckMessage]]


def test_a_server_made_for_sessions_is_silent(deployed: Deployed) -> None:
    with private_server("--appendonly", "yes") as server:
        assert deployed(server) == []


def test_a_server_that_cannot_be_used(deployed: Deployed) -> None:
    with private_server("--requirepass", "sesame") as server:
        message = only(checklist.ILL_SERVER, deployed(server))
        assert "The server asks for a password and got none." in message.msg
        assert "LOCATION" in str(message.hint)
    message = only(checklist.ILL_SERVER, deployed(PrivateServer(port=free_port())))
    assert "Nothing listens there." in message.msg


def test_a_server_that_evicts_under_sessions_and_locks(settings: Any, deployed: Deployed) -> None:
    with private_server("--appendonly", "yes", "--maxmemory-policy", "volatile-lru") as server:
        assert ids(deployed(server)) == ["W102", "W102"]
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        assert "BERGIZI_REDIS['SECURITY_ALIAS'] is 'default'" in only(checklist.EVICTING, deployed(server)).msg
        settings.AUTHENTICATION_BACKENDS = [MODEL_BACKEND]
        assert deployed(server) == []


def test_a_server_that_forgets_under_sessions(settings: Any, deployed: Deployed) -> None:
    with private_server() as server:
        only(checklist.NOT_PERSISTENT, deployed(server))
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        assert deployed(server) == []


def test_settings_that_cannot_be_used_are_left_to_the_other_checks(settings: Any) -> None:
    settings.CACHES["default"]["LOCATION"] = "odd"
    assert check_servers() == []


def test_sessions_on_an_alias_that_is_not_asked_are_left_to_the_other_checks(
    settings: Any, server: PrivateServer
) -> None:
    settings.CACHES = {"default": {"BACKEND": TAGGED, "LOCATION": server.url}, "local": LOCAL}
    settings.SESSION_CACHE_ALIAS = "local"
    assert check_servers() == []
    disconnect_all()


def test_a_server_that_may_lose_buffered_writes(settings: Any, deployed: Deployed) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.AUTHENTICATION_BACKENDS = [MODEL_BACKEND]
    with private_server("--maxmemory-policy", "allkeys-lru") as server:
        assert deployed(server) == []
        WriteBehind(Domain("counter"), flush=lambda *what: None)
        try:
            assert ids(deployed(server)) == ["W102", "W104"]
            assert "WRITE_BEHIND_ALIAS" in deployed(server)[1].msg
        finally:
            writes._declared.clear()
            buffers.clear()
    with private_server("--appendonly", "yes") as server:
        assert deployed(server) == []
