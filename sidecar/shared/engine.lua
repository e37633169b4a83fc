-- The shared state of one namespace: what every limit counts, who waits for it, which nodes live.
-- One script with several operations. Every key begins with KEYS[1], a hash tag, so all of them
-- lie in one slot of a cluster. Times are microseconds of this server's clock.
--
--   h:ID[:PERIOD]  hash    what counts: s settled, r reserved, u0 u1 when a call of an urgency was
--                          last admitted, g grants since the oldest ticket had its turn
--   w:ID           zset    the entries of a minute, by time: LEASE|AMOUNT|RESERVED
--   q:ID           zset    the nodes whose calls wait here, by the urgency and arrival of the first
--   o:ID           zset    the same nodes, by the arrival of the oldest of their calls
--   n:NODE         hash    the leases of a node
--   nodes          zset    the nodes, by when they were last heard of
--   about          hash    what each node states of itself
--   lapsed         hash    the leases of dead nodes, for a day: a late settlement corrects them
--   x:LEASE        string  a lease that was given up before this server heard of it
--   f              hash    the facts: the node that changed each last, and its value ('': withdrawn)
--   f:order        zset    the same facts, by the number of their last change
--   f:ends         zset    the same facts, by when they lapse
--   f:number       counter of changes to facts
--   i              hash    the owners of objects, by a digest of each object's id
--   i:order        zset    the same digests, by when they were sent
--   seq            counter of operations, which orders replies and wake messages
--   epoch          a name that is made once: another one shows that the data was lost
--   usage, usage:  what each node used by day: usage.py has them, no operation here
local base, op, node = KEYS[1] .. ':', ARGV[1], ARGV[2]
local MINUTE, DEAD, SILENT, AGED, TURN, DAY = 60e6, 15e6, 4e6, 30e3, 10, 86400
local URGENCY = 1e13 -- a ticket's score is its urgency times this, plus its arrival in milliseconds

local function whole(number) return string.format('%.0f', number) end

local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1e6 + time[2]
end
local seq = redis.call('INCR', base .. 'seq')
local epoch = redis.call('GET', base .. 'epoch')
if not epoch then
  epoch = table.concat(redis.call('TIME'), '.') .. '-' .. node
  redis.call('SET', base .. 'epoch', epoch)
end

-- Amounts may exceed 2^53, beyond which a Lua number is not exact. They are kept by HINCRBY, read
-- as text, and compared by their difference, which is exact wherever it is small.
local function halves(text)
  local sign, digits = 1, text
  if text:sub(1, 1) == '-' then sign, digits = -1, text:sub(2) end
  return sign * (tonumber(digits:sub(1, -10)) or 0), sign * (tonumber(digits:sub(-9)) or 0)
end

local NEVER = math.huge

local function rest(limit, settled, reserved)
  local high, low = halves(limit)
  for _, text in ipairs({settled, reserved}) do
    local h, l = halves(text)
    high, low = high - h, low - l
  end
  return high * 1e9 + low
end

-- This node was heard of now. While none was heard of, this server was out, or all were cut off: that
-- time counts against no node, so that no other one gets their slots.
local function heard()
  local nodes = base .. 'nodes'
  local _, latest = unpack(redis.call('ZREVRANGE', nodes, 0, 0, 'WITHSCORES'))
  local silence = now - (tonumber(latest) or now)
  if silence > SILENT then
    for _, each in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
      redis.call('ZINCRBY', nodes, whole(silence), each)
    end
  end
  redis.call('ZADD', nodes, whole(now), node)
end

local function lives(other)
  return tonumber(redis.call('ZSCORE', base .. 'nodes', other) or 0) > now - DEAD
end

-- The first node of a queue that lives, other than `except`; tickets of the dead are dropped.
local function first_in(queue, except)
  local at = 0
  while true do
    local found = redis.call('ZRANGE', queue, at, at, 'WITHSCORES')
    if not found[1] then return nil end
    if found[1] == except then at = at + 1
    elseif lives(found[1]) then return found[1], tonumber(found[2])
    else redis.call('ZREM', queue, found[1]) end
  end
end

-- The node whose call has waited longest, when that began, and whether it has its turn as the oldest.
local function oldest_at(id)
  local oldest, since = first_in(base .. 'o:' .. id)
  if not oldest or now / 1e3 - since < AGED then return oldest, since, false, false end
  local grants = tonumber(redis.call('HGET', base .. 'h:' .. id .. ':turn', 'g') or 0)
  return oldest, since, true, grants >= TURN - 1
