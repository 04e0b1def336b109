-- Fetch ids for one worker over all lanes that it serves.
--
-- KEYS[1]  the worker's unacked set
-- KEYS[2]  the turn: one busy worker at a time may empty itself to run a suspect alone
-- then 12 keys per queue: the lane of rescued ids, the lanes of priority 9 to 0, the wake list
-- ARGV[1]  ids wanted, at least 1
-- ARGV[2]  slots served so far by this worker: rotates the queues, every 16th slot goes to the lowest lane
-- ARGV[3]  '1' when the worker holds nothing at all
-- ARGV[4]  the worker's id
--
-- Returns {ids, alone, turn}: alone = 1 when the one id is to run alone, turn = 1 when the worker should
-- let its work run out because a suspect waits for it.

local PER_QUEUE = 12
local TURN_MS = 10000

local queues = (#KEYS - 2) / PER_QUEUE
local wanted, served = tonumber(ARGV[1]), tonumber(ARGV[2])
local idle, worker = ARGV[3] == '1', ARGV[4]

local function key(queue, place)
  return KEYS[2 + (queue - 1) * PER_QUEUE + place]
end

-- Lengths once; all choices below count in memory. Most queues are empty, and one question finds that out.
local length, waiting, rescued = {}, 0, 0
for queue = 1, queues do
  length[queue] = {}
  local lanes = {unpack(KEYS, 3 + (queue - 1) * PER_QUEUE, 1 + queue * PER_QUEUE)}
  local any = redis.call('EXISTS', unpack(lanes)) > 0
  for place = 1, PER_QUEUE - 1 do
    local n = any and redis.call('LLEN', lanes[place]) or 0
    length[queue][place] = n
    if place == 1 then rescued = rescued + n else waiting = waiting + n end
  end
end

if rescued > 0 then
  local owner = redis.call('GET', KEYS[2])
  local mine = (not owner) or owner == worker
  if idle and (mine or waiting == 0) then
    for step = 0, queues - 1 do
      local queue = (served + step) % queues + 1
      local id = redis.call('LPOP', key(queue, 1))
      if id then
        redis.call('SADD', KEYS[1], id)
        if mine then redis.call('SET', KEYS[2], worker, 'PX', TURN_MS) end
        return {{id}, 1, 0}
      end
    end
  elseif mine then
    redis.call('SET', KEYS[2], worker, 'PX', TURN_MS)
    return {{}, 0, 1}
  end
end

-- How many to take from each lane.
local take = {}
local function pick(first, last, step, slot)
  for place = first, last, step do
    for turn = 0, queues - 1 do
      local queue = (slot + turn) % queues + 1
      if length[queue][place] > 0 then
        length[queue][place] = length[queue][place] - 1
        local name = key(queue, place)
        take[name] = (take[name] or 0) + 1
        return true
      end
    end
  end
  return false
end

for slot = served, served + math.min(wanted, waiting) - 1 do
  if slot % 16 == 15 then
    pick(PER_QUEUE - 1, 2, -1, slot)
  else
    pick(2, PER_QUEUE - 1, 1, slot)
  end
end

-- Highest lane first, so that the order of the answer is the order to run in.
local ids = {}
for place = 2, PER_QUEUE - 1 do
  for queue = 1, queues do
    local name = key(queue, place)
    if take[name] then
      for _, id in ipairs(redis.call('LPOP', name, take[name])) do ids[#ids + 1] = id end
    end
  end
end
if #ids > 0 then redis.call('SADD', KEYS[1], unpack(ids)) end

-- A queue that still has ids wakes one more worker; an empty one takes its tokens back.
local empty = {}
for queue = 1, queues do
  local left = 0
  for place = 1, PER_QUEUE - 1 do left = left + length[queue][place] end
  local wake = key(queue, PER_QUEUE)
  if left == 0 then
    empty[#empty + 1] = wake
  elseif redis.call('LLEN', wake) == 0 then
    redis.call('RPUSH', wake, '1')
  end
end
if #empty > 0 then redis.call('DEL', unpack(empty)) end

return {ids, 0, 0}
