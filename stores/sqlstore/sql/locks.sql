-- What is locked by a dialect that says so, in this order: names, slots, rows of the latch, batches, the shard. What is said twice is locked once.

-- name: locks.share
SELECT name FROM locks WHERE name = ? /*share locks*/;

-- name: locks.update
SELECT name FROM locks WHERE name = ? /*update locks*/;

-- name: slots.share
SELECT slot, changed, open FROM slots WHERE slot = ? /*share slots*/;

-- name: slots.update
SELECT slot, changed, open FROM slots WHERE slot = ? /*update slots*/;

-- name: latch.share
WITH want (message, slot) AS (VALUES /*rows*/(?, ?)/*end*/)
SELECT s.slot, s.epoch, s.open, s.rev, s.changed, m.message, m.phase, m.generation, m.frozen, m.few
FROM want w CROSS JOIN message_slots m ON m.message = w.message AND m.slot = w.slot CROSS JOIN slots s ON s.slot = w.slot
ORDER BY s.slot, m.message /*share s, m*/;

-- name: batches.lock
WITH want (place, message, slot, batch) AS (VALUES /*rows*/(?, ?, ?, ?)/*end*/)
SELECT w.place, /*batch*/ FROM want w CROSS JOIN batches b ON b.message = w.message AND b.slot = w.slot AND b.batch = w.batch
ORDER BY b.message, b.slot, b.batch /*update b*/;

-- name: batches.lock_one
SELECT 0, /*batch*/ FROM batches b WHERE b.message = ? AND b.slot = ? AND b.batch = ? /*update b*/;

-- name: shard.lock
SELECT head FROM shard WHERE id = 1 /*update shard*/;
