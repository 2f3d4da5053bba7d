"""A process of its own that writes to one audit trail: ``python -m tests.audit_writer URL PREFIX NAME THREADS EVENTS``.

Says ``ready``, begins at a line on its standard input, and prints each event's reason once it was recorded. With the
name ``dies`` it loses every race for the end of the chain, and stops, saying ``waiting``, before it seals its event.
"""

import sys
import threading
from typing import Any

import django
from django.conf import settings

USER = "budi"
MAXLEN = 100_000  # more than a pipe holds, so that nothing goes before it is read


def say(*words: object) -> None:
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


def stop_before_sealing() -> None:
    from bergizi_redis.security import trails

    def stopped(*args: Any) -> Any:
        say("waiting")
        sys.stdin.readline()
        yield

    changed: Any = trails
    changed.TRIES, changed._sealed = 1, stopped


def main(url: str, prefix: str, name: str, threads: int, events: int) -> None:
    alias = {"BACKEND": "bergizi_redis.cache.backend.TaggedRedisCache", "LOCATION": url}
    patience = {"REQUEST_BUDGET": 60.0, "COMMAND_TIMEOUT": 60.0}
    settings.configure(
        INSTALLED_APPS=[], CACHES={"default": alias}, SECRET_KEY="for tests only", DATABASES={},
        BERGIZI_REDIS={"KEY_PREFIX": prefix, "AUDIT_MAXLEN": MAXLEN, "AUDIT_SINKS": [], **patience},
    )  # fmt: skip
    django.setup()
    from bergizi_redis.security import audit

    def write(thread: int) -> None:
        for number in range(events):
            reason = f"{name}.{thread}.{number}"
            audit.record("authz_admin", USER, reason=reason)
            say(reason)

    if name == "dies":
        stop_before_sealing()
    audit.verify(USER)
    say("ready")
    sys.stdin.readline()
    workers = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
