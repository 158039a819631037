-- How limits are counted in Redis: every question is one call of this script, and so one atomic step.
--
-- KEYS  1: when these counts began; 1 + i: the i-th counter. What else belongs to a counter has its key and a suffix: all
--       keys share one hash tag and lie on one node.
-- ARGV  1: what is asked. 2: n, how many counters. Then five for each: kind (s slides, d is a day, g a gate), amount,
--       window, and when the day began and ends. Then what the question needs.
-- Times are whole milliseconds by the server's clock. An answer begins with 1 (done), 0 (a limit has no room) or 2 (ask
-- again: the day is another one, or the question is too old), and the time.
--
-- A counter is a hash of buckets: number -> taken; one that slides also has t, the sum, and r, when the first bucket
-- leaves. A sixtieth of a window is a bucket; it leaves when its latest possible use has left the window.
-- :open is a sorted set of what is reserved, by expiry, as "lease bucket amount"; :late has leases that expired unsettled.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local SIXTIETHS, FOREVER, DAY = 60, 2 ^ 53, 86400000
local LARGEST = 2 ^ 53 - 1 -- a bucket has no more: whatever a provider reported, sums stay whole numbers
local SILENCE, PARDON = 8000, 15000 -- beats come every two seconds, and each hub renews its leases every ten
local question, n = ARGV[1], tonumber(ARGV[2])
local tail = 2 + 5 * n

local function int(number)
    return string.format('%.0f', number)
end

local function counter(i)
    local at = 2 + 5 * (i - 1)
    local key = KEYS[1 + i]
    return {
        key = key, open = key .. ':open', late = key .. ':late', kind = ARGV[at + 1],
        amount = tonumber(ARGV[at + 2]), window = tonumber(ARGV[at + 3]),
        begins = tonumber(ARGV[at + 4]), ends = tonumber(ARGV[at + 5]),
    }
end

local function bucket_at(c, at)
    if c.kind == 's' then return math.floor(at * SIXTIETHS / c.window) end
    return c.kind == 'd' and c.begins or 0
end

local function leaves(c, bucket)
    if c.kind == 's' then return math.ceil((bucket + 1) * c.window / SIXTIETHS) + c.window end
    if c.kind == 'd' then return bucket == c.begins and c.ends or 0 end
    return FOREVER
end

local function taken(c)
    if c.kind ~= 's' then
        return tonumber(redis.call('HGET', c.key, int(bucket_at(c, now))) or 0)
    end
    local known = redis.call('HMGET', c.key, 't', 'r')
    if not known[2] then return 0 end
    if now < tonumber(known[2]) then return tonumber(known[1]) end
    local all, sum, first = redis.call('HGETALL', c.key), 0, FOREVER
    for place = 1, #all, 2 do
        local bucket = tonumber(all[place])
        if bucket then
            local ends = leaves(c, bucket)
            if ends <= now then
                redis.call('HDEL', c.key, all[place])
            else
                sum = sum + all[place + 1]
                first = math.min(first, ends)
            end
        end
    end
    if first == FOREVER then
        redis.call('DEL', c.key)
        return 0
    end
    redis.call('HSET', c.key, 't', int(sum), 'r', int(first))
    return sum
end

-- Whether the bucket is a new one.
local function add(c, bucket, amount)
    if amount <= 0 then return true end
    local field = int(bucket)
    local taken = redis.call('HINCRBY', c.key, field, int(amount))
    local fresh = taken == amount
    if taken > LARGEST then
        redis.call('HSET', c.key, field, int(LARGEST))
        amount = amount - (taken - LARGEST)
    end
    if c.kind == 's' then
        redis.call('HINCRBY', c.key, 't', int(amount))
        local first = fresh and redis.call('HGET', c.key, 'r')
        if fresh and (not first or leaves(c, bucket) < tonumber(first)) then
            redis.call('HSET', c.key, 'r', int(leaves(c, bucket)))
        end
    elseif fresh and c.kind == 'd' then
        for _, old in ipairs(redis.call('HKEYS', c.key)) do
            if tonumber(old) < bucket - 2 * DAY then redis.call('HDEL', c.key, old) end
        end
    end
    return fresh
end

local function reduce(c, bucket, amount)
    local field = int(bucket)
    local taken = amount > 0 and redis.call('HGET', c.key, field)
    if taken then
        amount = math.min(amount, taken)
        redis.call('HINCRBY', c.key, field, int(-amount))
        if c.kind == 's' then redis.call('HINCRBY', c.key, 't', int(-amount)) end
    end
end

-- Counters of limits that nobody uses any more go by themselves.
local function keep(c, lease)
    local long = int(2 * c.window + lease + 2 * DAY)
    redis.call('PEXPIRE', c.key, long)
    redis.call('PEXPIRE', c.open, long)
