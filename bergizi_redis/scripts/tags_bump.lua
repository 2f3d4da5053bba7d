-- Make versions anew: what was stored under the old ones is dead. A fence stays up: it voids as much, and its writer
-- has yet to commit; it is marked (an odd deadline, see fence_raise.lua).
-- needs mark.lua
-- KEYS    version keys, one slot; then the logs of their scopes, in the same one
-- ARGV[1] life of a version, ms
-- ARGV[2] 8 random bytes for each version
-- ARGV[3] who;  ARGV[4…] for each log what to note
-- result  nothing
local versions = #KEYS - (#ARGV - 3)
for i = 1, versions do
  local key = KEYS[i]
  local value = redis.call('GET', key)
  if not value or #value == 8 then
    redis.call('SET', key, version(key, string.sub(ARGV[2], i * 8 - 7, i * 8)), 'PX', ARGV[1])
  else
    local fences = {}
    for at = 2, #value, 16 do
      local deadline = struct.unpack('>I8', value, at + 8)
      fences[#fences + 1] = string.sub(value, at, at + 7) .. struct.pack('>I8', deadline - deadline % 2 + 1)
    end
    redis.call('SET', key, 'F' .. table.concat(fences), 'KEEPTTL')
  end
end
for i = versions + 1, #KEYS do -- a log that cannot be written to keeps nothing from being void
  redis.pcall('XADD', KEYS[i], 'MAXLEN', '~', 256, '*', 'who', ARGV[3], 'names', ARGV[i - versions + 3])
  redis.pcall('PEXPIRE', KEYS[i], ARGV[1])
end
