-- Give back a lease under which nothing was stored, if it is still ours.
-- KEYS[1] lease
-- ARGV[1] our lease;  ARGV[2] how long it stands yet, ms: 0 = the next may compute at once
-- result  nothing
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
