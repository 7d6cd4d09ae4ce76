-- What people read by SQL (API.md): messages and message_items. What messages is made of keeps another name.

ALTER TABLE messages RENAME TO message_rows;

CREATE VIEW messages (id, name, channel, status, phase, created_at, started_at, finished_at) AS
SELECT id, name, channel, status, phase,
  strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || rtrim(rtrim(printf('.%06d', created_at % 1000000), '0'), '.') || 'Z',
  CASE WHEN started_at <> 0
    THEN strftime('%Y-%m-%dT%H:%M:%S', started_at / 1000000, 'unixepoch') || rtrim(rtrim(printf('.%06d', started_at % 1000000), '0'), '.') || 'Z' END,
  CASE WHEN finished_at <> 0
    THEN strftime('%Y-%m-%dT%H:%M:%S', finished_at / 1000000, 'unixepoch') || rtrim(rtrim(printf('.%06d', finished_at % 1000000), '0'), '.') || 'Z' END
FROM message_rows;

-- What the views need beside: they are to work with any client, so there is no function of ours.
CREATE TABLE view_numbers (
  n INTEGER PRIMARY KEY
);
INSERT INTO view_numbers (n) WITH RECURSIVE up (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM up WHERE n < 8191) SELECT n FROM up;

-- The bytes, and how many bits are set in each.
CREATE TABLE view_bytes (
  value INTEGER PRIMARY KEY,
  byte  BLOB NOT NULL UNIQUE,
  ones  INTEGER NOT NULL
);
INSERT INTO view_bytes (value, byte, ones)
SELECT n, unhex(printf('%02x', n)), (n & 1) + ((n >> 1) & 1) + ((n >> 2) & 1) + ((n >> 3) & 1) + ((n >> 4) & 1) + ((n >> 5) & 1) + ((n >> 6) & 1) + (n >> 7)
FROM view_numbers WHERE n < 256;

-- The bits that are set in each byte, and how many are set below each.
CREATE TABLE view_bits (
  value INTEGER NOT NULL,
  bit   INTEGER NOT NULL,
  below INTEGER NOT NULL,
  PRIMARY KEY (value, bit)
) WITHOUT ROWID;
INSERT INTO view_bits (value, bit, below)
SELECT b.value, k.n, l.ones FROM view_bytes b CROSS JOIN view_numbers k ON k.n < 8 CROSS JOIN view_bytes l ON l.value = b.value & ((1 << k.n) - 1)
WHERE (b.value >> k.n) & 1;

-- A row a person of an audience, with what there is of them. Each container of an audience (a), which is a Roaring bitmap of one container, is
-- decoded together with those of who has a delivered (d) and who a read receipt (r): to octets, eight numbers of which some are members.
-- In SQLite << >> & | are of one rank, behind + and *.
CREATE VIEW view_items AS
SELECT m.id AS message_id, m.phase, a.slot, a.part, a.chunk * 65536 + ((o.value >> 24) & 8191) * 8 + p.bit AS seq,
  a.first + (o.value >> 37) + p.below - b.first AS rank, b.doubted, b.runs,
  e.result AS own, e.reason, e.code, e.text, e.attempts, e.doubts,
  CASE
    WHEN a.part <> 'send' THEN 'skipped'
    WHEN b.n IS NULL OR length(b.pending) <> (b.n + 7) / 8 OR length(b.in_flight) <> (b.n + 7) / 8 OR length(b.doubted) <> (b.n + 7) / 8
      THEN coalesce(e.result, 'uncertain') -- damaged
    WHEN b.state = 0 OR b.pending IS NOT NULL AND
      ((SELECT value FROM view_bytes WHERE byte = substr(b.pending, 1 + (a.first + (o.value >> 37) + p.below - b.first) / 8, 1)) >> ((a.first + (o.value >> 37) + p.below - b.first) & 7)) & 1
      THEN CASE WHEN m.phase IN ('cancelled', 'expired') THEN 'skipped' ELSE 'pending' END
    WHEN b.in_flight IS NOT NULL AND
      ((SELECT value FROM view_bytes WHERE byte = substr(b.in_flight, 1 + (a.first + (o.value >> 37) + p.below - b.first) / 8, 1)) >> ((a.first + (o.value >> 37) + p.below - b.first) & 7)) & 1 THEN 'in_flight'
    ELSE coalesce(e.result, 'sent')
  END AS result,
  -- Minutes lie in order of rank, 2 or 4 bytes each. LIMIT and WHERE keep SQLite from reading all of them once more for each byte.
  CASE WHEN (o.value >> 8 + p.bit) & 1 THEN d.base + (
    SELECT coalesce((SELECT value FROM view_bytes WHERE byte = substr(t, -4, 1)), 0) * 16777216 + coalesce((SELECT value FROM view_bytes WHERE byte = substr(t, -3, 1)), 0) * 65536
      + (SELECT value FROM view_bytes WHERE byte = substr(t, -2, 1)) * 256 + (SELECT value FROM view_bytes WHERE byte = substr(t, -1, 1))
    FROM (
      SELECT substr(d.minutes, 1 + ((o.key & 1048575) + ones) * (length(d.minutes) / d.n), length(d.minutes) / d.n) AS t
      FROM view_bytes WHERE value = (o.value >> 8) & ((1 << p.bit) - 1) LIMIT 1
    ) WHERE t IS NOT NULL)
  END AS delivered_minute,
  (o.value >> 16 + p.bit) & 1 AS read,
  CASE WHEN (o.value >> 16 + p.bit) & 1 THEN r.base + (
    SELECT coalesce((SELECT value FROM view_bytes WHERE byte = substr(t, -4, 1)), 0) * 16777216 + coalesce((SELECT value FROM view_bytes WHERE byte = substr(t, -3, 1)), 0) * 65536
      + (SELECT value FROM view_bytes WHERE byte = substr(t, -2, 1)) * 256 + (SELECT value FROM view_bytes WHERE byte = substr(t, -1, 1))
    FROM (
      SELECT substr(r.minutes, 1 + ((o.key >> 20) + ones) * (length(r.minutes) / r.n), length(r.minutes) / r.n) AS t
      FROM view_bytes WHERE value = (o.value >> 16) & ((1 << p.bit) - 1) LIMIT 1
    ) WHERE t IS NOT NULL)
  END AS read_minute
