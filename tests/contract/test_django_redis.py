"""django-redis's own suite passes with this package's backend wherever it passes with django-redis's.

Each test is run with either, under each of the twelve settings files of the suite: client classes, serializers,
compressors, shards, Sentinel, a Unix socket. What differs is listed, with the reason, and nothing else may. It takes
minutes, so it runs with ``-m soak`` only, as ``.ci/run`` does.
"""

import faulthandler
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.django_redis_suite import OURS, SETTINGS, THEIRS, Suite, servers, suite_for
from tests.servers import server_directory

# (test, settings file or "" for all): why it cannot pass
DIFFERENCES: dict[tuple[str, str], str] = {
    ("test_custom_key_function", ""): "it lists the whole database: the version behind invalidate_all() is there too",
    (
        "test_delete_pattern_with_settings_default_scan_count",
        "",
    ): "its client is a mock, which encodes no value to store",
    ("test_close_disconnect_settings_cache", ""): "it alters a settings' dict in place, of which we hold a copy",
    (
        "test_ttl",
        "sqlite_herd",
    ): "HerdClient stores longer than it was told; tagged entries have a refresh of their own",
    ("test_set_call_empty_pipeline", "sqlite_herd"): "the same: it expects HerdClient's longer life",
}
# Client-side shards hold no tags: there the backend is django-redis's own, whole.
NOT_OURS = ("sqlite_sharding",)
# Here the dict is not copied, for nothing has to be added to it.
PASSES_HERE = {("test_close_disconnect_settings_cache", "sqlite_sentinel")}


@pytest.mark.soak
@pytest.mark.parametrize("chosen", SETTINGS)
def test_what_passes_with_their_backend_passes_with_ours(chosen: str) -> None:
    faulthandler.cancel_dump_traceback_later()  # pytest's watch for what hangs; the suite's deadline is longer
    with ExitStack() as stack:
        suites = []
        for backend in (THEIRS, OURS):
            place = stack.enter_context(server_directory())
            suites.append(suite_for(backend, *stack.enter_context(servers(place)), Path(place) / chosen))
        pool = stack.enter_context(ThreadPoolExecutor(2))
        theirs, ours = pool.map(Suite.outcomes, suites, (chosen, chosen))
    assert sum(outcome == "passed" for outcome in theirs.values()) > 100
    passing = [name for name, outcome in theirs.items() if outcome == "passed"]
    differing = {re.sub(r"\[.*|^.*\.", "", name) for name in passing if ours.get(name) != "passed"}
    compared = {re.sub(r"\[.*|^.*\.", "", name) for name in passing}
    listed = {test for test, which in DIFFERENCES if chosen not in NOT_OURS and which in ("", chosen)} & compared
    assert differing == {test for test in listed if (test, chosen) not in PASSES_HERE}
