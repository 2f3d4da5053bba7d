-- For other scripts: whether a barrier stands that the session has not passed. As in session_load.lua, which asks more.
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
