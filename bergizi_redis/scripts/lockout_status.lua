-- Reads how an account stands, changing nothing. A script, so that it is asked of the primary and both at one instant.
-- KEYS[1] security:attempts:{tag}   KEYS[2] security:lockout:{tag}
-- Result: {failures, PTTL of the lock (-2: not locked)}
return {tonumber(redis.call('HGET', KEYS[1], 'failures') or 0), redis.call('PTTL', KEYS[2])}
