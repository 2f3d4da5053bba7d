"""django-redis's own suite passes with this package's backend wherever it passes with django-redis's.

Each test is run with either, under each of the twelve settings files of the suite: client classes, serializers,
compressors, shards, Sentinel, a Unix socket. What differs is listed, with the reason, and nothing else may. It sleeps
much and takes minutes, so it runs with ``-m soak`` only, as ``.ci/run`` does.
"""

import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.django_redis_suite import OURS, SETTINGS, THEIRS, Suite, servers, suite_for

AT_ONCE = 4  # they mostly sleep, but some compare times

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
def test_what_passes_with_their_backend_passes_with_ours() -> None:
    with ExitStack() as stack:
        runs: dict[tuple[str, str], Suite] = {}
        for backend in (THEIRS, OURS):
            place = stack.enter_context(tempfile.TemporaryDirectory())
            server, sentinel = stack.enter_context(servers(place))
            for settings in SETTINGS:
                runs[backend, settings] = suite_for(backend, server, sentinel, Path(place) / settings)
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        asked = {run: pool.submit(suite.outcomes, run[1]) for run, suite in runs.items()}
        found = {run: outcomes.result() for run, outcomes in asked.items()}
    differing = set()
    for settings in SETTINGS:
        theirs, ours = found[THEIRS, settings], found[OURS, settings]
        assert sum(outcome == "passed" for outcome in theirs.values()) > 100
        for name, outcome in theirs.items():
            if outcome == "passed" and ours.get(name) != "passed":
                differing.add((re.sub(r"\[.*|^.*\.", "", name), settings))
    everywhere = [settings for settings in SETTINGS if settings not in NOT_OURS]
    listed = {(test, one) for test, which in DIFFERENCES for one in ([which] if which else everywhere)}
    assert differing == listed - PASSES_HERE
