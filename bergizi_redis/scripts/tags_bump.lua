-- Make versions anew: what was stored under the old ones is dead. A fence stays up: it voids as much, and its writer
-- has yet to commit.
-- KEYS    version keys, one slot
-- ARGV[1] life of a version, ms
-- ARGV[2] 8 random bytes for each key
-- result  nothing
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if not value or #value == 8 then
    redis.call('SET', key, string.sub(ARGV[2], i * 8 - 7, i * 8), 'PX', ARGV[1])
  end
end
