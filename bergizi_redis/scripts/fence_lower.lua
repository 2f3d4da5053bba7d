-- Lower a writer's fence after its COMMIT. Where it was the last one, a new random version stands from here on; so it
-- does where the fence is gone (it ran out, or the server was flushed): a reader may have stored old rows meanwhile.
-- KEYS    version keys, one slot
-- ARGV[1] writer, 8 bytes
-- ARGV[2] life of a version, ms
-- ARGV[3] 8 random bytes for each key
-- result  for each key 1 where the new version stands and nobody else has fenced or bumped it meanwhile, else 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alone = {}
for i, key in ipairs(KEYS) do
  alone[i] = 0
  local value = redis.call('GET', key) or ''
  local fences = {}
  local latest = 0
  if string.sub(value, 1, 1) == 'F' and #value ~= 8 then
    for at = 2, #value, 16 do
      local deadline = struct.unpack('>I8', value, at + 8)
      if deadline > now and string.sub(value, at, at + 7) ~= ARGV[1] then
        fences[#fences + 1] = string.sub(value, at, at + 15)
        latest = math.max(latest, deadline)
      elseif deadline % 2 == 0 and string.sub(value, at, at + 7) == ARGV[1] then
        alone[i] = 1
      end
    end
  end
  if #fences > 0 then
    redis.call('SET', key, 'F' .. table.concat(fences), 'PX', latest - now)
  else
    redis.call('SET', key, string.sub(ARGV[3], i * 8 - 7, i * 8), 'PX', ARGV[2])
  end
end
return alone
