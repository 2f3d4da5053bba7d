-- End a session, if it is whose the caller says.
-- KEYS[1]  the session's hash; KEYS[2] the barriers of its shard, see session_bar.lua
-- ARGV[1]  the user it must belong to, '' for anyone; ARGV[2] the tenant, '' for any; ARGV[3] 'barred' to end it only
--          if it is behind a barrier
-- returns  {user or '', tenant or '', 1 if it was behind a barrier} of the ended session, or nil where there was none
-- As in session_load.lua: whether a barrier stands that the session has not passed.
local function is_barred(session, barriers)
  local meta = redis.call('HMGET', session, '@uid', '@ten', '@bar')
  local user, tenant = meta[1], meta[2] or ''
  local stands = user and redis.call('HMGET', barriers, '*', 't:' .. tenant, 'u:' .. user, 'b:' .. tenant .. ':' .. user)
  for _, number in ipairs(stands or {}) do
    if number and tonumber(number) > tonumber(meta[3] or 0) then
      return true
    end
  end
  return false
end

local meta = redis.call('HMGET', KEYS[1], '@v', '@uid', '@ten')
local user, tenant = meta[2] or '', meta[3] or ''
if not meta[1] or (ARGV[1] ~= '' and ARGV[1] ~= user) or (ARGV[2] ~= '' and ARGV[2] ~= tenant) then
  return false
end
local barred = is_barred(KEYS[1], KEYS[2])
if ARGV[3] == 'barred' and not barred then
  return false
end
redis.call('UNLINK', KEYS[1])
return {user, tenant, barred and 1 or 0}
