-- Pays for one password check before it is made: locked, or debited, or debited and closed, in one step.
-- KEYS[1] security:attempts:{tag}, hash: failures, generation    KEYS[2] security:lockout:{tag}, string: generation
-- ARGV[1] limit   ARGV[2] lock, ms   ARGV[3] window, ms   ARGV[4] generation, should a new round begin here
-- Result: {allowed 0|1, failures, PTTL of the lock (-2: not locked), closed by this call 0|1, generation, now in unix ms}
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local limit = tonumber(ARGV[1])

local left = redis.call('PTTL', KEYS[2])
if left ~= -2 then
  return {0, limit, left, 0, '', ms} -- reads only: trying never extends a lock
end

local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('HSETNX', KEYS[1], 'generation', ARGV[4])
local generation = redis.call('HGET', KEYS[1], 'generation')
if failures < limit then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {1, failures, -2, 0, generation, ms}
end

redis.call('SET', KEYS[2], generation, 'PX', ARGV[2])
redis.call('DEL', KEYS[1]) -- when the lock expires, the count starts fresh
local allowed = failures == limit and 1 or 0 -- more than the limit: it was lowered meanwhile
return {allowed, failures, tonumber(ARGV[2]), 1, generation, ms}
