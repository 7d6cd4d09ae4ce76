-- fragment: batch
b.message, b.slot, b.batch, b.first, b.n, b.state, b.sent, b.failed, b.skipped, b.uncertain, b.fence, b.step, b.owner, b.incarnation,
  b.lease_until, b.not_before, b.pending, b.in_flight, b.doubted, b.runs, b.held;

-- fragment: plain
(pending IS NULL AND in_flight IS NULL AND doubted IS NULL AND sent >= 0 AND failed >= 0 AND skipped >= 0 AND uncertain >= 0
  AND sent + failed + skipped + uncertain = CASE state WHEN 0 THEN 0 ELSE n END);

-- A /*rows*/(…)/*end*/ stands for as many rows as a statement is made for; unused ones are filled with what is never found.
-- A /*slot*/ stands for the number of the slot whose table is meant.

-- name: slots.insert
INSERT INTO slots (slot, epoch, open, next_seq, rev, changed) VALUES (?, 1, 1, 0, 0, 0);

-- name: slots.count
SELECT COUNT(*) FROM slots;

-- name: slots.get
SELECT epoch, open, next_seq, rev, changed FROM slots WHERE slot = ?;

-- name: slots.changed
UPDATE slots SET rev = rev + ?, changed = changed + 1 WHERE slot = ?;

-- name: slots.next_seq
UPDATE slots SET next_seq = ? WHERE slot = ?;

-- name: latch.rows
WITH want (message, slot) AS (VALUES /*rows*/(?, ?)/*end*/)
SELECT s.slot, s.epoch, s.open, s.rev, s.changed, m.message, m.phase, m.generation, m.frozen, m.few
FROM want w CROSS JOIN message_slots m ON m.message = w.message AND m.slot = w.slot CROSS JOIN slots s ON s.slot = w.slot;

-- name: latch.of_message
SELECT s.slot, s.epoch, s.open, s.rev, m.phase, m.generation, m.frozen, m.few
FROM message_slots m CROSS JOIN slots s ON s.slot = m.slot WHERE m.message = ? AND s.open <> 0 ORDER BY m.slot;

-- name: latch.spread
INSERT INTO message_slots (message, slot, frozen, phase, generation, people) VALUES (?, ?, 0, ?, ?, 0)
ON CONFLICT (message, slot) DO UPDATE SET phase = excluded.phase, generation = excluded.generation
WHERE excluded.generation > message_slots.generation OR (excluded.generation = message_slots.generation AND excluded.phase > message_slots.phase);

-- name: latch.freezable
SELECT 1 FROM message_slots WHERE message = ? AND slot = ? AND frozen = 0 AND phase = ? AND generation = ? /*update message_slots*/;

-- name: latch.freeze
UPDATE message_slots SET frozen = 1, people = ?, few = ? WHERE message = ? AND slot = ?;

-- name: latch.forget
DELETE FROM message_slots WHERE message = ? AND slot = ?;

-- name: latch.few
SELECT slot FROM message_slots WHERE message = ? AND few = 1 AND slot IN (SELECT slot FROM slots WHERE open IN (1, 2));

-- name: latch.many
UPDATE message_slots SET few = 0 WHERE message = ? AND few = 1 AND slot IN (SELECT slot FROM slots WHERE open IN (1, 2));

-- name: inbox_rows.put
INSERT INTO inbox_rows (slot, seq, message, at) VALUES /*rows*/(?, ?, ?, ?)/*end*/
ON CONFLICT (slot, seq, message) DO UPDATE SET at = excluded.at;

-- name: inbox_rows.delete
DELETE FROM inbox_rows WHERE slot = ? AND seq = ? AND message = ?;

-- name: inbox_rows.forget
DELETE FROM inbox_rows WHERE slot = ? AND message = ?;

-- name: inbox_rows.owners
SELECT DISTINCT seq FROM inbox_rows WHERE slot = ? AND seq >= ? AND seq <= ? ORDER BY seq;

-- name: inbox_rows.of
SELECT message, at FROM inbox_rows WHERE slot = ? AND seq = ? ORDER BY message;

-- name: inbox_rows.all
SELECT seq, message FROM inbox_rows WHERE slot = ? ORDER BY seq, message;

