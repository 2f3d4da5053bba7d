-- A log-in is complete: its session is written, and those that made room have ended.
-- KEYS[1]  the user's index, as in session_index.lua; KEYS[2] beside it, as in session_admit.lua
-- ARGV[1]  sid; ARGV[2]… the sids that made room
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score then
  -- As if written 1,024 s ago: should its session be missing from now on, it is a ghost at once.
  local second = (redis.call('TIME')[1] + 1024) % 2048
  redis.call('ZADD', KEYS[1], string.format('%.11f', math.floor(score) + second / 2048), ARGV[1])
end
for place = 2, #ARGV do
  redis.call('ZREM', KEYS[1], ARGV[place])
  redis.call('ZREM', KEYS[2], ARGV[place])
end
return 1
