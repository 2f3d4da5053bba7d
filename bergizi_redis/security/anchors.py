"""Anchors: where a trail's chain ended, kept outside of Redis, so that it cannot be set back or deleted unseen.

Export them from time to time to where those who can write to Redis cannot; each is signed, and a line of JSON.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bergizi_redis.conf import config
from bergizi_redis.security.chain import Signer
from bergizi_redis.security.trails import Reading
from bergizi_redis.security.verdicts import UNREADABLE, Problem, floor_of, ms_of, number


@dataclass(frozen=True, slots=True)
class Anchor:
    """``seq``, ``id``, ``link`` of the last event in the chain; ``at``: unix ms by Redis's clock."""

    trail: str
    seq: int
    id: str
    link: str
    at: int
    mac: str = ""

    @property
    def _signed(self) -> tuple[str, ...]:
        return "anchor", self.trail, str(self.seq), self.id, self.link, str(self.at)

    @property
    def line(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


def anchor_of(reading: Reading, signer: Signer) -> Anchor | None:
    """None of a trail that is empty."""
    chain = reading.chain
    if not number(chain.get("sealed")):
        return None
    bare = Anchor(reading.trail, number(chain["sealed"]), chain.get("id", ""), chain.get("link", ""), reading.ms)
    return Anchor(bare.trail, bare.seq, bare.id, bare.link, bare.at, signer.first.sign(*bare._signed))


def read_anchors(path: str | Path, signer: Signer) -> list[Anchor]:
    """The anchors of a file. Raises ``ValueError`` for a line that is none, or was not signed with one of our keys."""
    found = []
    for place, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        try:
            anchor = Anchor(**json.loads(line))
            is_ours = signer.verifies(anchor.mac, *anchor._signed)
        except UNREADABLE as error:
            raise ValueError(f"{path}, line {place}, is no anchor: {str(error)[:80]}") from error
        if not is_ours:
            raise ValueError(f"{path}, line {place}: the anchor was changed, or signed with a key not in AUDIT_KEY.")
        found.append(anchor)
    return found


def write_anchors(path: str | Path, anchors: Iterable[Anchor]) -> int:
    """Append them; how many."""
    lines = [anchor.line + "\n" for anchor in anchors]
    with Path(path).open("a", encoding="utf-8") as file:
        file.writelines(lines)
    return len(lines)


def moved(reading: Reading, anchors: Iterable[Anchor]) -> Iterator[Problem]:
    """What the anchors of this trail say that it no longer does."""
    links = {number(fields.get("seq")): _link(reading, fields) for _, fields in reading.entries}
    floor, end = number(floor_of(reading.chain).sealed), number(reading.chain.get("seq"))
    oldest = reading.ms - round(config.AUDIT_RETENTION * 1000)
    for anchor in anchors:
        if anchor.trail != reading.trail or ms_of(anchor.id) < oldest:
            continue  # of another trail, or its events have ended: the whole trail may be new since
        if anchor.seq > end:
            yield Problem(anchor.seq, anchor.id, f"the trail was set back: it ends at {end}, and had {anchor.seq}")
        elif anchor.seq > floor and links.get(anchor.seq) != anchor.link:
            yield Problem(anchor.seq, anchor.id, "it is not the event that was anchored")


def _link(reading: Reading, fields: Mapping[str, str]) -> str:
    return fields.get("link") or reading.chain.get(f"l{fields.get('seq')}", "")
