-- Store what was computed and give the lease back. Whose lease is gone stores only where nobody else has stored since;
-- whose lease another took under newer versions does not: what it has computed is dead.
-- KEYS[1] entry;  KEYS[2] its lease, same slot
-- ARGV[1] bytes to store;  ARGV[2] their life, ms
-- ARGV[3] our lease, or the token alone (16 bytes) of who has computed without one
-- ARGV[4] the entry's first 29 bytes when it was looked at, '' for none
-- result  1 stored, 0 not
local holder = redis.call('GET', KEYS[2])
if holder == ARGV[3] then
  redis.call('DEL', KEYS[2])
elseif holder and string.sub(holder, 1, 16) ~= string.sub(ARGV[3], 1, 16) then
  return 0
else
  local head = redis.pcall('GETRANGE', KEYS[1], 0, 28)
  if type(head) == 'string' and head ~= ARGV[4] then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
