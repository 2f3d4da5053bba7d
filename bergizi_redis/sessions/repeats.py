"""A request that was sent twice, for the link broke after the server had done it: the second answer must be the first.

A request is sent again when its link breaks, and nobody knows whether it was carried out. Most of ours may be repeated
as they are. An end finds its caller's mark beside the session (``session_end.lua``); a creation finds the session that
it has just made itself, which is told apart here from somebody else's, at the cost of 1 round trip.
"""

import time
from collections.abc import Mapping

from bergizi_redis import keys
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions.record import NEW, PASSED, record_of


def own_creation(
    sid: str, after: Mapping[bytes, bytes], moments: Mapping[bytes, int], began: float
) -> Exchange[list[int] | None]:
    """What ``session_save.lua`` would have returned, if the session is this very creation; None if it is another's.

    Ours holds what we would write, and was made since ``began`` (``time.monotonic()``), to the millisecond.
    """
    record = record_of((yield from evaluate(script("session_load"), [keys.session(sid), keys.revoked(sid[:2])])))
    if record is None or record.now - (record.number(NEW) or 0) > 1000 * (time.monotonic() - began) + 1:
        return None
    is_same = record.raw.keys() - {PASSED} == (after.keys() | moments.keys()) - {PASSED}
    if not is_same or any(record.raw[name] != raw for name, raw in after.items() if name not in (*moments, PASSED)):
        return None
    return [record.now, record.expiry - record.now, record.top]
