"""The breach list on a cluster: its bitmaps lie on several nodes, and asking takes one round trip to each of two."""

from pathlib import Path
from typing import Any

import pytest

from bergizi_redis import breachkeys, connections
from bergizi_redis.security.breaches import building, lookup
from bergizi_redis.security.breaches.sources import Source
from bergizi_redis.security.steps import run
from tests.servers import Cluster


def test_a_list_of_many_bitmaps_is_built_and_asked_on_a_cluster(
    settings: Any, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bergizi_redis.security.breaches.bloom.MOST_BITS", 1 << 10)
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": cluster.url}}
    words = [f"bocor nomor {number}" for number in range(300)]
    path = tmp_path / "leaked"
    path.write_text("\n".join(words))
    source = Source.of(path)
    try:
        building.finish(building.build_on(building.begin(source, source.lines(), 0.001)))
        shape = building.in_force()
        assert shape is not None
        nodes = {id(cluster.node_of(breachkeys.shard(shape.ident, number))) for number in range(shape.shards)}
        assert len(nodes) > 1
        assert all(run(lookup.breached(word)) for word in words)
        assert not run(lookup.breached("nasi uduk di pagi hari"))
        assert building.drop()
    finally:
        connections.disconnect_all()
