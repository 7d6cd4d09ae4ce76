-- A table of recipients a slot. One table of all, by slot and seq, grew in as many places as there are slots, its pages split in the middle;
-- each of these grows at its end.

/*each*/
CREATE TABLE recipients_/*slot*/ (
  seq         INTEGER PRIMARY KEY,
  mailbox     INTEGER,
  updated_at  INTEGER NOT NULL,
  external_id TEXT NOT NULL UNIQUE,
  email       TEXT NOT NULL,
  phone       TEXT NOT NULL,
  locale      TEXT NOT NULL,
  time_zone   TEXT NOT NULL,
  attributes  TEXT
);
INSERT INTO recipients_/*slot*/ (seq, mailbox, updated_at, external_id, email, phone, locale, time_zone, attributes)
SELECT person & 4294967295, mailbox, updated_at, external_id, email, phone, locale, time_zone, attributes FROM recipients
WHERE person >= /*slot*/ << 32 AND person < (/*slot*/ + 1) << 32 ORDER BY person;
/*end*/

DROP TABLE recipients;
