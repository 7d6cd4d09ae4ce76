-- Inbox messages to few (DESIGN §5, inbox_rows): who got one has a row for it, so that it costs nobody else anything. few tells which messages
-- they are. What was started before is 0, of many: it is found by its sets as before, and needs no rows.

ALTER TABLE message_rows ADD COLUMN few INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message_slots ADD COLUMN few INTEGER NOT NULL DEFAULT 0;

CREATE TABLE inbox_rows (
  slot    INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  message INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (slot, seq, message)
) WITHOUT ROWID;

-- By expiry, or a list of what is in inboxes would go through all that ever was; with all that is listed, or it would read each row to its end.
DROP INDEX messages_inbox;
CREATE INDEX messages_inbox ON message_rows (expires_at, started_at, num, id, revision, phase, recall)
WHERE channel = 'inbox' AND started_at > 0 AND recall <> 'all' AND test = 0 AND few = 0 AND phase <> 'preparing';
CREATE INDEX messages_few ON message_rows (expires_at) WHERE few = 1;
CREATE INDEX messages_few_recalled ON message_rows (num) WHERE few = 1 AND recall = 'all';
