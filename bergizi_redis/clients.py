"""redis-py's client with the budget and the circuit around every command, in fewer steps than redis-py's own.

A command on a pool of ours goes the short way: redis-py's metrics, off unless a project turns them on, are left out,
and its retries are prepared where something has failed. Promise, times and errors are those of ``budget.py``. Costs no
round trip of its own.
"""

from typing import Any

import redis
import redis.client
from redis.exceptions import ConnectionError, RedisError

from bergizi_redis.budget import asking
from bergizi_redis.pools import Pool


class BudgetedPipeline(redis.client.Pipeline):
    budget: float | None = None

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with asking(self.connection_pool, self.budget):
            return super().execute(raise_on_error)

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        with asking(self.connection_pool, self.budget):
            return super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]


class BudgetedRedis(redis.Redis):
    """``redis.Redis`` whose every command, pipeline and script ends within ``budget`` seconds."""

    budget: float | None = None

    def execute_command(self, *args: Any, **options: Any) -> Any:
        pool = self.connection_pool
        with asking(pool, self.budget):
            if self.connection is None and isinstance(pool, Pool) and pool.is_lean:
                return self._ask(pool, args, options)
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def _ask(self, pool: Pool, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        connection = pool.lent()
        try:
            try:
                return self._send_command_parse_response(connection, args[0], *args, **options)  # type: ignore[no-untyped-call]
            except ConnectionError as error:
                return self._again(connection, error, args, options)
            except RedisError:
                raise
            except BaseException:  # a signal's, in the middle: the late reply would answer the next command
                connection.disconnect()
                raise
        finally:
            try:
                if connection.should_reconnect():
                    connection.disconnect()
                    connection.connect()
            finally:
                pool.returned(connection)

    def _again(self, connection: Any, error: ConnectionError, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """redis-py's retries, of which the try that failed was the first."""
        failed: list[ConnectionError] = [error]

        def attempt() -> Any:
            if failed:
                raise failed.pop()
            return self._send_command_parse_response(connection, args[0], *args, **options)  # type: ignore[no-untyped-call]

        return connection.retry.call_with_retry(attempt, lambda _: connection.disconnect())

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> BudgetedPipeline:
        pipeline = BudgetedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.budget = self.budget
        return pipeline
