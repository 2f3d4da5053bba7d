-- Note that a session was used: neither its end nor anything else of it moves.
-- KEYS[1]  the session's hash; KEYS[2] the barriers of its shard, see session_bar.lua
-- ARGV[1]  the user it must belong to
-- returns  now ms, or nil where there is none such
-- needs session_barred.lua
if redis.call('HGET', KEYS[1], '@uid') ~= ARGV[1] or is_barred(KEYS[1], KEYS[2]) then
  return false
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], '@seen', string.format('%.0f', now))
return now
