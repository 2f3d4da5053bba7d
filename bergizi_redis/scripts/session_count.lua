-- How many sessions of an index have not expired.
-- KEYS[1]  zset, as in session_index.lua
local time = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), '+inf')
