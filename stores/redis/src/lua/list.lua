-- Reads the next tokens, and what is beside them, in the order of their ids.
-- ARGV: where to begin, how many. Answers the store's mark, and {place, token, beside} for each.
local places = redis.call('ZRANGEBYLEX', base .. 'ids', ARGV[1], '+', 'LIMIT', 0, ARGV[2])
local entries = {}
for at, place in ipairs(places) do
  local id = id_at(place)
  entries[at] = {
    place,
    redis.call('HGETALL', base .. 'token:' .. id),
    redis.call('HGETALL', base .. 'beside:' .. id),
  }
end
return {mark(), entries}
