-- Refunds a round: the count of this generation, and the lock that this generation closed.
-- KEYS[1] security:attempts:{tag}   KEYS[2] security:lockout:{tag}
-- ARGV[1] generation of the debit; '' for whichever it is (an administrator unlocks)
-- Result: 1 when a lock was opened, else 0
local any = ARGV[1] == ''
if any or redis.call('HGET', KEYS[1], 'generation') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
if any or redis.call('GET', KEYS[2]) == ARGV[1] then
  return redis.call('DEL', KEYS[2])
end
return 0
