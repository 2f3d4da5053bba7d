-- Fence versions for a writer that is about to COMMIT: until its fence is lowered or runs out, nothing can be stored
-- under them, and what was stored is dead. One fence for each writer, each with a deadline of its own: with a single
-- mark for all, the first of two writers to finish would open the way for a reader of the other's old rows.
-- An odd deadline says that somebody else has fenced or bumped the version while this fence stood: what its writer
-- committed may not be the newest then, see fence_lower.lua.
-- A version is 8 bytes. A fenced one is 'F' and, for each writer, 8 bytes of id and 8 of deadline (ms, big-endian).
-- KEYS    version keys, one slot
-- ARGV[1] writer, 8 bytes
-- ARGV[2] how long the fence stands, ms
-- result  nothing
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ms = now + tonumber(ARGV[2])
until_ms = until_ms - until_ms % 2
for _, key in ipairs(KEYS) do
  local value = redis.call('GET', key) or ''
  local fences = {}
  local latest = until_ms
  if string.sub(value, 1, 1) == 'F' and #value ~= 8 then
    for at = 2, #value, 16 do
      local deadline = struct.unpack('>I8', value, at + 8)
      if deadline > now and string.sub(value, at, at + 7) ~= ARGV[1] then
        fences[#fences + 1] = string.sub(value, at, at + 7) .. struct.pack('>I8', deadline - deadline % 2 + 1)
        latest = math.max(latest, deadline + 1)
      end
    end
  end
  fences[#fences + 1] = ARGV[1] .. struct.pack('>I8', until_ms + (#fences > 0 and 1 or 0))
  redis.call('SET', key, 'F' .. table.concat(fences), 'PX', latest - now)
end
