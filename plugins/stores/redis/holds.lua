-- What is held against keys and accounts: a hash of subject -> JSON [state, reason, since, until (-1: none), process].
-- KEYS  1: the hash. 2: how many changes there were. put: 3: who tries the subject (see claims.lua), which is then over.
-- ARGV  put: subject, state, reason, age and how long it lasts (-1: no end) in milliseconds, process, channel.
--       list: nothing else.
-- Times are milliseconds by the server's clock. Deadlines only grow until somebody lifts them. Every change is published.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local KEPT = '7776000000' -- 90 days

local function over(held)
    return held[4] >= 0 and held[4] <= now
end

if ARGV[1] == 'list' then
    local all, found = redis.call('HGETALL', KEYS[1]), {}
    for place = 1, #all, 2 do
        if over(cjson.decode(all[place + 1])) then
            redis.call('HDEL', KEYS[1], all[place])
        else
            table.insert(found, all[place])
            table.insert(found, all[place + 1])
        end
    end
    return {now, tonumber(redis.call('GET', KEYS[2]) or 0), found}
end

local subject, state, reason, process, channel = ARGV[2], ARGV[3], ARGV[4], ARGV[7], ARGV[8]
local age, lasts = tonumber(ARGV[5]), tonumber(ARGV[6])
local known = redis.call('HGET', KEYS[1], subject)
local was = known and cjson.decode(known)
if was and over(was) then was = false end
local ends = lasts < 0 and -1 or now + lasts
if state == 'active' then
    redis.call('HDEL', KEYS[1], subject)
    -- Who waits for what becomes of it has forgotten the hold itself.
    local tried = redis.call('DEL', KEYS[3])
    if not was and tried == 0 then return {now, 0} end
else
    if was and (was[4] < 0 or (ends >= 0 and ends <= was[4])) then return {now, 0} end
    redis.call('HSET', KEYS[1], subject, cjson.encode({state, reason, now - age, ends, process}))
    redis.call('PEXPIRE', KEYS[1], KEPT)
    redis.call('DEL', KEYS[3])
end
local number = redis.call('INCR', KEYS[2])
redis.call('PUBLISH', channel, cjson.encode({number, process, subject, state, reason, age, lasts}))
return {now, number}
