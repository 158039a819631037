-- How limits are counted in Redis: every question is one call of this script, and so one atomic step.
--
-- KEYS  1: when these counts began; 1 + i: the i-th counter. What else belongs to a counter has its key and a suffix: all
--       keys share one hash tag and lie on one node.
-- ARGV  1: what is asked. 2: the counters, for each: kind (s slides, d is a day, g a gate), amount, window, and when the
--       day began and ends. 3: what the question needs. Both are lists in MessagePack.
-- Times are whole milliseconds by the server's clock. An answer begins with 1 (done) or 2 (ask again: the day is another
-- one, or the question is too old), and the time.
--
-- A counter is a hash of buckets: number -> taken; one that slides also has t, the sum, and r, when the first bucket
-- leaves. A sixtieth of a window is a bucket; it leaves when its latest possible use has left the window.
-- :open is a sorted set of what is reserved, by expiry, as "lease bucket amount"; :late has leases that expired unsettled.
-- A gate has nothing else: who is inside is open.

local time = redis.call('TIME')
local call = redis.call
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local SIXTIETHS, FOREVER, DAY = 60, 2 ^ 53, 86400000
local LARGEST = 2 ^ 53 - 1 -- a bucket has no more: whatever a provider reported, sums stay whole numbers
local SILENCE, PARDON = 8000, 15000 -- beats come every two seconds, and each hub renews its leases every ten
local question, counters, tail = ARGV[1], cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3])

local written = {}
local function int(number)
    local text = written[number]
    if not text then
        text = string.format('%.0f', number)
        written[number] = text
    end
    return text
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
    if c.kind == 'g' then return call('ZCARD', c.open) end
    if c.kind == 'd' then return tonumber(call('HGET', c.key, int(c.begins)) or 0) end
    local known = call('HMGET', c.key, 't', 'r')
    if not known[2] then return 0 end
    if now < tonumber(known[2]) then return tonumber(known[1]) end
    local all, sum, first = call('HGETALL', c.key), 0, FOREVER
    for place = 1, #all, 2 do
        local bucket = tonumber(all[place])
        if bucket then
            local ends = leaves(c, bucket)
            if ends <= now then
                call('HDEL', c.key, all[place])
            else
                sum = sum + all[place + 1]
                first = math.min(first, ends)
            end
        end
    end
    if first == FOREVER then
        call('DEL', c.key)
        return 0
    end
    call('HSET', c.key, 't', int(sum), 'r', int(first))
    return sum
end

-- Whether the bucket is a new one.
local function add(c, bucket, amount)
    if amount <= 0 or c.kind == 'g' then return true end
    local field = int(bucket)
    local taken = call('HINCRBY', c.key, field, int(amount))
    local fresh = taken == amount
    if taken > LARGEST then
        call('HSET', c.key, field, int(LARGEST))
        amount = amount - (taken - LARGEST)
    end
    if c.kind == 's' then
        call('HINCRBY', c.key, 't', int(amount))
        local first = fresh and call('HGET', c.key, 'r')
        if fresh and (not first or leaves(c, bucket) < tonumber(first)) then
            call('HSET', c.key, 'r', int(leaves(c, bucket)))
        end
    elseif fresh and c.kind == 'd' then
        for _, old in ipairs(call('HKEYS', c.key)) do
            if tonumber(old) < bucket - 2 * DAY then call('HDEL', c.key, old) end
        end
    end
    return fresh
end

local function reduce(c, bucket, amount)
    local field = int(bucket)
    local taken = amount > 0 and c.kind ~= 'g' and call('HGET', c.key, field)
    if taken then
        amount = math.min(amount, taken)
        call('HINCRBY', c.key, field, int(-amount))
        if c.kind == 's' then call('HINCRBY', c.key, 't', int(-amount)) end
    end
end

-- Counters of limits that nobody uses any more go by themselves.
local function keep(c, lease)
    local long = int(2 * c.window + lease + 2 * DAY)
    if c.kind ~= 'g' then call('PEXPIRE', c.key, long) end
    call('PEXPIRE', c.open, long)
end

local function member(lease, bucket, amount)
    return lease .. ' ' .. int(bucket) .. ' ' .. int(amount)
end

local function parts(member)
    local lease, bucket, amount = string.match(member, '^(%S+) (%d+) (%d+)$')
    return lease, tonumber(bucket), tonumber(amount)
end

local function late(c)
    return c.key .. ':late'
end

-- When Redis itself was stopped, nobody could tell it that a holder lives: a while for everybody to do so.
local function nobody_could_tell()
    local heard, again = unpack(call('MGET', KEYS[1] .. ':heard', KEYS[1] .. ':again'))
    return (heard and now - heard > SILENCE) or (again and now - again < PARDON)
end