end

local function parts(member)
    local lease, bucket, amount = string.match(member, '^(%S+) (%d+) (%d+)$')
    return lease, tonumber(bucket), tonumber(amount)
end

-- When Redis itself was stopped, nobody could tell it that a holder lives: a while for everybody to do so.
local function nobody_could_tell()
    local heard, again = unpack(redis.call('MGET', KEYS[1] .. ':heard', KEYS[1] .. ':again'))
    return (heard and now - heard > SILENCE) or (again and now - again < PARDON)
end

local function expire(c)
    local over = redis.call('ZRANGEBYSCORE', c.open, '-inf', int(now))
    if #over == 0 or nobody_could_tell() then return end
    for _, member in ipairs(over) do
        local lease, bucket, amount = parts(member)
        reduce(c, bucket, amount)
        if c.kind ~= 'g' then redis.call('SADD', c.late, lease) end
    end
    redis.call('ZREMRANGEBYSCORE', c.open, '-inf', int(now))
    if c.kind ~= 'g' then redis.call('PEXPIRE', c.late, DAY) end
end

local function bucket_of(c, lease)
    for _, member in ipairs(redis.call('ZRANGE', c.open, 0, -1)) do
        local other, bucket = parts(member)
        if other == lease then return bucket end
    end
    return -1
end

local function hold(c, lease, bucket, amount, long)
    redis.call('ZADD', c.open, int(now + long), lease .. ' ' .. int(bucket) .. ' ' .. int(amount))
end

-- Milliseconds until so much will have come back: buckets leave, and leases may expire before them.
local function wait(c, excess)
    local returns = {}
    if c.kind == 's' then
        local all = redis.call('HGETALL', c.key)
        for place = 1, #all, 2 do
            local bucket = tonumber(all[place])
            if bucket then table.insert(returns, {leaves(c, bucket) - now, tonumber(all[place + 1])}) end
        end
    elseif c.kind == 'd' then
        table.insert(returns, {c.ends - now, taken(c)})
    end
    local open = redis.call('ZRANGE', c.open, 0, -1, 'WITHSCORES')
    for place = 1, #open, 2 do
        local _, bucket, amount = parts(open[place])
        local expires, ends = tonumber(open[place + 1]), leaves(c, bucket)
        if ends > now and expires < ends then
            table.insert(returns, {expires - now, amount})
            table.insert(returns, {ends - now, -amount})
        end
    end
    table.sort(returns, function(a, b)
        if a[1] == b[1] then return a[2] < b[2] end -- what leaves with its bucket was back already
        return a[1] < b[1]
    end)
    for _, back in ipairs(returns) do
        excess = excess - back[2]
        if excess <= 0 then return back[1] end
    end
    return FOREVER
end

local counters = {}
for i = 1, n do
    counters[i] = counter(i)
    if counters[i].kind == 'd' and (now < counters[i].begins or now >= counters[i].ends) then
        return {2, now}
    end
end
local born = redis.call('GET', KEYS[1])
if not born then
    born = int(now)
    redis.call('SET', KEYS[1], born)
end
local answer = {1, now, tonumber(born)}

if question == 'reserve' then
    local lease, long, before = ARGV[tail + 1], tonumber(ARGV[tail + 2]), tonumber(ARGV[tail + 3])
    if before > 0 and now > before then return {2, now} end -- whoever asked has gone on without an answer
    local sums, slowest, longest = {}, 0, -1
    for i, c in ipairs(counters) do
        expire(c)
        sums[i] = taken(c)
        local need = tonumber(ARGV[tail + 3 + i])
        local excess = sums[i] + need - c.amount
        if excess > 0 then
            local back = need <= c.amount and wait(c, excess) or FOREVER
            if back > longest then slowest, longest = i, back end
        end
    end
    if slowest > 0 then return {0, now, slowest - 1, longest < FOREVER and longest or -1} end
    for i, c in ipairs(counters) do
        local need, bucket = tonumber(ARGV[tail + 3 + i]), bucket_at(c, now)
        local fresh = add(c, bucket, need)
        hold(c, lease, bucket, need, long)
        if fresh or c.kind == 'g' then keep(c, long) end
        table.insert(answer, bucket)
        table.insert(answer, c.amount - sums[i] - need)
    end

