-- Reads retained messages of one shard in the order of their topics, up to a number and a size. Topics
-- without a message are passed over. Returns the last topic that was looked at if there are more, and
-- the messages.
--
-- KEYS: topics, values. ARGV: first topic and bound (as ZRANGEBYLEX has them), number, bytes.

local limit, room = tonumber(ARGV[3]), tonumber(ARGV[4])
local found = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, limit + 1)
local page = {}
for at, topic in ipairs(found) do
    if at > limit or room <= 0 then
        return {found[at - 1], page}
    end
    local value = redis.call('HGET', KEYS[2], topic)
    if value then
        room = room - #value
        page[#page + 1] = topic
        page[#page + 1] = value
    end
end
return {'', page}
