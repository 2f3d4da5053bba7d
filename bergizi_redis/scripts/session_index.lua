-- List a session in an index, and note when it was seen; drop those whose time is long over.
-- KEYS[1]  zset: sid by expiry, ms. The fraction of a score is the second of writing, modulo 2048, in 1/2048: it
--          tells a ghost from a session that is just being written. (A double holds both until 2109.)
-- KEYS[2]  zset beside it: sid by last seen, ms; 0 of one that is being evicted
-- ARGV[1]  sid; ARGV[2] its life in ms; ARGV[3] ms that an entry is kept beyond its expiry
-- ARGV[4]  1 to note when it was seen; ARGV[5] 1 for a session that is there already: without it the entry is a ghost
-- returns  1 if it was not in the index, else 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local second = (time[1] + (ARGV[5] == '1' and 1024 or 0)) % 2048
local score = string.format('%.11f', now + math.floor(tonumber(ARGV[2])) + second / 2048)
local fresh = redis.call('ZADD', KEYS[1], score, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[3]))
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.floor(last[2]) + ARGV[3]))
if ARGV[4] == '1' and redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= '0' then
  redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '(0', string.format('(%.0f', now - 86400000))
  redis.call('PEXPIRE', KEYS[2], 86400000)
end
return fresh
