-- Hands records of a log to a consumer of a group (store.md §4, Groups): what was given
-- back, then what nobody had. It reads the stream itself and marks what it hands out by
-- XCLAIM, which can set the count of deliveries: so a call that is sent again because
-- its reply was lost finds what it took.
--
-- KEYS  1 meta  2 stream  3 redacted
-- ARGV  1 settings, packed  2 group  3 consumer  4 who has what was given back
-- Returns how many of the records come again, whether there may be others although
-- these are none, and then for each record its id and its data.
local call, read, spread, min, max = redis.call, struct.unpack, unpack, math.min, math.max
local group, consumer, nobody = ARGV[2], ARGV[3], ARGV[4]
local now, cutoff, idle, length, token, retry, limit, bytes, most = read('>I6I6I6I6I6I1I4I4I4', ARGV[1])
local MANY = 500 -- what one command reads at most

local out, again = { 0, 0 }, 0
if call('EXISTS', KEYS[2]) == 0 then
  return out
end
local pending, from
for _, g in ipairs(call('XINFO', 'GROUPS', KEYS[2])) do
  if g[2] == group then
    pending, from = g[6], g[8]
  end
end
if not from then
  call('XGROUP', 'CREATE', KEYS[2], group, '0-0')
  pending, from = 0, '0-0'
end

-- What the limits show: not before cutoff, and no n below low.
local meta, low, widest = call('GETRANGE', KEYS[1], 0, 43), 0, 65536
local last, n = 0, 0
if #meta == 44 then
  last, n, widest = read('>I6', meta), read('>I6', meta, 11), read('>I4', meta, 41)
end
if n == 0 then -- where memory was short the meta may be gone and the stream not
  local e = call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if e then
    local a, b = string.match(e[1], '(%d+)-(%d+)')
    last, n, widest = tonumber(a), tonumber(b), 65536
  end
end
if idle > 0 and now - last >= idle then
  return out
end
if length > 0 then
  low = n - length + 1
end
local tombs = call('EXISTS', KEYS[3]) == 1
local function shown(id)
  local a, b = string.match(id, '(%d+)-(%d+)')
  return tonumber(a) >= cutoff and tonumber(b) >= low and not (tombs and call('ZSCORE', KEYS[3], b))
end
local function give(e)
  out[#out + 1] = e[1]
  out[#out + 1] = e[2][2]
  limit, bytes = limit - 1, bytes - #e[2][2]
end

if retry == 1 then
  local at = '-'
  while at do
    local held = call('XPENDING', KEYS[2], group, at, '+', 1000, consumer)
    for _, h in ipairs(held) do
      if h[4] == token or h[4] == token + 1 then
        local e = call('XRANGE', KEYS[2], h[1], h[1])[1]
        if e then
          again = again + token + 1 - h[4]
          give(e)
        end
      end
    end
    at = #held == 1000 and '(' .. held[1000][1]
  end
  if #out > 2 then
    out[1] = again
    return out
  end
end

-- Of what was given back, what is not shown any more is forgotten.
local full = pending == 0
while not full do
  local asked, mine, gone = limit, {}, {}
  local back = call('XPENDING', KEYS[2], group, '-', '+', asked, nobody)
  for _, b in ipairs(back) do
    local e = shown(b[1]) and call('XRANGE', KEYS[2], b[1], b[1])[1]
    if not e then
      gone[#gone + 1] = b[1]
    elseif #out > 2 and #e[2][2] > bytes then
      full, limit = true, 0
      break
    else
      mine[#mine + 1] = b[1]
      give(e)
    end
  end
  if #gone > 0 then
    call('XACK', KEYS[2], group, spread(gone))
    pending = pending - #gone
  end
  if #mine > 0 then
    again = again + #mine
    for _, option in ipairs({ 'RETRYCOUNT', token, 'JUSTID' }) do
      mine[#mine + 1] = option
    end
    call('XCLAIM', KEYS[2], group, consumer, 0, spread(mine))
  end
  full = full or #back < asked or limit == 0
end

-- What is out of age is jumped over, what is too many or redacted is read over.
local room, place, mine = most - pending, from, {}
local next = '(' .. from
if tonumber(string.match(from, '%d+')) < cutoff then
  next = string.format('%.0f-0', cutoff)
end
-- Behind a round of which none is shown there may be many such: then MANY are looked at.
local over = false
for round = 1, 20 do
  local fits = max(1, math.floor(bytes / max(widest, 1)))
  local count = min(over and MANY or limit, over and MANY or room - #mine, MANY, fits)
  if count <= 0 or bytes <= 0 and #out > 2 then
    break
  end
  local found, enough = call('XRANGE', KEYS[2], next, '+', 'COUNT', count), false
  over = true
  for _, e in ipairs(found) do
    if shown(e[1]) then
      if limit == 0 or #mine >= room or #out > 2 and #e[2][2] > bytes then
        enough = true
        break
      end
      over = false
      mine[#mine + 1] = e[1]
      give(e)
    end
    place = e[1]
  end
  out[2] = 0
  if enough or #found < count then
    break
  end
  next, out[2] = '(' .. place, 1
end
if #mine > 0 then
  for _, option in ipairs({ 'RETRYCOUNT', token + 1, 'FORCE', 'JUSTID', 'LASTID', place }) do
    mine[#mine + 1] = option
  end
  call('XCLAIM', KEYS[2], group, consumer, 0, spread(mine))
elseif place ~= from then
  call('XGROUP', 'SETID', KEYS[2], group, place)
end
out[1] = again
return out