-- name: audiences.forget
DELETE FROM audiences WHERE message = ? AND slot = ?;

-- name: batches.forget
DELETE FROM batches WHERE message = ? AND slot = ?;

-- name: exceptions.forget
DELETE FROM exceptions WHERE message = ? AND slot = ?;

-- name: sets.load
SELECT chunk, n, crc, members FROM sets WHERE slot = ? AND name = ? ORDER BY chunk;

-- name: sets.put
INSERT INTO sets (slot, name, chunk, n, crc, members) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (slot, name, chunk) DO UPDATE SET n = excluded.n, crc = excluded.crc, members = excluded.members;

-- name: sets.delete
DELETE FROM sets WHERE slot = ? AND name = ? AND chunk = ?;

-- name: sets.drop
DELETE FROM sets WHERE slot = ? AND name = ?;

-- name: sets.all
SELECT slot, name, chunk, n, crc, members FROM sets ORDER BY slot, name, chunk;

-- name: audiences.insert
INSERT INTO audiences (message, slot, part, chunk, n, first, crc, members) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: audiences.part
SELECT chunk, n, first, crc, members FROM audiences WHERE message = ? AND slot = ? AND part = ? ORDER BY chunk;

-- name: audiences.of
SELECT part, n, first, crc, members FROM audiences WHERE message = ? AND slot = ? AND chunk = ? ORDER BY part;

-- name: audiences.index
SELECT chunk, n, first FROM audiences WHERE message = ? AND slot = ? AND part = 'send' ORDER BY chunk;

-- name: audiences.chunk
SELECT chunk, n, first, crc, members FROM audiences WHERE message = ? AND slot = ? AND part = 'send' AND chunk = ?;

-- name: audiences.inbox
WITH want (place, message) AS (VALUES /*rows*/(?, ?)/*end*/)
SELECT w.place, a.chunk, a.n, a.first, a.crc, a.members, b.state, b.n, b.failed + b.skipped + b.uncertain, b.runs
FROM want w CROSS JOIN audiences a ON a.message = w.message AND a.slot = ? AND a.part = 'send' AND a.chunk = ?
LEFT JOIN batches b ON b.message = a.message AND b.slot = a.slot AND b.batch = (
  SELECT COUNT(*) FROM audiences o WHERE o.message = a.message AND o.slot = a.slot AND o.part = 'send' AND o.chunk < a.chunk);

-- name: audiences.sizes
SELECT part, SUM(n) FROM audiences WHERE message = ? AND slot = ? GROUP BY part;

-- name: audiences.all
SELECT message, slot, part, chunk, n, first, crc, members FROM audiences ORDER BY message, slot, part, chunk;

-- name: batches.insert
INSERT INTO batches (message, slot, batch, first, n, state) VALUES /*rows*/(?, ?, ?, ?, ?, 0)/*end*/;

-- name: batches.rows
WITH want (place, message, slot, batch) AS (VALUES /*rows*/(?, ?, ?, ?)/*end*/)
SELECT w.place, /*batch*/ FROM want w CROSS JOIN batches b ON b.message = w.message AND b.slot = w.slot AND b.batch = w.batch;

-- name: batches.one
SELECT 0, /*batch*/ FROM batches b WHERE b.message = ? AND b.slot = ? AND b.batch = ?;

-- name: batches.range
SELECT 0, /*batch*/ FROM batches b WHERE b.message = ? AND b.slot = ? AND b.batch >= ? ORDER BY b.batch LIMIT ?;

-- name: batches.all
SELECT 0, /*batch*/ FROM batches b WHERE b.pending IS NOT NULL OR b.in_flight IS NOT NULL OR b.doubted IS NOT NULL OR b.runs IS NOT NULL
ORDER BY b.message, b.slot, b.batch;

-- name: batches.open
SELECT batch, first, n, state, sent, failed, skipped, uncertain, fence, step, owner, incarnation, lease_until, not_before, held
FROM batches WHERE message = ? AND slot = ? AND batch >= ? AND state < 2 ORDER BY batch LIMIT ?;

-- name: batches.first
SELECT batch FROM batches WHERE message = ? AND slot = ? AND state <> 3 ORDER BY batch LIMIT 1;

