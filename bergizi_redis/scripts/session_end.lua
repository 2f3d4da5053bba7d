-- End a session, if it is whose the caller says.
-- KEYS[1]  the session's hash
-- ARGV[1]  the user it must belong to, '' for anyone; ARGV[2] the tenant, '' for any
-- returns  {user or '', tenant or ''} of the ended session, or nil where there was none such
local meta = redis.call('HMGET', KEYS[1], '@v', '@uid', '@ten')
local user, tenant = meta[2] or '', meta[3] or ''
if not meta[1] or (ARGV[1] ~= '' and ARGV[1] ~= user) or (ARGV[2] ~= '' and ARGV[2] ~= tenant) then
  return false
end
redis.call('UNLINK', KEYS[1])
return {user, tenant}
