"""Whether a trail is what its writers wrote, and if not, where it was touched. Needs no Redis.

| tampering | how it shows |
| --- | --- |
| an event changed, made up, or taken from another trail | its mac is wrong |
| something added to an event | fields that no writer writes, or one twice |
| deleted, moved, inserted, written again | a number, or a link, that does not follow from the one before |
| the time or the count of an event changed | the link of the next event |
| the oldest cut off | more is gone than the events that are left allowed: each carries under its mac what may go |
| the newest cut off | the chain's own end; and where that was set back too, an exported anchor |
| all of it deleted | an exported anchor |

What the chain alone cannot tell: whether somebody set it back, end and all, to what it was earlier. Anchors tell.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bergizi_redis.security.chain import CHAINED, WAITING, Head, Signer
from bergizi_redis.security.entries import Entry, entry_of
from bergizi_redis.security.trails import Reading

Row = tuple[str, Mapping[str, str]]
FIELDS = frozenset(("seq", "event", "nonce", "mac", "link", "after"))
UNREADABLE = (ValueError, TypeError, OverflowError, AttributeError, KeyError, RecursionError)


@dataclass(frozen=True, slots=True)
class Problem:
    """``seq`` is the number of the event at which it shows, 0 for the trail as a whole."""

    seq: int
    id: str
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """True where nothing was touched. ``events`` are there, ``waiting`` of them not sealed yet; ``trimmed`` are gone by
    retention. ``seq`` and ``link``: where the chain ends."""

    trail: str
    events: int
    waiting: int
    trimmed: int
    seq: int
    link: str
    problems: Sequence[Problem] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok


def number(text: str | None) -> int:
    return int(text) if text and len(text) < 20 and text.isascii() and text.isdecimal() else 0


def ms_of(entry_id: str) -> int:
    return number(entry_id.partition("-")[0])


def decoded(row: Row, chain: Mapping[str, str]) -> Entry:
    """Raises one of ``UNREADABLE``."""
    entry_id, fields = row
    again = chain.get(f"a{fields['seq']}", "")
    told = json.loads(fields["event"])
    return entry_of(told, ms_of(entry_id), seq=int(fields["seq"]), entry_id=entry_id, again=again)


def floor_of(chain: Mapping[str, str]) -> Head:
    """The last event that was trimmed."""
    return Head(*(chain.get(f"floor_{name}", "") for name in ("seq", "link", "id", "again")))


def judge(reading: Reading, signer: Signer) -> Verdict:
    """What the trail itself shows."""
    walk = Walk(reading, signer)
    problems = list(walk.problems())
    sealed = number(reading.chain.get("sealed"))
    waiting = sum(number(fields.get("seq")) > sealed for _, fields in reading.entries)
    trimmed = number(floor_of(reading.chain).sealed)
    end = number(reading.chain.get("seq"))
    return Verdict(
        reading.trail, len(reading.entries), waiting, trimmed, end, reading.chain.get("link", ""), tuple(problems)
    )


class Walk:
    """One pass over a trail, from what was trimmed to its end."""

    def __init__(self, reading: Reading, signer: Signer) -> None:
        self.reading = reading
        self.signer = signer
        self.chain = reading.chain
        self.floor = floor_of(reading.chain)
        self.before = self.floor
        self.sealed = number(reading.chain.get("sealed"))
        self.links = {number(self.floor.sealed): self.floor.link}
        self.nonces: set[str] = set()
        self.may_go = 0, 0  # number up to which, ms before which, events may have been trimmed

    def problems(self) -> Iterator[Problem]:
        if not self.chain and self.reading.entries:
            yield Problem(0, "", "the end of the chain is gone")
        for row in self.reading.entries:
            yield from self._entry(*row)
        yield from self._end()
        yield from self._beginning()

    def _entry(self, entry_id: str, fields: Mapping[str, str]) -> Iterator[Problem]:
        seq, expected = number(fields.get("seq")), number(self.before.sealed) + 1
        if seq != expected:
            yield Problem(seq, entry_id, _gap(expected, seq))
        yield from (Problem(seq, entry_id, what) for what in self._content(entry_id, fields))
        is_sealed = seq <= self.sealed
        link = fields.get("link") or (self.chain.get(f"l{seq}", "") if is_sealed else "")
        if seq == expected and (is_sealed or "link" in fields):
            parts = ("link", self.reading.trail, self.before.link, self.before.id, self.before.again, str(seq))
            if not self.signer.verifies(link, *parts, fields.get("mac", "")):
                yield Problem(seq, entry_id, _unlinked(self.before))
        yield from self._after(seq, entry_id, fields.get("after"))
        self.links[seq] = link
        self.before = Head(str(seq), link, entry_id, self.chain.get(f"a{seq}", ""))
        if seq == self.sealed and (self.chain.get("link"), self.chain.get("id")) != (link, entry_id):
            yield Problem(seq, entry_id, "the chain ends elsewhere: its end was changed, or this event was")

    def _after(self, seq: int, entry_id: str, after: str | None) -> Iterator[Problem]:
        """What an event that had to wait says it came after."""
        place, _, link = (after or ":").partition(":")
        if number(place) >= seq or self.links.get(number(place), link) != link:
            yield Problem(seq, entry_id, f"it came after another event {place} than the one that is there")

    def _content(self, entry_id: str, fields: Mapping[str, str]) -> Iterator[str]:
        mac, nonce, payload = fields.get("mac", ""), fields.get("nonce", ""), fields.get("event", "")
        if fields.keys() - FIELDS or fields.get("seq", "").startswith("0"):
            yield "something was added to it"
        how = CHAINED if "link" in fields else WAITING + fields.get("after", "")
        if not self.signer.knows(mac):
            yield f"it was signed with a key that is not known here, {mac.partition(':')[0][:16]!r}"
        elif not self.signer.verifies(mac, "event", self.reading.trail, how, nonce, payload):
            yield "its mac is wrong: it was changed, or is not of this trail"
        else:
            ms, events = json.loads(payload)["keep"]  # written by us, the mac says
            numbers, before = self.may_go
            self.may_go = max(numbers, number(fields.get("seq")) - events), max(before, ms_of(entry_id) - ms)
        if nonce in self.nonces:
            yield "it is there twice"
        self.nonces.add(nonce)

    def _end(self) -> Iterator[Problem]:
        last, end = number(self.before.sealed), number(self.chain.get("seq"))
        if self.chain and last != end:
            yield Problem(end, "", f"the newest events are gone: {_span(last + 1, end)}")
        elif self.sealed > last:
            yield Problem(last, "", "the chain goes on behind the last event")

    def _beginning(self) -> Iterator[Problem]:
        gone, (numbers, before) = number(self.floor.sealed), self.may_go
        if gone > numbers and ms_of(self.floor.id) >= before:
            yield Problem(gone, self.floor.id, f"the oldest events are gone before their time: up to {gone}")


def _gap(expected: int, found: int) -> str:
    if found > expected:
        return f"events are gone before it: {_span(expected, found - 1)}"
    return f"it is out of order, or was inserted: {expected} was expected here"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _unlinked(before: Head) -> str:
    what = f"event {before.sealed}" if before.sealed else "the beginning"
    return f"it does not follow from {what}: one of them was changed in time, count or place"


def facts(problem: Problem) -> dict[str, Any]:
    return {"seq": problem.seq, "id": problem.id, "what": problem.what}
