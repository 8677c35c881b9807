-- Writes what the owner of a session changed, if it still is the owner. A call is carried out
-- once: it has the number of its round, and one that is not above the last is left out, be it
-- sent twice or arrive late through a connection that was given up.
--
-- First what goes, which Redis lets through when its memory is full, then what comes.
--
-- KEYS: see below. ARGV: number, epoch, round, flags, how many entries there are of each list,
-- owner, the highest seq of a QoS 2 message that comes, the edge of the queue (either or nothing), then the lists: ranges that go from the queue, filters and packet ids that go, entries
-- that come (seq, member), filters that come (filter, value), packet ids that come (id, origin),
-- what QoS 2 messages are known by (place in the ring, hash); a will; a record with what Redis has
-- to know of it, or the client id of a session that ends.

local session, filters, queue, received = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local recent, will, owned, ended, dead = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local number, epoch, round, flags = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local owner, seq, edge = ARGV[12], tonumber(ARGV[13]), tonumber(ARGV[14])
local DONE, TAKEN, MISSING, FULL = 0, 1, 2, 3

local function has(flag)
    return string.find(flags, flag, 1, true)
end

-- Others look after what this owner had.
if redis.call('EXISTS', dead) == 1 then
    return TAKEN
end

-- Who may write: the owner of the session, from the epoch in which it got it, or whoever looks
-- after what the session left when it ended.
local held = redis.call('HMGET', session, 'number', 'since', 'epoch', 'round', 'owner', 'seq',
    'edge')
local is_live = held[1] == number and held[5] == owner
    and tonumber(held[2]) <= epoch and epoch <= tonumber(held[3])
local last, client, mark = held[4], nil, nil
if not is_live then
    mark = redis.call('HGET', ended, number)
    last, client = string.match(mark or '', '^(%d+):(.*)$')
    if not last and has('e') and held[1] ~= number then
        return DONE -- nothing is left that could be removed
    elseif not last then
        return held[1] and TAKEN or MISSING
    end
end
if tonumber(round) <= tonumber(last) then
    -- A write all the same: a WAIT behind it waits for the last write of its own connection only.
    if is_live then
        redis.pcall('HSET', session, 'round', last)
    else
        redis.pcall('HSET', ended, number, mark)
    end
    return DONE
end

-- Redis looks at its memory at the first write of a script only, so that is one that needs some:
-- without memory, only what goes is done.
local noted, is_full
if is_live then
    noted = redis.pcall('HSET', session, 'round', round)
else
    noted = redis.pcall('HSET', ended, number, round .. ':' .. client)
end
if type(noted) == 'table' and noted.err then
    if not string.find(noted.err, 'OOM', 1, true) then
        return noted
    end
    is_full = true
end

local at = 15
local function each(n, width, call)
    for _ = 1, tonumber(n) do
        call(at)
        at = at + width
    end
end
-- Calls with up to 2,000 arguments at once; Lua takes no more than some thousands.
local function bulk(n, width, command, key)
    local stop = at + tonumber(n) * width
    while at < stop do
        local next = math.min(at + 2000, stop)
        redis.call(command, key, unpack(ARGV, at, next - 1))
        at = next
    end
end

if flags ~= '' then
    if has('q') then redis.call('UNLINK', queue) end
    if has('f') then redis.call('UNLINK', filters) end
    if has('i') then redis.call('UNLINK', received) end
    if has('w') then redis.call('DEL', will) end
end
each(ARGV[5], 2, function(i) redis.call('ZREMRANGEBYSCORE', queue, ARGV[i], ARGV[i + 1]) end)
bulk(ARGV[6], 1, 'HDEL', filters)
bulk(ARGV[7], 1, 'HDEL', received)

local n_puts = tonumber(ARGV[8]) + tonumber(ARGV[9]) + tonumber(ARGV[10])
local is_more = n_puts > 0 or has('W')
if is_full and is_live and (has('s') or has('S') and not is_more) then
    -- That the session has ended, or its connection, has to be here whatever room there is: who has
    -- it would be asked for it for ever. Now that something has gone, all is let through, and of a
    -- session that ends what comes goes at once, or with its queue.
    redis.call('HDEL', session, '')
    redis.call('HSET', session, 'round', round)
    is_full = false
end
if is_full and is_more then
    return FULL
end

if is_live and edge and edge > (tonumber(held[7] or '') or -1) then
    if is_full then
        redis.call('HDEL', session, '') -- now that something has gone, this is let through
    end
    redis.call('HSET', session, 'edge', ARGV[14])
end

local n = tonumber(ARGV[8])
if n > 0 then
    if redis.call('ZCOUNT', queue, ARGV[at], '+inf') > 0 then
        -- Some may be there already, with another value.
        each(n, 2, function(i)
            redis.call('ZREMRANGEBYSCORE', queue, ARGV[i], ARGV[i])
            redis.call('ZADD', queue, ARGV[i], ARGV[i + 1])
        end)
    else
        bulk(n, 2, 'ZADD', queue)
    end
end
if not is_live then
    if redis.call('EXISTS', queue, will) == 0 then
        redis.call('HDEL', ended, number)
        redis.call('UNLINK', recent)
    end
    return DONE
end
bulk(ARGV[9], 2, 'HSET', filters)
bulk(ARGV[10], 2, 'HSET', received)
each(ARGV[11], 2, function(i) redis.call('SETRANGE', recent, ARGV[i], ARGV[i + 1]) end)
if seq and seq > (tonumber(held[6] or '') or -1) then
    -- Whoever has the session next goes on behind it, even if nothing of its queue is left: the
    -- ring would forget the newest.
    redis.call('HSET', session, 'seq', ARGV[13])
end
if has('W') then
    redis.call('SET', will, ARGV[at])
    at = at + 1
end
-- The record of a connection that is over does not follow the claim of the next one.
if has('S') and tonumber(held[3]) ~= epoch then
    return DONE
end
if has('S') then
    redis.call('HSET', session, 'record', ARGV[at], 'connected', ARGV[at + 1],
        'expires', ARGV[at + 2], 'expiry', ARGV[at + 3])
    if ARGV[at + 4] then
        -- Who claimed it and was not let in has not made it theirs.
        redis.call('HSET', session, 'principal', ARGV[at + 4])
    end
elseif has('s') then
    local has_left = redis.call('EXISTS', queue, will) > 0
    redis.call('UNLINK', filters, received, recent)
    if has_left then
        redis.call('HSET', ended, number, round .. ':' .. ARGV[at])
        -- Whoever clears its queue has to know what of it was sent.
        redis.call('SET', recent, edge and ARGV[14] or held[7] or '')
    end
    redis.call('DEL', session)
    redis.call('SREM', owned, ARGV[at])
end
return DONE
