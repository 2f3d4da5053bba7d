-- Read a session whole, with the server's own time.
-- KEYS[1]  the session's hash
-- returns  {now ms, expiry ms (-1: none), {field, value, ...}}, or nil where there is none
local hash = redis.call('HGETALL', KEYS[1])
if #hash == 0 then
  return false
end
local time = redis.call('TIME')
return {time[1] * 1000 + math.floor(time[2] / 1000), redis.call('PEXPIRETIME', KEYS[1]), hash}
