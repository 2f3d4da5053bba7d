-- Take ended sessions off an index.
-- KEYS[1]  zset, as in session_index.lua; KEYS[2] zset beside it: sid by last seen
-- ARGV     sids
for first = 1, #ARGV, 500 do
  local last = math.min(first + 499, #ARGV)
  redis.call('ZREM', KEYS[1], unpack(ARGV, first, last))
  redis.call('ZREM', KEYS[2], unpack(ARGV, first, last))
end
return 1
