"""Django's test runner, which writes down what ran and how it failed. It is loaded before any test is."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any
from unittest import TestSuite, TextTestResult

from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import middleware as of_users
from django.contrib.sessions import middleware as of_sessions
from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases  # type: ignore[attr-defined]

from bergizi_redis.sessions.authentication import AuthenticationMiddleware
from bergizi_redis.sessions.middleware import SessionMiddleware

if os.environ["SUITE_MIDDLEWARE"] == "ours":
    # Under Django's names, so that they are ours wherever a test's settings name them or a test imports them.
    of_sessions.SessionMiddleware = SessionMiddleware  # type: ignore[misc]
    of_users.AuthenticationMiddleware = AuthenticationMiddleware  # type: ignore[misc]


PATIENCE = 60.0  # seconds; asgiref waits for one, for which a busy machine may stand still


async def receive_output(self: Any, timeout: float = PATIENCE) -> Any:  # noqa: ASYNC109 – as theirs
    """asgiref's, but it ends when the application has: nothing will come then, and no time has to be waited out."""
    if self.future.done():
        self.future.result()
    getting = asyncio.ensure_future(self.output_queue.get())
    await asyncio.wait({getting, self.future}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    if getting.done() or not self.output_queue.empty():
        return await getting
    getting.cancel()
    if self.future.done():
        self.future.result()
    raise TimeoutError


ApplicationCommunicator.receive_output = receive_output  # type: ignore[method-assign]
ApplicationCommunicator.wait.__defaults__ = (PATIENCE,)


class Recorder(DiscoverRunner):
    """``{"ran": [id, ...], "failed": {id: traceback}}`` goes to the file ``SUITE_REPORT``."""

    def build_suite(self, *args: Any, **kwargs: Any) -> TestSuite:
        left_out = os.environ["SUITE_LEAVES_OUT"].split()
        built = super().build_suite(*args, **kwargs)
        return TestSuite(test for test in iter_test_cases(built) if test.id() not in left_out)

    def run_suite(self, suite: TestSuite, **kwargs: Any) -> "TextTestResult[Any]":
        ran = [test.id() for test in iter_test_cases(suite)]
        result = super().run_suite(suite, **kwargs)
        wrong = [*result.failures, *result.errors, *((test, "passed") for test in result.unexpectedSuccesses)]
        failed = {getattr(test, "test_case", test).id(): told for test, told in wrong}  # a subtest counts as its test
        Path(os.environ["SUITE_REPORT"]).write_text(json.dumps({"ran": ran, "failed": failed}))
        return result
