-- Prepended to every script.
--
-- The last of KEYS  the key that names the system whose database this is
-- The last of ARGV  the id of the caller's system, 32 hexadecimal digits; empty while it is not known

-- Keys of ours that held something of another type.
local moved = {}

-- Run a command on a key of ours. What has the wrong type is not ours: it is moved aside, and the command
-- finds no key.
local function own(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer) end
  redis.call('RENAME', key, key .. ':misplaced')
  moved[#moved + 1] = key
  return redis.call(command, key, ...)
end

-- A task id has 16 bytes. Anything else was put here by another program, and is dropped.
local ID_BYTES = 16

-- A database without an owner becomes the caller's. A stranger takes nothing and leaves nothing: its answer is
-- the id of the owner.
local system_key, system = table.remove(KEYS), table.remove(ARGV)
if system ~= '' then
  local owner = own('GET', system_key)
  if not owner or #owner ~= 32 or string.find(owner, '[^0-9a-f]') then
    redis.call('SET', system_key, system)
  elseif owner ~= system then
    return {owner}
  end
end

