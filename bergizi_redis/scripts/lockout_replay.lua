-- Adds the failures that a process counted by itself while Redis was away, once, however often it is asked to.
-- KEYS[1] attempts   [2] lockout   [3] record   [4] replayed, of this nonce
-- ARGV[1] failures   [2] limit   [3] window, ms   [4] generation, should a new round begin here   [5] cap   [6] memory, ms
--     [7] life of the nonce, ms   [8] how many locks, then each in ms
-- Result: {1 when this closed a lock, its length in ms (-1: until it is unlocked), now in unix ms}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not redis.call('SET', KEYS[4], 1, 'NX', 'PX', ARGV[7]) then
  return {0, 0, now}
end
local row = redis.call('HINCRBY', KEYS[3], 'failures', ARGV[1])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
local cap = tonumber(ARGV[5])
local capped = cap > 0 and row >= cap
local is_locked = redis.call('EXISTS', KEYS[2]) == 1
if is_locked and not capped then
  return {0, 0, now}
end
local failures = redis.call('HINCRBY', KEYS[1], 'failures', ARGV[1])
redis.call('HSETNX', KEYS[1], 'generation', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if failures < tonumber(ARGV[2]) and not capped then
  return {0, 0, now}
end
local generation = redis.call('HGET', KEYS[1], 'generation')
redis.call('DEL', KEYS[1])
if capped then
  redis.call('SET', KEYS[2], generation)
  return {1, -1, now}
end
local locks = tonumber(redis.call('HGET', KEYS[3], 'locks') or 0)
local left = tonumber(ARGV[9 + math.min(locks, tonumber(ARGV[8]) - 1)])
redis.call('HINCRBY', KEYS[3], 'locks', 1)
redis.call('SET', KEYS[2], generation, 'PX', left)
return {1, left, now}
