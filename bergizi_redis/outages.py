"""Which errors mean that the server cannot serve, and what to do about each."""

from redis import exceptions as errors
from redis.sentinel import MasterNotFoundError

OUTAGE = (
    errors.ConnectionError, errors.TimeoutError, errors.InvalidResponse, errors.OutOfMemoryError, errors.ReadOnlyError,
    errors.ClusterError, errors.SlotNotCoveredError, errors.TryAgainError,
)  # fmt: skip
# What a server says that serves nobody now; redis-py has no classes for these.
REFUSING = ("MISCONF", "NOREPLICAS", "MASTERDOWN")


def is_outage(error: BaseException) -> bool:
    """Whether the error means that the server cannot serve us: a full pool of ours does not, nor does a wrong command.

    A refused password does (it is a ``ConnectionError`` to redis-py): while one is rotated, pages answer from the
    database, and health names the cause. A command that the ACL forbids does not: it would never get better, and what
    misses quietly – a lock-out that counts nothing – must not go unseen.
    """
    return _refuses(error) or (isinstance(error, OUTAGE) and not isinstance(error, errors.MaxConnectionsError))


def _refuses(error: BaseException) -> bool:
    return isinstance(error, errors.ResponseError) and str(error).startswith(REFUSING)


# In order: the first that fits. MaxConnectionsError and the like are ConnectionErrors to redis-py.
_EXPLANATIONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str], ...] = (
    (errors.MaxConnectionsError, "every connection of this process is in use",
     "Raise BERGIZI_REDIS['MAX_CONNECTIONS'] or lower the number of threads; the server may be well."),
    ((errors.AuthenticationError, errors.AuthorizationError), "the server refuses the user name or password",
     "Set both in LOCATION (redis://user:password@host) or REDIS_PASSWORD, special characters percent-encoded."),
    (errors.NoPermissionError, "the ACL user may not run this command or touch this key",
     "Grant it with ACL SETUSER; the commands and keys in use are listed in the reference."),
    (errors.BusyLoadingError, "the server is loading its data", "Wait; INFO persistence shows how far it is."),
    (errors.ReadOnlyError, "this server is a replica and refuses writes",
     "Put the primary's address in LOCATION, or let Sentinels name it (redis+sentinel://)."),
    (errors.OutOfMemoryError, "the server's memory is full and it may not evict",
     "Raise maxmemory, or move the cache to a server of its own with an allkeys-lru policy."),
    (MasterNotFoundError, "no Sentinel knows a primary of that name, or none could be asked",
     "Check the Sentinels' addresses and the service's name in LOCATION."),
    (errors.TimeoutError, "the server did not answer in time",
     "Check its load (SLOWLOG GET, LATENCY DOCTOR) and the network; REQUEST_BUDGET is the time it has."),
    ((errors.ClusterError, errors.SlotNotCoveredError), "the cluster cannot serve this slot now",
     "Look at CLUSTER INFO; a failover may be under way."),
    (errors.InvalidResponse, "what answers does not speak Redis's protocol",
     "Check host and port in LOCATION; a TLS port needs rediss://."),
    (errors.ConnectionError, "the server cannot be reached, or closed the connection",
     "Check that it runs, and host, port and TLS (rediss://) in LOCATION."),
)  # fmt: skip


def explain(error: BaseException) -> str:
    """A sentence on what happened and one on what to do, for logs and health; it holds no password and no key."""
    for kind, cause, remedy in _EXPLANATIONS:
        if isinstance(error, kind):
            return f"Redis: {cause} ({type(error).__name__}). {remedy}"
    if _refuses(error):
        return f"Redis: the server refuses writes ({str(error)[:80]}). INFO persistence and INFO replication say why."
    return f"Redis: {type(error).__name__}. The command or its arguments are at fault rather than the server."
