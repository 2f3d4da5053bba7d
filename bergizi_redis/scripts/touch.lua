-- Give an entry a new life. A tagged one (its first byte is the envelope's magic) always ends some time.
-- KEYS[1] key
-- ARGV[1] life in ms, 0 = without end;  ARGV[2] the longest life of a tagged entry, ms
-- result  0 nothing there, 1 done, 2 done and tagged
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local life, longest, tagged = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GETRANGE', KEYS[1], 0, 0) == '\193' then
  tagged = 1
  if life == 0 or life > longest then
    life = longest
  end
end
if life == 0 then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life))
end
return 1 + tagged
