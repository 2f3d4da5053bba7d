-- Note that a listed session was used, beside its index, as session_index.lua does; its expiry there stays.
-- KEYS[1]  the index; KEYS[2] zset beside it: sid by last seen, ms; 0 of one that is being evicted
-- ARGV[1]  sid
if redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= '0' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '(0', string.format('(%.0f', now - 86400000))
  redis.call('PEXPIRE', KEYS[2], math.max(86400000, redis.call('PTTL', KEYS[2])))
end
