-- Before session_save.lua, in one script with it: refuse where another request has changed what this one changes too.
-- KEYS     as in session_save.lua
-- ARGV     as in session_save.lua; then field and bytes as loaded ('' for none) of each compared field; then their number
-- returns  {'merge', bytes now or nil, ...} of the compared fields where one differs; else what session_save.lua returns
do
  local fields, expected = {}, {}
  for place = tonumber(table.remove(ARGV)), 1, -1 do
    expected[place] = table.remove(ARGV)
    fields[place] = table.remove(ARGV)
  end
  if redis.call('HEXISTS', KEYS[1], '@v') == 1 then
    local found = redis.call('HMGET', KEYS[1], unpack(fields))
    for place = 1, #fields do
      if (found[place] or '') ~= expected[place] then
        return {'merge', unpack(found, 1, #fields)}
      end
    end
  end
end