-- name: batches.last
SELECT batch FROM batches WHERE message = ? AND slot = ? ORDER BY batch DESC LIMIT 1;

-- name: batches.owned
SELECT 0, /*batch*/ FROM batches b WHERE b.message = ? AND b.owner = ? AND b.incarnation < ? AND b.slot IN (SELECT slot FROM slots WHERE open IN (1, 2)) ORDER BY b.slot, b.batch /*update b*/;

-- name: batches.claims
SELECT batch, owner IS NOT NULL AND lease_until > ? AS live FROM batches
WHERE message = ? AND slot = ? AND state <> 3 AND (owner IS NOT NULL AND lease_until > ? OR state = 1 AND in_flight IS NOT NULL)
ORDER BY batch;

-- name: batches.save
UPDATE batches SET state = ?, sent = ?, failed = ?, skipped = ?, uncertain = ?, fence = ?, step = ?, owner = ?, incarnation = ?,
  lease_until = ?, not_before = ?, pending = ?, in_flight = ?, doubted = ?, runs = ?, held = ?
WHERE message = ? AND slot = ? AND batch = ? AND fence = ? AND step = ? AND first = ? AND n = ?;

-- name: batches.save_sent
UPDATE batches SET state = ?, sent = ?, failed = 0, skipped = 0, uncertain = 0, fence = ?, step = ?, owner = ?, incarnation = ?,
  lease_until = ?, not_before = 0, pending = ?, in_flight = ?, doubted = NULL, runs = ?, held = NULL
WHERE message = ? AND slot = ? AND batch = ? AND fence = ? AND step = ? AND first = ? AND n = ?;

-- name: batches.hold
UPDATE batches SET state = 2, held = ?, step = step + 1, owner = NULL, incarnation = 0, lease_until = 0
WHERE message = ? AND slot = ? AND batch = ?;

-- name: batches.plain
SELECT state, COUNT(*), SUM(n), SUM(sent), SUM(failed), SUM(skipped), SUM(uncertain) FROM batches
WHERE message = ? AND slot = ? AND /*plain*/ GROUP BY state;

-- name: batches.others
SELECT 0, /*batch*/ FROM batches b WHERE b.message = ? AND b.slot = ? AND NOT (/*plain*/) ORDER BY b.batch;

-- name: exceptions.range
SELECT seq, result, reason, code, text, attempts, doubts, at, before FROM exceptions
WHERE message = ? AND slot = ? AND seq >= ? AND seq <= ? ORDER BY seq LIMIT ?;

-- name: exceptions.page
SELECT seq, result, reason, code, text, attempts, doubts, at, before FROM exceptions
WHERE message = ? AND slot = ? AND seq >= ? ORDER BY seq LIMIT ?;

-- name: exceptions.put
INSERT INTO exceptions (message, slot, seq, result, reason, code, text, attempts, doubts, at, before)
VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)/*end*/
ON CONFLICT (message, slot, seq) DO UPDATE SET result = excluded.result, reason = excluded.reason, code = excluded.code,
  text = excluded.text, attempts = CASE WHEN excluded.attempts > exceptions.attempts THEN excluded.attempts ELSE exceptions.attempts END,
  doubts = CASE WHEN excluded.doubts > exceptions.doubts THEN excluded.doubts ELSE exceptions.doubts END, at = excluded.at,
  before = CASE WHEN excluded.before > exceptions.before THEN excluded.before ELSE exceptions.before END;

-- name: exceptions.results
SELECT result, COUNT(*) FROM exceptions WHERE message = ? AND slot = ? GROUP BY result;

-- name: exceptions.failures
SELECT reason, code, text, COUNT(*) AS count FROM exceptions WHERE message = ? AND slot = ? AND result = 'failed'
GROUP BY reason, code, text ORDER BY count DESC, reason, code, text LIMIT ?;

-- name: recipients.insert
INSERT INTO recipients_/*slot*/ (seq, mailbox, updated_at, external_id, email, phone, locale, time_zone, attributes)
VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?, ?, ?)/*end*/;

-- Of an import: who has a phone, locale or time zone, and who has none.

