-- Read the ids that are popped next from a lane. Garbage at its head is dropped: a lane that holds nothing
-- else is empty.
--
-- KEYS[1]  the lane
-- ARGV[1]  how many ids
--
-- Returns {ids, dropped, moved}.

local ids, dropped, count = {}, 0, tonumber(ARGV[1])
local entries = own('LRANGE', KEYS[1], 0, count - 1)
while #ids < #entries do
  ids = {}
  for _, entry in ipairs(entries) do
    if #entry == ID_BYTES then
      ids[#ids + 1] = entry
    else
      redis.call('LREM', KEYS[1], 1, entry)
      dropped = dropped + 1
    end
  end
  if #ids < #entries then entries = redis.call('LRANGE', KEYS[1], 0, count - 1) end
end
return {ids, dropped, moved}
