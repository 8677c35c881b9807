-- Gives a session of a dead owner to another one, without a connection.
--
-- It stays among those of the dead one until every gateway knows of its routes where it is now
-- (known.lua): whoever looks through those meets it again, and gets the same answer.
--
-- KEYS: session, owned by the new owner, owned by the dead one, mark of the death of the new owner,
-- and as in claim.lua.

local session, owned, orphaned, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, client, owner, from = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = tonumber(ARGV[5])
local is_strict, known_number, known = ARGV[6] == '1', ARGV[7], ARGV[8]

if redis.call('EXISTS', dead) == 1 then
    return {'dead'}
end

local held = redis.call('HMGET', session, 'number', 'epoch', 'owner', 'connected', 'expiry',
    'record', 'before', 'expires', 'trail')
local number, epoch, holder, stored, trail = held[1], held[2], held[3], held[6], held[9]

if holder ~= from then
    if not is_on(trail, from) then
        redis.call('SREM', orphaned, client)
        return {'gone'}
    end
    if holder ~= owner or known == number .. ' ' .. epoch then
        return {'waits', holder, number, epoch}
    end
    -- It was given already, and the answer lost.
    local resumed = {stored, state_of(prefix, number, session)}
    return {'taken', number, epoch, held[7], resumed, false, trail}
end
if is_strict and number ~= known_number then
    return {'known', number, holder}
end
if not is_record(stored, client) then
    return {'damaged', stored or ''}
end

local expires = held[8]
if held[4] == '1' then
    -- Its connection ended with its owner.
    local due = string.format('%.0f', now + tonumber(held[5]) * 1000)
    expires = held[5] == '4294967295' and '' or due
end
local new_epoch = string.format('%.0f', (tonumber(epoch) + 1))
local before = from .. ' ' .. number .. ' ' .. epoch
trail = trail_of(trail, from, owner)
redis.call('HSET', session, 'epoch', new_epoch, 'since', new_epoch, 'round', '0', 'owner', owner,
    'connected', '0', 'expires', expires, 'token', '', 'before', before, 'ended', '',
    'trail', trail)
redis.call('SADD', owned, client)
local resumed = {stored, state_of(prefix, number, session)}
return {'taken', number, new_epoch, before, resumed, false, trail}
