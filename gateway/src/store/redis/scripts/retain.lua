-- Sets and clears retained messages of one shard. As in write.lua, a call is carried out once.
--
-- KEYS: values, topics, the writer's last call. ARGV: round (0 for a call that may be carried out
-- again), the bound, how many there are in
-- other shards, then for each change '+', topic and value or '-', topic and what it is to be
-- (empty for anything).

local values, topics, applied = KEYS[1], KEYS[2], KEYS[3]
local round, bound, others = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local known = round ~= '0' and redis.call('GET', applied)
if known then
    local last, outcome = string.match(known, '^(%d+):(.*)$')
    if tonumber(round) <= tonumber(last) then
        redis.pcall('SET', applied, known, 'EX', 3600) -- a write all the same, see write.lua
        return {redis.call('HLEN', values), outcome}
    end
end

local count = redis.call('HLEN', values)
local outcomes = {}
for at = 4, #ARGV, 3 do
    local topic, value = ARGV[at + 1], ARGV[at + 2]
    local outcome
    if ARGV[at] == '+' then
        local exists = redis.call('HEXISTS', values, topic) == 1
        if not exists and count + others >= bound then
            outcome = 'f'
        else
            local reply = redis.pcall('HSET', values, topic, value)
            if type(reply) == 'table' and reply.err then
                if not string.find(reply.err, 'OOM', 1, true) then
                    return reply
                end
                outcome = 'm'
            elseif exists then
                outcome = 'r'
            else
                redis.call('ZADD', topics, 0, topic)
                count = count + 1
                outcome = 'n'
            end
        end
    else
        local is_meant = value == '' or redis.call('HGET', values, topic) == value
        if is_meant and redis.call('HDEL', values, topic) == 1 then
            redis.call('ZREM', topics, topic)
            count = count - 1
            outcome = 'c'
        else
            outcome = 'a'
        end
    end
    outcomes[#outcomes + 1] = outcome
end
local outcome = table.concat(outcomes)
-- A repeated call comes within seconds; an hour is for good measure.
if round ~= '0' then
    redis.pcall('SET', applied, round .. ':' .. outcome, 'EX', 3600)
end
return {count, outcome}
