-- Appends the records of one call to one log (store.md §3.6): all of them or none.
--
-- KEYS  1 meta  2 stream  3 redacted  4 counter  5 index  6 wide flag
--       7 wide counter  8... one for each record that has a nonce
--       and last the outbox, if records have copies
-- ARGV  1 settings, packed  2 live channel  3 feed and path, each behind its length
--       4 lengths of the records, 4 bytes each
--       5 for each record with a nonce: its number (2), how long to remember it (6)
--       6... the records, and then the copies: the number of the record (2), "1" for
--       a copy of its data (1), and what the outbox says behind its place (outbox.go)
-- Returns the position of the first record written (zeros: none), and for each that
-- was there already its number (2) and position (16).
--
-- Meta is the position of the newest record kept, and then: n (and ms) at which the
-- epoch began; the ms up to which nonces are void; until when the stream lives; when
-- the index was told; the greatest record; the newest position that was not kept.
local META = '>I6c4I6I6I6I6I6I4I6c4I6'
local NONE = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local DAY = 86400000
local SPOKE = 3602000 -- store.SpokeFor, and a little
local call, pack, unpack, max = redis.call, struct.pack, struct.unpack, math.max

local candidate, tag, age, length, idle, hold, keep, since, kept, sharded, biggest, copies =
  unpack('>c4c8I6I6I6I6I6I6I1I1I4I2', ARGV[1])
local total = #ARGV - 5 - copies

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local got = call('MGET', KEYS[1], KEYS[6])
local meta = got[1]
local ms, epoch, n, start, void, till, told, widest, lms, lepoch, ln = 0, '\0\0\0\0', 0, 0, 0, 0, 0, 0, 0, '\0\0\0\0', 0
if meta then
  ms, epoch, n, start, void, till, told, widest, lms, lepoch, ln = unpack(META, meta)
else
  -- Where memory was short the meta may be gone and the stream not: it goes on.
  local last = call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if last then
    local a, b = string.match(last[1], '(%d+)-(%d+)')
    ms, n, epoch, widest = tonumber(a), tonumber(b), string.sub(last[2][2], 1, 4), 65536
  end
end

local many = #ARGV[5] / 8 -- records with a nonce
local remembered
if many > 0 then
  -- The record of a nonce, and whether this very call wrote it as its record i.
  remembered = function(key, i)
    local v = call('GET', key)
    if not v or unpack('>I6', v) <= void then
      return nil
    end
    return string.sub(v, 1, 16), string.sub(v, 17) == tag .. pack('>I2', i)
  end
end

