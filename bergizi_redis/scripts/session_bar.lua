-- Put up a barrier: sessions that have not passed it are over, or their snapshots of permissions are out of date.
-- KEYS[…]  the barriers of one or more shards, hashes: what is barred → its number. Fields: '*' everybody,
--          't:<tenant>', 'u:<user>', 'b:<tenant>:<user>' both; 'p*', 'p:<user>' permissions; '@top' the highest number,
--          '@swept' ms of the last look for old ones. A number is the ms of its making, and above all those before it:
--          a session notes @top at its log-in ('@bar'), so who came first is told without comparing clocks.
--          With ARGV[3] = 1 the last key is a session of the last shard, which passes the barrier.
-- ARGV[1]  the field; ARGV[2] ms that it stands; ARGV[3] 1 or 0
-- returns  the number in the last shard
-- needs session_barred.lua
local time = redis.call('TIME')
local now, life, kept = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2]), nil
if ARGV[3] == '1' and redis.call('HEXISTS', KEYS[#KEYS], '@uid') == 1 and not is_barred(KEYS[#KEYS], KEYS[#KEYS - 1]) then
  kept = KEYS[#KEYS]
end
local function drop_old(key)
  local all = redis.call('HGETALL', key)
  for place = 1, #all, 2 do
    if string.sub(all[place], 1, 1) ~= '@' and tonumber(all[place + 1]) + life < now then
      redis.call('HDEL', key, all[place])
    end
  end
  redis.call('HSET', key, '@swept', string.format('%.0f', now))
end
local number
for place = 1, #KEYS - tonumber(ARGV[3]) do
  local key = KEYS[place]
  local before = redis.call('HMGET', key, '@top', '@swept')
  if now - tonumber(before[2] or 0) > 3600000 then
    drop_old(key)
  end
  number = string.format('%.0f', math.max(now, tonumber(before[1] or 0) + 1))
  redis.call('HSET', key, ARGV[1], number, '@top', number)
  redis.call('PEXPIRE', key, math.max(life, redis.call('PTTL', key)))
end
if kept then
  redis.call('HSET', kept, '@bar', number)
end
return number
