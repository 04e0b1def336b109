-- Fetch ids for one worker over all lanes that it serves.
--
-- KEYS[1]  the worker's unacked set
-- KEYS[2]  the turn: one busy worker at a time may empty itself to run a suspect alone
-- then 12 keys per queue: the lane of rescued ids, the lanes of priority 9 to 0, the wake list
-- ARGV[1]  ids wanted, at least 1
-- ARGV[2]  the number of slots that this worker has served: rotates the queues and the lower lanes
-- ARGV[3]  '1' when the worker holds nothing at all
-- ARGV[4]  the worker's id
--
-- Returns {ids, dropped, moved, alone, turn}: alone = 1 when the one id is to run alone, turn = 1 when the
-- worker should let its work run out because a suspect waits for it.

local PER_QUEUE = 12
-- Length of a turn. After it the next worker that fetches takes the turn; its owner keeps it until then. A
-- turn that was passed on lasts twice as long as the one before, up to a bound: when all bodies are long, some
-- worker must get the time to run out of work.
local TURN_MS, MAX_DOUBLINGS = 10000, 6

local queues = (#KEYS - 2) / PER_QUEUE
local wanted, served = tonumber(ARGV[1]), tonumber(ARGV[2])
local idle, worker = ARGV[3] == '1', ARGV[4]
local dropped = 0

local function key(queue, place)
  return KEYS[2 + (queue - 1) * PER_QUEUE + place]
end

-- Take ids off a lane that is a list.
local function pop(lane, count, ids)
  for _, id in ipairs(redis.call('LPOP', lane, count) or {}) do
    if #id == ID_BYTES then ids[#ids + 1] = id else dropped = dropped + 1 end
  end
end

local function take_turn(doublings)
  local length = TURN_MS * 2 ^ doublings
  redis.call('SET', KEYS[2], worker .. ':' .. doublings, 'PX', length + TURN_MS)
end

-- True when it is this worker that may run suspects.
local function has_turn()
  local turn = own('GET', KEYS[2])
  if not turn then
    take_turn(0)
    return true
  end
  if string.sub(turn, 1, #worker) == worker then return true end
  if redis.call('PTTL', KEYS[2]) > TURN_MS then return false end
  local doublings = tonumber(string.match(turn, ':(%d+)$')) or 0
  take_turn(math.min(doublings + 1, MAX_DOUBLINGS))
  return true
end

-- Lengths once; all choices below count in memory. Most queues are empty, and one question finds that out.
local length, waiting, rescued = {}, 0, 0
for queue = 1, queues do
  length[queue] = {}
  local lanes = {unpack(KEYS, 3 + (queue - 1) * PER_QUEUE, 1 + queue * PER_QUEUE)}
  local any = redis.call('EXISTS', unpack(lanes)) > 0
  for place = 1, PER_QUEUE - 1 do
    local n = any and own('LLEN', lanes[place]) or 0
    length[queue][place] = n
    if place == 1 then rescued = rescued + n else waiting = waiting + n end
  end
end

if rescued > 0 then
  local mine = has_turn()
  if idle and (mine or waiting == 0) then
    for step = 0, queues - 1 do
      local queue = (served + step) % queues + 1
      local ids = {}
      while #ids == 0 and length[queue][1] > 0 do
        pop(key(queue, 1), 1, ids)
        length[queue][1] = length[queue][1] - 1
      end
      if #ids > 0 then
        own('SADD', KEYS[1], ids[1])
        if mine then take_turn(0) end
        return {ids, dropped, moved, 1, 0}
      end
    end
  elseif mine then
    return {{}, dropped, moved, 0, 1}
  end
end

-- How many to take from each lane.
local take = {}
local function choose(queue, place)
  length[queue][place] = length[queue][place] - 1
  local name = key(queue, place)
  take[name] = (take[name] or 0) + 1
end

-- The highest lane; queues take turns.
local function choose_highest(turn)
  for place = 2, PER_QUEUE - 1 do
    for step = 0, queues - 1 do
      local queue = (turn + step) % queues + 1
      if length[queue][place] > 0 then return choose(queue, place) end
    end
  end
end

-- One of the lanes below the highest priority that waits; they take turns. True when there is one.
local function choose_lower(turn)
  local top, lower = nil, {}
  for place = 2, PER_QUEUE - 1 do
    for queue = 1, queues do
      if length[queue][place] > 0 then
        top = top or place
        if place > top then lower[#lower + 1] = {queue, place} end
      end
    end
  end
  if #lower == 0 then return false end
  choose(unpack(lower[turn % #lower + 1]))
  return true
end

-- One slot in 16 goes to a lower lane, so that no priority waits forever.
for slot = served, served + math.min(wanted, waiting) - 1 do
  local round = math.floor(slot / 16)
  if slot % 16 ~= 15 then
    choose_highest(slot - round)
  elseif not choose_lower(round) then
    choose_highest(round)
  end
end

-- Highest lane first, so that the order of the answer is the order to run in.
local ids = {}
for place = 2, PER_QUEUE - 1 do
  for queue = 1, queues do
    local name = key(queue, place)
    if take[name] then pop(name, take[name], ids) end
  end
end
if #ids > 0 then own('SADD', KEYS[1], unpack(ids)) end

-- A queue that still has ids wakes one more worker; an empty one takes its tokens back.
local empty = {}
for queue = 1, queues do
  local left = 0
  for place = 1, PER_QUEUE - 1 do left = left + length[queue][place] end
  local wake = key(queue, PER_QUEUE)
  if left == 0 then
    empty[#empty + 1] = wake
  elseif own('LLEN', wake) == 0 then
    redis.call('RPUSH', wake, '1')
  end
end
if #empty > 0 then redis.call('DEL', unpack(empty)) end

return {ids, dropped, moved, 0, 0}
