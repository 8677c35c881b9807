-- Counts the retained messages of one shard. Of bytes that are not added up yet it adds up a page, and
-- no more, so that Redis does not stand still; where they are, it only reads.
--
-- KEYS: values, topics, bytes of the values. ARGV: how many values at most are looked at.
-- Returns how many there are, their bytes as far as they are added up, 1 if another call goes on.

local values, topics, weight = KEYS[1], KEYS[2], KEYS[3]
local limit = tonumber(ARGV[1])

local sum, upto = weighed(values, weight)
local is_more = 0
if upto then
    local page = redis.call('ZRANGEBYLEX', topics, '(' .. upto, '+', 'LIMIT', 0, limit)
    for _, topic in ipairs(page) do
        sum = sum + redis.call('HSTRLEN', values, topic)
    end
    local last = page[limit] -- of a page that is not full there is nothing beyond
    if write_weight(weight, sum, last) and last then
        is_more = 1
    end
end
return {redis.call('HLEN', values), sum, is_more}
