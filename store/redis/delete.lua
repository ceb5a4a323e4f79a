-- Deletes a log whole (store.md §4). What remains is the ms that a later epoch, and
-- nonces that count, must lie behind.
--
-- KEYS  1 meta  2 stream  3 redacted
-- ARGV  1 how long the rest is remembered, in ms
local META = '>I6c4I6I6I6I6I6I4I6c4I6'
local call = redis.call

local meta = call('GET', KEYS[1])
local ms, told, lms, lepoch, ln, void = 0, 0, 0, '\0\0\0\0', 0, 0
local n, start, till, widest, epoch
if meta then
  ms, epoch, n, start, void, till, told, widest, lms, lepoch, ln = struct.unpack(META, meta)
end
local last = call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if last then
  ms = math.max(ms, tonumber(string.match(last[1], '%d+')))
end
if ms == 0 then
  return 0
end
-- This write is never refused, so the next one is not either.
call('UNLINK', KEYS[2], KEYS[3])
void = math.max(void, ms)
call('SET', KEYS[1], struct.pack(META, 0, '\0\0\0\0', 0, 0, void, 0, told, 0, lms, lepoch, ln), 'PX', ARGV[1])
return 1
