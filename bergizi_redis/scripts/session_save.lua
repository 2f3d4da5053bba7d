-- Write what changed in a session, and nothing else; never bring back one that has ended.
-- KEYS[1]  the session's hash; KEYS[2] the barriers of its shard, see session_bar.lua; KEYS[3] as in session_evict.lua
-- ARGV[1]  'create' (refused where one exists) or 'update' (refused where none does, or one behind a barrier)
-- ARGV[2]  life in ms; 0 or less ends the session at once
-- ARGV[3]  n, the number of written fields; ARGV[4] m, the number of moments
-- ARGV[5]… n times field, value; m times field, ms from now; then the fields to remove
-- returns  {now ms, life ms, the shard's highest barrier}, or nil where refused. '@abs', ms, ends it whatever its life.
-- needs session_barred.lua
local key = KEYS[1]
if ARGV[1] == 'create' then
  if redis.call('EXISTS', key) == 1 then
    return false
  end
elseif redis.call('HEXISTS', key, '@v') == 0 or is_barred(key, KEYS[2]) then
  return false
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local note = KEYS[3] and redis.call('GET', KEYS[3])
if note == 'ghost' then -- given up meanwhile, for it did not come
  return false
elseif note and not string.find(note, '\n', 1, true) then -- ended before it began, to make room for a later log-in
  redis.call('UNLINK', key)
  return {now, 0}
end
local life = tonumber(ARGV[2])
local passes = ARGV[1] == 'create'
local moments = 5 + 2 * tonumber(ARGV[3])
local removed = moments + 2 * tonumber(ARGV[4])
-- Chunks, for Lua's stack cannot hold thousands of arguments at once.
for first = 5, moments - 1, 500 do
  redis.call('HSET', key, unpack(ARGV, first, math.min(first + 499, moments - 1)))
end
for place = moments, removed - 1, 2 do
  passes = passes or ARGV[place] == '@in'
  redis.call('HSET', key, ARGV[place], string.format('%.0f', now + tonumber(ARGV[place + 1])))
end
for first = removed, #ARGV, 500 do
  redis.call('HDEL', key, unpack(ARGV, first, math.min(first + 499, #ARGV)))
end
if passes then -- a log-in: it comes after all barriers that stand
  local top = redis.call('HGET', KEYS[2], '@top')
  if top then
    redis.call('HSET', key, '@bar', top)
  end
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
return {now, life, tonumber(redis.call('HGET', KEYS[2], '@top') or 0)}
