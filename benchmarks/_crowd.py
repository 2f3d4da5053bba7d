"""A crowd of sessions on a server of its own, made fast.

``create_session`` makes one while the server is watched. The scripts that it ran, with the arguments that it gave, then
run for thousands of others inside one script of ours: only sid, user and tenant are exchanged. So what they write is
what the engine writes; ``differences`` looks.
"""

import codecs
import re
from pathlib import Path
from typing import Any

import bergizi_redis
from bergizi_redis import keys
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import service
from bergizi_redis.sessions.identity import sid_of

SCRIPTS = Path(bergizi_redis.__file__).parent / "scripts"
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
AT_ONCE = 2_000  # sessions that one script makes
# ARGV: the number of steps; of each the text of its script, how many keys and arguments it has, and these; then the
# watched sid; the first number; and the sids to make.
LOADER = """
local place = 2
local function take() place = place + 1; return ARGV[place - 1] end
local steps = {}
for number = 1, ARGV[1] do
  local step = {run = assert(loadstring('local KEYS, ARGV = ...\\n' .. take())), keys = tonumber(take()), given = {}}
  local count = tonumber(take())
  for index = 1, count do step.given[index] = take() end
  steps[number] = step
end
local old, first = take(), tonumber(take())
local function halves(sid) return '{' .. string.sub(sid, 1, 2) .. '}' .. string.sub(sid, 3) end
local shard = '{' .. string.sub(old, 1, 2) .. '}'
-- An argument with marks in it as a list of pieces: text, or the number of a mark.
local marks = {halves(old), old, shard, 'user0000000', 'sppg0000'}
local function pieces_of(text)
  local pieces, from = {}, 1
  while true do
    local at, mark
    for number, candidate in ipairs(marks) do
      local found = string.find(text, candidate, from, true)
      if found and (not at or found < at) then at, mark = found, number end
    end
    if not at then break end
    pieces[#pieces + 1] = string.sub(text, from, at - 1)
    pieces[#pieces + 1] = mark
    from = at + #marks[mark]
  end
  pieces[#pieces + 1] = string.sub(text, from)
  return #pieces > 1 and pieces or text
end
for _, step in ipairs(steps) do
  for index, text in ipairs(step.given) do step.given[index] = pieces_of(text) end
end
for index = place, #ARGV do
  local number, sid = first + index - place, ARGV[index]
  local new = {halves(sid), sid, '{' .. string.sub(sid, 1, 2) .. '}',
               string.format('user%07d', number), string.format('sppg%04d', number % TENANTS)}
  for _, step in ipairs(steps) do
    local names, arguments = {}, {}
    for at, text in ipairs(step.given) do
      if type(text) == 'table' then
        local parts = {}
        for part, piece in ipairs(text) do parts[part] = new[piece] or piece end
        text = table.concat(parts)
      end
      if at <= step.keys then names[at] = text else arguments[at - step.keys] = text end
    end
    step.run(names, arguments)
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
        self.count = 0
        self._made("user9999990", "sppg9999")  # tells the server the scripts
        self._watch()

    def _made(self, user: str, tenant: str) -> str:
        return service.create_session(user_id=user, tenant=tenant, email=f"{user}@sppg.jakarta.id", **PROFILE).sid

    def _watch(self) -> None:
        known = {script(path.stem).sha: script(path.stem).text for path in SCRIPTS.glob("session_*.lua")}
        with self.client.monitor() as monitor:
            sid = self._made(USER, TENANT)
            self.client.echo("over")
            steps: list[Any] = []
            while True:
                line = monitor.connection.read_response(disable_decoding=True)
                words = [codecs.escape_decode(word)[0] for word in re.findall(rb'"((?:[^"\\]|\\.)*)"', line)]
                if words[:1] == [b"ECHO"]:
                    break
                if words[0] == b"EVALSHA" and b" lua]" not in line:
                    steps += [known[words[1].decode()], words[2], len(words) - 3, *words[3:]]
        number = sum(step in known.values() for step in steps)
        self._loader = self.client.register_script(LOADER)
        self._steps, self._watched = [number, *steps], sid
        self.count = 1

    def grow(self, size: int) -> None:
        """As many sessions as ``size``, numbered from 1."""
        while self.count < size:
            many = min(AT_ONCE, size - self.count)
            sids = [sid_of(key_of(number)) for number in range(self.count, self.count + many)]
            self._loader(args=[*self._steps, self._watched, self.count, *sids])
            self.count += many

    def differences(self) -> list[str]:
        """Where sessions of the loader are others than those of ``create_session``, with users of as many digits.

        A few of both: how many digits a score has depends on the second.
        """
        ours, theirs = list[dict[str, Any]](), list[dict[str, Any]]()
        for number in range(5):
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
