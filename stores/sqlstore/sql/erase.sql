-- name: erased.any
SELECT 1 FROM erased LIMIT 1;

-- name: erased.find
WITH want (hash) AS (VALUES /*rows*/(?)/*end*/)
SELECT e.hash FROM want w CROSS JOIN erased e ON e.hash = w.hash;

-- name: erased.put
INSERT INTO erased (hash) VALUES (?) ON CONFLICT (hash) DO NOTHING;

-- name: erased.put_id
INSERT INTO erased (hash, at) VALUES (?, ?) ON CONFLICT (hash) DO UPDATE SET at = excluded.at;

-- name: erased.note
UPDATE shard SET unpurged = unpurged + 1 WHERE id = 1;

-- name: erased.unpurged
SELECT unpurged, head FROM shard WHERE id = 1;

-- name: erased.purged
UPDATE shard SET unpurged = unpurged - ? WHERE id = 1;

-- name: recipients.delete
DELETE FROM recipients_/*slot*/ WHERE seq = ?;

-- name: sets.chunk
SELECT name, n, crc, members FROM sets WHERE slot = ? AND chunk = ?;

-- A point lookup a message.

-- name: exceptions.said
SELECT e.message, e.code FROM message_slots m CROSS JOIN exceptions e ON e.message = m.message AND e.slot = m.slot AND e.seq = ?
WHERE m.slot = ? AND (e.text <> '' OR e.code <> '');

-- name: exceptions.blank
UPDATE exceptions SET text = '', code = ? WHERE message = ? AND slot = ? AND seq = ?;

-- name: messages.name_people
SELECT num, audience FROM message_rows WHERE instr(audience, '"recipients"') > 0;

-- name: messages.audience
UPDATE message_rows SET audience = ? WHERE num = ?;

-- name: segments.name_people
SELECT id, audience FROM segments WHERE instr(audience, '"recipients"') > 0;

-- name: segments.audience
UPDATE segments SET audience = ? WHERE id = ?;

-- name: idempotency.all
SELECT name, body FROM idempotency;

-- name: idempotency.body
UPDATE idempotency SET body = ? WHERE name = ?;
