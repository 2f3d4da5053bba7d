-- Which tenants there are to sweep; nothing while another process is at it.
-- KEYS[1]  zset: tenant by when it was noted, ms; KEYS[2] the lease
-- ARGV[1]  ms that the lease holds, 0 to ask for none; ARGV[2] ms that a tenant is remembered
-- returns  {tenant, ...}, or nil
if ARGV[1] ~= '0' and not redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[1]) then
  return false
end
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', time[1] * 1000 - ARGV[2]))
return redis.call('ZRANGE', KEYS[1], 0, -1)
