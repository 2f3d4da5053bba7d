"""Moving in from django-axes: its middleware, decorators, exemptions and settings, with this package's count.

Red, each, in a copy: exemptions that are not heeded, a failure counted by handler and backend, one counted by neither,
a success that forgets nothing.
"""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from bergizi_redis.conf import config
from bergizi_redis.contrib.axes_settings import lockout_settings
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.security import lockout
from tests.terminal import ROOT, django_environment


def seen(scenario: str, redis_url: str, prefix: str) -> dict[str, Any]:
    environment = django_environment()
    environment.pop("DJANGO_SETTINGS_MODULE")
    done = subprocess.run(
        [sys.executable, "-m", "tests.axes_site", scenario, redis_url, prefix],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_its_middleware_decorators_whitelist_signal_and_reset_go_on_working(redis_url: str, prefix: str) -> None:
    saw = seen("form", redis_url, prefix)
    message = "Account locked: too "
    assert saw["wrong"] == [[200, "wrong"]] * 4 + [[429, message]]
    assert saw["locked"] == [[429, message]] * 2
    assert saw["hashes"] == 0
    assert saw["heard"] == ["budi", "budi"]
    assert saw["whitelisted"] == [200, "welcome"]
    assert saw["reset"] == [1, 0]
    assert saw["again"] == [[200, "form"], [200, "welcome"]]


def test_parallel_guesses_are_counted_before_and_successes_without_login_are_none(redis_url: str, prefix: str) -> None:
    saw = seen("many", redis_url, prefix)
    assert saw == {"successes": ["data"] * 8, "hashes": 5, "in": 0}


def test_without_a_guarded_backend_failures_are_counted_after_the_check(redis_url: str, prefix: str) -> None:
    saw = seen("after", redis_url, prefix)
    assert saw["wrong"] == [200] * 3
    assert (saw["right"], saw["forgotten"]) == ("welcome", 0)
    assert saw["locked"] == [200, 200, 200, 200, 429, 429]
    assert (saw["reset"], saw["again"]) == ([1, 0], "welcome")


# Settings


@pytest.mark.parametrize(
    ("given", "mapped"),
    [
        ({}, {"LOCKOUT_ATTEMPTS": 3, "LOCKOUT_CAP": 3, "NETWORK_LOCKOUT": {"address": (3, 86400)}}),
        (
            {"AXES_ONLY_USER_FAILURES": True},
            {"LOCKOUT_ATTEMPTS": 3, "LOCKOUT_CAP": 3, "NETWORK_LOCKOUT": {}},
        ),
        (
            {"AXES_FAILURE_LIMIT": 10, "AXES_COOLOFF_TIME": 2, "AXES_LOCKOUT_PARAMETERS": ["username"]},
            {"LOCKOUT_ATTEMPTS": 10, "LOCKOUT_SECONDS": 7200.0, "LOCKOUT_WINDOW": 7200.0, "NETWORK_LOCKOUT": {}},
        ),
        (
            {
                "AXES_COOLOFF_TIME": timedelta(minutes=5),
                "AXES_LOCKOUT_PARAMETERS": ["ip_address", ["username", "user_agent"]],
                "AXES_IPWARE_PROXY_COUNT": 2,
            },
            {
                "LOCKOUT_ATTEMPTS": 3, "LOCKOUT_SECONDS": 300.0, "LOCKOUT_WINDOW": 300.0,
                "NETWORK_LOCKOUT": {"address": (3, 300.0)}, "TRUSTED_PROXIES": 2,
            },
        ),
        (
            {"AXES_COOLOFF_TIME": 0.5, "AXES_IPWARE_PROXY_TRUSTED_IPS": ["10.0.0.0/8"]},
            {
                "LOCKOUT_ATTEMPTS": 3, "LOCKOUT_SECONDS": 1800.0, "LOCKOUT_WINDOW": 1800.0,
                "NETWORK_LOCKOUT": {"address": (3, 1800.0)}, "TRUSTED_PROXIES": ["10.0.0.0/8"],
            },
        ),
    ],
)  # fmt: skip
def test_its_settings_become_ours(settings: Any, given: dict[str, Any], mapped: dict[str, Any]) -> None:
    assert lockout_settings(given) == mapped
    settings.BERGIZI_REDIS = mapped
    for name in mapped:
        getattr(config, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AXES_FAILURE_LIMIT", "kitchen.limit"),
        ("AXES_COOLOFF_TIME", "kitchen.cool_off"),
        ("AXES_LOCKOUT_PARAMETERS", "kitchen.parameters"),
        ("AXES_COOLOFF_TIME", 0),
        ("AXES_FAILURE_LIMIT", True),
    ],
)
def test_what_only_a_person_can_map_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        lockout_settings({name: value})


def test_without_a_cool_off_an_account_stays_locked_until_it_is_unlocked(settings: Any) -> None:
    given = {"AXES_LOCKOUT_PARAMETERS": ["username"]}
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **lockout_settings(given)}
    for _ in range(3):
        lockout.record_login_attempt("budi", False)
    status = lockout.is_account_locked("budi")
    assert status.locked
    assert status.capped
    assert lockout.unlock_account("budi")
    assert not lockout.is_account_locked("budi").locked
