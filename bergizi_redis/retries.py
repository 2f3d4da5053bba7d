"""What is tried again, and when: a broken link, twice at most, never past the deadline of ``budget.py``."""

import random
from collections.abc import Callable
from typing import Any

from redis.backoff import AbstractBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, ConnectionError, MaxConnectionsError
from redis.retry import Retry

from bergizi_redis.budget import seconds_left

RETRIES = 2


class FullJitter(AbstractBackoff):
    """Seconds to wait before try n: uniform in 0…min(cap, base·2ⁿ), the exponent clamped so that it cannot overflow.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, base: float = 0.008, cap: float = 0.064) -> None:
        self.base, self.cap = base, cap

    def compute(self, failures: int) -> float:
        return random.uniform(0, min(self.cap, self.base * 2 ** min(failures, 30)))  # noqa: S311 – spreads load


def worth_retrying(error: Exception) -> bool:
    """Whether trying again may help, and can still end in time. A refused password stays refused."""
    left = seconds_left()
    hopeless = isinstance(error, AuthenticationError | AuthorizationError | MaxConnectionsError)
    return not hopeless and (left is None or left > FullJitter().cap)


def in_time(is_retryable: Callable[[Exception], bool] | None) -> Callable[[Exception], bool]:
    """The caller's own question, for what is ``worth_retrying`` at all."""
    return lambda error: worth_retrying(error) and (is_retryable is None or is_retryable(error))


class BudgetedRetry(Retry):
    """Retries a broken link, never a time-out (it has used its time up), and never past the deadline."""

    def __init__(self, retries: int = RETRIES) -> None:
        super().__init__(FullJitter(), retries, (ConnectionError,))

    def call_with_retry(
        self,
        do: Callable[[], Any],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Any:
        return super().call_with_retry(do, fail, in_time(is_retryable), with_failure_count)
