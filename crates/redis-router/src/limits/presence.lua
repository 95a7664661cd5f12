-- Counts the cores that share the limits. KEYS[1]: a sorted set, by the second each was last seen.
-- ARGV: the core that asks, seconds after which one counts as gone. Answers how many there are.
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], 60)
return redis.call('ZCARD', KEYS[1])
