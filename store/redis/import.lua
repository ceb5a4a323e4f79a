-- Puts records under the positions they have behind the end of a log, for a copy
-- (store.Copier). The caller has seen to their order.
--
-- KEYS  1 meta  2 stream  3 redacted  4 index
-- ARGV  1 settings, packed  2 the log in the index
--       3... for each record its id, n, whether it is redacted ("1"), and its data
-- Returns 1, 0 when the log is there with another epoch, -1 when the records do not
-- follow what is there.
local META = '>I6c4I6I6I6I6I6I4I6c4I6' -- as in append.lua
local call, pack, unpack = redis.call, struct.pack, struct.unpack

local epoch, begin, hold, keep, biggest = unpack('>c4I6I6I6I4', ARGV[1])
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ms, old, n, start, void, till, told, widest, lms, lepoch, ln = 0, epoch, 0, begin, 0, 0, 0, 0, 0, '\0\0\0\0', 0
local meta = call('GET', KEYS[1])
if meta then
  ms, old, n, start, void, till, told, widest, lms, lepoch, ln = unpack(META, meta)
  if n == 0 then
    start, widest = begin, 0
  elseif old ~= epoch then
    return 0
  end
end
local first = 3
while first <= #ARGV and tonumber(ARGV[first + 1]) <= n do
  first = first + 4
end
if first > #ARGV then
  return 1
end
if n > 0 and tonumber(ARGV[first + 1]) ~= n + 1 then
  return -1
end
ms = tonumber(string.match(ARGV[#ARGV - 3], '%d+'))
n = tonumber(ARGV[#ARGV - 2])
widest = math.max(widest, biggest)
till = hold > 0 and ms + hold + math.floor(hold / 8) or 0
told = ms

-- The first write is one that is refused when memory is full.
local state = pack(META, ms, epoch, n, start, void, till, told, widest, lms, lepoch, ln)
if keep > 0 then
  call('SET', KEYS[1], state, 'PX', keep)
else
  call('SET', KEYS[1], state)
end
local head = epoch .. '\0\0\0\0\0\0\0\0'
for i = first, #ARGV, 4 do
  call('XADD', KEYS[2], ARGV[i], 'd', head .. ARGV[i + 3])
  if ARGV[i + 2] == '1' then
    call('ZADD', KEYS[3], ARGV[i + 1], ARGV[i + 1])
  end
end
for key = 2, 3 do
  if till > 0 then
    call('PEXPIRE', KEYS[key], math.max(till - now, 60000))
  else
    call('PERSIST', KEYS[key])
  end
end
call('ZADD', KEYS[4], ms, ARGV[2])
return 1
