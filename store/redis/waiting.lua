-- Reads the copies that wait in an outbox.
--
-- KEYS  1 outbox
-- ARGV  1 after this id  2 how many at most  3 how many bytes at most, roughly
-- Returns for each its id and what it says.
local out, after, left, bytes, step = {}, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), 4
while left > 0 and bytes > 0 do
  local count = math.min(step, left)
  local found = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', count)
  for _, e in ipairs(found) do
    out[#out + 1] = e[1]
    out[#out + 1] = e[2][2]
    bytes = bytes - #e[2][2]
    after = e[1]
  end
  if #found < count then
    break
  end
  left, step = left - count, math.min(step * 4, 256)
end
return out
