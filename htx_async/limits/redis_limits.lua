-- The tokens of one endpoint and of its account, for every process that shares this Redis.
--
-- A token is in use from its grant until one period after its request was answered or has failed;
-- a holder that never says so loses it at the end of its lease. Times are microseconds of this
-- server's own clock; no client's clock is looked at.
--
-- KEYS  1  hash    the endpoint: last (time of the last take), fence (until when it is closed),
--                  pass (1: one urgent call may still pass the fence), pause (until when it is
--                  paused), size and per (a slower limit that the exchange told) and slowed (when),
--                  waiting and back (how many tokens KEYS 2 and 3 hold), used (the token settled
--                  last), shut (until when a refusal closes it; afterwards one may ask), forgotten
--                  (when that refusal counts no more), ask (when the next urgent call may pass a
--                  refusal or a slower limit)
--       2  zset    the endpoint's tokens that wait for an answer, by the end of their lease
--       3  zset    the endpoint's tokens that come back, by when
--       4, 5       the same for the account
--       6  zset    of the tokens in KEYS 2, those that ask whether a refusal still holds
-- ARGV  1  operation         join, take, settle, release, pause, tighten, loosen, shut or open
--       2  id                of the token
--       3  latest            refuse to work after this time; 0: no such time
--       4  lease
--       5  probe             how often a process without this server looks for it
--       6  seen              the latest `last` that the caller knows of
--       7, 8  size, per      of the endpoint
--       9, 10  size, per     of the account
--       11 and on            join: 1 if the caller did without this server, how many tokens it used
--                            by itself of late, then the ids of those that wait for an answer
--                            take: 1 if urgent, then the account's size for ordinary callers
--                            settle, release: more ids
--                            pause: its length; tighten: size, per; shut: its length, and how
--                            long it counts
-- Returns status, wait, now. Status: 0 done (take: granted, usable after `wait`); 1 every token
-- waits for an answer, or somebody asks (ask again after `wait`); 2 too late, nothing was done; 3
-- as 0, but the endpoint is closed by a fence until then; 4 as 0, and it asks for all others.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local operation, id, latest = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lease, probe = tonumber(ARGV[4]), tonumber(ARGV[5])
local endpoint = KEYS[1]

-- A command that lay in a socket while this server was stopped: its sender has given up on it.
if latest > 0 and now > latest then
  return {2, 0, now}
end

local function told(name)
  return tonumber(redis.call('HGET', endpoint, name) or 0)
end

local rules = {
  {waiting = KEYS[2], back = KEYS[3], size = tonumber(ARGV[7]), per = tonumber(ARGV[8])},
  {waiting = KEYS[4], back = KEYS[5], size = tonumber(ARGV[9]), per = tonumber(ARGV[10])},
}
local SECOND, MINUTE = 1000000, 60000000

-- A bound of a range that leaves the number itself out; Lua would round one so large.
local function above(number)
  return string.format('(%.0f', number)
end

local own = {size = rules[1].size, per = rules[1].per}

-- What is on its way back is held for as long as it was before the slower limit was told, and whoever
-- has a token reserved by that limit asks for another one.
local function loosen()
  local longer = math.max(0, told('per') - own.per)
  if told('slowed') > 0 then
    local later = redis.call('ZRANGEBYSCORE', rules[1].waiting, above(now + lease), '+inf', 'WITHSCORES')
    for i = 1, #later, 2 do
      redis.call('ZREM', rules[1].waiting, later[i])
      redis.call('ZREM', rules[2].waiting, later[i])
      redis.call('ZADD', rules[1].back, tonumber(later[i + 1]) - lease, later[i])
      redis.call('ZADD', rules[2].back, tonumber(later[i + 1]) - lease - longer, later[i])
    end
    for _, member in ipairs(redis.call('ZRANGE', rules[1].back, 0, -1)) do
      redis.call('ZINCRBY', rules[1].back, -longer, member)
    end
  end
  redis.call('HDEL', endpoint, 'size', 'per', 'slowed')
  rules[1].size, rules[1].per = own.size, own.per
  return {0, 0, now}
end

-- A slower limit is believed for a minute: one odd header must not slow a fleet down for good.
local is_slowed = told('slowed') > 0 and now - told('slowed') < MINUTE
if is_slowed then
  rules[1].size = math.min(rules[1].size, told('size'))
  rules[1].per = math.max(rules[1].per, told('per'))
elseif told('slowed') > 0 then
  loosen()
end

local function in_use(rule)
  return redis.call('ZCARD', rule.waiting) + redis.call('ZCARD', rule.back)
end

-- A key deleted or evicted: a set that held tokens is gone.
local part_lost = false
for _, name in ipairs({'waiting', 'back'}) do
  if told(name) > 0 and redis.call('EXISTS', rules[1][name]) == 0 then
    part_lost = true
  end
