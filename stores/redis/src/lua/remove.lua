-- Removes one token, or all. ARGV: the new mark, and the place of the token or nothing. Answers how many
-- there were.
local command = forbidden()
if command then return refuse(command) end
local places = {ARGV[2]}
if #ARGV == 1 then places = redis.call('ZRANGE', base .. 'ids', 0, -1) end
for _, place in ipairs(places) do
  local id = id_at(place)
  for name in each(redis.call('HGET', base .. 'token:' .. id, 'index')) do
    redis.call('SCARD', base .. name)
  end
end
redis.call('ZCARD', base .. 'ids')
redis.call('ZCARD', base .. 'expiry')

local removed = 0
for _, place in ipairs(places) do
  removed = removed + drop(id_at(place), place)
end
if removed > 0 then
  purge()
  redis.call('HSET', KEYS[1], 'mark', ARGV[1], 'format', '1')
end
return removed
