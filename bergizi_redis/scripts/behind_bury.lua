-- Move a write to the dead letters. From then on its entry is halted: later writes of it follow in their order.
-- KEYS[1] lease  KEYS[2] stream  KEYS[3] dead, stream  KEYS[4] failures  KEYS[5] halted
-- ARGV[1] worker  ARGV[2] lease, ms  ARGV[3] id  ARGV[4] token  ARGV[5] name of the entry  ARGV[6] failures
-- ARGV[7] reason
-- result  1, or 0 where the lease is not the worker's
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local found = redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3])
if #found == 1 then
  local letter = found[1][2]
  for _, text in ipairs({'o', ARGV[4], 'f', ARGV[6], 'r', ARGV[7]}) do
    letter[#letter + 1] = text
  end
  redis.call('XADD', KEYS[3], '*', unpack(letter))
  redis.call('HINCRBY', KEYS[5], ARGV[5], 1)
end
redis.call('XACK', KEYS[2], 'flush', ARGV[3])
redis.call('XDEL', KEYS[2], ARGV[3])
redis.call('HDEL', KEYS[4], ARGV[3])
return 1
