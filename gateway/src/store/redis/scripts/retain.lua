-- Sets and clears retained messages of one shard. As in write.lua, a call is carried out once.
--
-- KEYS: values, topics, the writer's last call, bytes of the values, what changes were made once.
-- ARGV: round (0 for a call that may be carried out again), the bound, how many there are in other
-- shards, the same two for their bytes, by when it is to be carried out (empty for any time), then for
-- each change '+', topic, value or '-', topic, what it is to be (empty for anything) or 'x', topic,
-- what is said of it for one that is not to be made after all, and what the change is known by if it is made once,
-- whoever asks for it: a gateway that goes on for one that is gone does not know what that one has done,
-- and somebody else may have set the topic since.
--
-- As long as not all bytes are added up, the bound of them is one of those that are: rather too much
-- is taken than that Redis stands still.

-- So many of the last changes are known to be made. What is asked for again behind more than those of
-- QoS 2 and wills is made once more.
local MOST_ONCE = 1024
local values, topics, applied, weight, once = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local round, bound, others = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local byte_bound, other_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local deadline = tonumber(ARGV[6])

-- Whether a topic's value is in the sum of those up to a topic: by bytes, which the order of strings in
-- Lua need not be.
local function is_weighed(topic, upto)
    if not upto then
        return true
    end
    for at = 1, math.min(#topic, #upto) do
        local one, other = string.byte(topic, at), string.byte(upto, at)
        if one ~= other then
            return one < other
        end
    end
    return #topic <= #upto
end

local function is_made(name)
    return name ~= '' and redis.call('ZSCORE', once, name)
end

-- Without memory it is not noted: better than that nothing can be cleared any more.
local function note_made(name)
    local newest = redis.call('ZRANGE', once, -1, -1, 'WITHSCORES')[2]
    redis.pcall('ZADD', once, string.format('%.0f', (tonumber(newest) or 0) + 1), name)
    redis.call('ZREMRANGEBYRANK', once, 0, -(MOST_ONCE + 1))
end

local known = round ~= '0' and redis.call('GET', applied)
if known then
    local last, outcome = string.match(known, '^(%d+):(.*)$')
    if tonumber(round) <= tonumber(last) then
        redis.pcall('SET', applied, known, 'EX', 604800) -- a write all the same, see write.lua
        return {redis.call('HLEN', values), outcome, (weighed(values, weight))}
    end
end

-- Who asks may have stood still, and whose the changes are may have set other ones elsewhere since.
if deadline then
    local time = redis.call('TIME')
    if tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000 > deadline then
        return {'late'}
    end
end

local count = redis.call('HLEN', values)
local n_bytes, upto = weighed(values, weight)
local is_written = true
local outcomes = {}
for at = 7, #ARGV, 4 do
    local topic, value, name = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local outcome
    if ARGV[at] == 'x' then
        outcome = value
    elseif is_made(name) then
        outcome = 'k'
    elseif ARGV[at] == '+' then
        local exists = redis.call('HEXISTS', values, topic) == 1
        local grows = #value - redis.call('HSTRLEN', values, topic)
        if not exists and count + others >= bound then
            outcome = 'f'
        elseif grows > 0 and n_bytes + other_bytes + grows > byte_bound then
            outcome = 'b'
        else
            local reply = redis.pcall('HSET', values, topic, value)
            if type(reply) == 'table' and reply.err then
                if not string.find(reply.err, 'OOM', 1, true) then
                    return reply
                end
                outcome = 'm'
            else
                if grows ~= 0 and is_weighed(topic, upto) then
                    n_bytes = n_bytes + grows
                    is_written = false
                end
                if exists then
                    outcome = 'r'
                else
                    redis.call('ZADD', topics, 0, topic)
                    count = count + 1
                    outcome = 'n'
                end
            end
        end
    else
        local is_meant = value == '' or redis.call('HGET', values, topic) == value
        local shrinks = redis.call('HSTRLEN', values, topic)
        if is_meant and redis.call('HDEL', values, topic) == 1 then
            redis.call('ZREM', topics, topic)
            count = count - 1
            if is_weighed(topic, upto) then
                n_bytes = n_bytes - shrinks
                is_written = false
            end
            outcome = 'c'
        else
            outcome = 'a'
        end
    end
    if name ~= '' and string.find('nrca', outcome, 1, true) then
        note_made(name)
    end
    outcomes[#outcomes + 1] = outcome
end
local outcome = table.concat(outcomes)
if count == 0 then
    redis.call('DEL', weight)
elseif not is_written and not write_weight(weight, n_bytes, upto) then
    redis.call('DEL', weight) -- without memory: weigh.lua adds them up, later
end
-- A repeated call comes as soon as the writer has a connection again: within 7 days it is known.
if round ~= '0' then
    redis.pcall('SET', applied, round .. ':' .. outcome, 'EX', 604800)
end
return {count, outcome, math.max(n_bytes, 0)}
