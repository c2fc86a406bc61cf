-- Answers what is needed to open the store: the format of what is there, and the command that is forbidden.
if not redis.acl_check_cmd then
  return redis.error_reply('TOOOLD this server is older than Redis 7.0')
end
local command = forbidden()
for _, needed in ipairs({
  {'SMEMBERS', base .. 'user:0'}, {'HGETALL', base .. 'token:0'}, {'HGETALL', base .. 'beside:0'},
  {'HGET', KEYS[1], 'mark'}, {'HLEN', base .. 'beside:0'}, {'SCARD', base .. 'user:0'},
  {'SISMEMBER', base .. 'user:0', '0'}, {'EXISTS', base .. 'token:0'},
  {'ZRANGEBYLEX', base .. 'ids', '-', '+'}, {'ZRANGE', base .. 'ids', '0', '1'},
  {'ZRANGEBYSCORE', base .. 'expiry', '0', '1'}, {'ZCOUNT', base .. 'expiry', '0', '1'},
  {'ZSCORE', base .. 'expiry', 'n'}, {'ZCARD', base .. 'ids'}, {'TIME'},
}) do
  if not redis.acl_check_cmd(unpack(needed)) then command = command or needed[1] end
end
if command then return refuse(command) end
return redis.call('HGET', KEYS[1], 'format') or ''
