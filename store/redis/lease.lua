-- Takes the lease of the pump or renews it, or gives it up (doc.go). A lease taken has a
-- fence that is greater than those before.
--
-- KEYS  1 lease
-- ARGV  1 who  2 for how long, in ms; 0 gives it up  3 a fence that was seen
-- Returns the fence, or -1 if another has the lease.
local call = redis.call

local held = call('GET', KEYS[1])
if held and string.sub(held, 7) ~= ARGV[1] then
  return -1
elseif ARGV[2] == '0' then
  return held and call('DEL', KEYS[1]) or -1
elseif held and struct.unpack('>I6', held) >= tonumber(ARGV[3]) then
  call('PEXPIRE', KEYS[1], ARGV[2])
  return (struct.unpack('>I6', held))
end
local time = call('TIME')
local fence = math.max(time[1] * 1000 + math.floor(time[2] / 1000), ARGV[3] + 1)
call('SET', KEYS[1], struct.pack('>I6', fence) .. ARGV[1], 'PX', ARGV[2])
return fence
