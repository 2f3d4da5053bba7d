-- Entries of an index whose time is over.
-- KEYS[1]  zset, as in session_index.lua; ARGV[1] ms beyond the expiry; ARGV[2] how many at most
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', time[1] * 1000 - ARGV[1]), 'LIMIT', 0, ARGV[2])
