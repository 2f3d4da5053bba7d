"""Exactly N password checks, however many are tried at once: threads, tasks, processes, real hashers.

Tried against mutants of the package: counting after the check instead of before it, closing the lock in a second
command, and a debit that reads and writes in two commands each turn these tests red.
"""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.models import User
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from bergizi_redis.security import lockout
from bergizi_redis.security.backends import LockoutMixin
from tests import passwordcount
from tests.passwordcount import RIGHT, OneUserBackend

WRONG = 300
THREADS = 64


class GuardedBackend(LockoutMixin, OneUserBackend):
    pass


@pytest.fixture
def who() -> str:
    return f"budi-{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def counted(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["tests.passwordcount.CountingHasher", "tests.passwordcount.CountingBCrypt"]
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.GuardedBackend"]
    OneUserBackend.prepare()


def limit_to(settings: Any, attempts: int) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_ATTEMPTS": attempts}


def storm(login: Callable[[int], Any], times: int = WRONG, threads: int = THREADS) -> list[Any]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(login, range(times)))


def guess(who: str) -> Callable[[int], Any]:
    return lambda number: authenticate(None, username=who, password=f"wrong-{number}")


@pytest.mark.parametrize("limit", [1, 3, 5, 20])
def test_300_wrong_passwords_from_64_threads_are_limit_checks(who: str, settings: Any, limit: int) -> None:
    limit_to(settings, limit)
    assert not any(storm(guess(who)))
    assert passwordcount.checks() == limit
    assert lockout.is_account_locked(who).locked


def test_with_real_bcrypt_they_are_five_too(who: str, settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["tests.passwordcount.CountingBCrypt"]
    OneUserBackend.prepare("counted_bcrypt")
    assert not any(storm(guess(who)))
    assert passwordcount.checks() == 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("exists", [True, False])
def test_the_model_backend_checks_five_whether_the_account_exists_or_not(who: str, settings: Any, exists: bool) -> None:
    settings.AUTHENTICATION_BACKENDS = ["bergizi_redis.security.backends.LockoutModelBackend"]
    if exists:
        User.objects.create_user(who, password=RIGHT)
    passwordcount.reset()

    def login(number: int) -> Any:
        try:
            return authenticate(None, username=who, password=f"wrong-{number}")
        finally:
            # Each thread has a connection of its own, which Django leaves open for a database in memory.
            BaseDatabaseWrapper.close(connection)

    assert not any(storm(login, threads=16))
    assert passwordcount.checks() == 5


def test_300_tasks_are_five_checks(who: str) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*(aauthenticate(None, username=who, password=f"wrong-{n}") for n in range(WRONG)))

    assert not any(async_to_sync(main)())
    assert passwordcount.checks() == 5


def test_300_tasks_in_a_guard_are_five_entries(who: str) -> None:
    entered = 0

    async def login() -> None:
        nonlocal entered
        async with lockout.guard_login(who):
            entered += 1
            await asyncio.sleep(0)

    async def main() -> list[BaseException | None]:
        return await asyncio.gather(*(login() for _ in range(WRONG)), return_exceptions=True)

    answers = asyncio.run(main())
    assert entered == 5
    assert sum(isinstance(answer, lockout.AccountLocked) for answer in answers) == WRONG - 5


def test_threads_and_tasks_together_are_five_checks(who: str) -> None:
    async def main() -> None:
        await asyncio.gather(*(aauthenticate(None, username=who, password="wrong") for _ in range(100)))

    with ThreadPoolExecutor(1) as pool:
        tasks = pool.submit(asyncio.run, main())
        storm(guess(who), times=100, threads=16)
        tasks.result()
    assert passwordcount.checks() == 5


@pytest.mark.parametrize("limit", [1, 3, 5, 20])
@pytest.mark.parametrize("right_one", ["first", "last"])
def test_limit_many_at_once_with_the_right_password_among_them_log_in(
    who: str, settings: Any, limit: int, right_one: str
) -> None:
    """Whichever of them closes the lock, the success opens it: the count had charged the success in advance."""
    limit_to(settings, limit)
    passwords = [f"wrong-{n}" for n in range(limit - 1)]
    passwords.insert(0 if right_one == "first" else limit - 1, RIGHT)
    users = storm(lambda n: authenticate(None, username=who, password=passwords[n]), times=limit, threads=limit)
    assert len([user for user in users if user]) == 1
    assert passwordcount.checks() == limit
    assert not lockout.is_account_locked(who).locked
    assert lockout.locked_accounts() == []


def test_the_right_password_last_after_the_wrong_ones_logs_in(who: str) -> None:
    storm(guess(who), times=4)
    assert authenticate(None, username=who, password=RIGHT)
    assert lockout.is_account_locked(who) == lockout.LockStatus(False, 0, 0, 5)


def test_accounts_in_one_storm_are_counted_apart(who: str) -> None:
    storm(lambda n: authenticate(None, username=f"{who}-{n % 10}", password="wrong"))
    assert passwordcount.checks() == 50


CHILD = """
import sys
from concurrent.futures import ThreadPoolExecutor
import django
from django.conf import settings
url, prefix, who = sys.argv[1:]
settings.configure(
    SECRET_KEY="for tests only",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}},
    BERGIZI_REDIS={"KEY_PREFIX": prefix, "REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0},
    AUTHENTICATION_BACKENDS=["tests.test_lockout_races.GuardedBackend"],
    PASSWORD_HASHERS=["tests.passwordcount.CountingHasher"],
)
django.setup()
from django.contrib.auth import authenticate
from tests import passwordcount
passwordcount.OneUserBackend.prepare()
authenticate(None, username="warm" + who, password="wrong")
passwordcount.reset()
print("ready", flush=True)
sys.stdin.readline()
for limit in (1, 3, 5, 20):
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_ATTEMPTS": limit}
    passwordcount.reset()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: authenticate(None, username=f"{who}-{limit}", password=f"wrong-{n}"), range(75)))
    print(passwordcount.checks(), flush=True)
"""


def test_four_processes_are_limit_checks(who: str, redis_url: str, prefix: str) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, redis_url, prefix, who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        outputs = []
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        for child in children:
            output, _ = child.communicate(timeout=240)
            outputs.append([int(line) for line in output.split()])
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert [sum(counts) for counts in zip(*outputs, strict=True)] == [1, 3, 5, 20]
