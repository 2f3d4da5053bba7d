-- Write a new snapshot of a user's permissions into a session, unless a later one is there.
-- KEYS[1]  the session's hash
-- ARGV[1]  the user it must belong to; ARGV[2] JSON; ARGV[3] the highest barrier when the session was loaded, before
--          the permissions were asked for: a change after that makes this snapshot old again
-- returns  1, or 0 where it was not written
local meta = redis.call('HMGET', KEYS[1], '@uid', '@pbar')
if meta[1] ~= ARGV[1] or tonumber(meta[2] or 0) > tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], '@perm', ARGV[2], '@pbar', ARGV[3])
return 1
