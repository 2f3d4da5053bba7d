-- A run of warmers begins: afresh, unless it resumes or another one is under way, whose record it shares then.
-- KEYS  set of the tasks that are done · the sign that a run is under way
-- ARGV  1 to resume · life of the sign, ms
-- Result: how many tasks are done
if ARGV[1] == '0' and redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[2], 1, 'PX', ARGV[2])
return redis.call('SCARD', KEYS[1])