elseif question == 'settle' then
    -- For each: bucket (-1: not known), what was reserved, what was used. Settled before: nothing changes.
    local lease, reserved_at = ARGV[tail + 1], tonumber(ARGV[tail + 2])
    for i, c in ipairs(counters) do
        local at = tail + 2 + 3 * (i - 1)
        local bucket, reserved, used = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
        expire(c)
        if bucket < 0 then bucket = bucket_of(c, lease) end
        local member = lease .. ' ' .. int(bucket) .. ' ' .. int(reserved)
        if bucket >= 0 and redis.call('ZREM', c.open, member) == 1 then
            if c.kind == 'g' then
                reduce(c, bucket, reserved)
            elseif used > reserved then
                add(c, bucket_at(c, now), used - reserved)
            else
                reduce(c, bucket, reserved - used)
            end
        elseif c.kind ~= 'g' then
            if redis.call('SREM', c.late, lease) == 1 then
                add(c, bucket_at(c, now), used)
            elseif reserved_at < answer[3] then -- everything was lost since, and what was reserved is told anew
                add(c, bucket_at(c, now), used - reserved)
            end
        end
        if used > reserved then keep(c, 0) end
    end

elseif question == 'renew' then
    -- Of one counter, for each lease: bucket (-1: not known), how much, reserved when. Answers for each whether it lasts.
    -- What was inside of a gate when everything was lost is so again; other counters are told anew.
    local c, long = counters[1], tonumber(ARGV[tail + 1])
    expire(c)
    for at = tail + 2, #ARGV, 4 do
        local lease, bucket, amount = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
        if c.kind == 'g' then bucket = 0 end
        if bucket < 0 then bucket = bucket_of(c, lease) end
        local ends = redis.call('ZSCORE', c.open, lease .. ' ' .. int(bucket) .. ' ' .. int(amount))
        if not ends and c.kind == 'g' and tonumber(ARGV[at + 3]) < answer[3] then
            add(c, bucket, amount)
            ends = 0
        end
        if ends and tonumber(ends) < now + long then hold(c, lease, bucket, amount, long) end
        table.insert(answer, ends and 1 or 0)
    end
    keep(c, long)

elseif question == 'levels' then
    for _, c in ipairs(counters) do
        expire(c)
        local sum, reserved, resets = taken(c), 0, FOREVER
        local open = redis.call('ZRANGE', c.open, 0, -1, 'WITHSCORES')
        for place = 1, #open, 2 do
            local _, bucket, amount = parts(open[place])
            if leaves(c, bucket) > now then reserved = reserved + amount end
            if c.kind == 'g' then resets = math.min(resets, open[place + 1] - now) end
        end
        if c.kind == 'd' then resets = c.ends - now end
        if c.kind == 's' then
            local all = redis.call('HGETALL', c.key)
            for place = 1, #all, 2 do
                local bucket = tonumber(all[place])
                if bucket and all[place + 1] ~= '0' then resets = math.min(resets, leaves(c, bucket) - now) end
            end
        end
        table.insert(answer, sum)
        table.insert(answer, reserved)
        table.insert(answer, resets < FOREVER and resets or 0)
    end

elseif question == 'adopt' then
    -- What was taken without us, so long ago, whether there was room or not; once. Without a lease it is used.
    local lease, long, at = ARGV[tail + 1], tonumber(ARGV[tail + 2]), now - ARGV[tail + 3]
    if not redis.call('SET', KEYS[1] .. ':adopted:' .. lease, '1', 'NX', 'PX', int(DAY)) then return answer end
    for i, c in ipairs(counters) do
        local amount, bucket = tonumber(ARGV[tail + 3 + i]), bucket_at(c, at)
        if leaves(c, bucket) > now and (c.kind ~= 'd' or at >= c.begins) then add(c, bucket, amount) end
        if long > 0 then hold(c, lease, bucket, amount, long) end
        keep(c, long)
    end

elseif question == 'restore' then
    -- Redis lost its data, and each hub tells what it saw last: the most that any of them saw counts.
    for i, c in ipairs(counters) do
        local told, known = tonumber(ARGV[tail + i]), redis.call('GET', c.key .. ':told')
        known = tonumber(known or taken(c))
        if told > known then
            add(c, bucket_at(c, now), told - known)
            keep(c, 0)
        end
        redis.call('SET', c.key .. ':told', int(math.max(told, known)), 'PX', 3600000)
    end

elseif question == 'beat' then
    local hubs = KEYS[1] .. ':hubs'
    redis.call('ZADD', hubs, int(now), ARGV[tail + 1])
    redis.call('ZREMRANGEBYSCORE', hubs, '-inf', int(now - ARGV[tail + 2]))
    local heard = redis.call('GET', KEYS[1] .. ':heard')
    if heard and now - heard > SILENCE then redis.call('SET', KEYS[1] .. ':again', int(now), 'PX', int(DAY)) end
    redis.call('SET', KEYS[1] .. ':heard', int(now), 'PX', int(DAY))
    redis.call('PEXPIRE', hubs, DAY)
    table.insert(answer, redis.call('ZCARD', hubs))

elseif question == 'leave' then
    redis.call('ZREM', KEYS[1] .. ':hubs', ARGV[tail + 1])
end
return answer
