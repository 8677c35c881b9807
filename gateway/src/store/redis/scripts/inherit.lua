-- Gives an ended session of a dead owner to another one, which will look after what it left. The
-- dead one's entry says who that is until it is removed, so a lost answer can be asked for again.
--
-- KEYS: ended of the dead owner, ended of the new one, will, queue, mark of the death of the new
-- owner, from which seq on nothing of the queue was sent. ARGV: number, new owner.

local number, owner = ARGV[1], ARGV[2]
if redis.call('EXISTS', KEYS[5]) == 1 then
    return 'dead'
end
local mark = redis.call('HGET', KEYS[1], number)
if not mark then
    return false
end
local heir, client = string.match(mark, '^>(%d+):(.*)$')
if not heir then
    client = string.match(mark, '^%d+:(.*)$')
    redis.call('HSET', KEYS[2], number, '0:' .. client)
    redis.call('HSET', KEYS[1], number, '>' .. owner .. ':' .. client)
elseif heir ~= owner or redis.call('HEXISTS', KEYS[2], number) == 0 then
    -- It went to another one, or nothing is left of it.
    redis.call('HDEL', KEYS[1], number)
    return false
end
return {number, redis.call('GET', KEYS[3]), redis.call('ZCARD', KEYS[4]), redis.call('GET', KEYS[6])}
