-- Append an event to a trail: chained, if the writer knows where the chain ends; and trim the trail.
-- KEYS[1]  stream: seq, event, nonce, mac; link of what was chained; after of what was not
-- KEYS[2]  hash: seq (last given), sealed, link, id (of the last event in the chain), l<seq> (links that seals added),
--          a<seq> ("times ms": how often it came again, and when last), same, since (what comes again, and since when),
--          floor_seq, floor_id, floor_link, floor_again (of the last event that was trimmed)
-- ARGV[1…3]  sealed, link, id: the end of the chain as the writer knows it; '' of a trail that it takes for new
-- ARGV[4]  a<seq> of the last event that the writer knows of
-- ARGV[5]  'try': append it to the chain or not at all; 'force': or let it wait for a seal; 'seal': only seal
-- ARGV[6]  mac if chained    ARGV[7]  link    ARGV[8]  mac if it must wait    ARGV[9]  after, if it must wait
-- ARGV[10]  nonce    ARGV[11]  event, JSON
-- ARGV[12]  ms that events are kept    ARGV[13]  events that are kept
-- ARGV[14]  '' or what makes this event one with the last    ARGV[15]  ms that it may do so; 0: as long as it is last
-- ARGV[16]  '1': it may have been written before; look
-- ARGV[17…]  seq, id, link of each event that waits, in order: seals, if the chain ends where the writer believes
-- returns  {'chained', 'waiting', 'moved', 'again', 'known' or 'sealed', seq, id, times, state}
-- needs audit_state.lua

local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local cut, cap = ms - tonumber(ARGV[12]), tonumber(ARGV[13])

local function done(was, seq, id, times)
  redis.call('PEXPIRE', KEYS[1], ARGV[12])
  redis.call('PEXPIRE', KEYS[2], ARGV[12])
  return {was, tostring(seq), id, times, state()}
end

local function time_of(id)
  return tonumber(string.match(id, '^%d+'))
end

-- The oldest, as far as they are in the chain; the floor says what stood there.
local function trim(sealed)
  local count = redis.call('XLEN', KEYS[1])
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if count <= cap and time_of(first[1]) >= cut then
    return
  end
  local last
  for place, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 100)) do
    local seq, id = field(entry, 'seq') or '', entry[1]
    if place == count or not (place <= count - cap or time_of(id) < cut) or (tonumber(seq) or 0) > sealed then
      break
    end
    local link = field(entry, 'link') or redis.call('HGET', KEYS[2], 'l' .. seq)
    last = {seq, id, text(link), text(redis.call('HGET', KEYS[2], 'a' .. seq))}
    redis.call('HDEL', KEYS[2], 'l' .. seq, 'a' .. seq)
    redis.call('XDEL', KEYS[1], id)
  end
  if last then
    redis.call('HSET', KEYS[2], 'floor_seq', last[1], 'floor_id', last[2], 'floor_link', last[3], 'floor_again', last[4])
  end
end

if ARGV[16] == '1' then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 128)) do
    if field(entry, 'nonce') == ARGV[10] then
      return {'known', text(field(entry, 'seq')), entry[1], 0, state()}
    end
  end
end

local head = redis.call('HMGET', KEYS[2], 'seq', 'sealed', 'link', 'id', 'same', 'since')
local seq, sealed = tonumber(head[1] or 0), tonumber(head[2] or 0)
local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if ARGV[5] ~= 'seal' and ARGV[14] ~= '' and head[5] == ARGV[14] and top
  and (ARGV[15] == '0' or ms - head[6] < tonumber(ARGV[15])) then
  local times = tonumber(string.match(redis.call('HGET', KEYS[2], 'a' .. seq) or '0', '^%d+')) + 1
  redis.call('HSET', KEYS[2], 'a' .. seq, string.format('%d %d', times, ms))
  return done('again', seq, top[1], times)
end

local knew = text(head[2]) == ARGV[1] and text(head[3]) == ARGV[2] and text(head[4]) == ARGV[3]
if knew then
  for place = 17, #ARGV, 3 do
    sealed = tonumber(ARGV[place])
    redis.call('HSET', KEYS[2], 'l' .. ARGV[place], ARGV[place + 2],
               'sealed', ARGV[place], 'id', ARGV[place + 1], 'link', ARGV[place + 2])
  end
end
if ARGV[5] == 'seal' then
  return {'sealed', '', '', 0, state()}
end

local chained = knew and seq == sealed and text(redis.call('HGET', KEYS[2], 'a' .. seq)) == ARGV[4]
if not chained and ARGV[5] == 'try' then
  return {'moved', '', '', 0, state()}
end
seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)
local id
if chained then
  id = redis.call('XADD', KEYS[1], '*', 'seq', seq, 'event', ARGV[11], 'nonce', ARGV[10], 'mac', ARGV[6], 'link', ARGV[7])
  redis.call('HSET', KEYS[2], 'sealed', seq, 'link', ARGV[7], 'id', id)
  sealed = seq
else
  id = redis.call('XADD', KEYS[1], '*', 'seq', seq, 'event', ARGV[11], 'nonce', ARGV[10], 'mac', ARGV[8], 'after', ARGV[9])
end
redis.call('HSET', KEYS[2], 'same', ARGV[14], 'since', ms)
trim(sealed)
return done(chained and 'chained' or 'waiting', seq, id, 0)
