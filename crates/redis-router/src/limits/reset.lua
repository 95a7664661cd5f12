-- Forgets what a client has used, and has the cores forget it too instead of restoring it (lease.lua).
-- KEYS[1]: the counter. ARGV: microseconds of a bucket. Answers whether there was one.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local bucket = math.floor(now / ARGV[1])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'g', now, 's', 0, 'o', bucket, 'b', bucket, 'm', bucket, 'r', 1)
redis.call('PEXPIRE', KEYS[1], math.ceil(102 * ARGV[1] / 1000))
return 1
