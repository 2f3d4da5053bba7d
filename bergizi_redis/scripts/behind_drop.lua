-- Give up dead letters for good. Where the buffer shows one of them, the database is what there is from now on.
-- KEYS[1] dead, stream  KEYS[2] halted, hash  KEYS[3] replay, set  KEYS[4] buffer, hash
-- ARGV[1] name of the entry  ARGV[2]… n times id, token
-- result  how many were there
local dropped = 0
for place = 2, #ARGV, 2 do
  if redis.call('XDEL', KEYS[1], ARGV[place]) == 1 then
    dropped = dropped + 1
    if redis.call('HINCRBY', KEYS[2], ARGV[1], -1) <= 0 then
      redis.call('HDEL', KEYS[2], ARGV[1])
      redis.call('SREM', KEYS[3], ARGV[1])
    end
  end
  local shown = redis.call('HGET', KEYS[4], ARGV[1])
  if shown and string.sub(shown, 1, #ARGV[place + 1] + 1) == ARGV[place + 1] .. '\n' then
    redis.call('HDEL', KEYS[4], ARGV[1])
  end
end
return dropped
