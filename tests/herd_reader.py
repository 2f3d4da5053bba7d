"""A process of its own that reads through the cache: ``python -m tests.herd_reader URL PREFIX READERS``.

Says ``ready``, begins at a line on its standard input, says ``computing`` when it is its turn, computes until a line
comes, and prints what its readers got.
"""

import os
import sys
import threading

import django
from django.conf import settings

PATIENCE = 60.0  # seconds; on a busy machine nobody gives up waiting, and no lease runs out


def say(*words: object) -> None:
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


def main(url: str, prefix: str, readers: int) -> None:
    alias = {"BACKEND": "bergizi_redis.cache.backend.TaggedRedisCache", "LOCATION": url, "KEY_PREFIX": prefix}
    ours = {"KEY_PREFIX": prefix, "REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0}
    settings.configure(INSTALLED_APPS=[], CACHES={"default": alias}, BERGIZI_REDIS=ours, DATABASES={})
    django.setup()
    from bergizi_redis.cache import herd
    from bergizi_redis.cache.domains import menu

    vars(herd).update(lease_life=lambda cost: PATIENCE, patience=lambda cost: (PATIENCE, PATIENCE))

    def compute() -> int:
        say("computing")
        sys.stdin.readline()
        return os.getpid()

    menu.get("sppg-a", "warm")
    say("ready")
    sys.stdin.readline()
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(menu.get_or_compute("sppg-a", 1, compute))) for _ in range(readers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("found", *found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