-- Whether anything was.
local function expire(c)
    local over = call('ZRANGEBYSCORE', c.open, '-inf', int(now))
    if #over == 0 or nobody_could_tell() then return false end
    for _, each in ipairs(over) do
        local lease, bucket, amount = parts(each)
        reduce(c, bucket, amount)
        if c.kind ~= 'g' then call('SADD', late(c), lease) end
    end
    call('ZREMRANGEBYSCORE', c.open, '-inf', int(now))
    if c.kind ~= 'g' then call('PEXPIRE', late(c), DAY) end
    return true
end

local function bucket_of(c, lease)
    for _, each in ipairs(call('ZRANGE', c.open, 0, -1)) do
        local other, bucket = parts(each)
        if other == lease then return bucket end
    end
    return -1
end

local function hold(c, lease, bucket, amount, long)
    call('ZADD', c.open, int(now + long), member(lease, bucket, amount))
end

-- What will come back, and in how many milliseconds: buckets leave, and leases may expire before them.
local function returns(c)
    local found = {}
    if c.kind == 's' then
        local all = call('HGETALL', c.key)
        for place = 1, #all, 2 do
            local bucket = tonumber(all[place])
            if bucket then table.insert(found, {leaves(c, bucket) - now, tonumber(all[place + 1])}) end
        end
    elseif c.kind == 'd' then
        table.insert(found, {c.ends - now, taken(c)})
    end
    local open = call('ZRANGE', c.open, 0, -1, 'WITHSCORES')
    for place = 1, #open, 2 do
        local _, bucket, amount = parts(open[place])
        local expires, ends = tonumber(open[place + 1]), leaves(c, bucket)
        if ends > now and expires < ends then
            table.insert(found, {expires - now, amount})
            table.insert(found, {ends - now, -amount})
        end
    end
    table.sort(found, function(a, b)
        if a[1] == b[1] then return a[2] < b[2] end -- what leaves with its bucket was back already
        return a[1] < b[1]
    end)
    return found
end

-- Milliseconds until so much will have come back.
local function wait(c, excess)
    c.returns = c.returns or returns(c)
    for _, back in ipairs(c.returns) do
        excess = excess - back[2]
        if excess <= 0 then return back[1] end
    end
    return FOREVER
end

for i, told in ipairs(counters) do
    local key, kind, amount, window, begins, ends = KEYS[1 + i], unpack(told)
    local c = {key = key, kind = kind, amount = amount, window = window, begins = begins, ends = ends,
               open = key .. ':open', returns = false}
    counters[i] = c
    if c.kind == 'd' and (now < c.begins or now >= c.ends) then return {2, now} end
end
local born = call('GET', KEYS[1])
if not born then
    born = int(now)
    call('SET', KEYS[1], born)
end
local answer = {1, now, tonumber(born)}

-- What some settle of a counter, the i-th. Settled before: nothing changes.
local function settle(c, i, last, step)
    local more, less, gone = 0, {}, {}
    for at = 3, last, step do
        local lease, place = tail[at], at + 3 * i - 1
        local bucket, reserved, used = tail[place], tail[place + 1], tail[place + 2]
        if bucket < 0 then bucket = bucket_of(c, lease) end
        if c.kind == 'g' then
            table.insert(gone, member(lease, 0, reserved))
        elseif bucket >= 0 and call('ZREM', c.open, member(lease, bucket, reserved)) == 1 then
            if used > reserved then
                more = more + used - reserved
            else
                less[bucket] = (less[bucket] or 0) + reserved - used
            end
        elseif call('SREM', late(c), lease) == 1 then
            more = more + used
        elseif tail[at + 1] < answer[3] and used > reserved then
            more = more + used - reserved -- everything was lost since, and what was reserved is told anew
        end
    end
    if #gone > 0 then call('ZREM', c.open, unpack(gone)) end
    for bucket, amount in pairs(less) do reduce(c, bucket, amount) end
    if more > 0 then
        add(c, bucket_at(c, now), math.min(more, LARGEST))
        keep(c, 0)
    end
end

