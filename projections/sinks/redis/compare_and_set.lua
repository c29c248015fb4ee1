-- KEYS[1] the marker; ARGV: how many fields and values the old one has (0: absent), old, new.
local count = tonumber(ARGV[1])
if count == 0 and redis.call('EXISTS', KEYS[1]) == 1 then return {0} end
for i = 2, count, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return {0} end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2 + count))
return {1}
