-- One page of an index, the longest-lived first, and how many sessions it has.
-- KEYS[1]  zset, as in session_index.lua
-- ARGV[1]  entries wanted; ARGV[2], ARGV[3] score and sid of the last entry of the page before, '' for the first page
-- returns  {live, sid, score, ...}
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local from, skipped = '+inf', 0
if ARGV[2] ~= '' then
  from = ARGV[2]
  for _, sid in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], from, from)) do
    skipped = skipped + (sid >= ARGV[3] and 1 or 0)
  end
end
local page = redis.call('ZREVRANGEBYSCORE', KEYS[1], from, now, 'WITHSCORES', 'LIMIT', skipped, ARGV[1])
return {redis.call('ZCOUNT', KEYS[1], now, '+inf'), unpack(page)}
