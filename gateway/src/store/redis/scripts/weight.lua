-- What is written down of the bytes of a shard's values, for the scripts that this is put before: "sum"
-- where all values are in it, "sum:topic" where those of the topics up to that one are, in the order of
-- their bytes; nothing where none is yet, as where that key was lost. weigh.lua adds up the others.

-- The sum, and the topic up to which it is one; without a topic it is that of all.
local function weighed(values, weight)
    if redis.call('HLEN', values) == 0 then
        return 0, nil
    end
    local sum, rest = string.match(redis.call('GET', weight) or '', '^(%d+)(.*)$')
    if not sum then
        return 0, ''
    end
    if rest == '' then
        return tonumber(sum), nil
    end
    return tonumber(sum), string.sub(rest, 2)
end

-- Whether it could be written down.
local function write_weight(weight, sum, upto)
    local text = string.format('%.0f', math.max(sum, 0))
    if upto then
        text = text .. ':' .. upto
    end
    local reply = redis.pcall('SET', weight, text)
    return not (type(reply) == 'table' and reply.err)
end
