-- Add to a number that exists, keeping its time to live.
-- KEYS[1] key
-- ARGV[1] delta
-- result  the new number, or nil where there is no key; an error where it holds no number
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
return redis.call('INCRBY', KEYS[1], ARGV[1])
