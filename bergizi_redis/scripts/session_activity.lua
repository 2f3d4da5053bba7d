-- Note what happened to somebody's session, in a trail that is bounded by number and by age.
-- KEYS[1]  list (of a user: some 160 B, where a stream takes 4 kB at least) or stream (of a tenant)
-- ARGV[1]  'list' or 'stream'; ARGV[2] entries kept; ARGV[3] ms kept; ARGV[4] the entry, as JSON
-- returns  1, or 0 where the server would not: a trail is no reason for a log-out to fail
-- An entry is '<ms> <JSON>'; a list has the newest first.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entry = string.format('%.0f ', now) .. ARGV[4]
local noted
if ARGV[1] == 'list' then
  noted = redis.pcall('LPUSH', KEYS[1], entry)
  redis.pcall('LTRIM', KEYS[1], 0, ARGV[2] - 1)
else
  noted = redis.pcall('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'e', entry)
  redis.pcall('XTRIM', KEYS[1], 'MINID', string.format('%.0f', now - ARGV[3]))
end
if type(noted) == 'table' and noted.err then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
