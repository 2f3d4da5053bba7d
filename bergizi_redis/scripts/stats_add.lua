-- Add what a process has counted to the buckets of the fleet, once: a batch that is sent again, because nobody knows
-- whether it arrived, is not added again to a bucket that has it.
-- KEYS    buckets, one slot: hashes of "<tenant>/<domain>" to JSON of counts, and "#<process>" to its last batch
-- ARGV[1] process;  ARGV[2] number of the batch, growing;  ARGV[3] most rows of a bucket
-- ARGV[4…] for each bucket when it ends, Unix ms; then row, JSON, row, JSON…
-- result  nothing
for number, key in ipairs(KEYS) do
  if tonumber(redis.call('HGET', key, '#' .. ARGV[1]) or 0) < tonumber(ARGV[2]) then
    local size = redis.call('HLEN', key)
    for at = 4 + #KEYS, #ARGV, 2 do
      local row = ARGV[at]
      local before = redis.call('HGET', key, row)
      if not before and size >= tonumber(ARGV[3]) then
        row = '~' .. string.match(row, '/.*')
        before = redis.call('HGET', key, row)
      end
      local sums = before and cjson.decode(before) or {}
      for event, times in pairs(cjson.decode(ARGV[at + 1])) do
        sums[event] = (sums[event] or 0) + times
      end
      size = size + (before and 0 or 1)
      redis.call('HSET', key, row, cjson.encode(sums))
    end
    redis.call('HSET', key, '#' .. ARGV[1], ARGV[2])
    redis.call('PEXPIREAT', key, ARGV[3 + number])
  end
end
