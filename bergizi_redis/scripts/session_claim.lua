-- Claim sessions that have expired: each goes to one caller only, and is counted there.
-- KEYS[1]  the tenant's index; KEYS[2] beside it; KEYS[3]… as in session_stats.lua
-- ARGV[1]  ms beyond the expiry; ARGV[2], ARGV[3] as ARGV[1], ARGV[2] of session_stats.lua; ARGV[4]… sids
-- returns  the sids that are the caller's
local time = redis.call('TIME')
local before, claimed = time[1] * 1000 - ARGV[1], {}
for place = 4, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[place])
  if score and tonumber(score) < before then -- and not renewed meanwhile
    redis.call('ZREM', KEYS[1], ARGV[place])
    redis.call('ZREM', KEYS[2], ARGV[place])
    claimed[#claimed + 1] = ARGV[place]
  end
end
if #claimed > 0 then
  local key = KEYS[math.min(math.max(math.floor(time[1] / 86400) - tonumber(ARGV[2]), 0), 2) + 3]
  redis.call('HINCRBY', key, 'expired', #claimed)
  redis.call('PEXPIRE', key, ARGV[3])
end
return claimed
