-- Whose request tries again what had to rest: 0 for the one that may, else after how many milliseconds to ask again.
-- KEYS  1: the hash of what is held (see holds.lua). 2: the claim, which goes by itself when its time is over.
-- ARGV  process, and how long the claim lasts in milliseconds.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local process, lasts = ARGV[1], ARGV[2]

local subject = string.sub(KEYS[2], #KEYS[1] + #':tried:' + 1)
local known = redis.call('HGET', KEYS[1], subject)
local held = known and cjson.decode(known)
-- What has no end is over when somebody finds that it may be: then only the claim decides.
if held and held[5] ~= process and held[4] > now then return held[4] - now end

local claimed = redis.call('GET', KEYS[2])
if claimed and claimed ~= process then return math.max(redis.call('PTTL', KEYS[2]), 1) end
redis.call('SET', KEYS[2], process, 'PX', lasts)
return 0
