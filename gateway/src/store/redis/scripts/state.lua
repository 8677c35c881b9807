-- What whoever gets a session has to know of it: shared by claim.lua and adopt.lua.

-- What is in a session's queue: first and last seq, count, bytes of the first entries: as much
-- is there at least. What a guess took for full would end with all that it has.
local function queue_of(key)
    local count = redis.call('ZCARD', key)
    if count == 0 then
        return {0}
    end
    local first = redis.call('ZRANGE', key, 0, 7)
    local last = redis.call('ZRANGE', key, -1, -1)
    local bytes = 0
    for _, member in ipairs(first) do
        bytes = bytes + #member - 8
    end
    return {
        count,
        string.sub(first[1], 1, 8),
        string.sub(last[1], 1, 8),
        bytes,
    }
end

-- Whether a record is one that record.rs reads, and of this client id. One that is not, because it is
-- damaged or of a later version, is given to nobody: whoever gets it could not go on with it.
local function is_record(record, client)
    local form, version = string.byte(record or '', 1, 2)
    local at = 31
    if form == 2 and #record >= 34 then
        at = 35 + struct.unpack('>I4', string.sub(record, 31, 34))
    elseif form ~= 1 then
        return false
    end
    return version and version >= 3 and version <= 5
        and #record == at - 1 + #client and string.sub(record, at) == client
end

-- What is stored under a number.
local function state_of(prefix, number, session)
    return {
        redis.call('HGETALL', prefix .. 'f:' .. number),
        redis.call('HGETALL', prefix .. 'i:' .. number),
        queue_of(prefix .. 'q:' .. number),
        redis.call('GET', prefix .. 'w:' .. number),
        redis.call('GET', prefix .. 'm:' .. number),
        redis.call('HGET', session, 'seq'),
        redis.call('HGET', session, 'edge'),
    }
end

-- From which seq on nothing of a session's queue was sent: its record says so where its connection
-- ended in order (bytes 23 to 30, see record.rs), else its edge does.
local function sent_of(record, edge)
    if not record or #record < 30 then
        return edge or ''
    end
    local sent = string.sub(record, 23, 30)
    if sent == string.rep('\255', 8) then
        return edge or ''
    end
    return string.format('%.0f', (struct.unpack('>I8', sent)))
end

-- What an ended session has left that somebody has to look after.
local function left_of(prefix, number)
    return {
        number,
        redis.call('GET', prefix .. 'w:' .. number),
        redis.call('ZCARD', prefix .. 'q:' .. number),
        redis.call('GET', prefix .. 'm:' .. number),
    }
end

-- The owners whose routes stand in for a session until every gateway knows of those of the owner
-- that it gets now: those that did before, and the last one.
local function trail_of(trail, last, owner)
    local owners = {}
    for known in string.gmatch((trail or '') .. ' ' .. (last or ''), '%d+') do
        if known ~= owner and not owners[known] then
            owners[known] = true
            owners[#owners + 1] = known
        end
    end
    return table.concat(owners, ' ')
end

-- Whether an owner is one of a trail.
local function is_on(trail, owner)
    return trail and string.find(' ' .. trail .. ' ', ' ' .. owner .. ' ', 1, true) ~= nil
end
