-- name: shard.member
SELECT installation, number FROM shard WHERE id = 1;

-- name: shard.join
UPDATE shard SET installation = ?, number = ? WHERE id = 1;

-- name: shard.key
UPDATE address_key SET value = ? WHERE id = 1;

-- name: slots.turns
SELECT slot, epoch, open FROM slots ORDER BY slot;

-- name: slots.states
WITH want (slot) AS (VALUES /*rows*/(?)/*end*/)
SELECT s.slot, s.open FROM want w CROSS JOIN slots s ON s.slot = w.slot;

-- name: slots.away
UPDATE slots SET open = 0 WHERE slot = ? AND epoch = 1 AND open = 1;

-- name: slots.turn
UPDATE slots SET epoch = ?, open = ? WHERE slot = ? AND epoch = ? AND open = ?;

-- name: roster.shards
SELECT number, name, added_at FROM shards ORDER BY number;

-- name: roster.slots
SELECT slot, shard, epoch, step, other, detail, at FROM slot_map ORDER BY slot;

-- name: roster.add
INSERT INTO shards (number, name, added_at) VALUES (?, ?, ?);

-- name: roster.slot
INSERT INTO slot_map (slot, shard, epoch, step, other, detail, at) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: roster.place
UPDATE slot_map SET shard = ?, epoch = ?, step = ?, other = ?, detail = ?, at = ? WHERE slot = ? AND shard = ? AND epoch = ? AND step = ?;
