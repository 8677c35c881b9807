-- Gives an ended session of a dead owner to another one, which will look after what it left.
--
-- KEYS: ended of the dead owner, ended of the new one, will, queue.

local mark = redis.call('HGET', KEYS[1], ARGV[1])
if mark then
    local client = string.match(mark, '^%d+:(.*)$')
    redis.call('HSET', KEYS[2], ARGV[1], '0:' .. client)
    redis.call('HDEL', KEYS[1], ARGV[1])
elseif redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then
    return false
end
return {ARGV[1], redis.call('GET', KEYS[3]), redis.call('ZCARD', KEYS[4])}
