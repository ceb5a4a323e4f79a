-- Tells where a group stands (store.md §4, Groups).
--
-- KEYS  1 meta  2 stream
-- ARGV  1 group
-- Returns nothing for a group that is not there, else the epoch, the id after which
-- nothing was taken, the least id that is out ("" for none), and then for each consumer
-- its name and how much it holds.
local call = redis.call

if call('EXISTS', KEYS[2]) == 0 then
  return {}
end
for _, g in ipairs(call('XINFO', 'GROUPS', KEYS[2])) do
  if g[2] == ARGV[1] then
    local epoch = call('GETRANGE', KEYS[1], 6, 9)
    local e = call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    if e then
      epoch = string.sub(e[2][2], 1, 4)
    end
    local held = call('XPENDING', KEYS[2], ARGV[1])
    local out = { epoch, g[8], held[2] or '' }
    for _, c in ipairs(held[4] or {}) do
      out[#out + 1] = c[1]
      out[#out + 1] = c[2]
    end
    return out
  end
end
return {}
