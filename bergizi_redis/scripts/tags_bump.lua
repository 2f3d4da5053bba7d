-- Make versions anew: what was stored under the old ones is dead. A fence stays up: it voids as much, and its writer
-- has yet to commit; it is marked (an odd deadline, see fence_raise.lua).
-- KEYS    version keys, one slot
-- ARGV[1] life of a version, ms
-- ARGV[2] 8 random bytes for each key
-- result  nothing
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if not value or #value == 8 then
    redis.call('SET', key, string.sub(ARGV[2], i * 8 - 7, i * 8), 'PX', ARGV[1])
  else
    local fences = {}
    for at = 2, #value, 16 do
      local deadline = struct.unpack('>I8', value, at + 8)
      fences[#fences + 1] = string.sub(value, at, at + 7) .. struct.pack('>I8', deadline - deadline % 2 + 1)
    end
    redis.call('SET', key, 'F' .. table.concat(fences), 'KEEPTTL')
  end
end
