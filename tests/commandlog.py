"""What the server was asked, from the server itself (``MONITOR``): round trips are counted, never guessed."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import plain_client

HANDSHAKE = {"HELLO", "CLIENT", "SELECT", "AUTH", "ECHO", "MONITOR", "PING"}
GREETING = "On a new connection: is this"  # epoch_guard.lua


@contextmanager
def command_log(url: str, mentioning: str = "") -> Iterator[list[str]]:
    """The commands that clients sent meanwhile, in order; filled in when the block ends.

    Leaves out connection set-up and what scripts call inside the server. ``mentioning`` keeps the commands with that
    text in them, such as the test's own key prefix.
    """
    log: list[str] = []
    marker = uuid.uuid4().hex
    with plain_client(url) as watcher, plain_client(url) as teller, watcher.monitor() as monitor:
        yield log
        teller.echo(marker)
        for entry in iter(monitor.next_command, None):
            command = entry["command"]
            if marker in command:
                break
            name = command.split(" ", 1)[0].upper()
            if entry["client_type"] == "lua" or name in HANDSHAKE or GREETING in command:
                continue
            if mentioning in command:
                log.append(command)
