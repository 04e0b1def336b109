-- Take ids of tasks that operators let run although their queues are paused.
--
-- KEYS[1]   the worker's unacked set
-- KEYS[2…]  the lists of such ids, one for each paused queue that the worker serves
-- ARGV[1]   ids wanted, at least 1
--
-- Returns {ids, dropped, moved}.

local ids, dropped, wanted = {}, 0, tonumber(ARGV[1])
for place = 2, #KEYS do
  for _, id in ipairs(own('LPOP', KEYS[place], wanted - #ids) or {}) do
    if #id == ID_BYTES then ids[#ids + 1] = id else dropped = dropped + 1 end
  end
  if #ids == wanted then break end
end
if #ids > 0 then own('SADD', KEYS[1], unpack(ids)) end
return {ids, dropped, moved}
