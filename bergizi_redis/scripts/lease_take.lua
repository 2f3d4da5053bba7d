-- Take the lease of an entry that is missing, or that is to be refreshed: who has it computes, the others wait.
-- Asking whether the entry has come meanwhile is part of it, or who looked a moment too early would compute again.
-- A lease is the token it was taken under (16 bytes) and its owner (8 bytes).
-- KEYS[1] entry;  KEYS[2] its lease, same slot
-- ARGV[1] lease to take;  ARGV[2] its life, ms
-- ARGV[3] the entry's first 29 bytes when it was looked at, '' for none
-- ARGV[4] a lease that is known to be void and may be replaced, '' for none
-- result  {1} taken;  {2, entry} it has come meanwhile;  {0, lease} another's
local head = redis.pcall('GETRANGE', KEYS[1], 0, 28)
if type(head) == 'string' and head ~= ARGV[3] and string.sub(head, 14, 29) == string.sub(ARGV[1], 1, 16) then
  return {2, redis.call('GET', KEYS[1])}
end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[4] then
  return {0, holder}
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {1}
