-- Read the ids at the head of a lane. Values there that are no ids are dropped, so that a lane with nothing else
-- becomes empty.
--
-- KEYS[1]  the lane
-- ARGV[1]  number of ids
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
