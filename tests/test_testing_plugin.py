"""What ``bergizi_redis.testing`` offers to projects: isolation, assertions about invalidation, and the pytest plugin.

Taken away once to see these tests go red: running what waits for the commit, and what the test wrote before
(``in_a_test_case``), and removing the keys (``keys_are_gone``).
"""

import configparser
import os
import re
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.core.management import call_command
from django.db import transaction
from django.db.models.signals import class_prepared, post_delete, post_save
from django.test import TestCase

from bergizi_redis import keys, points
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.invalidation import Touched, invalidates
from bergizi_redis.tenancy import current_tenant, find_tenant
from bergizi_redis.testing import (
    IsolatedRedis,
    assert_invalidates,
    assert_keeps_warm,
    isolated_redis,
    isolated_tenant,
    redis_is_down,
)
from tests.models import Dish

ROOT = Path(__file__).resolve().parent.parent
TENANT = "sppg-a"
committing = pytest.mark.django_db(transaction=True)
in_test_case = pytest.mark.django_db


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def receivers() -> Iterator[None]:
    """A receiver for dishes, forgotten after the test."""
    signals = (post_save, post_delete, class_prepared)
    before = [list(signal.receivers) for signal in signals]

    @invalidates(Dish)
    def dish_touched(dish: Dish) -> Touched:
        return Touched(tenant=dish.tenant, tags=["dishes", "menu"])

    yield
    for signal, known in zip(signals, before, strict=True):
        signal.receivers = known
        signal.sender_receivers_cache.clear()


# Isolation


def test_keys_are_gone_afterwards(raw: "redis.Redis", cache: TaggedRedisCache) -> None:
    with isolated_redis() as name:
        caches["default"].set("k", 1)
        menu.set(TENANT, 42, 1)
        assert len(list(raw.scan_iter(match=f"*{name}*"))) > 2
        assert keys.session("ab1").startswith(f"{name}:session:")
    assert list(raw.scan_iter(match=f"*{name}*")) == []


def test_two_tests_do_not_see_one_another(cache: TaggedRedisCache) -> None:
    with isolated_redis() as first:
        caches["default"].set("k", 1)
        with isolated_redis() as second:
            assert first != second
            assert caches["default"].get("k") is None
        assert caches["default"].get("k") == 1
    assert caches["default"].get("k") is None


def test_aliases_that_differ_go_on_to_differ(settings: Any) -> None:
    one = {**settings.CACHES["default"], "KEY_PREFIX": "shop"}
    settings.CACHES = {"default": {**one, "KEY_PREFIX": ""}, "shop": one, "local": {"BACKEND": LOCAL}}
    with isolated_redis() as name:
        prefixes = [caches[alias].key_prefix for alias in ("default", "shop", "local")]
        assert prefixes == [name, f"shop.{name}", name]
        caches["shop"].set("k", 1)
        caches["default"].clear()
        assert caches["shop"].get("k") == 1
    assert caches["shop"].key_prefix == "shop"


LOCAL = "django.core.cache.backends.locmem.LocMemCache"


def test_isolation_ends_quietly_when_redis_is_down() -> None:
    with redis_is_down(), isolated_redis():
        caches["default"].set("k", 1)


def test_a_tenant_of_its_own() -> None:
    with isolated_tenant() as tenant:
        assert current_tenant() == tenant
    assert find_tenant() is None


class Isolated(IsolatedRedis, unittest.TestCase):
    __test__ = False  # run by the test below
    seen: list[str] = []

    def test(self) -> None:
        caches["default"].set("k", self.redis_prefix)
        self.seen.append(self.redis_prefix)


def test_the_mixin_isolates_each_test_of_unittest(raw: "redis.Redis") -> None:
    Isolated.seen.clear()
    for _ in range(2):
        result = unittest.TestResult()
        Isolated("test").run(result)
        assert result.wasSuccessful(), result.errors
    assert len(set(Isolated.seen)) == 2
    assert [key for name in Isolated.seen for key in raw.scan_iter(match=f"*{name}*")] == []


# Invalidation


@committing
def test_a_block_that_voids_the_entry_passes(cache: TaggedRedisCache) -> None:
    with assert_invalidates(Dish, "k", tags=["dishes"]):
        Dish.objects.create(name="soto")


