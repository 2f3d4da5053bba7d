-- needed by other scripts: version(key, random) – what to store as a new version. That of an epoch begins with a mark of
-- the server process, so that a server restarted from an older copy is told from the one the cache was filled on.
-- key     version key;  random: 8 bytes
-- result  8 bytes
local function mark()
  local info = redis.pcall('INFO', 'server')
  if type(info) ~= 'string' then
    return nil -- a user who may not ask
  end
  local digest = redis.sha1hex(string.match(info, 'run_id:(%w+)') or '')
  local bytes = {}
  for at = 1, 8, 2 do
    bytes[#bytes + 1] = string.char(tonumber(string.sub(digest, at, at + 1), 16))
  end
  return table.concat(bytes)
end
local function version(key, random)
  if string.sub(key, -6) ~= ':epoch' then
    return random
  end
  return (mark() or string.sub(random, 5, 8)) .. string.sub(random, 1, 4)
end
