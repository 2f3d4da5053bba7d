-- A run asks for a task.
-- KEYS  set of the tasks that are done · the task's claim
-- ARGV  task · run · life of the claim, ms
-- Result: 2 it is done, 1 it is yours, 0 another run has it
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  return 2
end
return redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) and 1 or 0
