-- Counts what one client has used of its limit, and lends out tokens of what is left (docs/RATE_LIMITS.md).
--
-- KEYS[1]  a hash: "g" its generation, "s" the sum of all buckets, "o" the oldest bucket that may hold anything, "b" the
--          last bucket seen, "m" the highest one charged, "r" there after a reset; and the buckets by their number modulo 128
-- ARGV     microseconds of a bucket, limit, thousandths of tokens wanted a second, tokens that requests wait for, buckets
--          a lease may last, generation known (0: none), whether the caller gives its history (1), then pairs:
--          a bucket and less than 0: unspent tokens of it; an age in buckets and more than 0: what was spent uncounted
-- Answers  code (0 restore, 1 lease, 2 lease after a reset), generation, tokens, bucket, its microseconds left,
--          microseconds until asking again is of use, until the oldest use leaves the window, tokens left
local WINDOW, LIFE, MODULUS, DIVISOR = 80, 20, 128, 1280
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local key, width, limit = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local rate, must, life = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local known, restoring = tonumber(ARGV[6]), ARGV[7] == '1'

local bucket = math.floor(now / width)
local state = redis.call('HMGET', key, 'g', 's', 'o', 'b', 'm', 'r')
local generation, sum, oldest, last, highest =
  tonumber(state[1]), tonumber(state[2]), tonumber(state[3]), tonumber(state[4]), tonumber(state[5])
local was_reset = state[6]

if generation and last - bucket > WINDOW then
  -- The clock was set back by more than a window: these buckets say nothing any more.
  redis.call('DEL', key)
  generation = nil
end
if not generation then
  if known ~= 0 and not restoring then return {0, 0, 0, bucket, 0, 0, 0, 0} end
  generation, sum, oldest, last, highest, was_reset = now, 0, bucket, bucket, bucket, false
end
local code = 1
if known ~= generation and (known ~= 0 or restoring) then
  if was_reset then
    code = 2
  elseif not restoring then
    return {0, 0, 0, bucket, 0, 0, 0, 0}
  end
end
if bucket < last then
  bucket, now = last, last * width
end

local first = bucket - WINDOW
local function held(number)
  return tonumber(redis.call('HGET', key, number % MODULUS) or 0)
end
local function held_from(from, to)
  local fields = {}
  for number = from, to do table.insert(fields, number % MODULUS) end
  return redis.call('HMGET', key, unpack(fields))
end
local function add(number, tokens)
  sum = sum + tokens
  if redis.call('HINCRBY', key, number % MODULUS, tokens) == 0 then
    redis.call('HDEL', key, number % MODULUS)
  end
end

if highest < first then
  for number = oldest, highest do redis.call('HDEL', key, number % MODULUS) end
  sum, oldest = 0, bucket
end
if oldest < first then
  local gone = {}
  for place, tokens in ipairs(held_from(oldest, first - 1)) do
    if tokens then
      sum = sum - tonumber(tokens)
      table.insert(gone, (oldest + place - 1) % MODULUS)
    end
  end
  if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
  oldest = first
end

for at = 8, #ARGV, 2 do
  local number, tokens = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if tokens < 0 then
    if known == generation and number >= first and number <= bucket + LIFE then
      local back = math.min(-tokens, held(number))
      if back > 0 then add(number, -back) end
    end
  elseif code ~= 2 and number <= WINDOW then
    add(bucket - number, tokens)
    oldest, highest = math.min(oldest, bucket - number), math.max(highest, bucket - number)
  end
end

local function wanted(last_bucket)
  return math.ceil(rate * ((last_bucket + 1) * width - now) * 1.1 / 1000000000)
end
local tokens, lease = 0, bucket
local available = limit - sum
local asks = rate > 0 or must > 0
if asks then
  local want = math.max(4, wanted(bucket + life))
  if life > 0 and sum + math.max(want, must) <= limit * 0.75 then
    lease = bucket + life
  else
    if (bucket + 1) * width - now < width / 4 then lease = bucket + 1 end
    want = wanted(lease)
  end
  local share = math.max(math.floor(limit / DIVISOR), math.floor(available / 2))
  tokens = math.max(0, math.min(available, math.max(must, 1, math.min(want, share))))
  if tokens > 0 then
    add(lease, tokens)
    highest = math.max(highest, lease)
    oldest = math.min(oldest, lease)
  end
end

if oldest < highest and held(oldest) == 0 then
  for _, tokens in ipairs(held_from(oldest, highest - 1)) do
    if tokens then break end
    oldest = oldest + 1
  end
end
local leaves = (oldest + WINDOW + 1) * width - now
local retry = leaves
if highest >= bucket then retry = math.min(leaves, (bucket + 1) * width - now) end
if not asks then retry = 0 end
redis.call('HSET', key, 'g', generation, 's', sum, 'o', oldest, 'b', bucket, 'm', highest)
redis.call('PEXPIRE', key, math.ceil((WINDOW + LIFE + 2) * width / 1000))
return {code, generation, tokens, lease, (lease + 1) * width - now, retry, leaves, limit - sum}
