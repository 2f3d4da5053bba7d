"""Exactly N calls pass, however many are made at once: threads, tasks, processes.

Tried against mutants of the package: a script that looks in one command and charges in a second turns these tests red,
and so does one that charges each of several limits by itself where another one refuses.
"""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from bergizi_redis.security.limiting.charging import charge
from bergizi_redis.security.ratelimit import Ratelimited, ratelimit
from tests.ratelimits import quota

rf = RequestFactory()
every = pytest.mark.parametrize("algorithm", ["exact", "gcra", "fixed"])


def passed(view: Any) -> bool:
    try:
        return bool(view(rf.get("/")).status_code == 200)
    except Ratelimited:
        return False


@every
@pytest.mark.parametrize("limit", [1, 20])
def test_of_200_threads_exactly_the_limit_passes(algorithm: str, limit: int) -> None:
    @ratelimit(key="ip", rate=f"{limit}/d", algorithm=algorithm)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: passed(view), range(200)))
    assert sum(answers) == limit


def test_of_300_tasks_exactly_the_limit_passes() -> None:
    @ratelimit(key="ip", rate="20/d")
    async def view(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        return HttpResponse("ok")

    async def main() -> list[HttpResponse | BaseException]:
        return await asyncio.gather(*(view(rf.get("/")) for _ in range(300)), return_exceptions=True)

    answers = async_to_sync(main)()
    assert sum(isinstance(answer, HttpResponse) for answer in answers) == 20
    assert sum(isinstance(answer, Ratelimited) for answer in answers) == 280


def test_costs_add_up_to_the_limit_and_no_further() -> None:
    asked = quota(100, 86_400, cost=7)
    with ThreadPoolExecutor(32) as pool:
        verdicts = list(pool.map(lambda _: charge([asked])[0], range(64)))
    assert sum(not verdict.refused for verdict in verdicts) == 14
    assert max(verdict.count for verdict in verdicts) == 98


def test_of_two_limits_the_wide_one_is_charged_only_what_the_narrow_one_lets_through() -> None:
    narrow, wide = quota(5, 86_400), quota(1000, 86_400)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: charge([wide, narrow]), range(100)))
    assert [verdict.count for verdict in charge([wide, narrow], count=False)] == [5, 5]


CHILD = """
import sys
from concurrent.futures import ThreadPoolExecutor
import django
from django.conf import settings
url, prefix = sys.argv[1:]
settings.configure(
    SECRET_KEY="for tests only",
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}},
    BERGIZI_REDIS={"KEY_PREFIX": prefix, "REQUEST_BUDGET": 60.0, "COMMAND_TIMEOUT": 60.0},
)
django.setup()
from django.http import HttpResponse
from django.test import RequestFactory
from bergizi_redis.security.ratelimit import Ratelimited, is_ratelimited
request = RequestFactory().get("/")
asked = {"group": "menus", "key": "ip", "increment": True}
is_ratelimited(request, rate="1/s", **asked)
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(16) as pool:
    for algorithm in ("exact", "gcra"):
        one = lambda _: is_ratelimited(request, rate="20/d", algorithm=algorithm, **asked)
        print(list(pool.map(one, range(75))).count(False), flush=True)
"""


def test_of_four_processes_exactly_the_limit_passes(redis_url: str, prefix: str) -> None:
    command = [sys.executable, "-c", CHILD, redis_url, prefix]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        counts = [[int(count) for count in child.communicate(timeout=240)[0].split()] for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert [sum(passed) for passed in zip(*counts, strict=True)] == [20, 20]
