-- Whose sessions these were, as far as the tenant's trail still tells of their log-in.
-- KEYS[1]  stream, as in session_activity.lua
-- ARGV     sids
-- returns  the entries of their log-ins
local wanted, left, found, from = {}, #ARGV, {}, '+'
for _, sid in ipairs(ARGV) do
  wanted[sid] = true
end
-- By hundreds, the newest first: most are found without reading all.
while left > 0 do
  local some = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', 100)
  for _, entry in ipairs(some) do
    local told = entry[2][2]
    local event, sid = string.match(told, '^%d+ %["([%a_]+)","(%x+)"')
    if (event == 'i' or event == 'logged_in') and wanted[sid] then
      wanted[sid], left = nil, left - 1
      found[#found + 1] = told
    end
  end
  if #some < 100 then
    break
  end
  from = '(' .. some[#some][1]
end
return found
