-- Count the requests of callers in sliding windows. These are requests that were already admitted without
-- asking Redis, and possibly one that asks whether it is admitted.
--
-- A window begins with its first request. During it, the weight of the previous window's count falls to zero.
--
-- KEYS     for each caller: its previous window and its current one
-- ARGV     for each caller: the number of requests that were admitted and not counted yet, the number of
--          requests that ask (1 or 0), the limit, and the length of the window in milliseconds
--
-- Returns for each caller: the number of requests in its window, and the milliseconds for which the request
-- that asks has to wait, or 0 if it is admitted.

-- The count of a window, and how long it is kept. A value that is not a number counts as zero.
local function held(key)
    return tonumber(redis.call('GET', key)) or 0, math.max(0, redis.call('PTTL', key))
end

local function count(previous, current, amount, asks, limit, length)
    local now, left = held(current)
    if left > 0 and left < length then
        -- The current window is over and becomes the previous one. Its weight falls from its end on.
        redis.call('RENAME', current, previous)
        redis.call('SET', current, 0, 'PX', left + length)
        now, left = 0, left + length
    end
    local before, fades = held(previous)
    local counted = math.floor(before * fades / length) + now + amount
    local wait = 0
    if asks > 0 and counted + asks > limit then
        wait = math.max(1, left % length)
        if before > 0 then
            wait = math.min(wait, math.max(1, fades % math.max(1, math.floor(length / before))))
        end
    else
        amount, counted = amount + asks, counted + asks
    end
    if amount > 0 and left > 0 then
        redis.call('INCRBY', current, amount)
    elseif amount > 0 then
        redis.call('SET', current, amount, 'PX', 2 * length)
    end
    return counted, wait
end

local answer = {}
for i = 1, #KEYS, 2 do
    local at = 2 * i - 2
    local counted, wait = count(
        KEYS[i], KEYS[i + 1],
        tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    )
    answer[#answer + 1] = counted
    answer[#answer + 1] = wait
end
return answer
