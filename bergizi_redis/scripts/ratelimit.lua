-- Counts a call against several limits in one step, or looks how it would fare. Where one refuses a call that it blocks,
-- none is charged, but `fixed`, which counts what it refuses as well.
-- KEYS[i]  security:ratelimit:{tag}; exact: list of µs, one for each unit, oldest first; gcra: two doubles, when (µs) and
--          what was owed then (µs × limit); fixed: a number
-- ARGV[1]  '1' to count, '0' to look;  then five for each key: exact | gcra | fixed, limit, period in µs, cost, and '1'
--          where a refusal blocks the call
-- Result:  for each key: refused 0|1, units in use, µs until a call of this cost may pass, µs until nothing is in use
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local counting = ARGV[1] == '1'
local CHUNK = 1000 -- arguments of one RPUSH; Lua's stack holds 8,000
local exact, gcra, fixed = {}, {}, {}
local algorithms = {exact = exact, gcra = gcra, fixed = fixed}

local function digits(number)
  return string.format('%.0f', number)
end

local function ms(us)
  return digits(math.ceil(us / 1000))
end

local function stamp(key, place)
  return tonumber(redis.call('LINDEX', key, digits(place)))
end

-- Entries are in order, so the first that is still in the window is found by halving. Both ends belong to a window.
function exact.look(key, limit, period, cost)
  local length = redis.call('LLEN', key)
  local past, within = 0, length
  if length > 0 and stamp(key, 0) + period >= now then
    within = 0 -- the usual case: nothing to search
  end
  while past < within do
    local middle = math.floor((past + within) / 2)
    if stamp(key, middle) + period < now then
      past = middle + 1
    else
      within = middle
    end
  end
  local count = length - past
  local last = count > 0 and stamp(key, -1) or 0
  local reset = count > 0 and last + period - now or 0
  local refused, wait = count + cost > limit, 0
  if cost > limit then
    wait = period -- never, in truth
  elseif refused then
    wait = stamp(key, length + cost - limit - 1) + period - now + 1
  end
  return {refused = refused, count = count, wait = wait, reset = reset, past = past, last = last}
end

function exact.charge(key, limit, period, cost, seen)
  if seen.past > 0 then
    redis.call('LTRIM', key, digits(seen.past), -1)
  end
  local at = digits(math.max(now, seen.last)) -- in order, even where the clock was set back
  local left = cost
  while left > 0 do
    local some = {}
    for place = 1, math.min(left, CHUNK) do
      some[place] = at
    end
    redis.call('RPUSH', key, unpack(some))
    left = left - #some
  end
  if cost > 0 then
    seen.reset = tonumber(at) + period - now
    redis.call('PEXPIRE', key, ms(seen.reset + 1000)) -- 1 ms more: a window's end belongs to it
  end
end

-- What is owed shrinks by `limit` each µs; a unit costs `period`. Whole numbers, so nothing is lost by rounding.
function gcra.look(key, limit, period, cost)
  local stored, owed = redis.call('GET', key), 0
  if stored then
    local at, then_owed = struct.unpack('>dd', stored)
    owed = math.max(0, then_owed - math.max(0, now - at) * limit)
  end
  local over, wait = owed + cost * period - limit * period, 0
  if cost > limit then
    wait = period -- never, in truth
  elseif over > 0 then
    wait = math.ceil(over / limit)
  end
  local reset = owed > 0 and math.ceil(owed / limit) or 0
  return {refused = over > 0, count = math.ceil(owed / period), wait = wait, reset = reset, owed = owed}
end

function gcra.charge(key, limit, period, cost, seen)
  if cost > 0 then
    local owed = seen.owed + cost * period
    seen.reset = math.ceil(owed / limit)
    redis.call('SET', key, struct.pack('>dd', now, owed), 'PX', ms(seen.reset + 1000))
  end
end

function fixed.look(key, limit, period, cost)
  local count
  if counting then
    count = redis.call('INCRBY', key, digits(cost))
  else
    count = tonumber(redis.call('GET', key) or 0)
  end
  local left = redis.call('PTTL', key) * 1000
  if left < 0 and counting then
    redis.call('PEXPIRE', key, ms(period))
    left = period
  end
  local refused = count > limit
  left = math.max(left, 0)
  return {refused = refused, count = count, wait = refused and left or 0, reset = left}
end

local seen, blocked = {}, false
local function asked(place)
  local first = place * 5 - 3
  return ARGV[first], tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2]), tonumber(ARGV[first + 3]), ARGV[first + 4]
end

for place, key in ipairs(KEYS) do
  local algorithm, limit, period, cost, blocks = asked(place)
  seen[place] = algorithms[algorithm].look(key, limit, period, cost)
  blocked = blocked or (seen[place].refused and blocks == '1')
end
local reply = {}
for place, key in ipairs(KEYS) do
  local algorithm, limit, period, cost = asked(place)
  local this = seen[place]
  if counting and not blocked and not this.refused and algorithm ~= 'fixed' then
    algorithms[algorithm].charge(key, limit, period, cost, this)
    this.count = this.count + cost
  end
  for _, value in ipairs({this.refused and 1 or 0, this.count, this.wait, this.reset}) do
    reply[#reply + 1] = value
  end
end
return reply
