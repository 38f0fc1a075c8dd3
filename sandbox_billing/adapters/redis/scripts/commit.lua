-- Compare, then write, then read back: every fact of the journal is one run of this script.
--
-- KEYS[1]   the fencing key; then one key for each step below, in their order.
-- ARGV      token ('' for door facts), number of expectations, of witnesses (0 or 1), of
--           writes, of reads; then for each step: its name, how many arguments, these.
-- Returns   one string: DONE, ALREADY, STALE or FENCED, and what was read (see `pack`).
--           One string, since the client spends a reactor turn on each element of a list.
--
-- Nothing here knows what a charge is, and nothing adds amounts: a Lua number loses digits
-- at 2^53.  Everything that can fail is tried before the first write, for a script that
-- fails in its middle keeps what it wrote.

local TESTS = {
    ['is'] = function(key, i) return redis.call('GET', key) == ARGV[i] end,
    ['absent'] = function(key) return redis.call('EXISTS', key) == 0 end,
    ['hash-is'] = function(key, i) return redis.call('HGET', key, ARGV[i]) == ARGV[i + 1] end,
    ['hash-absent'] = function(key, i) return redis.call('HEXISTS', key, ARGV[i]) == 0 end,
    ['set-size'] = function(key, i) return redis.call('SCARD', key) == tonumber(ARGV[i]) end,
    ['list-begins'] = function(key, i) return redis.call('LINDEX', key, 0) == ARGV[i] end,
    ['list-ends'] = function(key, i) return redis.call('LINDEX', key, -1) == ARGV[i] end,
    -- For moments in seconds only.
    ['hash-at-least'] = function(key, i)
        local found = tonumber(redis.call('HGET', key, ARGV[i]) or nil)
        return found ~= nil and found >= tonumber(ARGV[i + 1])
    end,
}

-- What a write may find under its key: never overwrite what somebody else keeps there.
local WRITES = {
    SET = 'string', DEL = 'any', EXPIRE = 'any', PERSIST = 'any',
    HSET = 'hash', HSETNX = 'hash', HDEL = 'hash', HINCRBY = 'hash',
    ZADD = 'zset', ZREM = 'zset', ZREMRANGEBYSCORE = 'zset',
    RPUSH = 'list', LINSERT = 'list', LREM = 'list', LTRIM = 'list', SADD = 'set', SREM = 'set',
}

local k, a = 2, 6

local function pack(value)
    local kind = type(value)
    if kind == 'string' then return '$' .. #value .. ':' .. value end
    if kind == 'number' then return '$' .. #tostring(value) .. ':' .. value end
    if kind ~= 'table' then return '-' end
    local parts = {'*' .. #value .. ':'}
    for i = 1, #value do parts[i + 1] = pack(value[i]) end
    return table.concat(parts)
end

local function holds()
    return TESTS[ARGV[a]](KEYS[k], a + 2)
end

local function next_step()
    a = a + 2 + tonumber(ARGV[a + 1])
    k = k + 1
end

if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'FENCED' end

local stale = nil
for step = 1, tonumber(ARGV[2]) do
    if stale == nil and not holds() then stale = step - 1 end
    next_step()
end
local outcome = 'DONE'
for _ = 1, tonumber(ARGV[3]) do
    if stale ~= nil and holds() then
        outcome = 'ALREADY'
        stale = nil
    end
    next_step()
end
if stale ~= nil then return 'STALE' .. stale end

local writes = tonumber(ARGV[4])
if outcome == 'DONE' and writes > 0 then
    local first_k, first_a = k, a
    local kinds = {}
    for _ = 1, writes do
        local key, wanted = KEYS[k], WRITES[ARGV[a]]
        if wanted == nil then return redis.error_reply('ERR not a write of ours: ' .. ARGV[a]) end
        if ARGV[a] == 'DEL' then
            kinds[key] = 'none'
        elseif wanted ~= 'any' then
            local found = kinds[key] or redis.call('TYPE', key)['ok']
            if found ~= 'none' and found ~= wanted then
                return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found)
            end
            kinds[key] = wanted
        end
        next_step()
    end
    -- Writes nothing, and fails where any write would (memory full, read only, disk errors),
    -- also before a DEL, which a full server would still carry out.
    redis.call('SETRANGE', KEYS[1], 0, '')
    k, a = first_k, first_a
    for _ = 1, writes do
        redis.call(ARGV[a], KEYS[k], unpack(ARGV, a + 2, a + 1 + tonumber(ARGV[a + 1])))
        next_step()
    end
else
    for _ = 1, writes do next_step() end
end

local found = {outcome}
for i = 1, tonumber(ARGV[5]) do
    found[i + 1] = pack(
        redis.call(ARGV[a], KEYS[k], unpack(ARGV, a + 2, a + 1 + tonumber(ARGV[a + 1])))
    )
    next_step()
end
return table.concat(found)