@committing
def test_saving_an_instance_is_a_block(cache: TaggedRedisCache) -> None:
    soto = Dish.objects.create(name="soto")
    assert_invalidates(soto, "k", tags=["dishes"])
    assert_keeps_warm(soto, "k", tags=["drinks"])


@in_test_case
def test_in_a_test_case_what_waits_for_the_commit_is_run() -> None:
    soto = Dish.objects.create(name="soto")
    assert_invalidates(soto, "k", tags=["dishes"])
    with assert_invalidates(Dish, menu.lookup(TENANT, 42)), transaction.atomic():
        soto.delete()


@in_test_case
def test_a_failure_names_the_tags_of_the_entry_and_those_that_were_voided() -> None:
    soto = Dish(name="soto", tenant=TENANT)
    with pytest.raises(AssertionError) as caught:
        assert_invalidates(soto, "card", tags=["drinks"])
    first, depends, voided = str(caught.value).splitlines()
    assert first == "'card' is still served after the write of Dish."
    assert depends == "  It depends on: everything, drinks."
    assert voided.startswith("  The write voided: ")
    assert {"dishes", f"dishes of {TENANT}", "menu"} <= set(
        voided.removeprefix("  The write voided: ")[:-1].split(", ")
    )


@in_test_case
def test_a_failure_says_when_nothing_was_voided(cache: TaggedRedisCache) -> None:
    cache.set("k", 1)
    with (
        pytest.raises(
            AssertionError, match=r"(?s)'k' is still served after the write\..*depends on: nothing: .*voided: nothing"
        ),
        assert_invalidates(None, "k"),
    ):
        pass


@committing
def test_a_write_that_is_rolled_back_voids_nothing() -> None:
    with assert_keeps_warm(Dish, "k", tags=["dishes"]), transaction.atomic():
        Dish.objects.create(name="soto")
        transaction.set_rollback(True)


@committing
def test_the_opposite_fails_for_what_was_voided() -> None:
    with (
        pytest.raises(AssertionError, match=r"'k' is void now, and should have stayed after the write of Dish"),
        assert_keeps_warm(Dish, "k", tags=["dishes"]),
    ):
        Dish.objects.create(name="soto")


@cached(timeout=300, tags=["dishes"], per_tenant=True)
def dish_names() -> list[str]:
    return [dish.name for dish in Dish.objects.filter(tenant=current_tenant())]


@committing
def test_the_entry_that_the_code_has_stored_is_watched(cache: TaggedRedisCache) -> None:
    with isolated_tenant() as tenant:
        assert dish_names() == []
        with assert_invalidates(Dish, dish_names.lookup()):
            Dish.objects.create(name="soto", tenant=tenant)
        assert dish_names() == ["soto"]
        with assert_keeps_warm(Dish, dish_names.lookup()):
            Dish.objects.create(name="rawon", tenant="sppg-b")


@committing
def test_another_kitchens_entry_stays_warm() -> None:
    soto = Dish.objects.create(name="soto", tenant=TENANT)
    assert_invalidates(soto, menu.lookup(TENANT, 42))
    assert_keeps_warm(soto, menu.lookup("sppg-b", 42))


class AsyncDishes(TestCase):
    __test__ = False  # run by the test below

    async def test(self) -> None:
        async with assert_invalidates(Dish, "k", tags=["dishes"]):
            await Dish.objects.acreate(name="soto")


def test_an_async_block_in_a_test_case(django_db_blocker: Any, django_db_setup: None) -> None:
    with django_db_blocker.unblock():
        result = unittest.TestResult()
        unittest.TestSuite([AsyncDishes("test")]).run(result)
    assert result.testsRun == 1
    assert result.wasSuccessful(), (result.errors, result.failures)


def test_an_error_of_the_block_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), assert_invalidates(None, "k", tags=["dishes"]):
        _ = 1 / 0


def test_what_cannot_be_stored_cannot_be_checked() -> None:
    with (
        redis_is_down(),
        pytest.raises(AssertionError, match="'k' cannot be stored: Redis is down, or"),
        assert_invalidates(None, "k", tags=["dishes"]),
    ):
        pass


def test_a_block_that_was_never_entered_warns() -> None:
    with pytest.warns(RuntimeWarning, match="'k' was never checked: write `with assert_"):
        del [assert_invalidates(Dish, "k")][0]


