-- Sets the place of a group and forgets what is out, or forgets the group (store.md §4,
-- Groups).
--
-- KEYS  1 meta  2 stream
-- ARGV  1 group  2 "1": the place follows  3 ms  4 epoch  5 n, of the place
local call = redis.call

if call('EXISTS', KEYS[2]) == 1 then
  call('XGROUP', 'DESTROY', KEYS[2], ARGV[1])
end
if ARGV[2] == '1' then
  -- The ids of a stream have no epoch: the place lies before or after all of its ms.
  local epoch, n = call('GETRANGE', KEYS[1], 6, 9), ARGV[5]
  if #epoch == 4 and epoch ~= '\0\0\0\0' and epoch ~= ARGV[4] then
    local given, its = struct.unpack('>I4', ARGV[4]), struct.unpack('>I4', epoch)
    n = given < its and '0' or '281474976710655'
  end
  call('XGROUP', 'CREATE', KEYS[2], ARGV[1], ARGV[3] .. '-' .. n, 'MKSTREAM')
elseif call('EXISTS', KEYS[2]) == 1 and call('XLEN', KEYS[2]) == 0 and #call('XINFO', 'GROUPS', KEYS[2]) == 0 then
  call('UNLINK', KEYS[2]) -- it was there for groups alone
end
return 1
