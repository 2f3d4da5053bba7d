"""What a LOCATION says, and that no error says more of it than it may."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.topology import SCHEMES, Topology, parse_location, servers


@pytest.mark.parametrize(
    ("url", "kind", "tls"),
    [
        ("redis://localhost", "standalone", False),
        ("redis://user:p@h:1/2?socket_timeout=1", "standalone", False),
        ("rediss://localhost:6379/0", "standalone", True),
        ("unix:///run/redis.sock?db=1", "standalone", False),
    ],
)
def test_one_server_is_left_to_redis_py(url: str, kind: Any, tls: bool) -> None:
    assert parse_location(url) == Topology(kind, tls)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "redis+sentinel://h1:1,h2/kitchen/3",
            Topology("sentinel", False, (("h1", 1), ("h2", 26379)), "kitchen", {"db": 3}),
        ),
        (
            "rediss+sentinel://u%40:p%2F@h1/kitchen?socket_timeout=1.5",
            Topology(
                "sentinel", True, (("h1", 26379),), "kitchen",
                {"username": "u@", "password": "p/", "socket_timeout": 1.5},
            ),
        ),
        ("redis+sentinel://h1/kitchen?db=2", Topology("sentinel", False, (("h1", 26379),), "kitchen", {"db": 2})),
        ("redis+sentinel://[::1]:9,[fe80::2]/k", Topology("sentinel", False, (("::1", 9), ("fe80::2", 26379)), "k")),
        ("redis+cluster://h1:7000,h2", Topology("cluster", False, (("h1", 7000), ("h2", 6379)))),
        ("rediss+cluster://:p@h1/0", Topology("cluster", True, (("h1", 6379),), "", {"password": "p"})),
    ],
)  # fmt: skip
def test_a_service_or_a_cluster_is_read_whole(url: str, expected: Topology) -> None:
    assert parse_location(url) == expected


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://:s3cret@/kitchen/0", "names no host; expected redis+sentinel://"),
        ("redis+sentinel://:s3cret@h1", "names no service; expected redis+sentinel://"),
        ("redis+sentinel://:s3cret@h1/kitchen/two", "the database is not a number"),
        ("redis+sentinel://:s3cret@h1/kitchen/0/1", "the database is not a number"),
        ("redis+sentinel://h1:s3cret/kitchen", "a port is not a number"),
        ("redis+sentinel://:s3/cret@h1/kitchen", "a port is not a number"),
        ("redis+cluster://", "names no host; expected redis+cluster://"),
        ("redis+cluster://:s3cret@h1:7000/1", "a cluster has database 0 only"),
        ("redis+cluster://:s3cret@h1:7000?db=1", "a cluster has database 0 only"),
        ("redis+cluster://:s3cret@h1:70000", "a port is not a number"),
        ("redis+cluster://:s3cret@h1?socket_timeout=soon", "'socket_timeout' in the URL's query"),
        ("redis+cluster://:s3cret@h1?read_from_replica=1", "'read_from_replica' in the URL's query is no argument"),
        ("redis://:s3cret@h1/0?sokcet_timeout=1", "did you mean 'socket_timeout'?"),
        ("redis://:s3cret@h1/0?ssl_cert_reqs=none", "'ssl_cert_reqs' in the URL's query is for TLS; write rediss"),
        ("unix://:s3cret@/run/redis.sock?host=h1", "'host' in the URL's query is no argument"),
        ("redis://kitchen:1?s3=cret@h1/0", "its query holds an '@'. Percent-encode"),
        ("REDIS://:s3cret@h1/0", "is REDIS://…; expected one of redis://"),
        ("mysql://:s3cret@h1", "is mysql://…; expected one of redis://"),
    ],
)
def test_what_is_missing_or_wrong_is_named_without_the_password(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match="HERE") as caught:
        parse_location(url, "HERE")
    assert says in str(caught.value)
    assert "s3" not in str(caught.value)


def test_a_topology_does_not_show_its_password() -> None:
    assert "s3cret" not in repr(parse_location("redis+cluster://:s3cret@h1"))


def error_of(url: str) -> str:
    """What is wrong with the URL, or ""."""
    try:
        parse_location(url)
    except ConfigurationError as error:
        return str(error)
    return ""


@given(scheme=st.sampled_from(SCHEMES), rest=st.text(max_size=40))
def test_whatever_follows_the_scheme_is_read_or_refused_clearly(scheme: str, rest: str) -> None:
    assert error_of(f"{scheme}://{rest}").startswith(("LOCATION", ""))


@given(
    password=st.text(min_size=6).filter(lambda text: "://" not in text),  # a scheme is what an error does quote
    url=st.sampled_from(["redis://:{}@h:x/0", "redis+sentinel://:{}@h", "{}", "x://{}"]),
)
def test_no_error_quotes_a_password(password: str, url: str) -> None:
    assert password not in error_of(url.format(password)) or password in error_of(url.format("other1"))


@pytest.mark.parametrize(
    ("location", "urls"),
    [
        ("redis://a,redis://b", ["redis://a", "redis://b"]),
        (["redis://a", "redis://b"], ["redis://a", "redis://b"]),
        (("redis://a",), ["redis://a"]),
        ("redis+sentinel://a,b/kitchen", ["redis+sentinel://a,b/kitchen"]),
        ("redis+cluster://a,b", ["redis+cluster://a,b"]),
        ("", [""]),
        ([], [""]),
        (None, [""]),
    ],
)
def test_a_location_of_several_urls_is_parted_but_not_a_url_of_several_hosts(location: object, urls: list[str]) -> None:
    assert servers(location) == urls
