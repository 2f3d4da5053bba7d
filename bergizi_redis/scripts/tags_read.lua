-- Read tag versions, making those that are missing. A version is random, never a counter: one that was evicted
-- comes back as another, so nothing that was stored under the old one can come alive again.
-- needs mark.lua
-- KEYS    version keys, one slot
-- ARGV[1] life of a version that is made, ms
-- ARGV[2] 8 random bytes for each key
-- result  versions, in the order of KEYS
local versions = {}
for i, key in ipairs(KEYS) do
  local stands = redis.call('GET', key)
  if not stands then
    stands = version(key, string.sub(ARGV[2], i * 8 - 7, i * 8))
    redis.call('SET', key, stands, 'PX', ARGV[1])
  end
  versions[i] = stands
end
return versions
