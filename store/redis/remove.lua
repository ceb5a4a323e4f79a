-- Deletes a row if it has the version asked for (store.md §4, Table).
--
-- KEYS  1 row  2 order  3 expiries
-- ARGV  1 settings, packed  2 the row's key in its table
-- Returns 1, or -1 for another version than asked for.
local call = redis.call

local conditional, wanted = struct.unpack('>I1I8', ARGV[1])
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local old, version = call('GETRANGE', KEYS[1], 0, 13), 0
if #old == 14 then
  local v, expires = struct.unpack('>I8I6', old)
  if expires == 0 or expires > now then
    version = v
  end
end
if conditional == 1 and wanted ~= version then
  return -1
end
call('DEL', KEYS[1])
call('ZREM', KEYS[2], ARGV[2])
call('ZREM', KEYS[3], ARGV[2])
return 1
