-- Lease a shard to a worker and hand it what is to be flushed: first all that was handed out before and never
-- acknowledged, a dead worker's share too, then new writes. New ones are held back while the former do not fit into
-- the window: a write must never overtake an earlier one of its entry. The lease says who works, so the group has one
-- consumer: a name for each worker would stay in it for good. Where there is nothing to do, no lease stands.
-- KEYS[1] lease  KEYS[2] stream  KEYS[3] failures, hash  KEYS[4] halted, hash  KEYS[5] replay, set
-- ARGV[1] worker  ARGV[2] lease, ms  ARGV[3] window  ARGV[4] new writes at most
-- result  nil where another worker has the lease; else {now ms, {{id, {field, value…}}…}, {failure of each, or ''},
--         {entry, dead letters…}, {entries to replay}, how many writes were handed out before}
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return false
end
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local writes = {}
local before = 0
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.pcall('XGROUP', 'CREATE', KEYS[2], 'flush', '0')  -- refused where there is one
  local claimed = redis.call('XAUTOCLAIM', KEYS[2], 'flush', 'worker', 0, '0-0', 'COUNT', ARGV[3])
  writes = claimed[2]
  before = #writes
  if claimed[1] == '0-0' then
    local fresh = redis.call(
      'XREADGROUP', 'GROUP', 'flush', 'worker', 'COUNT', ARGV[4], 'STREAMS', KEYS[2], '>')
    if fresh then
      for _, write in ipairs(fresh[1][2]) do
        writes[#writes + 1] = write
      end
    end
  end
end
local failures = {}
for place, write in ipairs(writes) do
  failures[place] = redis.call('HGET', KEYS[3], write[1]) or ''
end
local replayed = redis.call('SMEMBERS', KEYS[5])
if #writes + #replayed > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
return {now, writes, failures, redis.call('HGETALL', KEYS[4]), replayed, before}
