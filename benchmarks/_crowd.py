"""A crowd of sessions on a server of its own, made fast.

``create_session`` makes one while the server is watched. What its scripts wrote is written thousands of times more by
one script of ours: only sid, user and tenant are exchanged. ``differences`` looks whether this is what the engine does.
"""

import codecs
import re
from pathlib import Path
from typing import Any

from bergizi_redis import keys
from bergizi_redis.sessions import service
from bergizi_redis.sessions.identity import sid_of

TENANTS = 1_000
USER, TENANT = "user0000000", "sppg0000"  # of the one that is watched; others have as many digits
PROFILE: dict[str, Any] = {
    "role": "SPPG_ADMIN",
    "user_type": "SPPG_USER",
    "name": "Admin Jakarta",
    "permissions": ["MENU_MANAGE", "PROCUREMENT_MANAGE"],
    "ip": "192.168.1.100",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
}
WRITES = {b"HSET", b"HINCRBY", b"LPUSH", b"PEXPIRE", b"PEXPIREAT", b"SET", b"XADD", b"ZADD"}
READS = {b"EXISTS", b"GET", b"HGET", b"HMGET", b"TIME", b"ZREVRANGE", b"ZSCORE"}
TRIMS = {b"LTRIM", b"XTRIM", b"ZREMRANGEBYSCORE"}
AT_ONCE = 500  # sessions that one script makes
# ARGV: how many commands; of each the number of its words, and these; the first number; the sids to make.
LOADER = """
local place = 2
local function take() place = place + 1; return ARGV[place - 1] end
local commands, marked = {}, {}
for number = 1, ARGV[1] do
  commands[number], marked[number] = {}, {}
  for index = 1, take() do
    local word = take()
    commands[number][index], marked[number][index] = word, string.find(word, '\\1', 1, true) ~= nil
  end
end
local first = tonumber(take())
for index = place, #ARGV do
  local number, sid = first + index - place, ARGV[index]
  local shard = '{' .. string.sub(sid, 1, 2) .. '}'
  local new = {
    ['\\1k'] = shard .. string.sub(sid, 3), ['\\1s'] = sid, ['\\1h'] = shard,
    ['\\1u'] = string.format('user%07d', number), ['\\1t'] = string.format('sppg%04d', number % TENANTS),
  }
  for at, command in ipairs(commands) do
    local words = {}
    for part, word in ipairs(command) do
      words[part] = marked[at][part] and (string.gsub(word, '\\1.', new)) or word
    end
    redis.call(unpack(words))
  end
end
return #ARGV - place + 1
""".replace("TENANTS", str(TENANTS))


def key_of(number: int) -> str:
    """The cookie's key of a session that was loaded."""
    return f"{number:032d}"


class Crowd:
    """``client`` is of an empty server that CACHES names."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._made("user9999990", "sppg9999")  # tells the server the scripts
        commands = self._watched()
        self._commands = [len(commands), *(word for words in commands for word in (len(words), *words))]
        self._loader = client.register_script(LOADER)
        self.count = 1

    def _made(self, user: str, tenant: str) -> str:
        return service.create_session(user_id=user, tenant=tenant, email=f"{user}@sppg.jakarta.id", **PROFILE).sid

    def _watched(self) -> list[list[bytes]]:
        """What making a session writes, with marks for what is its own."""
        with self.client.monitor() as monitor:
            sid = self._made(USER, TENANT).encode()
            self.client.echo("over")
            seen: list[list[bytes]] = []
            while not seen or seen[-1] != [b"ECHO", b"over"]:
                line = monitor.connection.read_response(disable_decoding=True)
                words = [codecs.escape_decode(word)[0] for word in re.findall(rb'"((?:[^"\\]|\\.)*)"', line)]
                if b" lua]" in line or words[:1] == [b"ECHO"]:
                    seen.append(words)
        unknown = {words[0] for words in seen[:-1]} - WRITES - READS - TRIMS
        if unknown:
            raise RuntimeError(f"Does {unknown} write? Say so in {Path(__file__).name}.")
        shard = b"{%s}" % sid[:2]
        marks = {shard + sid[2:]: b"k", sid: b"s", shard: b"h", USER.encode(): b"u", TENANT.encode(): b"t"}
        found = []
        for words in seen:
            if words[0] in WRITES:
                for text, mark in marks.items():
                    words = [word.replace(text, b"\1" + mark) for word in words]
                found.append(words)
        return found

    def grow(self, size: int) -> None:
        """As many sessions as ``size``, numbered from 1."""
        while self.count < size:
            many = min(AT_ONCE, size - self.count)
            sids = [sid_of(key_of(number)) for number in range(self.count, self.count + many)]
            self._loader(args=[*self._commands, self.count, *sids])
            self.count += many

    def differences(self) -> list[str]:
        """Where sessions of the loader are others than those of ``create_session``, with users of as many digits.

        A few of both: how many digits a score has depends on the second.
        """
        ours, theirs = list[dict[str, Any]](), list[dict[str, Any]]()
        for number in range(5):
            self._commands = Crowd(self.client)._commands
            self.grow(self.count + 1)
            ours.append(self._looked_at(sid_of(key_of(self.count - 1)), f"user{self.count - 1:07d}"))
            user = f"user999999{number + 1}"
            theirs.append(self._looked_at(self._made(user, "sppg9998"), user))
        return [
            f"{name}: {ours[0][name]!r}, not {theirs[0][name]!r}"
            for name in ours[0]
            if not any(one[name] == other[name] for one in ours for other in theirs)
        ]

    def _looked_at(self, sid: str, user: str) -> dict[str, Any]:
        found = {}
        for name, key in (
            ("session", keys.session(sid)),
            ("user's index", keys.user_sessions(user)),
            ("user's activity", keys.user_activity(user)),
        ):
            found[name], found[f"{name}, bytes"] = self._shape(key), self.client.memory_usage(key)
        return found

    def _shape(self, key: str) -> Any:
        """Encoding, life in minutes, and fields with the values that are not the session's own."""
        encoding, life = self.client.object("encoding", key), round(self.client.pttl(key) / 60_000)
        raw = self.client.hgetall(key) if self.client.type(key) == b"hash" else {}
        return encoding, life, {name: re.sub(rb"\d", b"0", value) for name, value in raw.items()}
