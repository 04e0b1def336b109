-- Append ids to one lane, and wake one idle worker for each id, up to a maximum.
--
-- KEYS[1]  the lane
-- KEYS[2]  the wake list of its queue
-- ARGV[1]  maximum number of wake tokens in the list
-- ARGV[2…] the ids, in order
--
-- Returns {ids, dropped, moved}: no ids, 0, and the keys that were moved aside.

own('RPUSH', KEYS[1], unpack(ARGV, 2))
local tokens = math.min(#ARGV - 1, tonumber(ARGV[1]) - own('LLEN', KEYS[2]))
for _ = 1, tokens do redis.call('RPUSH', KEYS[2], '1') end
return {{}, 0, moved}
