-- Pays for one password check before it is made. Every gate is looked at first; the first that is shut refuses, and then
-- none is paid. On a cluster each slot is asked by itself: one network, then the next, then the account.
-- KEYS of each network: log (zset: attempt by time, ms), accounts (HyperLogLog), told
--      of the account or device, if any: attempts, lockout, record, origins (HyperLogLog), told, devices
--      of the tenant, if any: outcomes, told
-- ARGV[1] how many networks   [2] accounts, 0|1   [3] tenants, 0|1   [4] the attempt   [5] the account's tag
--     [6] 1: it was made already, so networks note it and refuse nothing   [7] window of alerts, ms   then
--     of each network: limit, window in ms, accounts that alert
--     of the account: limit, window in ms, generation should a new round begin here, cap, memory in ms, the network it is
--       tried from ('': unknown), networks that alert, epoch of its devices ('*': not asked), how many locks, each in ms
--     of the tenant: per cent that alert, attempts from which on
-- Result: {refused by: 0 nobody | n the n-th network | -1 the account | -2 its devices' epoch, failures, PTTL of the lock
--     (-2: not locked, -1: until it is unlocked), closed by this call 0|1, generation, now in unix ms, locks before,
--     failures in a row, {kind, count, limit} of each alert}
local networks, accounts, tenants = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alerts = {}

local function number(at)
  return tonumber(ARGV[at])
end

local function alert(kind, told, count, limit)
  if limit > 0 and count >= limit and redis.call('SET', told, 1, 'NX', 'PX', ARGV[7]) then
    alerts[#alerts + 1] = {kind, count, limit}
  end
end

local at = 8
for n = 1, networks do
  local log, limit, window = KEYS[3 * n - 2], number(at), number(at + 1)
  redis.call('ZREMRANGEBYSCORE', log, '-inf', now - window)
  local spent = redis.call('ZCARD', log) - limit
  if spent >= 0 and ARGV[6] == '0' then
    local first = redis.call('ZRANGE', log, spent, spent, 'WITHSCORES')[2]
    return {n, limit, math.max(1, first + window - now), 0, '', now, 0, 0, alerts}
  end
  at = at + 3
end

local account, of = at, 3 * networks
if accounts == 1 then
  if ARGV[account + 7] ~= '*' and (redis.call('GET', KEYS[of + 6]) or '') ~= ARGV[account + 7] then
    return {-2, 0, -2, 0, '', now, 0, 0, alerts}
  end
  if ARGV[account + 5] ~= '' and number(account + 6) > 0 and redis.call('PFADD', KEYS[of + 4], ARGV[account + 5]) == 1 then
    redis.call('PEXPIRE', KEYS[of + 4], ARGV[7], 'NX')
    alert('distributed', KEYS[of + 5], redis.call('PFCOUNT', KEYS[of + 4]), number(account + 6))
  end
  local left = redis.call('PTTL', KEYS[of + 2])
  if left ~= -2 then
    return {-1, number(account), left, 0, '', now, 0, 0, alerts} -- trying never extends a lock
  end
  at = account + 9 + number(account + 8)
end

for n = 1, networks do
  local log, limit, watched = KEYS[3 * n - 2], number(3 * n + 5), number(3 * n + 7)
  redis.call('ZADD', log, now, ARGV[4])
  redis.call('ZREMRANGEBYRANK', log, 0, -limit - 1)
  redis.call('PEXPIRE', log, ARGV[3 * n + 6])
  if watched > 0 then
    if redis.call('PFADD', KEYS[3 * n - 1], ARGV[5]) == 1 then
      redis.call('PEXPIRE', KEYS[3 * n - 1], ARGV[7], 'NX')
    end
    if redis.call('ZCARD', log) >= watched then -- those that failed: a success is taken off the log
      alert('spray', KEYS[3 * n], redis.call('PFCOUNT', KEYS[3 * n - 1]), watched)
    end
  end
end

if tenants == 1 then
  local outcomes = KEYS[#KEYS - 1]
  local before = redis.call('HINCRBY', outcomes, 'tried', 1) - 1
  redis.call('PEXPIRE', outcomes, ARGV[7], 'NX')
  if before >= number(at + 1) then
    local passed = tonumber(redis.call('HGET', outcomes, 'passed') or 0)
    alert('failures', KEYS[#KEYS], math.floor(100 * (before - passed) / before), number(at))
  end
end

if accounts == 0 then
  return {0, 0, -2, 0, '', now, 0, 0, alerts}
end
local attempts, lockout, record = KEYS[of + 1], KEYS[of + 2], KEYS[of + 3]
local limit, cap = number(account), number(account + 3)
local failures = redis.call('HINCRBY', attempts, 'failures', 1)
redis.call('HSETNX', attempts, 'generation', ARGV[account + 2])
local generation = redis.call('HGET', attempts, 'generation')
local row = redis.call('HINCRBY', record, 'failures', 1)
redis.call('PEXPIRE', record, ARGV[account + 4])
local locks = tonumber(redis.call('HGET', record, 'locks') or 0)
if failures < limit and (cap == 0 or row < cap) then
  redis.call('PEXPIRE', attempts, ARGV[account + 1])
  return {0, failures, -2, 0, generation, now, locks, row, alerts}
end

local left = -1
if cap > 0 and row >= cap then
  redis.call('SET', lockout, generation)
else
  left = number(account + 9 + math.min(locks, number(account + 8) - 1))
  redis.call('SET', lockout, generation, 'PX', left)
end
redis.call('HINCRBY', record, 'locks', 1)
redis.call('DEL', attempts) -- when the lock expires, the count starts fresh
-- More than a limit: it was lowered meanwhile, and no check is left.
local refused = (failures > limit or (cap > 0 and row > cap)) and -1 or 0
return {refused, failures, left, 1, generation, now, locks, row, alerts}
