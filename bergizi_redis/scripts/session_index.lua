-- List a session in an index, and drop those whose time is over.
-- KEYS[1]  zset: sid by expiry, ms. The fraction of a score is the second of writing, modulo 2048, in 1/2048: it
--          tells a ghost from a session that is just being written. (A double holds both until 2109.)
-- ARGV[1]  sid; ARGV[2] its life in ms; ARGV[3] ms that an entry is kept beyond its expiry
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local score = string.format('%.11f', now + math.floor(tonumber(ARGV[2])) + (time[1] % 2048) / 2048)
redis.call('ZADD', KEYS[1], score, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[3]))
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.floor(last[2]) + ARGV[3]))
return 1
