-- The tokens of one endpoint and of its account, for every process that shares this Redis.
--
-- A token is in use from its grant until one period after its request was answered or has failed;
-- a holder that never says so loses it at the end of its lease. Times are microseconds of this
-- server's own clock; no client's clock is looked at.
--
-- KEYS  1  hash    the endpoint: last (time of the last take), fence (until when it is closed),
--                  pass (1: one urgent call may still pass the fence), pause (until when it is
--                  paused), size and per (a slower limit that the exchange told)
--       2  zset    the endpoint's tokens that wait for an answer, by the end of their lease
--       3  zset    the endpoint's tokens that come back, by when
--       4, 5       the same for the account
-- ARGV  1  operation         join, take, settle, release, pause or tighten
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
--                            pause: its length; tighten: size, per
-- Returns status, wait, now. Status: 0 done (take: granted, usable after `wait`); 1 every token
-- waits for an answer (ask again after `wait`); 2 too late, nothing was done; 3 as 0, but the
-- endpoint is closed by a fence until then.

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
-- A slower limit is believed for an hour: one odd header must not slow a fleet down for good.
if now - told('slowed') < 3600000000 then
  rules[1].size = math.min(rules[1].size, told('size'))
  rules[1].per = math.max(rules[1].per, told('per'))
end

for _, rule in ipairs(rules) do
  redis.call('ZREMRANGEBYSCORE', rule.waiting, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', rule.back, '-inf', now)
end

local function in_use(rule)
  return redis.call('ZCARD', rule.waiting) + redis.call('ZCARD', rule.back)
end

-- Every token of the endpoint counts as just used, by somebody who may go on for one more probe.
-- Of the account's broad budget, half.
local function fence()
  local open = now + probe + rules[1].per
  for i = 1, rules[1].size do
    redis.call('ZADD', rules[1].back, open, 'fence:' .. i)
  end
  if in_use(rules[2]) == 0 then
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
  redis.call('HDEL', endpoint, 'pause')
  last = false
end
if not last then
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
      redis.call('ZADD', rule.waiting, now + lease, ARGV[i])
    end
  end
  return {0, 0, now}
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
      if #found == 0 then
        return nil
      end
      chosen[i] = found[1]
      ready = math.max(ready, tonumber(found[2]))
    end
  end
  for i, member in pairs(chosen) do
    redis.call('ZREM', rules[i].back, member)
  end
  return ready
end

local function take()
  local urgent, ready = ARGV[11] == '1', nil
  local held = redis.call('ZSCORE', rules[1].waiting, id)
  if held then
    ready = math.max(now, tonumber(held) - lease)
  elseif urgent and now < told('fence') and told('pass') == 1 then
    redis.call('HSET', endpoint, 'pass', 0)
    redis.call('ZPOPMIN', rules[1].back)
    ready = now
  else
    ready = places(urgent)
  end
  -- Never back: a clock may go back by less than shows, and others have seen the later time.
  redis.call('HSET', endpoint, 'last', math.max(now, told('last')))
  if not ready then
    -- A request answered this very moment gives its token back one period from now.
    local first = redis.call('ZRANGE', rules[1].waiting, 0, 0, 'WITHSCORES')
    local wait = rules[1].per * 3 / 4
    if #first > 0 then
      wait = math.min(wait, tonumber(first[2]) - now)
    end
    return {1, wait, now}
  end
  ready = math.max(ready, told('pause'))
  for _, rule in ipairs(rules) do
    redis.call('ZADD', rule.waiting, ready + lease, id)
  end
  return {(ready > now and now < told('fence')) and 3 or 0, ready - now, now}
end

-- Counted even if nothing is known of it: it may have been in use when the store was lost.
local function settle()
  for _, rule in ipairs(rules) do
    redis.call('ZREM', rule.waiting, id)
    redis.call('ZADD', rule.back, now + rule.per, id)
  end
  return {0, 0, now}
end

-- A token that was not used: free when it would have been.
local function release()
  for _, rule in ipairs(rules) do
    local held = redis.call('ZSCORE', rule.waiting, id)
    if held then
      redis.call('ZREM', rule.waiting, id)
      if tonumber(held) - lease > now then
        redis.call('ZADD', rule.back, tonumber(held) - lease, id)
      end
    end
  end
  return {0, 0, now}
end

local function pause()
  redis.call('HSET', endpoint, 'pause', math.max(told('pause'), now + tonumber(ARGV[11])))
  return {0, 0, now}
end

-- Tokens on their way back belong to requests that the slower limit counts too.
local function tighten()
  local size, per = tonumber(ARGV[11]), tonumber(ARGV[12])
  local longer = per - rules[1].per
  if longer > 0 then
    for _, member in ipairs(redis.call('ZRANGE', rules[1].back, 0, -1)) do
      redis.call('ZINCRBY', rules[1].back, longer, member)
    end
  end
  redis.call('HSET', endpoint, 'size', math.min(rules[1].size, size))
  redis.call('HSET', endpoint, 'per', math.max(rules[1].per, per), 'slowed', now)
  return {0, 0, now}
end

local operations = {
  join = join, take = take, settle = settle, release = release, pause = pause, tighten = tighten,
}
return operations[operation]()
