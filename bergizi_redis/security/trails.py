"""Writing to a trail and reading it: what is said to Redis. Procedures of steps, see ``steps``.

| step | round trips |
| --- | --- |
| an event, where this process wrote the trail's last one, or the trail is new | 1 |
| an event, where another process wrote the last one | 2: the first finds out where the chain ends |
| an event among many at once | 6 at most |
| the same again (an attempt while locked) | 1 |
| reading | 1 |

Compare and append: an event goes into the chain if the chain still ends where the writer believes. Who loses that race
``TRIES`` times appends all the same, and the event waits for its seal, which whoever writes next gives, as a part of
that step. So no event is lost to other writers, and no writer waits for one that was killed. What waits says, under its
mac, which link it came after.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from bergizi_redis import auditkeys
from bergizi_redis.conf import config
from bergizi_redis.security.chain import CHAINED, WAITING, Head, Signer, Waiting
from bergizi_redis.security.entries import Draft
from bergizi_redis.security.steps import RunScript, Steps

logger = logging.getLogger("bergizi_redis.security")

TRIES = 4  # to append to the chain; then the event waits
REMEMBERED = 10_000  # trails whose head this process remembers, some 300 bytes each
FIRST, LAST = "-", "+"  # ids


@dataclass(frozen=True, slots=True)
class State:
    """The head of a chain, and what waits behind it."""

    head: Head
    waiting: Sequence[Waiting]

    @classmethod
    def of(cls, reply: Sequence[Any]) -> "State":
        *head, waiting = reply
        return cls(Head(*map(_text, head)), [Waiting(*map(_text, each)) for each in waiting])


@dataclass(frozen=True, slots=True)
class Receipt:
    """``was``: ``chained``, ``waiting`` (and sealed since, or not), ``again``, or ``known``. ``times``: how often it
    has come again."""

    was: str
    seq: int
    id: str
    times: int

    @property
    def ms(self) -> int:
        return int(self.id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Reading:
    """A trail at one instant, ``ms`` by the server's clock. ``entries``: id and fields."""

    trail: str
    chain: Mapping[str, str]
    entries: Sequence[tuple[str, Mapping[str, str]]]
    ms: int


class Heads:
    """What this process knows of the ends of chains. Wrong knowledge costs a round trip and nothing else."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, str], Head] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str]) -> Head:
        return self._known.get(key) or Head()

    def put(self, key: tuple[str, str], head: Head) -> None:
        with self._lock:
            self._known[key] = head
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


HEADS = Heads(REMEMBERED)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _keys(trail: str) -> tuple[str, str]:
    return auditkeys.trail(trail), auditkeys.chain(trail)


def appended(draft: Draft) -> Steps[Receipt]:
    """Write the event. Driver errors are those of the step that writes it: then it may be written or not."""
    signer, place = Signer.in_force(), (config.SECURITY_ALIAS, auditkeys.trail(draft.trail))
    state, tries = State(HEADS.get(place), ()), 0
    while True:
        tries += 1
        how = "force" if tries == TRIES else "try"
        reply = yield RunScript("audit_append", _keys(draft.trail), _arguments(signer, draft, state, how))
        was, seq, entry_id, times, told = reply
        state = State.of(told)
        if _text(was) != "moved":
            break
    receipt = Receipt(_text(was), int(seq), _text(entry_id), int(times))
    if receipt.was == WAITING:
        state = yield from _sealed(signer, draft, state)
    if not state.waiting:
        HEADS.put(place, state.head)
    return receipt


def _arguments(signer: Signer, draft: Draft, state: State, how: str) -> list[str | int]:
    trail, payload = draft.trail, draft.payload
    seals, end = signer.links(trail, state.head, state.waiting)
    after = f"{state.head.sealed}:{state.head.link}"
    mac = signer.mac(trail, CHAINED, draft.nonce, payload)
    link = signer.link(trail, end, str(int(end.sealed or 0) + 1), mac)
    return [
        state.head.sealed, state.head.link, state.head.id, end.again, how,
        mac, link, signer.mac(trail, WAITING + after, draft.nonce, payload), after,
        draft.nonce, payload, *draft.keep, draft.same, draft.same_ms, int(draft.noted is not None), *seals,
    ]  # fmt: skip


def _sealed(signer: Signer, draft: Draft, state: State) -> Steps[State]:
    """Try to seal what was just written among others. Not needed for it to be safe: the next writer would."""
    for _ in range(2):
        if not state.waiting:
            break
        try:
            reply = yield RunScript("audit_append", _keys(draft.trail), _arguments(signer, draft, state, "seal"))
        except RedisError as error:
            logger.warning("An event waits for its seal: %s", error, extra={"action": "audit_unsealed"})
            break
        state = State.of(reply[-1])
    return state


def read(
    trail: str, since: str = FIRST, until: str = LAST, count: int = 0, *, newest_first: bool = False
) -> Steps[Reading]:
    """``since`` and ``until``: ids of the stream, ``count`` 0: all."""
    reply = yield RunScript("audit_read", _keys(trail), [since, until, count, int(newest_first)])
    pairs, entries, ms = reply
    return Reading(trail, _mapping(pairs), [(_text(entry_id), _fields(each)) for entry_id, each in entries], ms)


def _fields(pairs: Sequence[Any]) -> dict[str, str]:
    """A stream's entry may hold a field twice: then ``""`` is there too, a name that no writer writes."""
    found = _mapping(pairs)
    return found if 2 * len(found) == len(pairs) else {**found, "": ""}


def _mapping(pairs: Sequence[Any]) -> dict[str, str]:
    names = map(_text, pairs)
    return dict(zip(names, names, strict=True))
