-- Receipts (DESIGN §5): one log, and sets that are its snapshot up to shard.folded. A row of the log is what one commit logged; its id is the
-- head of that commit. Minutes count from 1970.
ALTER TABLE shard ADD COLUMN folded INTEGER NOT NULL DEFAULT 0;

CREATE TABLE log (
  id      INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  crc     INTEGER NOT NULL,
  entries BLOB NOT NULL
);

-- kind: 1 delivered, 2 bounced, 3 complained, 4 seen, 5 read, 6 unread, 7 clicked, 8 archived, 9 unarchived; of 6 and 9 whoever ever said so.
-- minutes holds, by rank of the member in members, the minutes since base: big endian, 2 bytes each, or 4 where one lies more than 45 days
-- after another. sources holds two bits a member, of read: 0 inbox, 1 reported, 2 inferred; NULL: all inbox.
CREATE TABLE receipt_sets (
  message   INTEGER NOT NULL,
  slot      INTEGER NOT NULL,
  kind      INTEGER NOT NULL,
  chunk     INTEGER NOT NULL,
  n         INTEGER NOT NULL,
  crc       INTEGER NOT NULL,
  times_crc INTEGER NOT NULL,
  base      INTEGER NOT NULL,
  members   BLOB NOT NULL,
  minutes   BLOB NOT NULL,
  sources   BLOB,
  PRIMARY KEY (message, slot, kind, chunk)
) WITHOUT ROWID;