end

local function wake(id)
  local first = first_in(base .. 'q:' .. id)
  if not first then return end
  local oldest, _, _, turn = oldest_at(id)
  if turn then first = oldest end
  redis.call('PUBLISH', base .. 'wake:' .. first, whole(seq) .. ' ' .. id .. (turn and ' turn' or ''))
end

local function counts_key(scope)
  return base .. 'h:' .. scope.id .. (scope.period == '' and '' or ':' .. scope.period)
end

local function count(scope, settled, reserved)
  local key = counts_key(scope)
  if settled ~= 0 then redis.call('HINCRBY', key, 's', whole(settled)) end
  if reserved ~= 0 then redis.call('HINCRBY', key, 'r', whole(reserved)) end
  if scope.kind == 'window' then
    redis.call('EXPIRE', key, 120)
    redis.call('EXPIRE', base .. 'w:' .. scope.id, 120)
  else
    redis.call('EXPIRE', key, scope.keep)
  end
end

local function entry(lease, amount, reserved)
  return lease .. '|' .. whole(amount) .. '|' .. whole(reserved)
end

local function amounts_of(member)
  local amount, reserved = member:match('|(%d+)|(%d+)$')
  return tonumber(amount), tonumber(reserved)
end

local function drop_old(scope)
  local log, until_ = base .. 'w:' .. scope.id, whole(now - MINUTE)
  local settled, reserved = 0, 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', log, '-inf', until_)) do
    local amount, held = amounts_of(member)
    settled, reserved = settled + amount - held, reserved + held
  end
  if settled + reserved > 0 then count(scope, -settled, -reserved) end
  redis.call('ZREMRANGEBYSCORE', log, '-inf', until_)
end

local function read(scope)
  if scope.kind == 'window' then drop_old(scope) end
  local found = redis.call('HMGET', counts_key(scope), 's', 'r', 'u0', 'u1')
  scope.settled, scope.reserved = found[1] or '0', found[2] or '0'
  scope.last = {tonumber(found[3] or 0), tonumber(found[4] or 0)}
end

-- The part of the limit that calls of this urgency may use, and until when headroom binds them.
local function ceiling(scope, urgency)
  if urgency == 0 or scope.ceiling == scope.limit then return scope.limit, now end
  local binds = scope.last[1]
  if urgency == 2 and scope.last[2] > binds then binds = scope.last[2] end
  if now < binds + MINUTE then return scope.ceiling, binds + MINUTE end
  return scope.limit, now
end

-- When what counts will be at most `limit` less the call's amount, or nothing, by time alone.
local function drops_to(scope, limit)
  local over = scope.amount - rest(limit, scope.settled, scope.reserved)
  local used = -rest('0', scope.settled, scope.reserved)
  if over > used then over = used end
  if over <= 0 then return now end
  if scope.kind == 'calendar' then return scope.ends end
  local log, first, at = base .. 'w:' .. scope.id, 0, now
  while over > 0 do
    local members = redis.call('ZRANGE', log, first, first + 99, 'WITHSCORES')
    if #members == 0 then break end
    for i = 1, #members, 2 do
      over, at = over - amounts_of(members[i]), tonumber(members[i + 1]) + MINUTE
      if over <= 0 then break end
    end
    first = first + 100
  end
  return at
end

local check = {}

-- Whether the amount fits, when it may at the earliest, and when time alone makes room.
local function counted(scope, urgency)
  local most, binds = ceiling(scope, urgency)
  local used = -rest('0', scope.settled, scope.reserved)
  local room = rest(most, scope.settled, scope.reserved)
  if scope.limit == '0' then return false, NEVER, NEVER end
  if used <= 0 or scope.amount <= room then return true end
  if scope.kind == 'slots' then
    if scope.amount > rest(scope.limit, scope.settled, scope.reserved) then return false, now, NEVER end
    return false, now, binds
  end
  local at = drops_to(scope, most)
  if most ~= scope.limit then at = math.min(at, math.max(drops_to(scope, scope.limit), binds)) end
  local settled = -rest('0', scope.settled, '0')
  local fits_then = rest(most, scope.settled, '0') >= scope.amount or settled <= 0
  if scope.reserved ~= '0' and fits_then then return false, now, at end
  return false, at, at
