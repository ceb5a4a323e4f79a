-- Deletes from an outbox the copies that have reached their logs. Should the server have
-- lost some of them meanwhile, as in a failover, and given their ids again, nothing is
-- deleted: if the last of them is there, all of them are.
--
-- KEYS  1 outbox
-- ARGV  1 the place of the last one's record  2... their ids, and the last one's again
-- Returns how many wait now.
local call = redis.call

local last = call('XRANGE', KEYS[1], ARGV[#ARGV], ARGV[#ARGV])[1]
if last and string.sub(last[2][2], 1, 16) == ARGV[1] then
  call('XDEL', KEYS[1], unpack(ARGV, 2))
end
return call('XLEN', KEYS[1])
