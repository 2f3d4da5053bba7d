-- Replace a value only if it is still the one that was read, keeping its time to live.
-- KEYS[1] key
-- ARGV[1] bytes that were read;  ARGV[2] new bytes;  ARGV[3] new life in ms, 0 = without end, -1 = as it is
-- result  1 replaced, 0 changed meanwhile or gone
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[3] == '-1' then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
elseif ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