end

check.window, check.calendar, check.slots = counted, counted, counted

function check.budget(scope, urgency)
  local most, binds = ceiling(scope, urgency)
  if rest(most, scope.settled, '0') > 0 then
    local fits = scope.reserved == '0' or scope.amount <= rest(most, scope.settled, scope.reserved)
    return fits, now, scope.ends
  end
  if scope.limit == '0' then return false, NEVER, NEVER end
  if rest(scope.limit, scope.settled, '0') > 0 then
    local at = math.min(scope.ends, math.max(now, binds))
    return false, at, at
  end
  return false, scope.ends, scope.ends
end

-- Whether another node or an older call goes before this call, the urgency that it has here, and
-- whether it is the turn of an older call of this node.
-- A node has the place of the first of its calls, and its own order decides which of them asks: it
-- is compared by the ticket that a denial leaves, as otherwise each of two nodes may wait for the other.
local function order(scope, urgency, arrival)
  scope.score = math.min(scope.following or NEVER, urgency * URGENCY + arrival)
  local first, first_score = first_in(base .. 'q:' .. scope.id, node)
  local oldest, since, aged, turn = oldest_at(scope.id)
  scope.waited, scope.since, scope.aged = oldest ~= nil, since, aged
  if turn and arrival <= since then return false, 0 end
  if turn then return true, urgency, oldest == node end
  return first ~= nil and first_score < scope.score, urgency
end

local WORDS = 12

local function scope_at(at)
  local flags = ARGV[at + 5]
  local scope = {
    id = ARGV[at], kind = ARGV[at + 1], limit = ARGV[at + 2], ceiling = ARGV[at + 3],
    amount = tonumber(ARGV[at + 4]), holds = flags:find('h'), urgent = flags:find('u'),
    following = tonumber(ARGV[at + 6]), eldest = tonumber(ARGV[at + 7]),
    period = ARGV[at + 8], keep = 30 * DAY,
  }
  if scope.period ~= '' then
    scope.ends = ARGV[at + 9] * 1e6
    if now >= scope.ends then scope.period, scope.ends = ARGV[at + 10], ARGV[at + 11] * 1e6 end
    scope.keep = math.ceil((scope.ends - now) / 1e6) + 8 * DAY
  end
  return scope
end

-- Puts this node's ticket into the queue of a scope; without a score, takes it out.
local function put_ticket(scope, score, since)
  local queue, ages = base .. 'q:' .. scope.id, base .. 'o:' .. scope.id
  if score then
    redis.call('ZADD', queue, whole(score), node)
    redis.call('ZADD', ages, whole(since), node)
    redis.call('EXPIRE', queue, DAY)
    redis.call('EXPIRE', ages, DAY)
  else
    redis.call('ZREM', queue, node)
    redis.call('ZREM', ages, node)
  end
end

local function take(scope, lease, urgency, arrival)
  local held = scope.holds and scope.amount or 0
  if scope.kind == 'window' then
    redis.call('ZADD', base .. 'w:' .. scope.id, whole(now), entry(lease, scope.amount, held))
  end
  if scope.urgent and urgency < 2 then
    redis.call('HSET', counts_key(scope), 'u' .. whole(urgency), whole(now))
  end
  count(scope, scope.amount - held, held)
  if scope.waited then
    local turn = base .. 'h:' .. scope.id .. ':turn'
    if arrival <= scope.since then redis.call('DEL', turn)
    elseif scope.aged then
      redis.call('HINCRBY', turn, 'g', 1)
      redis.call('EXPIRE', turn, DAY)
    end
    local had = tonumber(redis.call('ZSCORE', base .. 'q:' .. scope.id, node) or 'inf')
    -- A ticket before this call's place is that of a call denied since the node sent this one.
    if scope.following or had >= urgency * URGENCY + arrival then
      put_ticket(scope, scope.following, scope.eldest)
    end
    if had < NEVER then wake(scope.id) end
  elseif scope.following then
    put_ticket(scope, scope.following, scope.eldest)
  end
  return {scope.id, scope.kind, scope.period, scope.keep, whole(scope.amount), whole(held)}
end

