-- Opens a lock by a link, once: of two clicks at the same time one finds it used.
-- KEYS[1] attempts   [2] lockout   [3] record   [4] origins   [5] unlock, hash: digest, generation
-- ARGV[1] digest of the link's secret
-- Result: 1 the lock was opened, 0 the link is used, too old, or of an earlier lock
if redis.call('HGET', KEYS[5], 'digest') ~= ARGV[1] then
  return 0
end
local generation = redis.call('HGET', KEYS[5], 'generation')
redis.call('DEL', KEYS[5])
if redis.call('GET', KEYS[2]) ~= generation then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return 1
