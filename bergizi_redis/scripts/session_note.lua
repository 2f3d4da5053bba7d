-- Write one meta field of a session that lives, and nothing else: its life stays what it is.
-- KEYS[1]  the session's hash
-- ARGV[1]  field; ARGV[2] value; ARGV[3] the value that it must have still ('': none), so that of many one notes it
-- returns  1, or 0 where it was noted already, or there is no such session
if redis.call('HEXISTS', KEYS[1], '@v') == 0 or (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[3] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
