-- fragment: message
num, id, name, channel, phase, generation, pause_reason, paused_from, ending, revision, provider, topic, essential, test, send_at,
  not_after, start_grace, rate, priority, uncertain, dedupe, outcome, created_at, updated_at, started_at, finished_at, trigger_by, waiting,
  tags, audience, data, metadata, content, scopes, recall, few;

-- name: settings.get
SELECT value FROM settings WHERE name = ?;

-- name: settings.put
INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: messages.by_id
SELECT /*message*/ FROM message_rows WHERE id = ?;

-- name: messages.by_num
SELECT /*message*/ FROM message_rows WHERE num = ?;

-- name: messages.num
SELECT num, phase, generation FROM message_rows WHERE id = ?;

-- name: messages.list
SELECT /*message*/ FROM message_rows
WHERE (? < 0 OR status = ?) AND (? = '' OR phase = ?) AND (? = '' OR instr(name, ?) > 0)
  AND created_at > ? AND (? = 0 OR (status <> 3 AND phase <> 'draft'))
  AND (? = '' OR num IN (SELECT message FROM message_tags WHERE tag = ?)) AND (? = 0 OR num < ?)
ORDER BY num DESC LIMIT ?;

-- name: messages.look
SELECT num, id, phase, generation, pause_reason, paused_from, ending, revision, channel, provider, rate, priority, uncertain,
  send_at, not_after, start_grace, trigger_by IS NOT NULL AS waits, topic, essential, scopes IS NOT NULL AS reopens, few
FROM message_rows WHERE status <> 3 AND phase <> 'draft' ORDER BY num;

-- name: messages.inbox
SELECT num, id, revision, phase, recall, started_at, expires_at FROM message_rows
WHERE channel = 'inbox' AND started_at > 0 AND recall <> 'all' AND test = 0 AND few = 0 AND phase <> 'preparing' AND expires_at > ?
ORDER BY started_at DESC, num DESC;

-- name: messages.few
SELECT m.num, m.id, m.revision, m.phase, m.recall, m.started_at, m.expires_at, r.at FROM inbox_rows r CROSS JOIN message_rows m ON m.num = r.message
WHERE r.slot = ? AND r.seq = ? AND m.few = 1 AND m.recall <> 'all' AND m.expires_at > ? ORDER BY m.started_at DESC, m.num DESC;

-- name: messages.few_of
WITH want (num) AS (VALUES /*rows*/(?)/*end*/)
SELECT m.num, m.id, m.revision, m.phase, m.recall, m.started_at, m.expires_at FROM want w CROSS JOIN message_rows m ON m.num = w.num
WHERE m.few = 1 AND m.recall <> 'all' AND m.expires_at > ?;

-- name: messages.few_over
SELECT num FROM message_rows WHERE few = 1 AND expires_at <= ? ORDER BY expires_at LIMIT ?;

-- name: messages.few_recalled
SELECT num FROM message_rows WHERE few = 1 AND recall = 'all' ORDER BY num LIMIT ?;

-- name: messages.many
UPDATE message_rows SET few = 0 WHERE num = ?;

