-- Leaves a tombstone for one record (decided.md 20). Tombstones of records that are
-- not in the stream any more go.
--
-- KEYS  1 stream  2 redacted
-- ARGV  1 id of the record  2 its epoch  3 its n
-- Returns 0 when there is no such record.
local call = redis.call

local e = call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not e or string.sub(e[2][2], 1, 4) ~= ARGV[2] then
  return 0
end
call('ZADD', KEYS[2], ARGV[3], ARGV[3])
local oldest = call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.match(oldest[1], '%-(%d+)'))
local left = call('PTTL', KEYS[1])
if left > 0 then
  call('PEXPIRE', KEYS[2], left)
else
  call('PERSIST', KEYS[2])
end
return 1
