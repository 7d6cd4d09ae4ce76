-- All tables as MariaDB and MySQL keep them: what the migrations of SQLite up to this number make. Times are microseconds since 1970 (0: none), sets
-- are bytes of package set, yes and no are 1 and 0. What is said of a column by the mark of text is its character set, and a collation that compares
-- byte by byte, trailing spaces too; servers call it differently. A key has 3,072 bytes at most, so 760 characters.
-- CREATE commits by itself there: each statement may find that it was carried out before. No statement has a semicolon in it.

-- What is locked before it is decided on.
CREATE TABLE IF NOT EXISTS locks (
  name VARCHAR(760) /*text*/ PRIMARY KEY
) ENGINE = InnoDB;
INSERT IGNORE INTO locks (name) VALUES ('addresses'), ('control');

CREATE TABLE IF NOT EXISTS settings (
  name  VARCHAR(760) /*text*/ PRIMARY KEY,
  value LONGBLOB NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS message_rows (
  num          BIGINT AUTO_INCREMENT PRIMARY KEY,
  id           VARCHAR(255) /*text*/ NOT NULL UNIQUE,
  name         TEXT /*text*/ NOT NULL,
  channel      VARCHAR(255) /*text*/ NOT NULL,
  status       BIGINT NOT NULL,
  phase        VARCHAR(255) /*text*/ NOT NULL,
  generation   BIGINT NOT NULL,
  pause_reason VARCHAR(255) /*text*/ NOT NULL,
  paused_from  VARCHAR(255) /*text*/ NOT NULL,
  ending       VARCHAR(255) /*text*/ NOT NULL,
  revision     BIGINT NOT NULL,
  provider     VARCHAR(255) /*text*/ NOT NULL,
  topic        VARCHAR(255) /*text*/ NOT NULL,
  essential    BIGINT NOT NULL,
  test         BIGINT NOT NULL,
  send_at      BIGINT NOT NULL,
  not_after    BIGINT NOT NULL,
  start_grace  BIGINT NOT NULL,
  rate         DOUBLE NOT NULL,
  priority     VARCHAR(255) /*text*/ NOT NULL,
  uncertain    VARCHAR(255) /*text*/ NOT NULL,
  dedupe       VARCHAR(255) /*text*/ NOT NULL,
  outcome      VARCHAR(255) /*text*/ NOT NULL,
  created_at   BIGINT NOT NULL,
  updated_at   BIGINT NOT NULL,
  started_at   BIGINT NOT NULL,
  finished_at  BIGINT NOT NULL,
  trigger_by   LONGTEXT /*text*/,
  waiting      LONGTEXT /*text*/,
  tags         LONGTEXT /*text*/,
  audience     LONGTEXT /*text*/,
  data         LONGTEXT /*text*/,
  metadata     LONGTEXT /*text*/,
  content      LONGTEXT /*text*/ NOT NULL,
  scopes       LONGTEXT /*text*/,
  recall       VARCHAR(40) /*text*/ NOT NULL DEFAULT '',
  expires_at   BIGINT NOT NULL DEFAULT 0,
  few          BIGINT NOT NULL DEFAULT 0,
  INDEX messages_unfinished (status, num),
  INDEX messages_inbox (channel, expires_at),
  INDEX messages_few (few, expires_at),
  INDEX messages_few_recalled (few, recall, num)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS message_tags (
  message BIGINT NOT NULL,
  tag     VARCHAR(760) /*text*/ NOT NULL,
  PRIMARY KEY (message, tag)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS lists (
  id         BIGINT AUTO_INCREMENT PRIMARY KEY,
  name       VARCHAR(760) /*text*/ NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS segments (
  id         BIGINT AUTO_INCREMENT PRIMARY KEY,
  name       VARCHAR(760) /*text*/ NOT NULL UNIQUE,
  audience   LONGTEXT /*text*/ NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS providers (
  name VARCHAR(760) /*text*/ PRIMARY KEY,
  body LONGTEXT /*text*/ NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS `keys` (
  id         VARCHAR(760) /*text*/ PRIMARY KEY,
  name       VARCHAR(760) /*text*/ NOT NULL,
  hash       VARBINARY(255) NOT NULL UNIQUE,
  scopes     LONGTEXT /*text*/,
  test       BIGINT NOT NULL,
  created_at BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS idempotency (
  name      VARCHAR(760) /*text*/ PRIMARY KEY,
  body_hash LONGBLOB NOT NULL,
  status    BIGINT NOT NULL,
  header    LONGTEXT /*text*/,
  body      LONGBLOB,
  at        BIGINT NOT NULL,
  INDEX idempotency_at (at)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS imports (
  id         VARCHAR(760) /*text*/ PRIMARY KEY,
  state      VARCHAR(255) /*text*/ NOT NULL,
  detail     LONGTEXT /*text*/ NOT NULL,
  list       TEXT /*text*/ NOT NULL,
  options    LONGTEXT /*text*/,
  read_rows  BIGINT NOT NULL,
  created    BIGINT NOT NULL,
  updated    BIGINT NOT NULL,
  unchanged  BIGINT NOT NULL,
  duplicates BIGINT NOT NULL,
  failed     BIGINT NOT NULL,
  block      BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS nodes (
  name        VARCHAR(760) /*text*/ PRIMARY KEY,
  incarnation BIGINT NOT NULL,
  seen_at     BIGINT NOT NULL,
  body        LONGTEXT /*text*/ NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS audit (
  id     BIGINT AUTO_INCREMENT PRIMARY KEY,
  at     BIGINT NOT NULL,
  actor  TEXT /*text*/ NOT NULL,
  action TEXT /*text*/ NOT NULL,
  object TEXT /*text*/ NOT NULL,
  detail LONGTEXT /*text*/ NOT NULL,
  INDEX audit_object (object(190))
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS leases (
  name   VARCHAR(760) /*text*/ PRIMARY KEY,
  holder VARCHAR(760) /*text*/ NOT NULL,
  until  BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS rates (
  name         VARCHAR(760) /*text*/ PRIMARY KEY,
  window_start BIGINT NOT NULL,
  used         BIGINT NOT NULL
) ENGINE = InnoDB;

-- One row. head rises with each commit, and no other row is locked after it.
CREATE TABLE IF NOT EXISTS shard (
  id       INTEGER PRIMARY KEY,
  head     BIGINT NOT NULL,
  alive_at BIGINT NOT NULL,
  identity LONGTEXT /*text*/ NOT NULL,
  folded   BIGINT NOT NULL DEFAULT 0,
  folds    BIGINT NOT NULL DEFAULT 0,
  unpurged BIGINT NOT NULL DEFAULT 0,
  installation VARCHAR(255) /*text*/ NOT NULL DEFAULT '',
  number   BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS slots (
  slot     INTEGER PRIMARY KEY,
  epoch    BIGINT NOT NULL,
  open     BIGINT NOT NULL,
  next_seq BIGINT NOT NULL,
  rev      BIGINT NOT NULL,
  changed  BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS message_slots (
  message    BIGINT NOT NULL,
  slot       INTEGER NOT NULL,
  frozen     SMALLINT NOT NULL,
  phase      SMALLINT NOT NULL,
  generation BIGINT NOT NULL,
  people     BIGINT NOT NULL,
  few        SMALLINT NOT NULL DEFAULT 0,
  PRIMARY KEY (message, slot)
) ENGINE = InnoDB;

/*each*/
CREATE TABLE IF NOT EXISTS recipients_/*slot*/ (
  seq         BIGINT PRIMARY KEY,
  mailbox     BIGINT,
  updated_at  BIGINT NOT NULL,
  external_id VARCHAR(255) /*text*/ NOT NULL UNIQUE,
  email       TEXT /*text*/ NOT NULL,
  phone       TEXT /*text*/ NOT NULL,
  locale      TEXT /*text*/ NOT NULL,
  time_zone   TEXT /*text*/ NOT NULL,
  attributes  LONGTEXT /*text*/
) ENGINE = InnoDB;
/*end*/

CREATE TABLE IF NOT EXISTS sets (
  slot    INTEGER NOT NULL,
  name    VARCHAR(760) /*text*/ NOT NULL,
  chunk   INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  crc     BIGINT NOT NULL,
  members LONGBLOB NOT NULL,
  PRIMARY KEY (slot, name, chunk)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS audiences (
  message BIGINT NOT NULL,
  slot    INTEGER NOT NULL,
  part    VARCHAR(760) /*text*/ NOT NULL,
  chunk   INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  first   BIGINT NOT NULL,
  crc     BIGINT NOT NULL,
  members LONGBLOB NOT NULL,
  PRIMARY KEY (message, slot, part, chunk)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS batches (
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
  owner       VARCHAR(760) /*text*/,
  pending     LONGBLOB,
  in_flight   LONGBLOB,
  doubted     LONGBLOB,
  runs        TEXT /*text*/,
  held        TEXT /*text*/,
  PRIMARY KEY (message, slot, batch)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS inbox_rows (
  seq     BIGINT NOT NULL,
  message BIGINT NOT NULL,
  at      BIGINT NOT NULL,
  slot    INTEGER NOT NULL,
  PRIMARY KEY (slot, seq, message)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS exceptions (
  message  BIGINT NOT NULL,
  seq      BIGINT NOT NULL,
  at       BIGINT NOT NULL,
  slot     INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  doubts   INTEGER NOT NULL,
  `before` INTEGER NOT NULL DEFAULT 0,
  result   VARCHAR(255) /*text*/ NOT NULL,
  reason   VARCHAR(255) /*text*/ NOT NULL,
  code     TEXT /*text*/ NOT NULL,
  text     TEXT /*text*/ NOT NULL,
  PRIMARY KEY (message, slot, seq)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS marks (
  work    VARCHAR(760) /*text*/ NOT NULL,
  part    BIGINT NOT NULL,
  slot    INTEGER NOT NULL,
  answers LONGBLOB,
  PRIMARY KEY (work, part, slot)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS log (
  id      BIGINT PRIMARY KEY,
  at      BIGINT NOT NULL,
  crc     BIGINT NOT NULL,
  entries LONGBLOB NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS receipt_sets (
  message   BIGINT NOT NULL,
  slot      INTEGER NOT NULL,
  kind      INTEGER NOT NULL,
  chunk     INTEGER NOT NULL,
  n         INTEGER NOT NULL,
  crc       BIGINT NOT NULL,
  times_crc BIGINT NOT NULL,
  base      BIGINT NOT NULL,
  members   LONGBLOB NOT NULL,
  minutes   LONGBLOB NOT NULL,
  sources   LONGBLOB,
  PRIMARY KEY (message, slot, kind, chunk)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS suppressed_addresses (
  hash BIGINT NOT NULL,
  name VARCHAR(760) /*text*/ NOT NULL,
  PRIMARY KEY (hash, name)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS address_key (
  id    INTEGER PRIMARY KEY,
  value LONGBLOB NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO address_key (id, value) VALUES (1, RANDOM_BYTES(32));

CREATE TABLE IF NOT EXISTS erased (
  hash BIGINT PRIMARY KEY,
  at   BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS shards (
  number   BIGINT PRIMARY KEY,
  name     TEXT /*text*/ NOT NULL,
  added_at BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS slot_map (
  slot   INTEGER PRIMARY KEY,
  shard  BIGINT NOT NULL,
  epoch  BIGINT NOT NULL,
  step   VARCHAR(255) /*text*/ NOT NULL,
  other  BIGINT NOT NULL,
  detail LONGTEXT /*text*/ NOT NULL,
  at     BIGINT NOT NULL
) ENGINE = InnoDB;
