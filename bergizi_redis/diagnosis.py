"""What ails a server, from the error it was met with: a short code, a sentence, and what to do about it.

Neither holds a credential: driver messages are quoted where they cannot, and URLs are shown without user information.
"""

import errno
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    TimeoutError,
)
from redis.sentinel import MasterNotFoundError

from bergizi_redis.exceptions import ConfigurationError

LONGEST_QUOTE = 200
UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}


@dataclass(frozen=True, slots=True)
class Problem:
    """``code`` fits into a table cell and is stable; ``reason`` and ``remedy`` are sentences for people."""

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Ailment:
    """A problem and what gives it away: a class of error, an error number, or words of the server's message."""

    problem: Problem
    errors: tuple[type[BaseException], ...] = ()
    numbers: frozenset[int] = frozenset()
    words: tuple[str, ...] = ()

    def explains(self, errors: tuple[BaseException, ...]) -> bool:
        text = str(errors[0]).lower()
        return (
            any(isinstance(error, self.errors) for error in errors)
            or any(isinstance(error, OSError) and error.errno in self.numbers for error in errors)
            or any(word in text for word in self.words)
        )


def _ailment(
    code: str, reason: str, remedy: str, *errors: type[BaseException], numbers: tuple[int, ...] = (), words: str = ""
) -> Ailment:
    told_by = tuple(word for word in words.split("|") if word)
    return Ailment(Problem(code, reason, remedy), errors, frozenset(numbers), told_by)


# The first one that explains the error holds, so the narrower stand first.
AILMENTS = (
    _ailment(
        "wrong password",
        "The server has no password, but the settings give one.",
        "Take the password out of LOCATION, or set one on the server (requirepass).",
        words="without any password configured",
    ),
    _ailment(
        "no password",
        "The server asks for a password and got none.",
        "Put it into LOCATION (redis://:password@host:6379/0) or into OPTIONS['PASSWORD'].",
        words="authentication required|hello must be called with the client already authenticated",
    ),
    _ailment(
        "wrong password",
        "The server refuses the user name or the password.",
        "Correct them in LOCATION, percent-encoded, or in OPTIONS['PASSWORD'].",
        AuthenticationError,
    ),
    _ailment(
        "not permitted",
        "The user may not run the commands that this package needs.",
        "Grant them on the server, such as: ACL SETUSER <user> +@all -@dangerous ~<KEY_PREFIX>* &*.",
        NoPermissionError,
    ),
    _ailment(
        "read-only",
        "The server is a read-only replica, so nothing can be stored.",
        "Point LOCATION at the primary, or at the Sentinels that know it (redis+sentinel://).",
        ReadOnlyError,
    ),
    _ailment(
        "out of memory",
        "The server has reached maxmemory and its eviction policy frees nothing, so it refuses to store.",
        "Raise maxmemory, remove data, or give the cache a server of its own with allkeys-lru.",
        OutOfMemoryError,
    ),
    _ailment(
        "cannot save",
        "The server refuses to store because its last snapshot failed.",
        "See the server's log: the disk is full, or its directory is not writable.",
        words="misconf",
    ),
    _ailment(
        "too few replicas",
        "The server refuses to store while it has fewer replicas than min-replicas-to-write.",
        "Bring the replicas back, or lower min-replicas-to-write.",
        words="noreplicas|not enough good replicas",
    ),
    _ailment("loading", "The server is still loading its data.", "Wait until it has.", BusyLoadingError),
    _ailment(
        "pool in use",
        "Every connection of this process's pool is in use; the server may be well.",
        "Raise BERGIZI_REDIS['MAX_CONNECTIONS'] or lower the number of threads.",
        MaxConnectionsError,
    ),
    _ailment(
        "too many clients",
        "The server has reached maxclients.",
        "Close clients that are not needed, or raise maxclients.",
        words="max number of clients",
    ),
    _ailment(
        "no primary",
        "The Sentinels know no primary of that name, or do not answer.",
        "Correct the service in LOCATION; ask one of them: SENTINEL MASTERS.",
        MasterNotFoundError,
    ),
    _ailment(
        "cluster down",
        "The cluster does not serve every slot, or none of its nodes answers.",
        "See CLUSTER INFO and CLUSTER NODES; correct the hosts of LOCATION.",
        ClusterDownError,
        RedisClusterException,
    ),
    _ailment(
        "protected mode",
        "The server is in protected mode and refuses clients from other machines.",
        "Set a password on the server and bind it to the address that clients use.",
        words="protected mode",
    ),
    _ailment(
        "no such database",
        "The server does not have the database that LOCATION names.",
        "Lower the number at its end, or raise `databases` on the server; a cluster has database 0 alone.",
        words="db index|select is not allowed in cluster",
    ),
    _ailment(
        "unknown host",
        "The name of the host cannot be resolved.",
        "Correct the host in LOCATION, or the name service.",
        socket.gaierror,
    ),
    _ailment(
        "TLS",
        "TLS could not be agreed on with the server.",
        "Check its certificate and OPTIONS['CONNECTION_POOL_KWARGS'] (ssl_ca_certs); without TLS use redis://.",
        ssl.SSLError,
    ),
    _ailment(
        "refused",
        "Nothing listens there.",
        "Start the server, or correct the address in LOCATION.",
        numbers=(errno.ECONNREFUSED, errno.ENOENT),
        words="connection refused",
    ),
    _ailment(
        "unreachable",
        "There is no way to the host.",
        "Check the address in LOCATION, the network and the firewall.",
        numbers=tuple(UNREACHABLE),
    ),
    _ailment(
        "silent",
        "It does not answer in time.",
        "The server hangs, the network is slow, a firewall drops the packets, or rediss:// asks a port without TLS.",
        TimeoutError,
    ),
    _ailment(
        "no Redis",
        "What answers there does not speak Redis's protocol.",
        "Correct the port in LOCATION; a server with TLS wants rediss://.",
        InvalidResponse,
    ),
    _ailment(
        "closed",
        "The server closed the connection.",
        "It was stopped, or wants TLS (rediss://): see its log.",
        words="connection closed|connection reset|broken pipe",
    ),
    # Its message quotes what it could not read, which may be a part of the password.
    _ailment(
        "wrong LOCATION",
        "LOCATION or OPTIONS cannot be read.",
        "Percent-encode what is special in the password (/ ? # @), and check the names in CONNECTION_POOL_KWARGS.",
        ValueError,
        TypeError,
    ),
)
SILENT = next(ailment.problem for ailment in AILMENTS if ailment.problem.code == "silent")
ASTRAY = Problem(
    "stray replica",
    "The server is a replica that accepts writes, which its primary never sees.",
    "Point LOCATION at the primary.",
)


def diagnose(error: BaseException) -> Problem:
    """The problem that the error tells of; one that nobody foresaw is quoted."""
    if isinstance(error, ConfigurationError):
        return Problem("wrong settings", str(error), "Correct the setting.")
    errors = tuple(_chain(error))
    for ailment in AILMENTS:
        if ailment.explains(errors):
            return ailment.problem
    quote = str(error)[:LONGEST_QUOTE]
    return Problem("error", f"{type(error).__name__}: {quote}", "Look the message up in the server's documentation.")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from; drivers raise theirs within an ``except`` of the system's."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def shown_url(url: str) -> str:
    """The URL for people: no user, no password, no query; only its scheme where a stray '@' makes it doubtful."""
    scheme = url.split("://", 1)[0]
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{scheme}://…"
    if "@" in parts.path + parts.query + parts.fragment:
        return f"{scheme}://…"
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
