-- Take amounts from several counters. Either all amounts are taken, or none.
--
-- KEYS     the counters
-- ARGV     for each counter: the amount that was taken before and not counted yet, the amount to take, the
--          limit, and the seconds for which the counter is kept
--
-- Returns the number of the first counter that has too little left, or 0 if all amounts were taken, followed
-- by the value of each counter.

local short = 0
local totals = {}
for i, key in ipairs(KEYS) do
    local at = (i - 1) * 4
    totals[i] = redis.call('INCRBY', key, ARGV[at + 1])
    redis.call('EXPIRE', key, ARGV[at + 4])
    if short == 0 and totals[i] + tonumber(ARGV[at + 2]) > tonumber(ARGV[at + 3]) then
        short = i
    end
end
if short == 0 then
    for i, key in ipairs(KEYS) do
        totals[i] = redis.call('INCRBY', key, ARGV[(i - 1) * 4 + 2])
    end
end
return {short, unpack(totals)}
