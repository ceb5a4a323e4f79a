-- Finds the ms of a record by its n, which rises with the ms (store.md D4).
--
-- KEYS  1 stream
-- ARGV  1 n  2 a ms at or before it  3 a ms at or after it
-- Returns the id, or nothing.
local target, lo, hi = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- The record is in the greatest ms from which on the first record is not after it.
while lo < hi do
  local mid = math.floor((lo + hi + 1) / 2)
  local e = redis.call('XRANGE', KEYS[1], string.format('%.0f', mid), '+', 'COUNT', 1)[1]
  local a, b
  if e then
    a, b = string.match(e[1], '(%d+)-(%d+)')
  end
  if e and tonumber(b) <= target then
    lo = math.max(mid, math.min(tonumber(a), hi))
  else
    hi = mid - 1
  end
end
local id = string.format('%.0f-%.0f', lo, target)
local e = redis.call('XRANGE', KEYS[1], id, id)[1]
return e and id
