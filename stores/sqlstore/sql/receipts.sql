-- name: shard.place
SELECT head, folded, folds FROM shard WHERE id = 1;

-- name: shard.folded
UPDATE shard SET folded = ?, folds = folds + 1 WHERE id = 1;

-- name: shard.folds
UPDATE shard SET folds = folds + 1 WHERE id = 1;

-- name: log.insert
INSERT INTO log (id, at, crc, entries) VALUES (?, ?, ?, ?);

-- name: log.after
SELECT id, crc, entries FROM log WHERE id > ? ORDER BY id LIMIT ?;

-- name: log.some
SELECT id FROM log ORDER BY id LIMIT 1;

-- name: log.cut
DELETE FROM log WHERE id <= ?;

-- name: receipts.index
SELECT kind, chunk, n FROM receipt_sets WHERE message = ? AND slot = ? ORDER BY kind, chunk;

-- name: receipts.members
SELECT chunk, n, crc, members FROM receipt_sets WHERE message = ? AND slot = ? AND kind = ? AND chunk = ?;

-- name: receipts.row
SELECT chunk, n, crc, members, times_crc, base, minutes, sources FROM receipt_sets WHERE message = ? AND slot = ? AND kind = ? AND chunk = ?;

-- name: receipts.inbox
WITH want (place, message) AS (VALUES /*rows*/(?, ?)/*end*/)
SELECT w.place, r.kind, r.chunk, r.n, r.crc, r.members, r.times_crc, r.base, r.minutes, r.sources
FROM want w CROSS JOIN receipt_sets r ON r.message = w.message AND r.slot = ? AND r.kind IN (4, 5, 6, 8) AND r.chunk = ?;

-- name: receipts.put
INSERT INTO receipt_sets (message, slot, kind, chunk, n, crc, members, times_crc, base, minutes, sources) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (message, slot, kind, chunk) DO UPDATE SET n = excluded.n, crc = excluded.crc, times_crc = excluded.times_crc, base = excluded.base,
  members = excluded.members, minutes = excluded.minutes, sources = excluded.sources;

-- name: receipts.delete
DELETE FROM receipt_sets WHERE message = ? AND slot = ? AND kind = ? AND chunk = ?;

-- name: receipts.forget
DELETE FROM receipt_sets WHERE message = ? AND slot = ?;

-- name: receipts.all
SELECT message, slot, kind, chunk, n, crc, members, times_crc, base, minutes, sources FROM receipt_sets ORDER BY message, slot, kind, chunk;
