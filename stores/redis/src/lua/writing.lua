-- What writing scripts have in common. They look at everything that they are going to write before they
-- write anything: nothing can fail in the middle of a script, because Redis would not take back what was
-- done before.

-- The command that the user lacks permission for. (redis.acl_check_cmd came with Redis 7.0.)
local function forbidden()
  local token, index, beside = base .. 'token:0', base .. 'user:0', base .. 'beside:0'
  local ids, expiry = base .. 'ids', base .. 'expiry'
  local needed = {
    {'HSET', KEYS[1], 'mark', '0'}, {'HSET', token, 'id', '0'}, {'HSET', beside, 'version', '0'},
    {'HDEL', token, 'id'}, {'DEL', token}, {'DEL', beside},
    {'SADD', index, '0'}, {'SREM', index, '0'}, {'ZADD', ids, '0', 'n'}, {'ZREM', ids, 'n'},
    {'ZADD', expiry, '0', 'n'}, {'PEXPIREAT', token, '0'}, {'PERSIST', token},
  }
  for _, command in ipairs(needed) do
    if not redis.acl_check_cmd(unpack(command)) then return command[1] end
  end
end

local function refuse(command)
  return redis.error_reply("NOPERM the user has no permissions to run the '" .. command .. "' command")
end

local function each(names)
  return string.gmatch(names or '', '%S+')
end

-- Forgets that tokens are there which have expired; some of them, the next write forgets more.
local function purge()
  local expiry = base .. 'expiry'
  local gone = redis.call('ZRANGEBYSCORE', expiry, '-inf', string.format('(%.0f', now()), 'LIMIT', 0, 100)
  for _, place in ipairs(gone) do
    if redis.call('EXISTS', base .. 'token:' .. id_at(place)) == 0 then
      redis.call('ZREM', base .. 'ids', place)
      redis.call('ZREM', expiry, place)
    end
  end
end

-- Removes a token and all that is known of it; 1 if it was there.
local function drop(id, place)
  local token = base .. 'token:' .. id
  for name in each(redis.call('HGET', token, 'index')) do
    redis.call('SREM', base .. name, id)
  end
  redis.call('ZREM', base .. 'ids', place)
  redis.call('ZREM', base .. 'expiry', place)
  redis.call('DEL', base .. 'beside:' .. id)
  return redis.call('DEL', token)
end
