-- Messages of the in-app inbox: what was recalled, and when they are gone from every inbox.

ALTER TABLE messages ADD COLUMN recall TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET expires_at = started_at + 90 * 86400000000 WHERE channel = 'inbox' AND started_at > 0;
CREATE INDEX messages_inbox ON messages (started_at DESC, num DESC, expires_at) WHERE channel = 'inbox' AND started_at > 0 AND recall <> 'all' AND test = 0;
