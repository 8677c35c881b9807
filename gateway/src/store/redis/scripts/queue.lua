-- Reads entries of a queue in order, up to a number and a size.
--
-- KEYS: queue. ARGV: first seq, bound, number, bytes.

local limit, room = tonumber(ARGV[3]), tonumber(ARGV[4])
local page, is_more = {}, false
while true do
    local n = math.min(16, limit + 1 - #page)
    local found = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', #page, n)
    for _, member in ipairs(found) do
        if #page == limit or room <= 0 then
            return {1, page}
        end
        room = room - #member
        page[#page + 1] = member
    end
    if #found < n then
        return {0, page}
    end
end