end

for _, rule in ipairs(rules) do
  redis.call('ZREMRANGEBYSCORE', rule.waiting, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', rule.back, '-inf', now)
end
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now)

local function open()
  redis.call('DEL', KEYS[6])
  redis.call('HDEL', endpoint, 'shut', 'forgotten')
  return {0, 0, now}
end

if told('shut') > 0 and now >= told('forgotten') and redis.call('ZCARD', KEYS[6]) == 0 then
  open()
end

-- The account's: they know nothing of a token that the endpoint's do. An account that is short gives
-- tokens on their way back to others, so that only a roomy one proves a loss.
local held = redis.call('ZRANGE', rules[1].waiting, 0, 0)[1]
if held and not redis.call('ZSCORE', rules[2].waiting, held) then
  part_lost = true
end
local used = redis.call('HGET', endpoint, 'used')
if used and redis.call('ZSCORE', rules[1].back, used) and in_use(rules[2]) < rules[2].size / 2
    and not redis.call('ZSCORE', rules[2].back, used) then
  part_lost = true
end

-- Every token of the endpoint counts as just used, by somebody who may go on for one more probe.
-- Of the account's broad budget, half.
local function fence()
  local open = now + probe + rules[1].per
  for i = 1, rules[1].size do
    redis.call('ZADD', rules[1].back, open, 'fence:' .. i)
  end
  if part_lost or in_use(rules[2]) == 0 then
    for i = 1, math.floor(rules[2].size / 2) do
      redis.call('ZADD', rules[2].back, now + probe + rules[2].per, 'fence:' .. i)
    end
  end
  redis.call('HSET', endpoint, 'fence', open, 'pass', 1, 'last', now)
end

-- Empty: never used, flushed, or started anew. A clock that went back tells nothing of the tokens;
-- nor does a store that is older than what was seen of it, from a snapshot or a replica behind.
local last = redis.call('HGET', endpoint, 'last')
local is_old = last and tonumber(last) < tonumber(ARGV[6])
if last and (is_old or now < tonumber(last) - 1000000) then
  for _, rule in ipairs(rules) do
    redis.call('DEL', rule.waiting, rule.back)
  end
  redis.call('HDEL', endpoint, 'pause', 'ask')
  open()
  last = false
end
if part_lost or not last then
  fence()
end

local function join()
  local was_away, used = ARGV[11] == '1', tonumber(ARGV[12])
  -- If nobody has taken a token for a period, the others may have done without this server too.
  if was_away and now - told('last') >= rules[1].per then
    fence()
  end
  for _, rule in ipairs(rules) do
    for i = 1, used do
      redis.call('ZADD', rule.back, now + rule.per, id .. ':' .. i)
    end
    for i = 13, #ARGV do
      -- Settled by now, if this command was on its way for longer than the next one.
      if not redis.call('ZSCORE', rule.back, ARGV[i]) then
        redis.call('ZADD', rule.waiting, now + lease, ARGV[i])
      end
    end
  end
  return {0, 0, now}
end

-- When an urgent call may pass a limit that is slower than one a second: each second, as far as the
-- endpoint's own limit lets it.
local function passes_at()
  local longer = rules[1].per - own.per
  local out = redis.call('ZCARD', rules[1].waiting)
  local short = out + redis.call('ZCOUNT', rules[1].back, above(now + longer), '+inf') - own.size + 1
  local at = math.max(now, told('ask'))
  if short > 0 then
    local found = redis.call('ZRANGEBYSCORE', rules[1].back, above(now + longer), '+inf',
      'WITHSCORES', 'LIMIT', short - 1, 1)
    return #found > 0 and math.max(at, tonumber(found[2]) - longer) or nil
  end
  return at
end

