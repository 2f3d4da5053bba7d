-- What a writer must know of a trail: the last sealed event, and those that wait for a seal, oldest first.
-- KEYS[1]  stream of events    KEYS[2]  hash: seq, sealed, link, id, l<seq>, a<seq>, …
local SEALS = 64 -- events that one seal covers at most

local function text(value)
  return value or ''
end

local function field(entry, name)
  for place = 1, #entry[2], 2 do
    if entry[2][place] == name then
      return entry[2][place + 1]
    end
  end
end

local function state()
  local head = redis.call('HMGET', KEYS[2], 'sealed', 'link', 'id')
  local sealed = text(head[1])
  local waiting = {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], head[3] and '(' .. head[3] or '-', '+', 'COUNT', SEALS)) do
    local seq = text(field(entry, 'seq'))
    waiting[#waiting + 1] = {seq, entry[1], text(field(entry, 'mac')), text(redis.call('HGET', KEYS[2], 'a' .. seq))}
  end
  return {sealed, text(head[2]), text(head[3]), text(redis.call('HGET', KEYS[2], 'a' .. sealed)), waiting}
end
