-- Refunds a success: its round – the count of this generation, and the lock that this generation closed – and its own
-- attempt in the logs of its networks, which no other success of theirs may clear.
-- KEYS of the account or device, if any: attempts, lockout, record, origins, devices
--      of each network: log   of the tenant, if any: outcomes
-- ARGV[1] accounts, 0|1   [2] how many networks   [3] tenants, 0|1   [4] generation of the debit; '' for whichever it is
--     (an administrator unlocks)   [5] the attempt
-- Result: {1 when a lock was opened, else 0, epoch of the account's devices}
local opened, epoch, of = 0, '', 0
if ARGV[1] == '1' then
  local any = ARGV[4] == ''
  local ours = any or redis.call('HGET', KEYS[1], 'generation') == ARGV[4]
  local lock = any or redis.call('GET', KEYS[2]) == ARGV[4]
  if ours then
    redis.call('DEL', KEYS[1])
  end
  if lock then
    opened = redis.call('DEL', KEYS[2])
  end
  if ours or lock then
    redis.call('DEL', KEYS[3], KEYS[4])
  end
  epoch = redis.call('GET', KEYS[5]) or ''
  of = 5
end
for n = 1, tonumber(ARGV[2]) do
  redis.call('ZREM', KEYS[of + n], ARGV[5])
end
if ARGV[3] == '1' and redis.call('EXISTS', KEYS[#KEYS]) == 1 then
  redis.call('HINCRBY', KEYS[#KEYS], 'passed', 1)
end
return {opened, epoch}
