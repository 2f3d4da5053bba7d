-- A flush failed: note how often and why, and when it may be tried again.
-- KEYS[1] lease  KEYS[2] failures, hash
-- ARGV[1] worker  ARGV[2] lease, ms  ARGV[3] id  ARGV[4] failures so far  ARGV[5] wait, ms  ARGV[6] reason
-- result  1, or 0 where the lease is not the worker's
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local time = redis.call('TIME')
local due = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[5])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4] .. '|' .. string.format('%.0f', due) .. '|' .. ARGV[6])
return 1
