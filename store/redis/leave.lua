-- Gives back what a consumer of a group holds, some at a time (store.md §4, Groups). The
-- consumer itself goes with the last.
--
-- KEYS  1 stream
-- ARGV  1 group  2 consumer  3 who has what was given back
-- Returns 0 when that was all.
local call = redis.call

if call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local held = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
if held.err then
  return string.find(held.err, 'NOGROUP') and 0 or held
end
if #held == 0 then
  call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
  return 0
end
local ids = {}
for i, h in ipairs(held) do
  ids[i] = h[1]
end
ids[#ids + 1] = 'JUSTID'
-- What is not in the stream any more leaves the group by this.
call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, unpack(ids))
return 1
