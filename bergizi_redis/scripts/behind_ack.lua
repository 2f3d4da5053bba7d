-- A write has been flushed and committed, and the cache voided: forget it. The buffer goes on showing a newer write.
-- KEYS[1] lease  KEYS[2] stream  KEYS[3] buffer  KEYS[4] failures  KEYS[5] dead, stream  KEYS[6] halted  KEYS[7] replay
-- ARGV[1] worker  ARGV[2] lease, ms  ARGV[3] name of the entry  ARGV[4] token of the newest of these writes
-- ARGV[5] 'stream' or 'dead': where they stand  ARGV[6]… their ids
-- result  1, or 0 where the lease is not the worker's: then nothing was done
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for place = 6, #ARGV do
  redis.call('HDEL', KEYS[4], (ARGV[5] == 'dead' and 'dead:' or '') .. ARGV[place])
  if ARGV[5] == 'stream' then
    redis.call('XACK', KEYS[2], 'flush', ARGV[place])
    redis.call('XDEL', KEYS[2], ARGV[place])
  elseif redis.call('XDEL', KEYS[5], ARGV[place]) == 1 and redis.call('HINCRBY', KEYS[6], ARGV[3], -1) <= 0 then
    redis.call('HDEL', KEYS[6], ARGV[3])
    redis.call('SREM', KEYS[7], ARGV[3])
  end
end
local shown = redis.call('HGET', KEYS[3], ARGV[3])
if shown and string.sub(shown, 1, #ARGV[4] + 1) == ARGV[4] .. '\n' then
  redis.call('HDEL', KEYS[3], ARGV[3])
end
return 1
