-- Renew a worker's lease, or give it back.
-- KEYS[1] lease
-- ARGV[1] worker  ARGV[2] from now, ms; 0 gives it back
-- result  1, or 0 where the lease is not the worker's
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
