-- Reads tokens, and what is beside them, by names of the index and by ids.
-- ARGV: how many names, the names, the ids. Answers the last id given, the members of each name, and
-- {id, token, beside} for each id that was found or given.
local names = tonumber(ARGV[1])
local members, ids, known = {}, {}, {}
local function add(id)
  if not known[id] then
    known[id] = true
    ids[#ids + 1] = id
  end
end
for at = 2, names + 1 do
  local found = redis.call('SMEMBERS', base .. ARGV[at])
  members[#members + 1] = found
  for _, id in ipairs(found) do add(id) end
end
for at = names + 2, #ARGV do add(ARGV[at]) end
local entries = {}
for at, id in ipairs(ids) do
  entries[at] = {
    id,
    redis.call('HGETALL', base .. 'token:' .. id),
    redis.call('HGETALL', base .. 'beside:' .. id),
  }
end
return {redis.call('HGET', KEYS[1], 'last_id'), members, entries}
