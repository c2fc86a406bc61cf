-- The set `ids` orders ids by these places: n and twenty digits for a number, t and the text for others.
local function id_at(place)
  if string.sub(place, 1, 1) == 'n' then
    local digits = string.gsub(string.sub(place, 2), '^0+', '')
    return digits == '' and '0' or digits
  end
  return string.sub(place, 2)
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What the last write left, and how many tokens have expired since.
local function mark()
  return {
    redis.call('HGET', KEYS[1], 'mark') or '0',
    redis.call('ZCOUNT', base .. 'expiry', '-inf', string.format('(%.0f', now())),
  }
end
