"""The connection classes of ``redis.asyncio`` as ours: packing by hiredis, and a task can be cancelled while it sends.

redis-py sends within ``asyncio.wait_for``, which on Python 3.11 loses a cancellation that comes as the sending ends:
the task then goes on as if nobody had cancelled it. ``asyncio.timeout`` does not. To write where a link is lost is a
``TypeError`` of asyncio on Python 3.12 and 3.13; here it is a ``ConnectionError``, which is tried again. Costs no
round trip.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from functools import cache
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout

from bergizi_redis.packing import packed


class _Connection:
    """Mixed into a connection class of ``redis.asyncio``."""

    is_connected: bool
    socket_timeout: float | None
    _writer: asyncio.StreamWriter | None

    def pack_command(self, *args: Any) -> list[bytes]:
        command = packed(args)
        if command is not None:
            return [command]
        whole: list[bytes] = super().pack_command(*args)  # type: ignore[misc]
        return whole

    def send_packed_command(self, command: Any, check_health: bool = True) -> Awaitable[None]:
        if self._writer is not None and self._writer.transport.is_closing():
            return self._lost()
        if not self.socket_timeout:
            plain: Awaitable[None] = super().send_packed_command(command, check_health)  # type: ignore[misc]
            return plain
        return self._send_within(self.socket_timeout, command, check_health)

    async def _lost(self) -> None:
        mine: Any = self
        await mine.disconnect(nowait=True)
        raise RedisConnectionError("The link was lost.")

    async def _send_within(self, seconds: float, command: bytes | str | Iterable[bytes], check_health: bool) -> None:
        mine: Any = super()
        if not self.is_connected:
            await mine.connect_check_health(check_health=False)
        if check_health:
            await mine.check_health()
        self.socket_timeout = None
        try:
            async with asyncio.timeout(seconds):
                await mine.send_packed_command(command, check_health=False)
        except TimeoutError:
            raise RedisTimeout("Timeout writing to socket") from None
        finally:
            self.socket_timeout = seconds


@cache
def ours(connection_class: Any) -> Any:
    """The connection class of redis-py's, with these ways."""
    return type(connection_class.__name__, (_Connection, connection_class), {})
