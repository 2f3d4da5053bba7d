-- Open an alert, unless its subject has one open: exactly one caller opens it, the others put off its end.
-- KEYS[1]  zset: id of an alert by when it is over, ms    KEYS[2]  hash: id → text    KEYS[3]  hash: kind → "until count"
-- ARGV[1]  id    ARGV[2]  text    ARGV[3]  ms of quiet after which it is over
-- ARGV[4]  what is limited, kind and tenant    ARGV[5]  ms of a window    ARGV[6]  alerts in it    ARGV[7]  alerts open
-- returns  1: it is new, tell of it; 0: it is open; -1: too many
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local life = 40 * 86400000
local over = ms + tonumber(ARGV[3])
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  redis.call('ZADD', KEYS[1], 'XX', 'GT', over, ARGV[1])
  return 0
end
local count, till = 0, ms + tonumber(ARGV[5])
local before = redis.call('HGET', KEYS[3], ARGV[4])
if before then
  local ends, times = string.match(before, '^(%d+) (%d+)$')
  if ends and tonumber(ends) > ms then
    till, count = tonumber(ends), tonumber(times)
  end
end
if count >= tonumber(ARGV[6]) or redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[7]) then
  return -1
end
redis.call('HSET', KEYS[3], ARGV[4], string.format('%d %d', till, count + 1))
redis.call('ZADD', KEYS[1], over, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, life)
end
return 1
