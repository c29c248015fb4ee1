-- KEYS: hashes; ARGV: block, seconds to live (0: for ever), the longest life that we give, how many fields
-- are set, how many go, names of those, names of these; then for one hash after the other its revision and
-- the values of the fields that are set. Revisions are exact below 2^53.
local block, life, longest = ARGV[1], ARGV[2], tonumber(ARGV[3])
local count, going = tonumber(ARGV[4]), tonumber(ARGV[5])
local first, last = 6 + count, 5 + count + going  -- of the names that go
local only_mark = going == 1 and ARGV[first] == 'removed'  -- which few hashes have to lose
local set = {'revision', '', 'block', block}
for i = 1, count do set[3 + 2 * i] = ARGV[5 + i] end
local at = last + 1
local function write(key)
  local revision, values = ARGV[at], at
  at = at + 1 + count
  local held = redis.pcall('HMGET', key, 'revision', 'removed')
  if held.err then return held.err end
  local newest = tonumber(held[1] or '-1')
  if not newest then return 'WRONGTYPE its revision is not a number' end
  if newest >= tonumber(revision) then return 0 end
  set[2] = revision
  for i = 1, count do set[4 + 2 * i] = ARGV[values + i] end
  local done = redis.pcall('HSET', key, unpack(set))
  if type(done) == 'table' then return done.err end
  if going > 0 and (held[2] or not only_mark) then redis.call('HDEL', key, unpack(ARGV, first, last)) end
  if redis.call('HLEN', key) > count + 2 then
    local left = redis.call('TTL', key)  -- one no longer than ours is what we gave it when it was ours alone
    if held[2] or (left >= 0 and left <= longest) then redis.call('PERSIST', key) end
    return 1
  end
  if life == '0' then redis.call('PERSIST', key) else redis.call('EXPIRE', key, life) end
  return 2
end
local done = {}
for i, key in ipairs(KEYS) do done[i] = write(key) end
return done
