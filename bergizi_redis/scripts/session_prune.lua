-- Remove ghosts from an index: entries whose session was looked for and not found, before its time was over.
-- KEYS[1]  zset, as in session_index.lua
-- ARGV[1]  s; younger entries stay, for their session may be on its way; so do those whose time is over, for the
--          sweeper tells of them; ARGV[2]… sids
-- returns  how many were removed
local now = redis.call('TIME')[1]
local removed = 0
for place = 2, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[place])
  if score and tonumber(score) >= now * 1000 and (now - (score % 1) * 2048) % 2048 >= tonumber(ARGV[1]) then
    removed = removed + redis.call('ZREM', KEYS[1], ARGV[place])
  end
end
return removed