-- name: messages.insert
INSERT INTO message_rows (id, name, channel, status, phase, generation, pause_reason, paused_from, ending, revision, provider, topic,
  essential, test, send_at, not_after, start_grace, rate, priority, uncertain, dedupe, outcome, created_at, updated_at, started_at,
  finished_at, trigger_by, waiting, tags, audience, data, metadata, content, scopes, recall, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /*returning num*/;

-- name: messages.save
UPDATE message_rows SET name = ?, channel = ?, status = ?, phase = ?, generation = ?, pause_reason = ?, paused_from = ?, ending = ?,
  revision = ?, provider = ?, topic = ?, essential = ?, test = ?, send_at = ?, not_after = ?, start_grace = ?, rate = ?, priority = ?,
  uncertain = ?, dedupe = ?, outcome = ?, updated_at = ?, started_at = ?, finished_at = ?, trigger_by = ?, waiting = ?,
  tags = ?, audience = ?, data = ?, metadata = ?, content = ?, scopes = ?, recall = ?, expires_at = ?,
  few = CASE WHEN ? = 1 AND phase = 'preparing' THEN 1 ELSE few END
WHERE id = ? AND phase = ? AND generation = ?;

-- name: messages.delete
DELETE FROM message_rows WHERE num = ?;

-- name: tags.insert
INSERT INTO message_tags (message, tag) VALUES (?, ?) ON CONFLICT (message, tag) DO NOTHING;

-- name: tags.delete
DELETE FROM message_tags WHERE message = ?;

-- name: lists.get
SELECT id, name, created_at FROM lists WHERE name = ?;

-- name: lists.list
SELECT id, name, created_at FROM lists WHERE (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?;

-- name: lists.insert
INSERT INTO lists (name, created_at) VALUES (?, ?) /*returning id*/;

-- name: lists.delete
DELETE FROM lists WHERE name = ?;

-- name: providers.get
SELECT body FROM providers WHERE name = ?;

-- name: providers.list
SELECT body FROM providers ORDER BY name;

-- name: providers.put
INSERT INTO providers (name, body) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body;

-- name: providers.delete
DELETE FROM providers WHERE name = ?;

-- name: keys.by_hash
SELECT id, name, hash, scopes, test, created_at FROM keys WHERE hash = ?;

-- name: keys.list
SELECT id, name, hash, scopes, test, created_at FROM keys ORDER BY id;

-- name: keys.taken
SELECT COUNT(*) FROM keys WHERE id = ? OR hash = ?;

-- name: keys.insert
INSERT INTO keys (id, name, hash, scopes, test, created_at) VALUES (?, ?, ?, ?, ?, ?);

-- name: keys.delete
DELETE FROM keys WHERE id = ?;

-- name: idempotency.get
SELECT name, body_hash, status, header, body, at FROM idempotency WHERE name = ? AND at >= ?;

-- name: idempotency.put
INSERT INTO idempotency (name, body_hash, status, header, body, at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET body_hash = excluded.body_hash, status = excluded.status, header = excluded.header,
  body = excluded.body, at = excluded.at;

-- name: idempotency.expire
DELETE FROM idempotency WHERE at < ?;

-- name: imports.get
SELECT id, state, detail, list, options, read_rows, created, updated, unchanged, duplicates, failed, block, created_at, updated_at
FROM imports WHERE id = ?;

-- name: imports.list
SELECT id, state, detail, list, options, read_rows, created, updated, unchanged, duplicates, failed, block, created_at, updated_at
FROM imports ORDER BY created_at DESC, id DESC;

-- name: imports.put
INSERT INTO imports (id, state, detail, list, options, read_rows, created, updated, unchanged, duplicates, failed, block, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, detail = excluded.detail, list = excluded.list, options = excluded.options,
  read_rows = excluded.read_rows, created = excluded.created, updated = excluded.updated, unchanged = excluded.unchanged,
  duplicates = excluded.duplicates, failed = excluded.failed, block = excluded.block, created_at = excluded.created_at,
  updated_at = excluded.updated_at;

-- name: nodes.list
SELECT name, incarnation, seen_at, body FROM nodes ORDER BY name;

-- name: nodes.put
INSERT INTO nodes (name, incarnation, seen_at, body) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, seen_at = excluded.seen_at, body = excluded.body;

-- name: audit.list
SELECT id, at, actor, action, object, detail FROM audit WHERE (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?;

-- name: audit.of
SELECT id, at, actor, action, object, detail FROM audit WHERE object = ? AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?;

-- name: audit.insert
INSERT INTO audit (at, actor, action, object, detail) VALUES (?, ?, ?, ?, ?);

-- name: leases.get
SELECT holder, until FROM leases WHERE name = ?;

-- name: leases.put
INSERT INTO leases (name, holder, until) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until;

-- name: rates.get
SELECT window_start, used FROM rates WHERE name = ?;

-- name: rates.put
INSERT INTO rates (name, window_start, used) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET window_start = excluded.window_start, used = excluded.used;

-- name: shard.get
SELECT head, alive_at, identity FROM shard WHERE id = 1;

-- name: shard.insert
INSERT INTO shard (id, head, alive_at, identity) VALUES (1, 0, 0, ?);

-- name: shard.head
UPDATE shard SET head = head + 1 WHERE id = 1;

-- name: shard.alive
UPDATE shard SET alive_at = ? WHERE id = 1;

-- name: shard.adopt
UPDATE shard SET identity = ? WHERE id = 1;
