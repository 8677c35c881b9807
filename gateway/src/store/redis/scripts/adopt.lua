-- Gives a session of a dead owner to another one, without a connection.
--
-- KEYS: session, owned by the new owner, owned by the dead one, and as in claim.lua.

local session, owned, orphaned = KEYS[1], KEYS[2], KEYS[3]
local prefix, client, owner, from = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now, window = tonumber(ARGV[5]), tonumber(ARGV[6])
local is_strict, known_number = ARGV[7] == '1', ARGV[8]

local held = redis.call('HMGET', session, 'number', 'epoch', 'owner', 'connected', 'expiry',
    'record', 'before', 'expires')
local number, epoch, holder, stored = held[1], held[2], held[3], held[6]

-- Sent again because the answer was lost.
if holder == owner and held[7] and string.match(held[7], '^%d+') == from then
    local resumed = {stored, state_of(prefix, number, window)}
    return {'taken', number, epoch, held[7], resumed, false}
end
if holder ~= from then
    redis.call('SREM', orphaned, client)
    return {'gone'}
end
if is_strict and number ~= known_number then
    return {'known', number, holder}
end

local expires = held[8]
if held[4] == '1' then
    -- Its connection ended with its owner.
    local due = string.format('%.0f', now + tonumber(held[5]) * 1000)
    expires = held[5] == '4294967295' and '' or due
end
local new_epoch = string.format('%.0f', (tonumber(epoch) + 1))
local before = from .. ' ' .. number .. ' ' .. epoch
redis.call('HSET', session, 'epoch', new_epoch, 'since', new_epoch, 'round', '0', 'owner', owner,
    'connected', '0', 'expires', expires, 'token', '', 'before', before, 'ended', '')
redis.call('SREM', orphaned, client)
redis.call('SADD', owned, client)
return {'taken', number, new_epoch, before, {stored, state_of(prefix, number, window)}, false}
