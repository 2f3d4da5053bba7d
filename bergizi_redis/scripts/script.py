"""Lua scripts: one short file per atomic step, sent as EVALSHA, loaded by EVAL where the server has forgotten it.

A line ``-- needs other.lua`` in a script's header puts that file before it.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

NEEDS = re.compile(r"^-- needs (\w+)\.lua$", re.MULTILINE)


class Script:
    """A file of this folder. ``keys`` and ``args`` are bytes, str, int or float; the header of the file says which."""

    def __init__(self, name: str) -> None:
        self.name = name
        text = (files(__package__) / f"{name}.lua").read_text(encoding="utf-8")
        self.text: str = "".join(Script(needed).text for needed in NEEDS.findall(text)) + text
        # SHA-1 is Redis's own name for a script, not a safeguard.
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: Any, keys: Sequence[Any] = (), args: Sequence[Any] = ()) -> Any:
        """One round trip, two where the server does not know the script yet."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.text, len(keys), *keys, *args)

    async def arun(self, client: Any, keys: Sequence[Any] = (), args: Sequence[Any] = ()) -> Any:
        try:
            return await client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(self.text, len(keys), *keys, *args)


@cache
def script(name: str) -> Script:
    """The script ``<name>.lua``, read once a process."""
    return Script(name)


def keys_in(command: Sequence[Any]) -> list[Any]:
    """The keys that a call of a script names; none for another command."""
    return list(command[3 : 3 + int(command[2])]) if command[0] in ("EVAL", "EVALSHA") else []
