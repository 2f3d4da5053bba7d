-- A trail at one instant: its chain, and events of a range.
-- KEYS  as in audit_append.lua
-- ARGV[1]  id from which    ARGV[2]  id up to which    ARGV[3]  events at most, 0: all    ARGV[4]  '1': the newest first
-- returns  {fields and values of the chain, entries of the stream, ms}
local now = redis.call('TIME')
local range = ARGV[4] == '1' and {'XREVRANGE', KEYS[1], ARGV[2], ARGV[1]} or {'XRANGE', KEYS[1], ARGV[1], ARGV[2]}
if ARGV[3] ~= '0' then
  range[5], range[6] = 'COUNT', ARGV[3]
end
return {redis.call('HGETALL', KEYS[2]), redis.call(unpack(range)), now[1] * 1000 + math.floor(now[2] / 1000)}