FROM message_rows m CROSS JOIN audiences a ON a.message = m.num
  -- The batch that holds the container's first member: those behind it are as large, but for the last.
  LEFT JOIN batches w ON a.part = 'send' AND w.message = a.message AND w.slot = a.slot AND w.first <= a.first AND w.first + w.n > a.first
  LEFT JOIN receipt_sets d ON a.part = 'send' AND d.message = a.message AND d.slot = a.slot AND d.kind = 1 AND d.chunk = a.chunk
  LEFT JOIN receipt_sets r ON a.part = 'send' AND r.message = a.message AND r.slot = a.slot AND r.kind = 5 AND r.chunk = a.chunk
  CROSS JOIN json_each((
    WITH c (kind, n, members) AS NOT MATERIALIZED (
      SELECT 0, a.n, a.members
      UNION ALL
      SELECT 1, d.n, d.members WHERE d.n > 0
      UNION ALL
      SELECT 2, r.n, r.members WHERE r.n > 0
    ), o (octet, bits, ones) AS (
      -- An array: at most 4,096 members in order, two bytes each.
      SELECT hi.value * 32 + lo.value / 8, 1 << (lo.value & 7) + 8 * c.kind, 1 << 20 * c.kind
      FROM c CROSS JOIN view_numbers k ON k.n < c.n
        CROSS JOIN view_bytes lo ON lo.byte = substr(c.members, 17 + 2 * k.n, 1)
        CROSS JOIN view_bytes hi ON hi.byte = substr(c.members, 18 + 2 * k.n, 1)
      WHERE substr(c.members, 1, 1) = X'3A' AND c.n <= 4096
      UNION ALL
      -- A bitmap: 8,192 bytes.
      SELECT k.n, b.value << 8 * c.kind, b.ones << 20 * c.kind
      FROM c CROSS JOIN view_numbers k CROSS JOIN view_bytes b ON b.byte = substr(c.members, 17 + k.n, 1)
      WHERE substr(c.members, 1, 1) = X'3A' AND c.n > 4096 AND b.value > 0
      UNION ALL
      -- Runs: their number, then the first member of each and how many more there are, two bytes each.
      SELECT k.n, ((255 << max(0, s.first - 8 * k.n)) & (255 >> max(0, 8 * k.n + 7 - s.last)) & 255) << 8 * s.kind,
        min(s.last, 8 * k.n + 7) - max(s.first, 8 * k.n) + 1 << 20 * s.kind
      FROM (
        SELECT c.kind, fh.value * 256 + fl.value AS first, fh.value * 256 + fl.value + mh.value * 256 + ml.value AS last
        FROM c CROSS JOIN view_bytes rl ON rl.byte = substr(c.members, 10, 1) CROSS JOIN view_bytes rh ON rh.byte = substr(c.members, 11, 1)
          CROSS JOIN view_numbers i ON i.n < rh.value * 256 + rl.value
          CROSS JOIN view_bytes fl ON fl.byte = substr(c.members, 12 + 4 * i.n, 1) CROSS JOIN view_bytes fh ON fh.byte = substr(c.members, 13 + 4 * i.n, 1)
          CROSS JOIN view_bytes ml ON ml.byte = substr(c.members, 14 + 4 * i.n, 1) CROSS JOIN view_bytes mh ON mh.byte = substr(c.members, 15 + 4 * i.n, 1)
        WHERE substr(c.members, 1, 1) = X'3B'
      ) s CROSS JOIN view_numbers k ON k.n BETWEEN s.first / 8 AND s.last / 8
    )
    -- An octet, for all three sets: whose bits are set, and how many members are before it. The audience's own go into the value, so that
    -- the key is looked at for times of receipts only.
    SELECT json_group_object(before >> 20, ((before & 1048575) << 37) | (octet << 24) | bits) FROM (
      SELECT octet, sum(bits) AS bits, coalesce(sum(sum(ones)) OVER (ORDER BY octet ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
      FROM o GROUP BY octet
    ) WHERE bits & 255
  )) o
  CROSS JOIN view_bits p ON p.value = o.value & 255
  LEFT JOIN batches b ON b.message = a.message AND b.slot = a.slot AND b.batch = w.batch + (a.first + (o.value >> 37) + p.below - w.first) / w.n
  LEFT JOIN exceptions e ON a.part = 'send' AND e.message = a.message AND e.slot = a.slot AND e.seq = a.chunk * 65536 + ((o.value >> 24) & 8191) * 8 + p.bit;

-- As fanfare.Batch.Item has it.
CREATE VIEW message_items (message_id, recipient, result, reason, code, text, attempts, doubted, sent_at, delivered_at, read, read_at) AS
SELECT message_id,
  CASE slot
/*each*/
    WHEN /*slot*/ THEN (SELECT nullif(p.external_id, '') FROM recipients_/*slot*/ p WHERE p.seq = i.seq)
/*end*/
  END,
  result,
  CASE
    WHEN part <> 'send' THEN part
    WHEN result = 'sent' THEN ''
    WHEN result = 'skipped' AND own IS NOT 'skipped' THEN phase
    WHEN own IS NOT NULL THEN reason
    WHEN result = 'uncertain' THEN 'technical'
    ELSE ''
  END,
  CASE WHEN own IS NOT NULL AND result <> 'sent' THEN code ELSE '' END,
  CASE WHEN own IS NOT NULL AND result <> 'sent' THEN text WHEN result = 'uncertain' THEN 'its batch is damaged; run fanfare doctor' ELSE '' END,
  CASE
    WHEN part <> 'send' THEN 0
    WHEN own IS NOT NULL THEN max(attempts, 0)
    WHEN result = 'uncertain' THEN 0
    WHEN doubted IS NOT NULL AND ((SELECT value FROM view_bytes WHERE byte = substr(doubted, 1 + rank / 8, 1)) >> (rank & 7)) & 1 THEN 2
    WHEN result IN ('sent', 'in_flight') THEN 1
    ELSE 0
  END,
  CASE WHEN own IS NULL AND doubted IS NULL THEN 0 ELSE max(coalesce(doubts, 0),
    coalesce(((SELECT value FROM view_bytes WHERE byte = substr(doubted, 1 + rank / 8, 1)) >> (rank & 7)) & 1, 0)) END,
  CASE WHEN result = 'sent' THEN (
    SELECT strftime('%Y-%m-%dT%H:%M:%S', t.at / 1000000, 'unixepoch') || rtrim(rtrim(printf('.%06d', t.at % 1000000), '0'), '.') || 'Z'
    FROM (
      SELECT CASE
        -- As a rule there is one run, of all.
        WHEN instr(runs, '"sent"') = 0 THEN CAST(substr(runs, instr(runs, '"at":') + 5) AS INTEGER)
        -- Else the first run that holds the person: bit rank of sent, whose base64 has six bits a character, the highest first.
        ELSE (
          SELECT json_extract(x.value, '$.at') FROM json_each(runs) x
          WHERE json_extract(x.value, '$.sent') IS NULL
            OR (max(0, instr('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
              substr(json_extract(x.value, '$.sent'), 1 + (rank / 8 * 8 + 7 - (rank & 7)) / 6, 1)) - 1) >> (5 - (rank / 8 * 8 + 7 - (rank & 7)) % 6)) & 1
          ORDER BY x.key LIMIT 1)
      END AS at LIMIT 1
    ) t WHERE t.at <> 0)
  END,
  strftime('%Y-%m-%dT%H:%M:00Z', 60 * delivered_minute, 'unixepoch'),
  read,
  strftime('%Y-%m-%dT%H:%M:00Z', 60 * read_minute, 'unixepoch')
FROM view_items i;
