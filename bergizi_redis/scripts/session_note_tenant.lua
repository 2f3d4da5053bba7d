-- Note that a tenant has sessions.
-- KEYS[1]  as in session_tenants.lua; ARGV[1] the tenant; ARGV[2] ms that it is remembered
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] * 1000, ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
