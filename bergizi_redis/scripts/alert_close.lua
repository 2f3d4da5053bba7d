-- Close an alert, or those that are over: each is given to one caller, who tells of it.
-- KEYS[1], KEYS[2]  as in alert_raise.lua
-- ARGV[1]  id, or '' for those that are over    ARGV[2]  at most so many
-- returns  their texts
local ids = {ARGV[1]}
if ARGV[1] == '' then
  local now = redis.call('TIME')
  local ms = now[1] * 1000 + math.floor(now[2] / 1000)
  ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms, 'LIMIT', 0, ARGV[2])
end
local texts = {}
for _, id in ipairs(ids) do
  if redis.call('ZREM', KEYS[1], id) == 1 then
    texts[#texts + 1] = redis.call('HGET', KEYS[2], id) or ''
    redis.call('HDEL', KEYS[2], id)
  end
end
return texts
