"""What one server says when it is asked through one role of an alias: see ``health``, which asks them all.

Every role: one PING that opens the connection, and ``PINGS`` that are timed. ``MAIN`` also: INFO, CONFIG GET save, and
a write whose key expires by itself. Never raises: what went wrong is part of the report.
"""

import time
from collections.abc import Mapping
from typing import Any, TypedDict

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from bergizi_redis import keys
from bergizi_redis.budget import within
from bergizi_redis.connections import Role, client
from bergizi_redis.diagnosis import ASTRAY, Problem, diagnose

PROBE_LIFE = 10  # seconds
PINGS = 3  # the fastest one counts: the threads of one check delay one another
NOT_PERMITTED = "not permitted"
SERVER_NAMES = (("valkey_version", "Valkey"), ("dragonfly_version", "Dragonfly"), ("redis_version", "Redis"))


class ProblemReport(TypedDict):
    """``code`` is stable, the rest is for people."""

    code: str
    reason: str
    remedy: str


class RoleReport(TypedDict):
    """``responseTime``: ms of a PING on an open connection; ms until it failed where ``isConnected`` is false."""

    isConnected: bool
    responseTime: float
    problem: ProblemReport | None


class ServerReport(TypedDict, total=False):
    """What the server says of itself; empty where it was not reached. What an ACL hides is "not permitted" or absent.

    ``info``: permitted or not. ``mode``: standalone or cluster (then the rest is of one node). ``role``: primary or
    replica. Memory in bytes, 0 = no limit. ``persistence``: AOF, RDB, AOF+RDB, none; RDB is known to CONFIG alone.
    ``writes``: accepted, refused or not permitted.
    """

    info: str
    name: str
    version: str
    mode: str
    role: str
    memoryUsed: int
    memoryMax: int
    evictionPolicy: str
    persistence: str
    writes: str


class Asked(TypedDict):
    """``problem``: why a server that answers cannot be used all the same."""

    role: RoleReport
    server: ServerReport
    problem: ProblemReport | None


def ask(alias: str, role: Role, seconds: float) -> Asked:
    """Ask the alias through the role for at most ``seconds``. A full pool and a wrong option are answers too."""
    began = time.perf_counter()
    server: ServerReport = {}
    with within(seconds):
        try:
            connection = client(alias, role)
            connection.ping()
            answered = min((_ping(connection) for _ in range(PINGS)), key=lambda report: report["responseTime"])
        except Exception as error:  # whatever it is, it is why this role cannot be used
            failed = role_report(began, diagnose(error))
            return {"role": failed, "server": server, "problem": failed["problem"]}
        try:
            if role is Role.MAIN:
                server.update(_described(connection))
                _write(connection, server)
        except Exception as error:
            return {"role": answered, "server": server, "problem": problem_report(diagnose(error))}
    astray = server.get("role") == "replica" and server.get("writes") == "accepted"
    return {"role": answered, "server": server, "problem": problem_report(ASTRAY if astray else None)}


def problem_report(problem: Problem | None) -> ProblemReport | None:
    return None if problem is None else {"code": problem.code, "reason": problem.reason, "remedy": problem.remedy}


def role_report(began: float, problem: Problem | None = None) -> RoleReport:
    milliseconds = round((time.perf_counter() - began) * 1000, 3)
    return {"isConnected": problem is None, "responseTime": milliseconds, "problem": problem_report(problem)}


def _ping(connection: Any) -> RoleReport:
    began = time.perf_counter()
    connection.ping()
    return role_report(began)


def _described(connection: Any) -> ServerReport:
    try:
        info: Mapping[str, Any] = connection.info()
    except NoPermissionError:
        return {"info": NOT_PERMITTED}
    version = next(((name, str(info[field])) for field, name in SERVER_NAMES if field in info), ("Redis", ""))
    return {
        "info": "permitted",
        "name": version[0],
        "version": version[1],
        "mode": str(info.get("server_mode") or info.get("redis_mode", "")),
        "role": "primary" if info.get("role") == "master" else "replica",
        "memoryUsed": int(info.get("used_memory", 0)),
        "memoryMax": int(info.get("maxmemory", 0)),
        "evictionPolicy": str(info.get("maxmemory_policy", "")),
        "persistence": _persistence(connection, bool(info.get("aof_enabled"))),
    }


def _persistence(connection: Any, has_aof: bool) -> str:
    try:
        has_rdb: bool | None = bool(connection.config_get("save").get("save"))
    except ResponseError:  # NOPERM, or a host that has renamed CONFIG away
        has_rdb = None
    kinds = [name for name, has in (("AOF", has_aof), ("RDB", has_rdb)) if has]
    return "+".join(kinds) or ("none" if has_rdb is False else NOT_PERMITTED)


def _write(connection: Any, server: ServerReport) -> None:
    """Store the probe and note in ``server`` what became of it. Raises what ails the server."""
    try:
        connection.set(keys.health_probe(), "1", ex=PROBE_LIFE)
        server["writes"] = "accepted"
    except NoPermissionError as error:
        server["writes"] = NOT_PERMITTED
        # A user that may write other keys than the probe's is no ailment; one that may not write at all is.
        if "command" in str(error):
            raise
    except RedisError:
        server["writes"] = "refused"
        raise
