-- End a session that makes room for another log-in, and leave a note why; one not yet written will not be any more.
-- KEYS[1]  the session's hash; KEYS[2] the note; KEYS[3] the barriers of its shard, see session_bar.lua
-- ARGV[1]  the user it must belong to; ARGV[2] the note; ARGV[3] its life in ms; ARGV[4] 1 to spare what lives
-- returns  {user, tenant or '', 1 if it was behind a barrier} of the ended session, or nil where there was none such
-- needs session_barred.lua
local meta = redis.call('HMGET', KEYS[1], '@v', '@uid', '@ten')
if meta[1] and meta[2] == ARGV[1] then
  if ARGV[4] == '1' then
    return false
  end
  local barred = is_barred(KEYS[1], KEYS[3])
  redis.call('UNLINK', KEYS[1])
  redis.call('SET', KEYS[2], barred and 'revoked' or ARGV[2], 'PX', ARGV[3])
  return {meta[2], meta[3] or '', barred and 1 or 0}
elseif meta[1] and meta[2] then
  return false -- another user's by now
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return false
