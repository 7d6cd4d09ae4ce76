-- All tables as PostgreSQL keeps them: what the migrations of SQLite up to this number make. Times are microseconds since 1970 (0: none), sets are
-- bytes of package set, yes and no are 1 and 0. Text is compared byte by byte, whatever the database's own order is.
-- What is updated often has room for it on its page and no index on what changes; sets do not compress.

-- What is locked before it is decided on.
CREATE TABLE locks (
  name TEXT COLLATE "C" PRIMARY KEY
) WITH (fillfactor = 50);
INSERT INTO locks (name) VALUES ('addresses'), ('control');

-- As other databases call it.
CREATE FUNCTION instr(text, text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN strpos($1, $2);

CREATE TABLE settings (
  name  TEXT COLLATE "C" PRIMARY KEY,
  value BYTEA NOT NULL
);

CREATE TABLE message_rows (
  num          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id           TEXT COLLATE "C" NOT NULL UNIQUE,
  name         TEXT COLLATE "C" NOT NULL,
  channel      TEXT COLLATE "C" NOT NULL,
  status       BIGINT NOT NULL,
  phase        TEXT COLLATE "C" NOT NULL,
  generation   BIGINT NOT NULL,
  pause_reason TEXT COLLATE "C" NOT NULL,
  paused_from  TEXT COLLATE "C" NOT NULL,
  ending       TEXT COLLATE "C" NOT NULL,
  revision     BIGINT NOT NULL,
  provider     TEXT COLLATE "C" NOT NULL,
  topic        TEXT COLLATE "C" NOT NULL,
  essential    BIGINT NOT NULL,
  test         BIGINT NOT NULL,
  send_at      BIGINT NOT NULL,
  not_after    BIGINT NOT NULL,
  start_grace  BIGINT NOT NULL,
  rate         DOUBLE PRECISION NOT NULL,
  priority     TEXT COLLATE "C" NOT NULL,
  uncertain    TEXT COLLATE "C" NOT NULL,
  dedupe       TEXT COLLATE "C" NOT NULL,
  outcome      TEXT COLLATE "C" NOT NULL,
  created_at   BIGINT NOT NULL,
  updated_at   BIGINT NOT NULL,
  started_at   BIGINT NOT NULL,
  finished_at  BIGINT NOT NULL,
  trigger_by   TEXT COLLATE "C",
  waiting      TEXT COLLATE "C",
  tags         TEXT COLLATE "C",
  audience     TEXT COLLATE "C",
  data         TEXT COLLATE "C",
  metadata     TEXT COLLATE "C",
  content      TEXT COLLATE "C" NOT NULL,
  scopes       TEXT COLLATE "C",
  recall       TEXT COLLATE "C" NOT NULL DEFAULT '',
  expires_at   BIGINT NOT NULL DEFAULT 0,
  few          BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX messages_unfinished ON message_rows (num) WHERE status <> 3 AND phase <> 'draft';
CREATE INDEX messages_inbox ON message_rows (expires_at, started_at, num, id, revision, phase, recall)
WHERE channel = 'inbox' AND started_at > 0 AND recall <> 'all' AND test = 0 AND few = 0 AND phase <> 'preparing';
CREATE INDEX messages_few ON message_rows (expires_at) WHERE few = 1;
CREATE INDEX messages_few_recalled ON message_rows (num) WHERE few = 1 AND recall = 'all';

CREATE TABLE message_tags (
  message BIGINT NOT NULL,
  tag     TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (message, tag)
);

CREATE TABLE lists (
  id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       TEXT COLLATE "C" NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);

CREATE TABLE segments (
  id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       TEXT COLLATE "C" NOT NULL UNIQUE,
  audience   TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE providers (
  name TEXT COLLATE "C" PRIMARY KEY,
  body TEXT COLLATE "C" NOT NULL
);

CREATE TABLE keys (
  id         TEXT COLLATE "C" PRIMARY KEY,
  name       TEXT COLLATE "C" NOT NULL,
  hash       BYTEA NOT NULL UNIQUE,
  scopes     TEXT COLLATE "C",
  test       BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE idempotency (
  name      TEXT COLLATE "C" PRIMARY KEY,
  body_hash BYTEA NOT NULL,
  status    BIGINT NOT NULL,
  header    TEXT COLLATE "C",
  body      BYTEA,
  at        BIGINT NOT NULL
);
CREATE INDEX idempotency_at ON idempotency (at);

CREATE TABLE imports (
  id         TEXT COLLATE "C" PRIMARY KEY,
  state      TEXT COLLATE "C" NOT NULL,
  detail     TEXT COLLATE "C" NOT NULL,
  list       TEXT COLLATE "C" NOT NULL,
  options    TEXT COLLATE "C",
  read_rows  BIGINT NOT NULL,
  created    BIGINT NOT NULL,
  updated    BIGINT NOT NULL,
  unchanged  BIGINT NOT NULL,
  duplicates BIGINT NOT NULL,
  failed     BIGINT NOT NULL,
  block      BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE nodes (
  name        TEXT COLLATE "C" PRIMARY KEY,
  incarnation BIGINT NOT NULL,
  seen_at     BIGINT NOT NULL,
  body        TEXT COLLATE "C" NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE audit (
  id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at     BIGINT NOT NULL,
  actor  TEXT COLLATE "C" NOT NULL,
  action TEXT COLLATE "C" NOT NULL,
  object TEXT COLLATE "C" NOT NULL,
  detail TEXT COLLATE "C" NOT NULL
);
CREATE INDEX audit_object ON audit USING hash (object);

CREATE TABLE leases (
  name   TEXT COLLATE "C" PRIMARY KEY,
  holder TEXT COLLATE "C" NOT NULL,
  until  BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE rates (
  name         TEXT COLLATE "C" PRIMARY KEY,
  window_start BIGINT NOT NULL,
  used         BIGINT NOT NULL
) WITH (fillfactor = 50);

-- One row. head rises with each commit.
CREATE TABLE shard (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  head     BIGINT NOT NULL,
  alive_at BIGINT NOT NULL,
  identity TEXT COLLATE "C" NOT NULL,
  folded   BIGINT NOT NULL DEFAULT 0,
  folds    BIGINT NOT NULL DEFAULT 0,
  unpurged BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

CREATE TABLE slots (
  slot     INTEGER PRIMARY KEY,
  epoch    BIGINT NOT NULL,
  open     BIGINT NOT NULL,
  next_seq BIGINT NOT NULL,
  rev      BIGINT NOT NULL,
  changed  BIGINT NOT NULL
) WITH (fillfactor = 30);

CREATE TABLE message_slots (
  message    BIGINT NOT NULL,
  slot       INTEGER NOT NULL,
  frozen     SMALLINT NOT NULL,
  phase      SMALLINT NOT NULL,
  generation BIGINT NOT NULL,
  people     BIGINT NOT NULL,
  few        SMALLINT NOT NULL DEFAULT 0,
  PRIMARY KEY (message, slot)
) WITH (fillfactor = 50);

/*each*/
CREATE TABLE recipients_/*slot*/ (
  seq         BIGINT PRIMARY KEY,
  mailbox     BIGINT,
  updated_at  BIGINT NOT NULL,
  external_id TEXT COLLATE "C" NOT NULL UNIQUE,
  email       TEXT COLLATE "C" NOT NULL,
  phone       TEXT COLLATE "C" NOT NULL,
  locale      TEXT COLLATE "C" NOT NULL,
  time_zone   TEXT COLLATE "C" NOT NULL,
  attributes  TEXT COLLATE "C"
);
/*end*/

CREATE TABLE sets (
  slot    INTEGER NOT NULL,
  name    TEXT COLLATE "C" NOT NULL,
  chunk   INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  crc     BIGINT NOT NULL,
  members BYTEA NOT NULL,
  PRIMARY KEY (slot, name, chunk)
);

CREATE TABLE audiences (
  message BIGINT NOT NULL,
  slot    INTEGER NOT NULL,
  part    TEXT COLLATE "C" NOT NULL,
  chunk   INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  first   BIGINT NOT NULL,
  crc     BIGINT NOT NULL,
  members BYTEA NOT NULL,
  PRIMARY KEY (message, slot, part, chunk)
);

-- Columns of eight bytes first, so that none is filled up. 60 of 100: the journal changes each row some times, on its page.
CREATE TABLE batches (
  message     BIGINT NOT NULL,
  first       BIGINT NOT NULL,
  fence       BIGINT NOT NULL DEFAULT 0,
  step        BIGINT NOT NULL DEFAULT 0,
  incarnation BIGINT NOT NULL DEFAULT 0,
  lease_until BIGINT NOT NULL DEFAULT 0,
  not_before  BIGINT NOT NULL DEFAULT 0,
  slot        INTEGER NOT NULL,
  batch       INTEGER NOT NULL,
  n           INTEGER NOT NULL,
  sent        INTEGER NOT NULL DEFAULT 0,
  failed      INTEGER NOT NULL DEFAULT 0,
  skipped     INTEGER NOT NULL DEFAULT 0,
  uncertain   INTEGER NOT NULL DEFAULT 0,
  state       SMALLINT NOT NULL DEFAULT 0,
  owner       TEXT COLLATE "C",
  pending     BYTEA,
  in_flight   BYTEA,
  doubted     BYTEA,
  runs        TEXT COLLATE "C",
  held        TEXT COLLATE "C",
  PRIMARY KEY (message, slot, batch)
) WITH (fillfactor = 60);

CREATE TABLE inbox_rows (
  seq     BIGINT NOT NULL,
  message BIGINT NOT NULL,
  at      BIGINT NOT NULL,
  slot    INTEGER NOT NULL,
  PRIMARY KEY (slot, seq, message)
);

CREATE TABLE exceptions (
  message  BIGINT NOT NULL,
  seq      BIGINT NOT NULL,
  at       BIGINT NOT NULL,
  slot     INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  doubts   INTEGER NOT NULL,
  before   INTEGER NOT NULL DEFAULT 0,
  result   TEXT COLLATE "C" NOT NULL,
  reason   TEXT COLLATE "C" NOT NULL,
  code     TEXT COLLATE "C" NOT NULL,
  text     TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (message, slot, seq)
) WITH (fillfactor = 80);

CREATE TABLE marks (
  work    TEXT COLLATE "C" NOT NULL,
  part    BIGINT NOT NULL,
  slot    INTEGER NOT NULL,
  answers BYTEA,
  PRIMARY KEY (work, part, slot)
);

CREATE TABLE log (
  id      BIGINT PRIMARY KEY,
  at      BIGINT NOT NULL,
  crc     BIGINT NOT NULL,
  entries BYTEA NOT NULL
);

CREATE TABLE receipt_sets (
  message   BIGINT NOT NULL,
  slot      INTEGER NOT NULL,
  kind      INTEGER NOT NULL,
  chunk     INTEGER NOT NULL,
  n         INTEGER NOT NULL,
  crc       BIGINT NOT NULL,
  times_crc BIGINT NOT NULL,
  base      BIGINT NOT NULL,
  members   BYTEA NOT NULL,
  minutes   BYTEA NOT NULL,
  sources   BYTEA,
  PRIMARY KEY (message, slot, kind, chunk)
);

CREATE TABLE suppressed_addresses (
  hash BIGINT NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (hash, name)
);

CREATE TABLE address_key (
  id    INTEGER PRIMARY KEY CHECK (id = 1),
  value BYTEA NOT NULL
);
INSERT INTO address_key (id, value) VALUES (1, decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

CREATE TABLE erased (
  hash BIGINT PRIMARY KEY
);

ALTER TABLE sets ALTER members SET STORAGE EXTERNAL;
ALTER TABLE audiences ALTER members SET STORAGE EXTERNAL;
ALTER TABLE receipt_sets ALTER members SET STORAGE EXTERNAL;
