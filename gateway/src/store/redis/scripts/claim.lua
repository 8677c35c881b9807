-- Gives the session of a client id to an owner, for a connection. Everything or nothing.
--
-- KEYS: session, owned, ended, dead (these three of the owner), and with a Redis Cluster all the
-- others that may be touched, so that a slot that is on its way to another node answers TRYAGAIN.

local session, owned, ended, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, client, new_number, owner, principal = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local is_clean, expiry, record, now = ARGV[6] == '1', ARGV[7], ARGV[8], tonumber(ARGV[9])
local force_number, force_epoch = ARGV[10], ARGV[11]
local deadline = tonumber(ARGV[12])
local known, is_strict = ARGV[13], ARGV[14] == '1'
local known_number, known_owner, is_leased = ARGV[15], ARGV[16], ARGV[17] == '1'
local is_again, is_judged = ARGV[18] == '1', ARGV[19] == '1'

-- Others look after what this owner had: nobody would look after what it gets now.
if redis.call('EXISTS', dead) == 1 then
    return {'dead'}
end

-- A claim that was given up must not come true after all.
local time = redis.call('TIME')
if tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000 > deadline then
    return {'late'}
end

local held = redis.call('HMGET', session, 'number', 'epoch', 'since', 'owner', 'connected',
    'principal', 'expires', 'record', 'token', 'before', 'ended', 'trail', 'edge', 'was', 'expiry')
local number, epoch, since, holder = held[1], held[2], held[3], held[4]
local is_connected, stored = held[5] == '1', held[8]

if number and is_strict and (number ~= known_number or holder ~= known_owner) then
    return {'known', number, holder}
end

-- The same claim, sent again because its answer was lost.
if number and held[9] == new_number and holder == owner then
    redis.pcall('HSET', session, 'token', new_number) -- a write all the same, see write.lua
    local was = held[14] or stored -- its record before this claim; none is kept of an earlier version
    local resumed = number ~= new_number and {was, state_of(prefix, number, session)}
    local left = held[11] ~= '' and left_of(prefix, held[11])
    return {'taken', number, epoch, held[10], resumed, left, held[12] or ''}
end

-- Nobody waits for it any more: that it was not carried out is all that there is to know.
if is_again then
    return {'undone'}
end

-- Who has no lease may be dead without knowing it: it takes nothing from others.
if number and holder ~= owner and not is_leased then
    return {'unleased'}
end

local is_over = number and not is_connected and held[7] ~= '' and tonumber(held[7]) <= now
if number and not is_over then
    -- One that is nobody's in particular is for whoever comes.
    if is_judged and held[6] and held[6] ~= '' and held[6] ~= principal then
        return {'forbidden'}
    end
    local is_forced = force_number == number and force_epoch == epoch
    if is_connected and holder ~= owner and not is_forced then
        return {'held', holder, number, epoch}
    end
end

-- A session that ends with its connection has ended with its gateway, as where it is adopted.
local has_ended = is_connected and holder ~= owner and held[15] == '0'
local resumes = number and not is_over and not has_ended and not is_clean
-- The owner has it in memory as it is here only if it is still the same claim's.
local is_known = resumes and holder == owner and known == number .. ' ' .. epoch
if resumes and not is_known and not is_record(stored, client) then
    return {'damaged', stored or ''}
end
local before = ''
if number then
    before = holder .. ' ' .. number .. ' ' .. epoch
end
local trail = trail_of(held[12], resumes and holder, owner)
local new_epoch = string.format('%.0f', (tonumber(epoch or '0') + 1))
local fields = {
    'epoch', new_epoch, 'owner', owner, 'connected', '1', 'principal', principal, 'expires', '',
    'expiry', expiry, 'token', new_number, 'before', before, 'trail', trail,
}
local function set(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
end
if resumes then
    -- When it was made stays as it was: bytes 15 to 22, see record.rs.
    set('record', string.sub(record, 1, 14) .. string.sub(stored, 15, 22) .. string.sub(record, 23))
    set('was', stored)
    set('ended', '')
    if expiry == '0' and held[15] then
        set('expiry', held[15]) -- its client may never be let in
    end
else
    set('number', new_number)
    set('record', record)
    set('was', '')
    set('ended', number or '')
    set('seq', '')
    set('edge', '')
end
if not resumes or holder ~= owner then
    -- Writes from before do not count any more.
    set('since', new_epoch)
    set('round', '0')
end
redis.call('HSET', session, unpack(fields))
if number and not resumes and holder ~= owner then
    -- One that is resumed stays there until every gateway knows of its routes, see known.lua.
    redis.call('SREM', prefix .. 'o:' .. holder, client)
end
redis.call('SADD', owned, client)

if resumes then
    local state = is_known and {} or state_of(prefix, number, session)
    return {'taken', number, new_epoch, before, {stored, state}, false, trail}
end
if number then
    redis.call('UNLINK', prefix .. 'f:' .. number, prefix .. 'i:' .. number,
        prefix .. 'm:' .. number)
    if redis.call('EXISTS', prefix .. 'q:' .. number, prefix .. 'w:' .. number) > 0 then
        redis.call('HSET', ended, number, '0:' .. client)
        redis.call('SET', prefix .. 'm:' .. number, sent_of(stored, held[13]))
        return {'taken', new_number, new_epoch, before, false, left_of(prefix, number), trail}
    end
    return {'taken', new_number, new_epoch, before, false, {number, false, 0, ''}, trail}
end
return {'taken', new_number, new_epoch, before, false, false, trail}