local function reply(at, ...)
  local function time(value) return value == NEVER and '-1' or whole(value) end
  local found = {whole(now), whole(seq), epoch, at}
  for _, value in ipairs({...}) do
    found[#found + 1] = type(value) == 'number' and time(value) or value
  end
  return found
end

-- ARGV: lease, urgency, arrival; then twelve words for each scope. Reply: time, number, epoch, 0 if granted,
-- else the place of the scope to wait at, when it may open at the earliest, when time alone opens it,
-- what is settled and reserved there, the urgency that the call had, and whether it is the turn of an
-- older call of this node.
local function lease()
  local id, urgency, arrival = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
  heard()
  if redis.call('HEXISTS', base .. 'n:' .. node, id) == 1 then return reply(0) end
  if redis.call('EXISTS', base .. 'x:' .. id) == 1 then return redis.error_reply('GIVENUP') end
  local scopes, worst = {}, nil
  for at = 7, #ARGV, WORDS do
    local scope = scope_at(at)
    scopes[#scopes + 1] = scope
    read(scope)
    local behind, by, own_turn = order(scope, urgency, arrival)
    local fits, opens, timed = check[scope.kind](scope, by)
    if fits and behind then
      opens, timed = now, NEVER
      if not own_turn then wake(scope.id) end
    end
    if (behind or not fits) and (not worst or opens > worst.opens) then
      worst = {at = #scopes, scope = scope, opens = opens, timed = timed, by = by, own_turn = own_turn}
    end
  end
  if worst then
    local scope = worst.scope
    put_ticket(scope, scope.score, math.min(scope.eldest or NEVER, arrival))
    local turn = worst.own_turn and '1' or '0'
    return reply(worst.at, worst.opens, worst.timed, scope.settled, scope.reserved, worst.by, turn)
  end
  local taken = {}
  for at, scope in ipairs(scopes) do taken[at] = take(scope, id, urgency, arrival) end
  redis.call('HSET', base .. 'n:' .. node, id, cjson.encode(taken))
  return reply(0)
end

local function settle_window(scope, lease_id, estimate, held, amount)
  local log = base .. 'w:' .. scope.id
  drop_old(scope)
  local old = entry(lease_id, estimate, held)
  local at = redis.call('ZSCORE', log, old)
  local kept = math.min(amount, estimate)
  if at then
    redis.call('ZREM', log, old)
    if kept > 0 then redis.call('ZADD', log, whole(tonumber(at)), entry(lease_id, kept, 0)) end
    count(scope, kept - (estimate - held), -held)
  end
  if amount > estimate then
    redis.call('ZADD', log, whole(now), entry(lease_id .. '+', amount - estimate, 0))
    count(scope, amount - estimate, 0)
  end
end

-- Replaces the estimates of a lease by amounts; without amounts the estimates stand.
local function settle_lease(lease_id, record, amounts)
  for i, one in ipairs(cjson.decode(record)) do
    local scope = {id = one[1], kind = one[2], period = one[3], keep = one[4]}
    local estimate, held = tonumber(one[5]), tonumber(one[6])
    local amount = amounts and amounts[i] or estimate
    if scope.kind == 'slots' then count(scope, -estimate, 0)
    elseif scope.kind == 'window' then settle_window(scope, lease_id, estimate, held, amount)
    else count(scope, amount - (estimate - held), -held) end
    wake(scope.id)
  end
end

local function correct_lapsed(record, amounts)
  for i, one in ipairs(cjson.decode(record)) do
    if one[3] ~= '' then
      count({id = one[1], kind = one[2], period = one[3], keep = one[4]}, amounts[i] - tonumber(one[5]), 0)
    end
  end
end

-- ARGV: for each lease its name, the number of its amounts (0: it was given up), the amounts.
local function settle()
  local at = 4
  while at <= #ARGV do
    local id, number, amounts = ARGV[at], tonumber(ARGV[at + 1]), {}
    for i = 1, number do amounts[i] = tonumber(ARGV[at + 1 + i]) end
    local record = redis.call('HGET', base .. 'n:' .. node, id)
    local lapsed = not record and redis.call('HGET', base .. 'lapsed', id)
    local found = record or lapsed
    if number == 0 and found then
      for i = 1, #cjson.decode(found) do amounts[i] = 0 end
    end
    if record then
      redis.call('HDEL', base .. 'n:' .. node, id)
      settle_lease(id, record, amounts)
    elseif lapsed then
      redis.call('HDEL', base .. 'lapsed', id)
      correct_lapsed(lapsed, amounts)
    elseif number == 0 then
      redis.call('SET', base .. 'x:' .. id, '', 'EX', 60)
    end
    at = at + 2 + number
  end
  return reply(0)
end

-- ARGV: a name of the correction, which is made once; then for each count its limit, its period, the
-- seconds to keep it, and what to add. A count that does not exist is made only for what is owed.
local function correct()
  if not redis.call('SET', base .. 'x:' .. ARGV[4], '', 'EX', 600, 'NX') then return reply(0) end
  for at = 5, #ARGV, 4 do
    local scope = {id = ARGV[at], period = ARGV[at + 1], keep = tonumber(ARGV[at + 2]), kind = 'calendar'}
    if op == 'owe' or redis.call('EXISTS', counts_key(scope)) == 1 then
      redis.call('HINCRBY', counts_key(scope), 's', ARGV[at + 3])
      count(scope, 0, 0)
      wake(scope.id)
    end
  end
  return reply(0)
end

local function restore_lease(id, began, runs, taken)
  local leases = base .. 'n:' .. node
  if redis.call('HEXISTS', leases, id) == 1 then return end
  local lapsed = redis.call('HEXISTS', base .. 'lapsed', id) == 1
  if lapsed and not runs then return end
  if not lapsed and not redis.call('SET', base .. 'x:' .. id, '', 'EX', 600, 'NX') then return end
  redis.call('HDEL', base .. 'lapsed', id)
  for _, one in ipairs(taken) do
    local scope = {id = one[1], kind = one[2], period = one[3], keep = tonumber(one[4])}
    if lapsed then one[6] = '0' end -- what it may have spent was counted when it lapsed
    local amount, held = tonumber(one[5]), tonumber(one[6])
    if scope.kind == 'slots' then
      if runs then count(scope, amount, 0) end
    elseif lapsed then
    elseif scope.kind ~= 'window' then count(scope, amount - held, held)
    elseif began > now - MINUTE then
      redis.call('ZADD', base .. 'w:' .. scope.id, whole(began), entry(id, amount, held))
      count(scope, amount - held, held)
    end
  end
  if runs then redis.call('HSET', leases, id, cjson.encode(taken)) end
end

-- Counts leases that this server does not have, each once. ARGV: for each lease its name, its time,
-- whether it runs, the number of its scopes; then the six words of each scope, as `take` returns them.
local function restore()
  local at = 4
  while at <= #ARGV do
    local first, taken = at, {}
    at = at + 4
    for i = 1, tonumber(ARGV[first + 3]) do
      taken[i] = {ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]}
      at = at + 6
    end
    restore_lease(ARGV[first], tonumber(ARGV[first + 1]), ARGV[first + 2] == '1', taken)
  end
  return reply(0)
end

-- The node lives. The leases of nodes that no longer do lapse: their slots are free, and what they
-- may have spent counts by its estimate.
-- ARGV: what this node states of itself. Reply: the number of nodes, and that of changes to facts.
local function beat()
  heard()
  redis.call('HSET', base .. 'about', node, ARGV[4])
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', base .. 'nodes', '-inf', whole(now - DEAD))) do
    redis.call('ZREM', base .. 'nodes', dead)
    redis.call('HDEL', base .. 'about', dead)
    local leases = redis.call('HGETALL', base .. 'n:' .. dead)
    for i = 1, #leases, 2 do
      settle_lease(leases[i], leases[i + 1], nil)
      redis.call('HSET', base .. 'lapsed', leases[i], leases[i + 1])
      redis.call('EXPIRE', base .. 'lapsed', DAY)
    end
    redis.call('DEL', base .. 'n:' .. dead)
  end
  return reply(0, whole(redis.call('ZCARD', base .. 'nodes')), redis.call('GET', base .. 'f:number') or '0')
end

-- ARGV: the limits at which no call of this node waits any longer.
local function leave()
  for at = 4, #ARGV do
    put_ticket({id = ARGV[at]}, nil, nil)
    wake(ARGV[at])
  end
  return reply(0)
end

-- ARGV: the limits at which calls of this node wait for its own running calls, each with the score
-- and the arrival of a ticket.
local function queue()
  for at = 4, #ARGV, 3 do
    put_ticket({id = ARGV[at]}, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
  end
  return reply(0)
end

local PAGE, KEEP = 200, 400 * DAY

local function drop_lapsed()
  local lapsed = redis.call('ZRANGEBYSCORE', base .. 'f:ends', '-inf', whole(now), 'LIMIT', 0, PAGE)
  for _, name in ipairs(lapsed) do
    redis.call('HDEL', base .. 'f', name)
    redis.call('ZREM', base .. 'f:order', name)
    redis.call('ZREM', base .. 'f:ends', name)
  end
end

-- Makes one change to a fact, unless its mode keeps what is there; returns whether it did.
local function change_fact(name, value, ends, mode)
  local old = tonumber(redis.call('ZSCORE', base .. 'f:ends', name) or 0)
  local entry = redis.call('HGET', base .. 'f', name) -- a server that evicts keys may lack one of the two
  if entry and old > now then
    local is_withdrawn = entry:match(' (.*)$') == ''
    if mode == 'absent' or (mode == 'longest' and not is_withdrawn and old >= ends) then return false end
    if value == '' then ends = old end -- so long may a node that was cut off believe it
  end
  if ends <= now then return false end
  redis.call('HSET', base .. 'f', name, node .. ' ' .. value)
  redis.call('ZADD', base .. 'f:order', redis.call('INCR', base .. 'f:number'), name)
  redis.call('ZADD', base .. 'f:ends', whole(ends), name)
  return true
end

-- ARGV: the number of the last change that the node has read; then for each of its own changes the
-- name, the value, the milliseconds for which it holds, and the mode. Reply: 1 if there may be more to read, the
-- number up to which the node has read now, and for each fact that changed its name, its entry and when it lapses.
local function facts()
  local number, changed = base .. 'f:number', false
  drop_lapsed()
  for at = 5, #ARGV, 4 do
    local made = change_fact(ARGV[at], ARGV[at + 1], now + ARGV[at + 2] * 1000, ARGV[at + 3])
    changed = changed or made
  end
  if changed then
    for _, key in ipairs({'f', 'f:order', 'f:ends', 'f:number'}) do redis.call('EXPIRE', base .. key, KEEP) end
    redis.call('PUBLISH', base .. 'facts', redis.call('GET', number))
  end
  local names = redis.call('ZRANGEBYSCORE', base .. 'f:order', '(' .. ARGV[4], '+inf', 'LIMIT', 0, PAGE)
  local found = {redis.call('GET', number) or '0'}
  if #names == PAGE then found[1] = redis.call('ZSCORE', base .. 'f:order', names[PAGE]) end
  for _, name in ipairs(names) do
    local entry, ends = redis.call('HGET', base .. 'f', name), redis.call('ZSCORE', base .. 'f:ends', name)
    if entry and tonumber(ends or 0) > now then
      found[#found + 1], found[#found + 2], found[#found + 3] = name, entry, ends
    end
  end
  return reply(#names == PAGE and 1 or 0, unpack(found))
end

local MAX_OBJECTS, OBJECT_DAYS = 50000, 90

local function drop_objects(digests)
  for _, digest in ipairs(digests) do
    redis.call('HDEL', base .. 'i', digest)
    redis.call('ZREM', base .. 'i:order', digest)
  end
end

-- ARGV: for each object its digest and its owner.
local function own()
  local order = base .. 'i:order'
  for at = 4, #ARGV, 2 do
    redis.call('HSET', base .. 'i', ARGV[at], ARGV[at + 1])
    redis.call('ZADD', order, whole(now), ARGV[at])
  end
  local old = whole(now - OBJECT_DAYS * DAY * 1e6)
  drop_objects(redis.call('ZRANGEBYSCORE', order, '-inf', old, 'LIMIT', 0, PAGE))
  local surplus = redis.call('ZCARD', order) - MAX_OBJECTS
  if surplus > 0 then drop_objects(redis.call('ZRANGE', order, 0, surplus - 1)) end
  for _, key in ipairs({'i', 'i:order'}) do redis.call('EXPIRE', base .. key, OBJECT_DAYS * DAY) end
  return reply(0)
end

-- ARGV: the digest of an object. Reply: its owner, '' if it is unknown.
local function owner() return reply(0, redis.call('HGET', base .. 'i', ARGV[4]) or '') end

-- Reply: every node and what it states of itself.
local function nodes() return reply(0, unpack(redis.call('HGETALL', base .. 'about'))) end

local operations = {nodes = nodes, lease = lease, queue = queue, settle = settle, correct = correct, beat = beat, leave = leave,
  owe = correct, restore = restore, facts = facts, own = own, owner = owner}
return operations[op]()
