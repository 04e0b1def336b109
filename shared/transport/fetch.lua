-- Fetch ids for one worker over all lanes that it serves.
--
-- A suspect (an id in the lane of rescued ids) first runs alone: only a worker that holds no task takes one.
-- Two keys of each queue make both suspects and ordinary tasks progress. Each key contains the id of a worker,
-- and expires unless that worker renews it:
--   turn   the one worker that stops fetching until it is idle, then runs a suspect, while ordinary tasks
--          wait. Until it is idle, its id has the prefix '-', and any idle worker may take the turn from it
--   spare  a worker that keeps to ordinary tasks. While there is one, other idle workers may take suspects.
--
-- KEYS[1]  the worker's unacked set
-- then 14 keys per queue: the lane of rescued ids, the lanes of priority 9 to 0, the wake list, turn, spare
-- ARGV[1]  ids wanted, at least 1
-- ARGV[2]  the number of slots that this worker has served: determines the order of queues and lower lanes
-- ARGV[3]  '1' if the worker holds no task at all
-- ARGV[4]  '1' if the worker may stop for a suspect even while ordinary tasks wait
-- ARGV[5]  duration of a turn in milliseconds; the worker renews it while a suspect runs alone
-- ARGV[6]  the worker's id
--
-- Returns {ids, dropped, moved, suspects, turn, alone, waiting}: suspects = 1 when some wait, turn = 1 when this
-- worker has the turn of a queue and stops fetching, alone = 1 when the only id has to run alone; waiting is the
-- number of ordinary ids in the lanes before this fetch.

local PER_QUEUE, LANES = 14, 11
local WAKE, TURN, SPARE = 12, 13, 14
-- An idle worker looks every second, and a busy one whenever a thread is free.
local SPARE_MS = 3000

local queues = (#KEYS - 1) / PER_QUEUE
local wanted, served = tonumber(ARGV[1]), tonumber(ARGV[2])
local idle, may_stop = ARGV[3] == '1', ARGV[4] == '1'
local turn_ms, worker = ARGV[5], ARGV[6]
local waits = '-' .. worker
local turn_value = idle and worker or waits
local dropped = 0

local function key(queue, place)
  return KEYS[1 + (queue - 1) * PER_QUEUE + place]
end

-- Take ids off a lane, whose key must be a list.
local function pop(lane, count, ids)
  for _, id in ipairs(redis.call('LPOP', lane, count) or {}) do
    if #id == ID_BYTES then ids[#ids + 1] = id else dropped = dropped + 1 end
  end
end

-- Read the lengths of all lanes once; the choices below subtract from them in memory. Most queues are empty, which
-- a single command detects.
local length, waiting, suspects = {}, 0, {}
for step = 0, queues - 1 do
  local queue = (served + step) % queues + 1
  length[queue] = {}
  local lanes = {unpack(KEYS, 2 + (queue - 1) * PER_QUEUE, 1 + (queue - 1) * PER_QUEUE + LANES)}
  local any = redis.call('EXISTS', unpack(lanes)) > 0
  for place = 1, LANES do
    local n = any and own('LLEN', lanes[place]) or 0
    length[queue][place] = n
    if place > 1 then waiting = waiting + n elseif n > 0 then suspects[#suspects + 1] = queue end
  end
end

local function is_mine(owner)
  return owner == worker or owner == waits
end

-- Take a free key, or renew it. Returns false when another worker has it; a key that never expires is garbage.
local function keep(name, value, ms)
  local owner = own('GET', name)
  local waiter = owner and string.sub(owner, 1, 1) == '-'
  local free = not owner or is_mine(owner) or (idle and waiter)
  if not free and redis.call('PTTL', name) > 0 then return false end
  redis.call('SET', name, value, 'PX', ms)
  return true
end

local function leave(name)
  if is_mine(own('GET', name)) then redis.call('DEL', name) end
end

-- Return the next suspect of a queue.
local function take_suspect(queue)
  local ids = {}
  while #ids == 0 and length[queue][1] > 0 do
    pop(key(queue, 1), 1, ids)
    length[queue][1] = length[queue][1] - 1
  end
  if #ids > 0 then own('SADD', KEYS[1], ids[1]) end
  return ids
end

-- A worker that stops for a suspect, or runs one, cannot be the spare of a queue.
local function leave_spares()
  for queue = 1, queues do leave(key(queue, SPARE)) end
end

local stops = may_stop or (idle and waiting == 0)
for _, queue in ipairs(suspects) do
  local mine = stops and keep(key(queue, TURN), turn_value, turn_ms)
  local spare = own('GET', key(queue, SPARE))
  local beside = waiting == 0 and spare and spare ~= worker
  if idle and (mine or beside) then
    local ids = take_suspect(queue)
    if #ids > 0 then
      leave_spares()
      return {ids, dropped, moved, 1, mine and 1 or 0, 1, waiting}
    end
  elseif mine then
    leave_spares()
    return {{}, dropped, moved, 1, 1, 0, waiting}
  end
end
for _, queue in ipairs(suspects) do
  leave(key(queue, TURN))
  keep(key(queue, SPARE), worker, SPARE_MS)
end

-- Number of ids to take from each lane.
local take = {}
local function choose(queue, place)
  length[queue][place] = length[queue][place] - 1
  local name = key(queue, place)
  take[name] = (take[name] or 0) + 1
end

-- Choose the lane with the highest priority that has ids. Queues take turns.
local function choose_highest(turn)
  for place = 2, LANES do
    for step = 0, queues - 1 do
      local queue = (turn + step) % queues + 1
      if length[queue][place] > 0 then return choose(queue, place) end
    end
  end
end

-- Choose a lane below the highest priority that has ids. These lower lanes take turns. Returns true if there is
-- one.
local function choose_lower(turn)
  local top, lower = nil, {}
  for place = 2, LANES do
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

-- Take ids from the highest lane first, because tasks run in the order of the answer.
local ids = {}
for place = 2, LANES do
  for queue = 1, queues do
    local name = key(queue, place)
    if take[name] then pop(name, take[name], ids) end
  end
end
if #ids > 0 then own('SADD', KEYS[1], unpack(ids)) end

-- If a queue still has ordinary ids, one more worker is woken. If it is empty, its wake tokens are removed. There
-- are no tokens for suspects, because they would wake the spare repeatedly.
local empty = {}
for queue = 1, queues do
  local left = 0
  for place = 2, LANES do left = left + length[queue][place] end
  local wake = key(queue, WAKE)
  if left == 0 then
    empty[#empty + 1] = wake
  elseif own('LLEN', wake) == 0 then
    redis.call('RPUSH', wake, '1')
  end
end
if #empty > 0 then redis.call('DEL', unpack(empty)) end

return {ids, dropped, moved, #suspects > 0 and 1 or 0, 0, 0, waiting}
