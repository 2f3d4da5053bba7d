-- A run gives a task back.
-- KEYS  set of the tasks that are done · the task's claim
-- ARGV  task · run · 1 if it is done · life of the set, ms
if ARGV[3] == '1' then
  redis.call('SADD', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
if redis.call('GET', KEYS[2]) == ARGV[2] then
  redis.call('DEL', KEYS[2])
end
return 1
