-- Lower a writer's fence after its COMMIT. Where it was the last one, a new random version stands from here on; so it
-- does where the fence is gone (it ran out, or the server was flushed): a reader may have stored old rows meanwhile.
-- KEYS    version keys, one slot; then the logs of their scopes, in the same one
-- ARGV[1] writer, 8 bytes
-- ARGV[2] life of a version, ms
-- ARGV[3] 8 random bytes for each version
-- ARGV[4] who;  ARGV[5…] for each log what to note
-- result  for each version 1 where the new version stands and nobody else has fenced or bumped it meanwhile, else 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alone = {}
local versions = #KEYS - (#ARGV - 4)
for i = 1, versions do
  local key = KEYS[i]
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
for i = versions + 1, #KEYS do -- a log that cannot be written to keeps nothing from being void
  redis.pcall('XADD', KEYS[i], 'MAXLEN', '~', 256, '*', 'who', ARGV[4], 'names', ARGV[i - versions + 4])
  redis.pcall('PEXPIRE', KEYS[i], ARGV[2])
end
return alone