-- Those for whom there is room, in their order; who finds none might as well have come last. Answers for each counter its
-- bucket and what is left, and for each that was refused its number, the slowest counter's, and how long to wait or -1.
local function reserve(first, step)
    local n, sums, takers, refused, longest = #counters, {}, {}, {}, 0
    local scarce = false
    for i, c in ipairs(counters) do
        local all = taken(c)
        sums[i] = all
        for at = first, #tail, step do all = all + tail[at + 1 + i] end
        scarce = scarce or all > c.amount
    end
    for i, c in ipairs(counters) do
        if scarce and expire(c) then sums[i] = taken(c) end -- the dead give back when somebody needs it
    end
    for at = first, #tail, step do
        local room = true
        for i = 1, n do
            room = room and sums[i] + tail[at + 1 + i] <= counters[i].amount
        end
        if room then
            for i = 1, n do sums[i] = sums[i] + tail[at + 1 + i] end
            takers[#takers + 1] = at
            longest = math.max(longest, tail[at + 1])
        else
            refused[#refused + 1] = at
        end
    end
    for i = 1, n do
        local c, wanted, held = counters[i], 0, {}
        local bucket = bucket_at(c, now)
        for place = 1, #takers do
            local at = takers[place]
            local need = tail[at + 1 + i]
            wanted = wanted + need
            held[2 * place - 1] = int(now + tail[at + 1])
            held[2 * place] = member(tail[at], bucket, need)
        end
        if #takers > 0 then
            local first_use = add(c, bucket, wanted)
            call('ZADD', c.open, unpack(held))
            if first_use then keep(c, longest) end
        end
        answer[2 + 2 * i], answer[3 + 2 * i] = bucket, c.amount - sums[i]
    end
    for _, at in ipairs(refused) do
        local slowest, most = 0, -1
        for i, c in ipairs(counters) do
            local need = tail[at + 1 + i]
            local excess = sums[i] + need - c.amount
            if excess > 0 then
                local back = need <= c.amount and wait(c, excess) or FOREVER
                if back > most then slowest, most = i, back end
            end
        end
        table.insert(answer, (at - first) / step)
        table.insert(answer, slowest - 1)
        table.insert(answer, most < FOREVER and most or -1)
    end
end

if question == 'turn' then
    -- When nobody waits any more; how many settle, and for each: lease, when it was reserved, and of each counter the
    -- bucket (-1: not known), what was reserved, what was used. Then for each that reserves: lease, how long, how much.
    local before, settled, reserved = tail[1], 2 + 3 * #counters, 2 + #counters
    local last = 2 + tail[2] * settled
    if before > 0 and now > before then return {2, now} end -- whoever asked has gone on without an answer
    if last > 2 then
        for i, c in ipairs(counters) do settle(c, i, last, settled) end
    end
    if last < #tail then reserve(last + 1, reserved) end

elseif question == 'renew' then
    -- Of one counter, for each lease: bucket (-1: not known), how much, reserved when. Answers for each whether it lasts.
    -- What was inside of a gate when everything was lost is so again; other counters are told anew.
    local c, long = counters[1], tail[1]
    expire(c)
    for at = 2, #tail, 4 do
        local lease, bucket, amount = tail[at], tail[at + 1], tail[at + 2]
        if c.kind == 'g' then bucket = 0 end
        if bucket < 0 then bucket = bucket_of(c, lease) end
        local ends = call('ZSCORE', c.open, member(lease, bucket, amount))
        if not ends and c.kind == 'g' and tail[at + 3] < answer[3] then ends = 0 end
        if ends and tonumber(ends) < now + long then hold(c, lease, bucket, amount, long) end
        table.insert(answer, ends and 1 or 0)
    end
    keep(c, long)

elseif question == 'levels' then
    for _, c in ipairs(counters) do
        expire(c)
        local sum, reserved, resets = taken(c), 0, FOREVER
        local open = call('ZRANGE', c.open, 0, -1, 'WITHSCORES')
        for place = 1, #open, 2 do
            local _, bucket, amount = parts(open[place])
            if leaves(c, bucket) > now then reserved = reserved + amount end
            if c.kind == 'g' then resets = math.min(resets, open[place + 1] - now) end
        end
        if c.kind == 'd' then resets = c.ends - now end
        if c.kind == 's' then
            local all = call('HGETALL', c.key)
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
    local lease, long, at = tail[1], tail[2], now - tail[3]
    if not call('SET', KEYS[1] .. ':adopted:' .. lease, '1', 'NX', 'PX', int(DAY)) then return answer end
    for i, c in ipairs(counters) do
        local amount, bucket = tail[3 + i], bucket_at(c, at)
        if leaves(c, bucket) > now and (c.kind ~= 'd' or at >= c.begins) then add(c, bucket, amount) end
        if long > 0 then hold(c, lease, bucket, amount, long) end
        keep(c, long)
    end

elseif question == 'restore' then
    -- Redis lost its data, and each hub tells what it saw last: the most that any of them saw counts.
    for i, c in ipairs(counters) do
        local told, known = tail[i], call('GET', c.key .. ':told')
        known = tonumber(known or taken(c))
        if told > known then
            add(c, bucket_at(c, now), told - known)
            keep(c, 0)
        end
        call('SET', c.key .. ':told', int(math.max(told, known)), 'PX', 3600000)
    end

elseif question == 'beat' then
    local hubs = KEYS[1] .. ':hubs'
    call('ZADD', hubs, int(now), tail[1])
    call('ZREMRANGEBYSCORE', hubs, '-inf', int(now - tail[2]))
    local heard = call('GET', KEYS[1] .. ':heard')
    if heard and now - heard > SILENCE then call('SET', KEYS[1] .. ':again', int(now), 'PX', int(DAY)) end
    call('SET', KEYS[1] .. ':heard', int(now), 'PX', int(DAY))
    call('PEXPIRE', hubs, DAY)
    table.insert(answer, call('ZCARD', hubs))

elseif question == 'leave' then
    call('ZREM', KEYS[1] .. ':hubs', tail[1])
end
return answer