-- A call that is sent again looks for what it may have written (decided.md 19).
if since > 0 and kept == 1 then
  local from, to, found, over = string.format('%.0f', since), '+', nil, false
  repeat
    local chunk = call('XREVRANGE', KEYS[2], to, from, 'COUNT', 100)
    for _, e in ipairs(chunk) do
      if string.sub(e[2][2], 5, 12) == tag then
        found = e
      elseif found then
        over = true
        break
      end
    end
    over = over or #chunk < 100
    if not over then
      to = '(' .. chunk[#chunk][1]
    end
  until over
  if found then
    local a, b = string.match(found[1], '(%d+)-(%d+)')
    local reply = { pack('>I6c4I6', tonumber(a), string.sub(found[2][2], 1, 4), tonumber(b)) }
    for j = 1, many do
      local i = unpack('>I2', ARGV[5], j * 8 - 7)
      local p, own = remembered(KEYS[7 + j], i)
      if p and not own then
        reply[#reply + 1] = pack('>I2', i) .. p
      end
    end
    return table.concat(reply)
  end
end

-- The place: ms never falls, n is dense, an epoch begins later than all before.
local at, first, prev, gone
if kept == 1 then
  gone = n > 0 and idle > 0 and now - ms >= idle
  if n == 0 or gone then
    at = max(now, ms + 1, lms + 1, void + 1)
    epoch, first, start, till, widest, prev = candidate, at, at, 0, 0, NONE
  else
    prev = pack('>I6c4I6', ms, epoch, n)
    at, first = max(now, ms), n + 1
    if lms >= ms then
      at = max(at, lms + 1)
    end
  end
else
  if ln == 0 then
    at = max(now, ms + 1, void + 1)
    lepoch, first, prev = candidate, at, NONE
  else
    prev = pack('>I6c4I6', lms, lepoch, ln)
    at, first = max(now, lms), ln + 1
    if ms >= lms then
      at = max(at, ms + 1)
    end
  end
end

-- Records whose nonce is known are not written again.
local known, marks, reply, count = nil, nil, nil, total
if kept == 1 and many > 0 then
  local mine, placed, upTo = {}, 0, 0
  known, marks, reply = {}, {}, { NONE }
  for j = 1, many do
    local i, remember = unpack('>I2I6', ARGV[5], j * 8 - 7)
    placed, upTo = placed + i - 1 - upTo, i
    local key = KEYS[7 + j]
    local p = mine[key] or remembered(key, i)
    if p then
      known[i] = true
      count = count - 1
      reply[#reply + 1] = pack('>I2', i) .. p
    else
      p = pack('>I6c4I6', at, epoch, first + placed)
      mine[key] = p
      marks[#marks + 1] = { key, p .. tag .. pack('>I2', i), remember }
      placed = placed + 1
    end
  end
  if count == 0 then
    return table.concat(reply)
  end
end

local renew, persist = false, false
if kept == 1 then
  ms, n, widest = at, first + count - 1, max(widest, biggest)
  if hold == 0 then
    persist = till > 0
    till = 0
  elseif till < at + hold or till > at + 2 * hold then
    renew = true
    till = at + hold + math.floor(hold / 8)
  end
else
  lms, ln = at, first + count - 1
end
local tell, daily = at - told >= 1000, false
if tell then
  daily = math.floor(told / 21600000) ~= math.floor(at / 21600000)
  told = at
end

-- The first write is one that is refused when memory is full, so nothing is half
-- done. What keeps nothing and is known takes no room: a write that is never refused
-- goes first, and then the others are not refused either.
local state = pack(META, ms, epoch, n, start, void, till, told, widest, lms, lepoch, ln)
if copies > 0 then
  local outbox, added, id, upTo = KEYS[#KEYS], 0, first, 1
  for j = 6 + total, #ARGV do
    local i, own = unpack('>I2c1', ARGV[j])
    for before = upTo, i - 1 do
      id = id + ((known and known[before]) and 0 or 1)
    end
    upTo = i
    if not (known and known[i]) then
      local to = pack('>I6c4I6', at, kept == 1 and epoch or lepoch, id) .. string.sub(ARGV[j], 4)
      call('XADD', outbox, '*', 'c', own == '1' and to .. ARGV[5 + i] or to)
      added = added + 1
    end
  end
  if added > 0 and call('XLEN', outbox) == added then
    call('PUBLISH', string.match(outbox, '^(.-):{') .. ':wake', outbox)
  end
elseif kept == 0 and meta then
  call('PEXPIRE', KEYS[4], DAY)
end
if kept == 0 and n > 0 and meta then
  call('SET', KEYS[1], state, 'KEEPTTL')
elseif keep > 0 then
  call('SET', KEYS[1], state, 'PX', keep)
else
  call('SET', KEYS[1], state)
end

local place = pack('>I6c4I6', at, kept == 1 and epoch or lepoch, first)
local parts = { prev, place, kept == 1 and '\1' or '\0', pack('>I2', count), ARGV[4] }
if kept == 1 then
  if gone then
    call('UNLINK', KEYS[2], KEYS[3])
  end
  local head, id, trim = epoch .. tag, first, age > 0 and (tell or first % 64 == 0)
  for i = 1, total do
    if not (known and known[i]) then
      local record = ARGV[5 + i]
      parts[6 + id - first] = record
      if trim and id == first then
        call('XADD', KEYS[2], 'MINID', '~', string.format('%.0f', max(at - age, 0)), string.format('%.0f-%.0f', at, id), 'd', head .. record)
      else
        call('XADD', KEYS[2], string.format('%.0f-%.0f', at, id), 'd', head .. record)
      end
      id = id + 1
    end
  end
  if length > 0 and math.floor(n / 64) ~= math.floor((first - 1) / 64) then
    call('XTRIM', KEYS[2], 'MAXLEN', '~', length + 1)
  end
  if renew then
    call('PEXPIRE', KEYS[2], till - at)
    call('PEXPIRE', KEYS[3], till - at)
  elseif persist then
    call('PERSIST', KEYS[2])
    call('PERSIST', KEYS[3])
  end
  for j = 1, marks and #marks or 0 do
    call('SET', marks[j][1], marks[j][2], 'PX', marks[j][3])
  end
  if count < total then
    local lengths = {}
    for i = 1, total do
      if not known[i] then
        lengths[#lengths + 1] = string.sub(ARGV[4], 4 * i - 3, 4 * i)
      end
    end
    parts[5] = table.concat(lengths)
  end
else
  for i = 1, total do
    parts[5 + i] = ARGV[5 + i]
  end
end

if tell then
  call('ZADD', KEYS[5], at, string.match(KEYS[1], '}:m:(.*)')) -- the log, as in its key
  if daily or first % 64 == 0 then
    call('ZREMRANGEBYSCORE', KEYS[5], '-inf', at - SPOKE)
    call('PEXPIRE', KEYS[5], DAY)
  end
end

local body = table.concat(parts)
local publish = sharded == 1 and 'SPUBLISH' or 'PUBLISH'
local seq = call('INCR', KEYS[4])
if seq == 1 or daily then
  call('PEXPIRE', KEYS[4], DAY)
end
local feed = string.byte(ARGV[3]) + 1
call(publish, ARGV[2], pack('>I8', seq) .. string.sub(ARGV[3], feed + 1) .. body)
if got[2] then
  seq = call('INCR', KEYS[7])
  if seq == 1 or daily then
    call('PEXPIRE', KEYS[7], DAY)
  end
  -- The wide channel is named as its counter, without the n.
  call(publish, string.sub(KEYS[7], 1, -2), pack('>I8', seq) .. ARGV[3] .. body)
end
if reply then
  reply[1] = place
  return table.concat(reply)
end
return place
