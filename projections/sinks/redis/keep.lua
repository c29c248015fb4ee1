-- KEYS[1] the hash; ARGV: the revision that it must hold, seconds to live, how many fields are ours.
if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[1] then return {0} end
if ARGV[2] == '0' or redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then redis.call('PERSIST', KEYS[1])
else redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return {1}
