-- Admit a log-in among the sessions of its user, or refuse it; whoever must make room is named and no longer counts.
-- KEYS[1]  the user's index, as in session_index.lua; KEYS[2] zset beside it: sid by last seen, 0 of one that must go
-- ARGV[1]  sid; ARGV[2] its life in ms; ARGV[3] ms that an entry is kept beyond its expiry
-- ARGV[4]  the limit; ARGV[5] 'deny' or 'evict'; ARGV[6] s that an entry without a session may be on its way
-- ARGV[7]  g, the number of ghosts to drop; ARGV[8]… their sids, then the sids that this one takes the place of
-- returns  {1, sids to end…}, or {0, sids that may be ghosts…} for a refusal
-- Who marks a session ends it; so do others who come before it is off the list, for the first may have been killed.
-- But each of them 8 at most, or 200 log-ins at once would send 20,000 scripts; all where one asks again, for its link
-- broke before the answer: then the marks may be its own.
local index, seen, own = KEYS[1], KEYS[2], ARGV[1]
local going, of_others = {}, redis.call('ZSCORE', index, own) and math.huge or 8
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('(%.0f', now - ARGV[3]))
for place = 8, #ARGV do
  if place < 8 + tonumber(ARGV[7]) then
    redis.call('ZREM', index, ARGV[place])
    redis.call('ZREM', seen, ARGV[place])
  elseif redis.call('ZSCORE', index, ARGV[place]) then
    redis.call('ZADD', seen, 0, ARGV[place])
    going[#going + 1], going[ARGV[place]] = ARGV[place], true
  end
end
local members = redis.call('ZRANGE', index, 0, -1, 'WITHSCORES')
local others, doubtful = {}, {}
for place = 1, #members, 2 do
  local sid, score = members[place], tonumber(members[place + 1])
  local at = tonumber(redis.call('ZSCORE', seen, sid) or 1)
  if at == 0 then
    if of_others > 0 and not going[sid] then
      going[#going + 1], of_others = sid, of_others - 1
    end
  elseif sid ~= own then
    -- Those whose time is over go first; they are still listed for the index may be behind.
    others[#others + 1] = {sid, score < now and 0 or at, score}
    if (time[1] - (score % 1) * 2048) % 2048 >= tonumber(ARGV[6]) then
      doubtful[#doubtful + 1] = sid
    end
  end
end
local over = #others - tonumber(ARGV[4]) + 1
if over > 0 and ARGV[5] == 'deny' then
  return {0, unpack(doubtful)}
end
table.sort(others, function(one, other)
  if one[2] ~= other[2] then
    return one[2] < other[2]
  end
  return one[3] == other[3] and one[1] < other[1] or one[3] < other[3]
end)
for place = 1, over do
  redis.call('ZADD', seen, 0, others[place][1])
  going[#going + 1] = others[place][1]
end
redis.call('ZADD', index, string.format('%.11f', now + math.floor(tonumber(ARGV[2])) + (time[1] % 2048) / 2048), own)
redis.call('ZADD', seen, string.format('%.0f', now), own)
local last = redis.call('ZREVRANGE', index, 0, 0, 'WITHSCORES')
local over_at = string.format('%.0f', math.floor(last[2]) + ARGV[3])
redis.call('PEXPIREAT', index, over_at)
redis.call('PEXPIREAT', seen, over_at)
return {1, unpack(going)}
