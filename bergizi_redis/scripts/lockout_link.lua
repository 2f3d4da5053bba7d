-- Notes a link that may open the lock of an account once, in the place of an earlier one. Needs a lock.
-- KEYS[1] lockout   [2] unlock, hash: digest, generation
-- ARGV[1] digest of the link's secret   [2] its life, ms   [3] ms that a link must be old for the next to be made
-- Result: 1 noted, 0 not: there is no lock, or a link was made just now
local generation = redis.call('GET', KEYS[1])
local left = redis.call('PTTL', KEYS[2])
if not generation or left > tonumber(ARGV[2]) - tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[2], 'digest', ARGV[1], 'generation', generation)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