-- When the token may be used: now, or when the one comes back that makes room for it. That one is
-- taken out, so that nobody else waits for it; nil if there is none.
local function places(urgent)
  local ready, chosen = now, {}
  for i, rule in ipairs(rules) do
    local size = (i == 2 and not urgent) and tonumber(ARGV[12]) or rule.size
    local short = in_use(rule) - size + 1
    if short > 0 then
      local found = redis.call('ZRANGE', rule.back, short - 1, short - 1, 'WITHSCORES')
      local is_slow = i == 1 and urgent and is_slowed and rule.per > math.max(own.per, SECOND)
      local at = is_slow and passes_at() or nil
      if at and (#found == 0 or at < tonumber(found[2])) then
        ready = math.max(ready, at)
      elseif #found == 0 then
        return nil
      else
        chosen[i] = found[1]
        ready = math.max(ready, tonumber(found[2]))
      end
    end
  end
  for i, member in pairs(chosen) do
    redis.call('ZREM', rules[i].back, member)
  end
  return ready
end

-- A request answered this very moment gives its token back one period from now.
local function wait_for_an_answer()
  local first = redis.call('ZRANGE', rules[1].waiting, 0, 0, 'WITHSCORES')
  local wait = own.per * 3 / 4
  if #first > 0 then
    wait = math.min(wait, tonumber(first[2]) - now)
  end
  return {1, wait, now}
end

local function take()
  local urgent, ready, least = ARGV[11] == '1', nil, told('pause')
  local held = redis.call('ZSCORE', rules[1].waiting, id)
  local is_shut = told('shut') > 0
  -- Never back: a clock may go back by less than shows, and others have seen the later time.
  redis.call('HSET', endpoint, 'last', math.max(now, told('last')))
  local begins_to_ask = is_shut and not redis.call('ZSCORE', KEYS[6], id)
  if begins_to_ask and not urgent and redis.call('ZCARD', KEYS[6]) > 0 then
    return wait_for_an_answer()
  elseif begins_to_ask then
    least = math.max(least, urgent and told('ask') or told('shut'))
  end
  if held then
    ready = math.max(now, tonumber(held) - lease)
  elseif urgent and now < told('fence') and told('pass') == 1 then
    redis.call('HSET', endpoint, 'pass', 0)
    redis.call('ZPOPMIN', rules[1].back)
    ready = now
  else
    ready = places(urgent)
  end
  if not ready then
    return wait_for_an_answer()
  end
  ready = math.max(ready, least)
  for _, rule in ipairs(rules) do
    redis.call('ZADD', rule.waiting, ready + lease, id)
  end
  if is_shut then
    redis.call('ZADD', KEYS[6], ready + lease, id)
  end
  if urgent and (begins_to_ask or not held) then
    redis.call('HSET', endpoint, 'ask', ready + SECOND)
  end
  local status = (ready > now and now < told('fence')) and 3 or (is_shut and 4 or 0)
  return {status, ready - now, now}
end

-- Counted even if nothing is known of it: it may have been in use when the store was lost.
local function settle(id)
  for _, rule in ipairs(rules) do
    redis.call('ZREM', rule.waiting, id)
    redis.call('ZADD', rule.back, now + rule.per, id)
  end
  redis.call('ZREM', KEYS[6], id)
  if rules[1].per <= rules[2].per then
    redis.call('HSET', endpoint, 'used', id)
  end
end

-- A token that was not used: free when it would have been.
local function release(id)
  redis.call('ZREM', KEYS[6], id)
  for _, rule in ipairs(rules) do
    local held = redis.call('ZSCORE', rule.waiting, id)
    if held then
      redis.call('ZREM', rule.waiting, id)
      if tonumber(held) - lease > now then
        redis.call('ZADD', rule.back, tonumber(held) - lease, id)
      end
    end
  end
end

local function each(operation)
  return function()
    operation(id)
    for i = 11, #ARGV do
      operation(ARGV[i])
    end
    return {0, 0, now}
  end
end

local function pause()
  redis.call('HSET', endpoint, 'pause', math.max(told('pause'), now + tonumber(ARGV[11])))
  return {0, 0, now}
end

-- Tokens on their way back belong to requests that the slower limit counts too.
local function tighten()
  local size, per = tonumber(ARGV[11]), tonumber(ARGV[12])
  -- The slowest is believed until its minute is over; a less slow one repeats nothing.
  if is_slowed and size * rules[1].per > rules[1].size * per * 1.000001 then
    return {0, 0, now}
  end
  local longer = per - rules[1].per
  if longer > 0 then
    for _, member in ipairs(redis.call('ZRANGE', rules[1].back, 0, -1)) do
      redis.call('ZINCRBY', rules[1].back, longer, member)
    end
    -- The endpoint may count them longer than the account now.
    redis.call('HDEL', endpoint, 'used')
  end
  redis.call('HSET', endpoint, 'size', math.min(rules[1].size, size))
  redis.call('HSET', endpoint, 'per', math.max(rules[1].per, per), 'slowed', now)
  if not is_slowed then
    redis.call('HSET', endpoint, 'ask', math.max(told('ask'), now + SECOND))
  end
  return {0, 0, now}
end

-- What is under way was sent before the refusal: its answers prove nothing.
local function shut()
  redis.call('DEL', KEYS[6])
  redis.call('HSET', endpoint, 'shut', math.max(told('shut'), now + tonumber(ARGV[11])),
    'forgotten', math.max(told('forgotten'), now + tonumber(ARGV[12])),
    'ask', math.max(told('ask'), now + SECOND))
  return {0, 0, now}
end

local operations = {
  join = join, take = take, settle = each(settle), release = each(release), pause = pause,
  tighten = tighten, loosen = loosen, shut = shut, open = open,
}
local reply = operations[operation]()
for _, name in ipairs({'waiting', 'back'}) do
  redis.call('HSET', endpoint, name, redis.call('ZCARD', rules[1][name]))
end
return reply
