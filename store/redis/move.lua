-- Appends copies of one partition to their log, each once (doc.go, the pump). It leaves
-- out those that are there already, and what follows is append.lua with the rest.
--
-- KEYS  as append.lua, and then the marks of the log
-- ARGV  as append.lua, and then the partition (1), the pump's fence (6), and for each
--       copy the ms (6) and number (6) of its id in the outbox
-- Returns "r" when the fence is new here: what was read under another one must be read
-- again; "f" and a greater fence (6) when another pump is at work; "m" when all copies
-- were there; else what append.lua does.
--
-- A mark is the fence (6), the id of the newest copy moved (12), a ms at or after that of
-- its place in the log (6), and the place of its record (16). Copies move in the order of
-- their ids, so with the newest all before it have.
do
  local call, pack, read, sub = redis.call, struct.pack, struct.unpack, string.sub
  local marks, own = KEYS[#KEYS], ARGV[#ARGV]
  KEYS[#KEYS], ARGV[#ARGV] = nil, nil
  local part, fence = read('>I1I6', own)
  local total, keep, sharded = #ARGV - 5, read('>I6', ARGV[1], 37), read('>I1', ARGV[1], 50)
  local mark = call('HGET', marks, part)
  local seen = mark and read('>I6', mark) or 0
  if seen > fence then
    return 'f' .. sub(mark, 1, 6)
  elseif seen < fence then
    call('HSET', marks, part, pack('>I6', fence) .. (mark and sub(mark, 7) or string.rep('\0', 34)))
    return 'r'
  end
  local newest, upTo, place = sub(mark, 7, 18), read('>I6', mark, 19), sub(mark, 25)
  local function id(i)
    return sub(own, 12 * i - 4, 12 * i + 7)
  end
  -- Lua compares texts by the locale of the server.
  local function notAfter(a, b)
    local ams, an = read('>I6I6', a)
    local bms, bn = read('>I6I6', b)
    return ams < bms or ams == bms and an <= bn
  end

  local there, doubt, any = {}, {}, false
  for i = 1, total do
    if id(i) == newest and sub(ARGV[5 + i], 1, 16) == place then
      for before = 1, i do
        there[before] = true
      end
      doubt, any = {}, false
    elseif notAfter(id(i), newest) then
      doubt[sub(ARGV[5 + i], 1, 16)], any = i, true
    end
  end
  if any then
    -- The newest is not among them: the outbox has lost its end, and may give ids again.
    -- What has been moved lies in the log since it was put into the outbox, by clocks that
    -- may differ between the servers of a cluster.
    local from = string.format('%.0f', math.max(read('>I6', id(1)) - (sharded == 1 and 120000 or 2000), 0))
    local to = string.format('%.0f', upTo)
    repeat
      local found = call('XRANGE', KEYS[2], from, to, 'COUNT', 200)
      for _, e in ipairs(found) do
        local i = doubt[sub(e[2][2], 13, 28)]
        if i then
          there[i] = true
        end
        from = '(' .. e[1]
      end
    until #found < 200
  end

  local records, lengths = {}, {}
  for i = 1, total do
    if not there[i] then
      records[#records + 1] = ARGV[5 + i]
      lengths[#lengths + 1] = sub(ARGV[4], 4 * i - 3, 4 * i)
    end
  end
  if #records == 0 then
    return 'm'
  end
  local time, meta = call('TIME'), call('GET', KEYS[1])
  local at = time[1] * 1000 + math.floor(time[2] / 1000)
  if meta then
    at = math.max(at, read('>I6', meta), read('>I6', meta, 23), read('>I6', meta, 45))
  end
  at = at + 10000 -- append.lua asks for the time once more
  local last = id(total)
  if notAfter(last, newest) then
    last = newest
  end
  -- This write is refused when memory is full, so nothing is half done.
  call('HSET', marks, part, pack('>I6', fence) .. last .. pack('>I6', at) .. sub(ARGV[5 + total], 1, 16))
  if keep > 0 then
    call('PEXPIRE', marks, keep)
  else
    call('PERSIST', marks)
  end
  for i = total, 1, -1 do
    ARGV[5 + i] = records[i]
  end
  ARGV[4] = table.concat(lengths)
end
