-- Read a worker's unacked set.
--
-- KEYS[1]  the set
--
-- Returns {ids, dropped, moved}.

local ids, dropped = {}, 0
for _, member in ipairs(own('SMEMBERS', KEYS[1])) do
  if #member == ID_BYTES then
    ids[#ids + 1] = member
  else
    redis.call('SREM', KEYS[1], member)
    dropped = dropped + 1
  end
end
return {ids, dropped, moved}
