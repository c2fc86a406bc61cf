-- Removes one token, or all. ARGV: the new mark, and the place of the token or nothing. Answers how many
-- there were.
local command = forbidden()
if command then return refuse(command) end
redis.call('ZCARD', base .. 'ids')
redis.call('ZCARD', base .. 'expiry')
local removed = 0
if #ARGV == 1 then
  -- Nothing stays, so that whole keys are removed and no members of them. All is read before.
  local keys = {}
  for number, place in ipairs(redis.call('ZRANGE', base .. 'ids', 0, -1)) do
    local id = id_at(place)
    local own = {base .. 'token:' .. id, base .. 'beside:' .. id}
    local index = redis.call('HGET', own[1], 'index')
    if index then removed = removed + 1 end
    for name in each(index) do own[#own + 1] = base .. name end
    keys[number] = own
  end
  for _, own in ipairs(keys) do redis.call('DEL', unpack(own)) end
  redis.call('DEL', base .. 'ids', base .. 'expiry')
else
  local id = id_at(ARGV[2])
  for name in each(redis.call('HGET', base .. 'token:' .. id, 'index')) do
    redis.call('SCARD', base .. name)
  end
  removed = drop(id, ARGV[2])
  purge()
end
if removed > 0 then redis.call('HSET', KEYS[1], 'mark', ARGV[1], 'format', '1') end
return removed
