-- Every gateway knows of the routes of a session where it is now: the owners before it need not
-- stand in for it any more. Can be carried out again.
--
-- KEYS: session, and what each of those before owns.
-- ARGV: client id, number, owner, epoch, then each of those before.

local session, client, number, owner = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local epoch = tonumber(ARGV[4])

local held = redis.call('HMGET', session, 'number', 'owner', 'since', 'epoch', 'trail')
if held[1] then
    local is_here = held[1] == number and held[2] == owner
        and tonumber(held[3]) <= epoch and epoch <= tonumber(held[4])
    if not is_here then
        return 0 -- whoever has it now has its trail, too
    end
    local left = {}
    for known in string.gmatch(held[5] or '', '%d+') do
        local is_done = false
        for at = 5, #ARGV do
            is_done = is_done or ARGV[at] == known
        end
        if not is_done then
            left[#left + 1] = known
        end
    end
    if #left > 0 then
        redis.call('HSET', session, 'trail', table.concat(left, ' '))
    else
        redis.call('HDEL', session, 'trail')
    end
end
for at = 2, #KEYS do
    redis.call('SREM', KEYS[at], client)
end
return 1
