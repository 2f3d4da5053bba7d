"""Where reads of a domain look first: writes that were accepted and are not in the database yet."""

from typing import Any, Protocol


class Buffer(Protocol):
    """``MISSING`` where an entry has no buffered write. One round trip; with Redis down, ``MISSING``."""

    def peek(self, tenant: str | None, ident: object) -> Any: ...
    async def apeek(self, tenant: str | None, ident: object) -> Any: ...


buffers: dict[str, Buffer] = {}  # by the domain's name; empty but for domains with a ``WriteBehind``
