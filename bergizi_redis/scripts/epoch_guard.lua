-- On a new connection: is this the server process that the cache was filled on? One that was restarted from an older
-- copy, or a replica that was behind and is primary now, may hold entries and versions from before an invalidation; a
-- new epoch voids them.
-- needs mark.lua
-- KEYS[1] epoch
-- ARGV[1] life of a version, ms
-- ARGV[2] 8 random bytes
-- result  1 where a new epoch was made, an error for a user who may not ask
local own = mark()
if not own then
  return redis.error_reply('NOPERM this user may not ask INFO')
end
local epoch = redis.call('GET', KEYS[1])
if epoch and (string.sub(epoch, 1, 4) == own or #epoch ~= 8) then
  return 0
end
local made = redis.pcall('SET', KEYS[1], version(KEYS[1], ARGV[2]), 'PX', ARGV[1])
if made.err then
  redis.call('DEL', KEYS[1])
end
return 1
