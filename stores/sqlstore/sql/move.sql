-- What a slot takes along when it moves to another shard: read, added and removed by slot. The columns are those of move.go, in that order.

-- name: move.message_slots
SELECT message, frozen, phase, generation, people, few FROM message_slots WHERE slot = ?;

-- name: take.message_slots
INSERT INTO message_slots (slot, message, frozen, phase, generation, people, few) VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?)/*end*/;

-- name: clear.message_slots
DELETE FROM message_slots WHERE slot = ?;

-- name: move.recipients
SELECT seq, mailbox, updated_at, external_id, email, phone, locale, time_zone, attributes FROM recipients_/*slot*/ ORDER BY seq;

-- name: clear.recipients
DELETE FROM recipients_/*slot*/ WHERE seq >= ? AND seq < ?;

-- name: move.sets
SELECT name, chunk, n, crc, members FROM sets WHERE slot = ?;

-- name: take.sets
INSERT INTO sets (slot, name, chunk, n, crc, members) VALUES /*rows*/(?, ?, ?, ?, ?, ?)/*end*/;

-- name: clear.sets
DELETE FROM sets WHERE slot = ?;

-- name: move.audiences
SELECT message, part, chunk, n, first, crc, members FROM audiences WHERE slot = ?;

-- name: take.audiences
INSERT INTO audiences (slot, message, part, chunk, n, first, crc, members) VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?, ?)/*end*/;

-- name: clear.audiences
DELETE FROM audiences WHERE slot = ?;

-- name: move.batches
SELECT message, batch, first, n, state, sent, failed, skipped, uncertain, fence, step, owner, incarnation, lease_until, not_before, pending, in_flight, doubted, runs, held
FROM batches WHERE slot = ?;

-- name: take.batches
INSERT INTO batches (slot, message, batch, first, n, state, sent, failed, skipped, uncertain, fence, step, owner, incarnation, lease_until, not_before, pending, in_flight,
  doubted, runs, held) VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)/*end*/;

-- name: clear.batches
DELETE FROM batches WHERE slot = ?;

-- name: move.exceptions
SELECT message, seq, result, reason, code, text, attempts, doubts, at, before FROM exceptions WHERE slot = ?;

-- name: take.exceptions
INSERT INTO exceptions (slot, message, seq, result, reason, code, text, attempts, doubts, at, before) VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)/*end*/;

-- name: clear.exceptions
DELETE FROM exceptions WHERE slot = ?;

-- name: move.marks
SELECT work, part, answers FROM marks WHERE slot = ?;

-- name: take.marks
INSERT INTO marks (slot, work, part, answers) VALUES /*rows*/(?, ?, ?, ?)/*end*/;

-- name: clear.marks
DELETE FROM marks WHERE slot = ?;

-- name: move.receipt_sets
SELECT message, kind, chunk, n, crc, times_crc, base, members, minutes, sources FROM receipt_sets WHERE slot = ?;

-- name: take.receipt_sets
INSERT INTO receipt_sets (slot, message, kind, chunk, n, crc, times_crc, base, members, minutes, sources) VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)/*end*/;

-- name: clear.receipt_sets
DELETE FROM receipt_sets WHERE slot = ?;

-- name: move.inbox_rows
SELECT seq, message, at FROM inbox_rows WHERE slot = ?;

-- name: take.inbox_rows
INSERT INTO inbox_rows (slot, seq, message, at) VALUES /*rows*/(?, ?, ?, ?)/*end*/;

-- name: clear.inbox_rows
DELETE FROM inbox_rows WHERE slot = ?;

-- name: erased.all
SELECT hash, at FROM erased;

-- name: erased.take
INSERT INTO erased (hash, at) VALUES (?, ?) ON CONFLICT (hash) DO UPDATE SET at = excluded.at WHERE excluded.at > erased.at;

-- name: slots.take
UPDATE slots SET epoch = ?, open = ?, next_seq = ?, rev = ?, changed = ? WHERE slot = ? AND epoch = ? AND open = ?;
