-- Writes a row if it has the version asked for (store.md §4, Table). A row is its
-- version (8), the ms at which it expires or 0 (6), and its data.
--
-- KEYS  1 row  2 order  3 expiries
-- ARGV  1 settings, packed  2 the row's key in its table  3 data
--       4 what the names of the table's rows in this partition begin with
-- Returns the new version, or -1 for another version than asked for.
local call, unpack = redis.call, struct.unpack

local conditional, wanted, ttl = unpack('>I1I8I6', ARGV[1])
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local old, version, expires = call('GETRANGE', KEYS[1], 0, 13), 0, 0
local there = #old == 14
if there then
  version, expires = unpack('>I8I6', old)
  there = expires == 0 or expires > now
end
if conditional == 1 and wanted ~= (there and version or 0) then
  return -1
end
version = version + 1
local ends = ttl > 0 and now + ttl or 0
local row = struct.pack('>I8I6', version, ends) .. ARGV[3]
if ttl > 0 then
  call('SET', KEYS[1], row, 'PX', ttl)
else
  call('SET', KEYS[1], row)
end
if not there then
  call('ZADD', KEYS[2], 0, ARGV[2])
end
-- expiries may say less than is true, so that renewing a row does not touch it.
if ends > 0 and (not there or expires == 0) then
  call('ZADD', KEYS[3], ends, ARGV[2])
end
if not there or version % 16 == 0 then
  for _, key in ipairs(call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 4)) do
    -- pcall: while the slot moves, another row may be elsewhere.
    local other = redis.pcall('GETRANGE', ARGV[4] .. key, 8, 13)
    local e = type(other) == 'string' and #other == 6 and unpack('>I6', other)
    if type(other) ~= 'string' then
      break
    elseif not e then
      call('ZREM', KEYS[2], key)
      call('ZREM', KEYS[3], key)
    elseif e == 0 then
      call('ZREM', KEYS[3], key)
    else
      call('ZADD', KEYS[3], e, key)
    end
  end
end
return version
