-- Take in one buffered write: into the shard's stream, and into the buffer that reads look at first.
-- A client whose link broke sends the same nonce again: it is told the first one's token, and nothing is taken in twice.
-- KEYS[1] stream  KEYS[2] buffer, hash  KEYS[3] the nonce's own key
-- ARGV[1] name of the entry, "tenant:ident"  ARGV[2] ident, encoded  ARGV[3] value, encoded
-- ARGV[4] nonce  ARGV[5] how long the nonce is remembered, ms
-- result  token: stream id padded with zeros, so that tokens of one shard sort as they were taken in, and the nonce
local known = redis.call('GET', KEYS[3])
if known then
  return known
end
local id = redis.call('XADD', KEYS[1], '*', 'k', ARGV[1], 'i', ARGV[2], 'v', ARGV[3], 'n', ARGV[4])
local ms, place = string.match(id, '(%d+)-(%d+)')
local token = string.rep('0', 15 - #ms) .. ms .. '-' .. string.rep('0', 6 - #place) .. place .. '-' .. ARGV[4]
redis.call('HSET', KEYS[2], ARGV[1], token .. '\n' .. ARGV[3])
redis.call('SET', KEYS[3], token, 'PX', ARGV[5])
return token