-- name: recipients.create
INSERT INTO recipients_/*slot*/ (updated_at, seq, mailbox, external_id, email, attributes, phone, locale, time_zone)
VALUES /*rows*/(?1, ?, ?, ?, ?, ?, ?, ?, ?)/*end*/;

-- name: recipients.create_plain
INSERT INTO recipients_/*slot*/ (updated_at, seq, mailbox, external_id, email, attributes, phone, locale, time_zone)
VALUES /*rows*/(?1, ?, ?, ?, ?, ?, '', '', '')/*end*/;

-- name: recipients.update
UPDATE recipients_/*slot*/ SET mailbox = ?, updated_at = ?, email = ?, phone = ?, locale = ?, time_zone = ?, attributes = ? WHERE seq = ?;

-- name: recipients.by_id
SELECT seq, external_id, email, phone, locale, time_zone, attributes, updated_at, mailbox FROM recipients_/*slot*/ WHERE external_id = ?;

-- name: recipients.seq
SELECT seq FROM recipients_/*slot*/ WHERE external_id = ?;

-- name: recipients.seq_erased
SELECT seq, COALESCE((SELECT e.at FROM erased e WHERE e.hash = ?), 0) FROM recipients_/*slot*/ WHERE external_id = ?;

-- name: recipients.known
WITH want (external_id) AS (VALUES /*rows*/(?)/*end*/)
SELECT r.seq, r.external_id, r.email, r.phone, r.locale, r.time_zone, r.attributes, r.updated_at, r.mailbox
FROM want w CROSS JOIN recipients_/*slot*/ r ON r.external_id = w.external_id;

-- name: recipients.find
WITH want (external_id) AS (VALUES /*rows*/(?)/*end*/)
SELECT r.external_id, r.seq FROM want w CROSS JOIN recipients_/*slot*/ r ON r.external_id = w.external_id;

-- name: recipients.rows
WITH want (seq) AS (VALUES /*rows*/(?)/*end*/)
SELECT r.seq, r.external_id, r.email, r.phone, r.locale, r.time_zone, r.attributes, r.updated_at, r.mailbox
FROM want w CROSS JOIN recipients_/*slot*/ r ON r.seq = w.seq;

-- name: recipients.range
SELECT seq, external_id, email, phone, locale, time_zone, attributes, updated_at, mailbox FROM recipients_/*slot*/
WHERE seq >= ? AND seq <= ? ORDER BY seq;

-- name: recipients.scan
SELECT seq, external_id, email, phone, locale, time_zone, attributes, updated_at, mailbox FROM recipients_/*slot*/
WHERE seq >= ? AND (? = '' OR instr(external_id, ?) > 0 OR instr(email, ?) > 0 OR instr(phone, ?) > 0) ORDER BY seq LIMIT ?;

-- name: mailboxes.range
SELECT seq, mailbox FROM recipients_/*slot*/ WHERE seq >= ? AND seq <= ? AND mailbox IS NOT NULL ORDER BY seq;

-- name: mailboxes.rows
WITH want (seq) AS (VALUES /*rows*/(?)/*end*/)
SELECT r.seq, r.mailbox FROM want w CROSS JOIN recipients_/*slot*/ r ON r.seq = w.seq WHERE r.mailbox IS NOT NULL;

-- name: marks.get
SELECT answers FROM marks WHERE work = ? AND part = ? AND slot = ?;

-- name: marks.put
INSERT INTO marks (work, part, slot, answers) VALUES (?, ?, ?, ?);

-- name: addresses.key
SELECT value FROM address_key WHERE id = 1;

-- name: addresses.any
SELECT 1 FROM suppressed_addresses LIMIT 1;

-- name: addresses.find
WITH want (hash) AS (VALUES /*rows*/(?)/*end*/)
SELECT a.hash, a.name FROM want w CROSS JOIN suppressed_addresses a ON a.hash = w.hash;

-- name: addresses.page
SELECT hash, name FROM suppressed_addresses WHERE hash > ?1 OR hash = ?1 AND name > ?2 ORDER BY hash, name LIMIT ?3;

-- name: addresses.put
INSERT INTO suppressed_addresses (hash, name) VALUES (?, ?) ON CONFLICT (hash, name) DO NOTHING;

-- name: addresses.delete
DELETE FROM suppressed_addresses WHERE hash = ? AND name = ?;
