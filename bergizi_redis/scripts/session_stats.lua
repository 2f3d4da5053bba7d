-- Add to the counts of today, by the server's clock and in UTC. Full servers count nothing: a log-out is worth more.
-- KEYS     hashes of three days that follow one another: whichever is the server's today
-- ARGV[1]  number of the first one's day since 1970; ARGV[2] ms that a day is kept; ARGV[3]… name, count
local today = math.floor(redis.call('TIME')[1] / 86400)
local key = KEYS[math.min(math.max(today - tonumber(ARGV[1]), 0), 2) + 1]
for place = 3, #ARGV, 2 do
  redis.pcall('HINCRBY', key, ARGV[place], ARGV[place + 1])
end
redis.call('PEXPIRE', key, ARGV[2])
return 1
