-- Read a session whole, with the server's own time.
-- KEYS[1]  the session's hash; KEYS[2] the barriers of its shard, see session_bar.lua; KEYS[3] why it has ended
-- returns  {now ms, expiry ms (-1: none), {field, value, ...}}, or KEYS[3] where there is none; where barriers stand also
--          the highest of them, and 1 for a snapshot of permissions that is out of date.
--          A session behind a barrier is over: its fields are left out.
local hash = redis.call('HGETALL', KEYS[1])
if #hash == 0 then
  return KEYS[3] and redis.call('GET', KEYS[3])
end
local time = redis.call('TIME')
local now, expiry = time[1] * 1000 + math.floor(time[2] / 1000), redis.call('PEXPIRETIME', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 0 then
  return {now, expiry, hash}
end
local meta = redis.call('HMGET', KEYS[1], '@bar', '@pbar', '@uid', '@ten')
local user, tenant = meta[3], meta[4] or ''
local stands = redis.call('HMGET', KEYS[2], '@top', '*', 't:' .. tenant, 'u:' .. (user or ''),
  'b:' .. tenant .. ':' .. (user or ''), 'p*', 'p:' .. (user or ''))
local passed, seen, stale = tonumber(meta[1] or 0), tonumber(meta[2] or 0), 0
for place = 2, 5 do
  if user and stands[place] and tonumber(stands[place]) > passed then
    return {now, expiry, {}}
  end
end
for place = 6, 7 do
  if user and stands[place] and tonumber(stands[place]) > seen then
    stale = 1
  end
end
return {now, expiry, hash, tonumber(stands[1]), stale}
