-- The numbers of a tenant: sessions that live, users online, what happened on each day.
-- KEYS[1]  the tenant's index; KEYS[2] zset beside it: sid by last seen; KEYS[3]… hashes of days
-- ARGV[1]  ms since last seen that count as online
-- returns  {today's number since 1970, live, online, {name, count, ...}, ...}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local report = {
  math.floor(time[1] / 86400),
  redis.call('ZCOUNT', KEYS[1], string.format('%.0f', now), '+inf'),
  redis.call('ZCOUNT', KEYS[2], string.format('%.0f', now - ARGV[1]), '+inf'),
}
-- Who has run out is not online any more, though the sweeper has not come by yet.
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now), 'LIMIT', 0, 1000)
for _, sid in ipairs(over) do
  if tonumber(redis.call('ZSCORE', KEYS[2], sid) or 0) >= now - ARGV[1] then
    report[3] = report[3] - 1
  end
end
for place = 3, #KEYS do
  report[place + 1] = redis.call('HGETALL', KEYS[place])
end
return report
