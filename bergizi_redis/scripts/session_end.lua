-- End a session, if it is whose the caller says.
-- KEYS[1]  the session's hash; KEYS[2] the barriers of its shard, see session_bar.lua; KEYS[3] why it has ended
-- ARGV[1]  the user it must belong to, '' for anyone; ARGV[2] the tenant, '' for any; ARGV[3] 'barred' to end it only
--          if it is behind a barrier; ARGV[4] what the log-in page shall know, '' for nothing; ARGV[5] for how many ms;
--          ARGV[6] a mark of the caller, hex: who asks again, for its link broke before the answer, is answered again
-- returns  {user or '', tenant or '', 1 if it was behind a barrier, 2 if it was held} of the ended session, or nil where
--          there was none; 3 if somebody else has ended it not long ago, who may have been killed before the lists knew
-- needs session_barred.lua
local meta = redis.call('HMGET', KEYS[1], '@v', '@uid', '@ten', '@held')
local user, tenant = meta[2] or '', meta[3] or ''
if not meta[1] then
  local who, barred, size, names = string.match(redis.call('GET', KEYS[3]) or '', '^[^\n]*\n(%x+)\n([012])\n(%d+)\n(.*)$')
  user, tenant = string.sub(names or '', 1, size or 0), string.sub(names or '', (size or 0) + 1)
  if not who or (ARGV[1] ~= '' and ARGV[1] ~= user) or (ARGV[2] ~= '' and ARGV[2] ~= tenant) then
    return false
  end
  return {user, tenant, who == ARGV[6] and tonumber(barred) or 3}
end
if (ARGV[1] ~= '' and ARGV[1] ~= user) or (ARGV[2] ~= '' and ARGV[2] ~= tenant) then
  return false
end
local barred = is_barred(KEYS[1], KEYS[2])
if ARGV[3] == 'barred' and not barred then
  return false
end
local over = barred and 1 or meta[4] and 2 or 0
redis.call('UNLINK', KEYS[1])
if user ~= '' then
  local note = table.concat({ARGV[4], ARGV[6] or '', over, #user, user .. tenant}, '\n')
  redis.call('SET', KEYS[3], note, 'PX', ARGV[4] == '' and 60000 or ARGV[5])
end
return {user, tenant, over}
