-- Reads the tokens under one name of the index, which is ARGV[1]. Answers {id, token} for each id there.
local entries = {}
for at, id in ipairs(redis.call('SMEMBERS', base .. ARGV[1])) do
  entries[at] = {id, redis.call('HGETALL', base .. 'token:' .. id)}
end
return entries
