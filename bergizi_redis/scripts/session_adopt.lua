-- Write a session that another store has kept, once: what has ended here is not brought back from there.
-- KEYS[1]  the session's hash; KEYS[2] the mark that it was moved; KEYS[3] the barriers of its shard, see session_bar.lua
-- ARGV[1]  its life in ms; ARGV[2]… field, value
-- returns  1 written, 0 there already, -1 ended here, or revoked before it came
-- needs session_barred.lua
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
if not redis.call('SET', KEYS[2], 1, 'PX', ARGV[1], 'NX') then
  return -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for first = 2, #ARGV, 500 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 499, #ARGV)))
end
for _, field in ipairs({'@new', '@seen'}) do
  redis.call('HSET', KEYS[1], field, string.format('%.0f', now))
end
if is_barred(KEYS[1], KEYS[3]) then -- the clean-up is over, and would not find it
  redis.call('UNLINK', KEYS[1])
  return -1
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
