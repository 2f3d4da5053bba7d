"""Settings: read live, checked as they are read, and each error says what would be right."""

from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from django.test.utils import override_settings
from hypothesis import given
from hypothesis import strategies as st

from bergizi_redis.conf import Config, Setting, config, given_settings, import_setting, redis_url_from_env
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.topology import parse_location

SETTINGS = list(config)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_setting_has_a_valid_default_and_says_why(setting: Setting[Any], settings: Any) -> None:
    settings.BERGIZI_REDIS = {}
    assert getattr(config, setting.name) == setting.default
    assert setting.problem(setting.default) is None
    assert setting.why.endswith((".", "`"))
    assert getattr(Config, setting.name) is setting


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_setting_refuses_another_type_by_name(setting: Setting[Any], settings: Any) -> None:
    settings.BERGIZI_REDIS = {setting.name: frozenset({"another type"})}
    with pytest.raises(ConfigurationError) as caught:
        getattr(config, setting.name)
    for part in (f"BERGIZI_REDIS['{setting.name}']", "another type", "expected", repr(setting.default)):
        assert part in str(caught.value)


def test_a_setting_is_read_live(settings: Any) -> None:
    settings.BERGIZI_REDIS = {"REQUEST_BUDGET": 0.5}
    assert config.REQUEST_BUDGET == 0.5
    settings.BERGIZI_REDIS = {"REQUEST_BUDGET": 1}
    assert config.REQUEST_BUDGET == 1
    del settings.BERGIZI_REDIS
    assert config.REQUEST_BUDGET == 0.8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REQUEST_BUDGET", 0),
        ("REQUEST_BUDGET", -1),
        ("REQUEST_BUDGET", float("inf")),
        ("REQUEST_BUDGET", float("nan")),
        ("MAX_CONNECTIONS", 0),
        ("LOCKOUT_ON_OUTAGE", "shut"),
        ("KEY_PREFIX", "{mine}"),
        ("KEY_PREFIX", "x" * 65),
        ("TRUSTED_PROXIES", ["10.0.0.0/8", "proxy.local"]),
        ("TRUSTED_PROXIES", [10]),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_reason(settings: Any, name: str, value: object) -> None:
    settings.BERGIZI_REDIS = {name: value}
    with pytest.raises(ConfigurationError, match="out of range") as caught:
        getattr(config, name)
    assert getattr(Config, name).why in str(caught.value)


@pytest.mark.parametrize("value", [True, False])
def test_a_bool_is_no_number(settings: Any, value: bool) -> None:
    settings.BERGIZI_REDIS = {"MAX_CONNECTIONS": value}
    with pytest.raises(ConfigurationError, match="expected int"):
        _ = config.MAX_CONNECTIONS


def test_settings_that_are_no_dict_are_named(settings: Any) -> None:
    settings.BERGIZI_REDIS = ["CACHE_ALIAS"]
    with pytest.raises(ConfigurationError, match=r"BERGIZI_REDIS is \['CACHE_ALIAS'\]; expected a dict"):
        given_settings()


def test_a_path_that_cannot_be_imported_is_named_with_its_setting() -> None:
    assert import_setting("TENANT_RESOLVER", "bergizi_redis.keys.session").__name__ == "session"
    for path in ("bergizi_redis.nothing.here", "bergizi_redis.keys.nothing", "word"):
        with pytest.raises(ConfigurationError, match=rf"BERGIZI_REDIS\['TENANT_RESOLVER'\] is '{path}'"):
            import_setting("TENANT_RESOLVER", path)


# The environment

NAMES = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB")


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def set_all(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, None),
        ({"REDIS_URL": "rediss://h:1/2"}, "rediss://h:1/2"),
        ({"REDIS_URL": "redis://h:1/2", "REDIS_HOST": "other"}, "redis://h:1/2"),
        ({"REDIS_HOST": "h"}, "redis://h:6379/0"),
        ({"REDIS_HOST": "h", "REDIS_PORT": "7000", "REDIS_DB": "3"}, "redis://h:7000/3"),
        ({"REDIS_HOST": "h", "REDIS_PORT": "", "REDIS_DB": "", "REDIS_PASSWORD": ""}, "redis://h:6379/0"),
        ({"REDIS_URL": "", "REDIS_HOST": "h"}, "redis://h:6379/0"),
        ({"REDIS_URL": "", "REDIS_HOST": ""}, None),
        ({"REDIS_PORT": "tcp://10.0.0.1:6379"}, None),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "[::1]"}, "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "h", "REDIS_PASSWORD": "p@ss/w:rd#?%"}, "redis://:p%40ss%2Fw%3Ard%23%3F%25@h:6379/0"),
    ],
)
def test_the_url_comes_from_the_environment(environ: Any, values: dict[str, str], url: str | None) -> None:
    environ(**values)
    assert redis_url_from_env() == url
    assert redis_url_from_env("redis://fallback") == (url or "redis://fallback")


@pytest.mark.parametrize(
    ("name", "value"),
    [("REDIS_PORT", "http"), ("REDIS_PORT", "0"), ("REDIS_PORT", "65536"), ("REDIS_PORT", "-1"), ("REDIS_DB", "one"),
     ("REDIS_DB", "٣"), ("REDIS_DB", "1.5")],
)  # fmt: skip
def test_a_number_that_is_none_is_named(environ: Any, name: str, value: str) -> None:
    environ(REDIS_HOST="h", **{name: value})
    with pytest.raises(ConfigurationError, match=f"{name} is '{value}'; expected a number"):
        redis_url_from_env()


def test_the_port_that_kubernetes_sets_is_explained(environ: Any) -> None:
    environ(REDIS_HOST="h", REDIS_PORT="tcp://10.0.0.1:6379")
    with pytest.raises(ConfigurationError, match="Kubernetes"):
        redis_url_from_env()


@given(password=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_password_survives_the_way_into_the_url(password: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.delenv(name, raising=False)
        patch.setenv("REDIS_HOST", "h")
        patch.setenv("REDIS_PASSWORD", password)
        url = redis_url_from_env()
    assert url
    assert parse_location(url).kind == "standalone"
    assert unquote(urlsplit(url).password or "") == password


def test_a_setting_given_after_it_was_missed_is_seen(settings: Any) -> None:
    del settings.BERGIZI_REDIS
    assert given_settings() == {}
    settings.BERGIZI_REDIS = {"KEY_PREFIX": "a"}
    assert config.KEY_PREFIX == "a"
    del settings.BERGIZI_REDIS
    assert config.KEY_PREFIX == config.KEY_PREFIX == ""
    with override_settings(BERGIZI_REDIS={"KEY_PREFIX": "b"}):
        assert config.KEY_PREFIX == "b"
        with override_settings(DEBUG=True):
            assert config.KEY_PREFIX == "b"
    assert config.KEY_PREFIX == ""
