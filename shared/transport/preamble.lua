-- Prepended to every script.
--
-- The last of KEYS  the key with the id of the system that owns this database
-- The last of ARGV  the id of the caller's system, 32 hexadecimal digits; empty while it is not known

-- Names of our keys that contained a value of the wrong type.
local moved = {}

-- Run a command on one of our keys. If the key has a value of the wrong type, another program has written it: the
-- value is moved aside, and the command finds no key.
local function own(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer) end
  redis.call('RENAME', key, key .. ':misplaced')
  moved[#moved + 1] = key
  return redis.call(command, key, ...)
end

-- Length of a task id in bytes. A value of another length comes from another program and is dropped.
local ID_BYTES = 16

-- If the database has no owner, it now belongs to the caller's system. If it belongs to another system, the script
-- changes nothing and returns the id of the owner.
local system_key, system = table.remove(KEYS), table.remove(ARGV)
if system ~= '' then
  local owner = own('GET', system_key)
  if not owner or #owner ~= 32 or string.find(owner, '[^0-9a-f]') then
    redis.call('SET', system_key, system)
  elseif owner ~= system then
    return {owner}
  end
end