@pytest.mark.parametrize(
    ("subject", "key", "error", "message"),
    [
        (Dish, 42, TypeError, r"42 names no entry: give a key, or a lookup such as menu\.lookup"),
        ("Dish", "k", TypeError, "neither a model nor an instance"),
        (int, "k", TypeError, "neither a model nor an instance"),
    ],
)
def test_a_wrong_argument_is_told(subject: Any, key: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        assert_invalidates(subject, key)


def test_an_entry_that_is_nowhere_needs_tags() -> None:
    with pytest.raises(ValueError, match=r"'k' is not in the cache\. Store it before the block, or give tags"):
        assert_invalidates(None, "k").__enter__()


# The plugin


def run_pytest(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest in a project of its own, with nothing of this one but the package."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DJANGO_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "bergizi_redis.testing", "-p", "no:cacheprovider",
         "-p", "no:randomly", "-q", *arguments],
        cwd=place, env={**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{place}", **environment},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.mark.slow
def test_the_examples_of_the_guide_pass_in_a_new_project(tmp_path: Path, redis_url: str) -> None:
    call_command("startproject", "config", str(tmp_path), verbosity=0)
    for folder in ("kitchens", "tests"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    for block in re.findall(r"(?ms)^```python\n(.*?)^```$", GUIDE):
        name = re.match(r"# (\S+\.py)\n", block)
        assert name, f"The guide's examples begin with the name of their file: {block[:60]!r}"
        (tmp_path / name[1]).write_text(block)
    with (tmp_path / "config/test_settings.py").open("a") as file:
        file.write('BERGIZI_REDIS = {"REQUEST_BUDGET": 5.0}\n')  # a busy machine's server takes its time
    (tmp_path / "kitchens/apps.py").write_text(APP)
    ended = run_pytest(tmp_path, "tests", DJANGO_SETTINGS_MODULE="config.test_settings", REDIS_URL=redis_url)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "7 passed" in ended.stdout


def test_the_guide_tells_every_point() -> None:
    assert points.__doc__
    rows = re.findall(r"(?m)^\| ``(\w+)`` \| (.*) \|$", points.__doc__)
    assert tuple(name for name, _ in rows) == points.POINTS
    assert [line for line in (f"| `{name}` | {where} |" for name, where in rows) if line not in GUIDE] == []


GUIDE = (ROOT / "docs/how-to/testing.md").read_text()
APP = """
from django.apps import AppConfig

class Kitchens(AppConfig):
    name = "kitchens"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        import kitchens.menus
        from bergizi_redis.testing import pause_at

        pause_at.__kwdefaults__["timeout"] = 60.0  # a busy machine takes its time
"""


def test_the_plugin_is_found_by_pytest_where_the_package_is_installed() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    assert parser["options.entry_points"]["pytest11"].strip() == "bergizi_redis.testing = bergizi_redis.testing"


def test_the_plugin_leaves_a_project_without_django_alone(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(
        "import sys\n\ndef test_plain():\n"
        "    loaded = {'django.conf', 'django.db', 'redis', 'django_redis'} & set(sys.modules)\n    assert not loaded\n"
    )
    ended = run_pytest(tmp_path, "-p", "no:django", "--strict-config", "--strict-markers")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout


def test_the_functions_are_fixtures_too(tmp_path: Path) -> None:
    names = ("assert_invalidates", "assert_keeps_warm", "redis_is_down", "pause_at", "count_round_trips")
    (tmp_path / "test_plain.py").write_text(
        f"from bergizi_redis import testing\n\ndef test_plain({', '.join(names)}):\n"
        + "".join(f"    assert {name} is testing.{name}\n" for name in names)
    )
    ended = run_pytest(tmp_path, "-p", "no:django")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_isolation_without_settings_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text("def test_plain(bergizi_redis_isolated): ...\n")
    ended = run_pytest(tmp_path, "-p", "no:django")
    assert "Isolation needs Django's settings: set DJANGO_SETTINGS_MODULE" in ended.stdout


def test_the_module_can_be_loaded_without_pytest(tmp_path: Path) -> None:
    (tmp_path / "pytest.py").write_text("raise ImportError('not installed')\n")
    code = "from bergizi_redis.testing import pause_at, IsolatedRedis, redis_is_down"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=240)
