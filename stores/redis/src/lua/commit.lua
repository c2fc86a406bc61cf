-- Writes what was decided on what was read, if that is still so.
-- ARGV: the new mark; for how many milliseconds tokens are kept, or nothing; where ids were given already,
-- the last one that was read and the last one now, or nothing twice; what was read: names of the index with
-- their members, versions of tokens, versions of what is beside them; then what to do. A list begins with
-- its length.
-- Answers {'changed'} if what was read is not so any more, {'full'} if there are no ids, or {'done', id}
-- with the id that was given.
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
local function take_list()
  local list = {}
  for number = 1, tonumber(take()) do list[number] = take() end
  return list
end

local command = forbidden()
if command then return refuse(command) end
local new_mark, lifetime, expected_last, given_last = take(), take(), take(), take()
local last = tonumber(redis.call('HGET', KEYS[1], 'last_id') or '0')
if expected_last ~= '' then
  if tonumber(expected_last) ~= last then return {'changed'} end
  last = tonumber(given_last)
end
local checked = {}
for _ = 1, tonumber(take()) do
  local name = base .. take()
  checked[name] = true
  local members = take_list()
  if redis.call('SCARD', name) ~= #members then return {'changed'} end
  for _, id in ipairs(members) do
    if redis.call('SISMEMBER', name, id) == 0 then return {'changed'} end
  end
end
for _, kind in ipairs({'token:', 'beside:'}) do
  for _ = 1, tonumber(take()) do
    local key = base .. kind .. take()
    if (redis.call('HGET', key, 'version') or '') ~= take() then return {'changed'} end
  end
end

-- Looks whether a name of the index can be written.
local function check(name)
  name = base .. name
  if not checked[name] then
    checked[name] = true
    redis.call('SCARD', name)
  end
end

local work = {}
while at < #ARGV do
  local step = {what = take(), place = take()}
  step.id = step.place ~= '' and id_at(step.place) or ''
  if step.what == 'put' then
    step.index, step.set, step.clear = take(), take_list(), take_list()
    if step.id == '' then
      last = last + 1
      if last > 2147483647 then return {'full'} end
      step.id = string.format('%d', last)
      step.place = string.format('n%020d', last)
      step.set[#step.set + 1] = 'id'
      step.set[#step.set + 1] = step.id
      step.given = step.id
    elseif string.sub(step.place, 1, 1) == 'n' then
      local number = tonumber(step.id)
      if number <= 2147483647 and number > last then last = number end
    end
    for name in each(step.index) do check(name) end
  elseif step.what == 'side' then
    step.set, step.clear = take_list(), take_list()
  end
  -- Under an id that was just given there is nothing.
  if not step.given then
    step.before = redis.call('HGET', base .. 'token:' .. step.id, 'index')
    for name in each(step.before) do check(name) end
    step.besides = redis.call('HLEN', base .. 'beside:' .. step.id)
  end
  work[#work + 1] = step
end
redis.call('ZCARD', base .. 'ids')
local expiring = redis.call('ZCARD', base .. 'expiry') > 0

-- From here on everything is written.
local until_then = lifetime ~= '' and string.format('%.0f', now() + tonumber(lifetime))
local expiry = base .. 'expiry'
local given

local function expire(step, token)
  local beside = base .. 'beside:' .. step.id
  if until_then then
    redis.call('PEXPIREAT', token, until_then)
    redis.call('PEXPIREAT', beside, until_then)
    for name in each(step.index) do
      -- Another token may be there that is kept for longer.
      if redis.call('SCARD', base .. name) == 1 then
        redis.call('PEXPIREAT', base .. name, until_then)
      else
        redis.call('PEXPIREAT', base .. name, until_then, 'GT')
      end
    end
    redis.call('ZADD', expiry, until_then, step.place)
  elseif expiring and redis.call('ZREM', expiry, step.place) == 1 then
    redis.call('PERSIST', token)
    redis.call('PERSIST', beside)
    for name in each(step.index) do redis.call('PERSIST', base .. name) end
  end
end

local function put(step)
  local token = base .. 'token:' .. step.id
  redis.call('HSET', token, 'version', new_mark, 'index', step.index, unpack(step.set))
  if #step.clear > 0 then redis.call('HDEL', token, unpack(step.clear)) end
  local stays = {}
  for name in each(step.index) do
    stays[name] = true
    redis.call('SADD', base .. name, step.id)
  end
  for name in each(step.before) do
    if not stays[name] then redis.call('SREM', base .. name, step.id) end
  end
  redis.call('ZADD', base .. 'ids', 0, step.place)
  expire(step, token)
  given = given or step.given
end

local function side(step)
  local beside = base .. 'beside:' .. step.id
  redis.call('HSET', beside, 'version', new_mark, unpack(step.set))
  if #step.clear > 0 then redis.call('HDEL', beside, unpack(step.clear)) end
  local ends = (expiring or until_then) and redis.call('ZSCORE', expiry, step.place)
  if ends then redis.call('PEXPIREAT', beside, string.format('%.0f', tonumber(ends))) end
end

for _, step in ipairs(work) do
  if step.what == 'put' then
    put(step)
  elseif step.what == 'side' then
    side(step)
  elseif step.what == 'drop' then
    drop(step.id, step.place)
  elseif step.what == 'forget' and step.besides > 0 then
    redis.call('DEL', base .. 'beside:' .. step.id)
  end
end
if expiring then purge() end
redis.call('HSET', KEYS[1], 'mark', new_mark, 'last_id', string.format('%d', last), 'format', '1')
return {'done', given or ''}
