-- Write what changed in a session, and nothing else; never bring back one that has ended.
-- KEYS[1]  the session's hash
-- ARGV[1]  'create' (refused where one exists) or 'update' (refused where none does)
-- ARGV[2]  life in ms; 0 or less ends the session at once
-- ARGV[3]  n, the number of written fields; ARGV[4] m, the number of moments
-- ARGV[5]… n times field, value; m times field, ms from now; then the fields to remove
-- returns  {now ms, life ms}, or nil where refused. '@abs', ms, ends the session whatever its life.
local key = KEYS[1]
if ARGV[1] == 'create' then
  if redis.call('EXISTS', key) == 1 then
    return false
  end
elseif redis.call('HEXISTS', key, '@v') == 0 then
  return false
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local life = tonumber(ARGV[2])
local moments = 5 + 2 * tonumber(ARGV[3])
local removed = moments + 2 * tonumber(ARGV[4])
-- Chunks, for Lua's stack cannot hold thousands of arguments at once.
for first = 5, moments - 1, 500 do
  redis.call('HSET', key, unpack(ARGV, first, math.min(first + 499, moments - 1)))
end
for place = moments, removed - 1, 2 do
  redis.call('HSET', key, ARGV[place], string.format('%.0f', now + tonumber(ARGV[place + 1])))
end
for first = removed, #ARGV, 500 do
  redis.call('HDEL', key, unpack(ARGV, first, math.min(first + 499, #ARGV)))
end
local deadline = tonumber(redis.call('HGET', key, '@abs') or '')
if deadline and deadline - now < life then
  life = deadline - now
end
if life <= 0 then
  redis.call('UNLINK', key)
  return {now, 0}
end
redis.call('PEXPIREAT', key, string.format('%.0f', now + life))
return {now, life}
