-- What people read by SQL (API.md), as 0010 of SQLite has it, and as fanfare.Batch.Item. Plain SQL in functions where SQLite says it in place.

-- The members of a Roaring bitmap of one container, ascending.
CREATE FUNCTION view_members(members bytea, n bigint) RETURNS SETOF integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 20000 AS $$
  SELECT get_byte(members, 16 + 2 * k) + 256 * get_byte(members, 17 + 2 * k) FROM generate_series(0, n::integer - 1) k
  WHERE get_byte(members, 0) = 58 AND n <= 4096
  UNION ALL
  SELECT k FROM generate_series(0, 65535) k WHERE get_byte(members, 0) = 58 AND n > 4096 AND get_bit(members, 128 + k) = 1
  UNION ALL
  SELECT f.first + j FROM generate_series(0, CASE WHEN get_byte(members, 0) = 59 THEN get_byte(members, 9) + 256 * get_byte(members, 10) ELSE 0 END - 1) i
  CROSS JOIN LATERAL (SELECT get_byte(members, 11 + 4 * i) + 256 * get_byte(members, 12 + 4 * i) AS first, get_byte(members, 13 + 4 * i) + 256 * get_byte(members, 14 + 4 * i) AS more) f
  CROSS JOIN LATERAL generate_series(0, f.more) j
$$;

-- The minute of the member of that rank (from 1): 2 or 4 bytes each behind base.
CREATE FUNCTION view_minute(minutes bytea, base bigint, n bigint, rank bigint) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT base + CASE WHEN length(minutes) = 2 * n THEN (get_byte(minutes, (2 * rank - 2)::integer) * 256 + get_byte(minutes, (2 * rank - 1)::integer))::bigint
    ELSE get_byte(minutes, (4 * rank - 4)::integer)::bigint * 16777216 + get_byte(minutes, (4 * rank - 3)::integer) * 65536
      + get_byte(minutes, (4 * rank - 2)::integer) * 256 + get_byte(minutes, (4 * rank - 1)::integer) END
$$;

-- A time as the API writes it, of microseconds; none for 0.
CREATE FUNCTION view_time(at bigint) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN at <> 0 THEN to_char(timestamp 'epoch' + at / 1000000 * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS')
    || rtrim(rtrim('.' || lpad((at % 1000000)::text, 6, '0'), '0'), '.') || 'Z' END
$$;

-- When somebody was sent to: the first run that holds the rank, whose base64 has six bits a character; as a rule there is one run, of all.
CREATE FUNCTION view_sent(runs text, rank integer) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT view_time((
    SELECT (r.value ->> 'at')::bigint FROM json_array_elements(runs::json) WITH ORDINALITY r (value, place)
    WHERE r.value ->> 'sent' IS NULL
      OR CASE WHEN rank / 8 < length(decode(r.value ->> 'sent', 'base64')) THEN get_bit(decode(r.value ->> 'sent', 'base64'), rank) = 1 ELSE false END
    ORDER BY r.place LIMIT 1))
$$;

CREATE VIEW messages (id, name, channel, status, phase, created_at, started_at, finished_at) AS
SELECT id, name, channel, status, phase, view_time(created_at), view_time(started_at), view_time(finished_at) FROM message_rows;

-- A row a person of an audience, with what there is of them. OFFSET 0: sets and minutes are read once a container.
CREATE VIEW view_items AS
SELECT m.id AS message_id, m.phase, a.slot, a.part, a.chunk::bigint * 65536 + x.v AS seq, i.rank, b.doubted, b.runs, b.n,
  e.result AS own, e.reason, e.code, e.text, e.attempts, e.doubts,
  CASE
    WHEN a.part <> 'send' THEN 'skipped'
    WHEN b.n IS NULL OR length(b.pending) <> (b.n + 7) / 8 OR length(b.in_flight) <> (b.n + 7) / 8 OR length(b.doubted) <> (b.n + 7) / 8
      THEN coalesce(e.result, 'uncertain') -- damaged
    WHEN b.state = 0 OR CASE WHEN b.pending IS NOT NULL THEN get_bit(b.pending, i.rank) = 1 ELSE false END
      THEN CASE WHEN m.phase IN ('cancelled', 'expired') THEN 'skipped' ELSE 'pending' END
    WHEN CASE WHEN b.in_flight IS NOT NULL THEN get_bit(b.in_flight, i.rank) = 1 ELSE false END THEN 'in_flight'
    ELSE coalesce(e.result, 'sent')
  END AS result,
  view_minute(c.delivered, c.delivered_base, c.delivered_n, x.delivered) AS delivered_minute,
  CASE WHEN x.read IS NULL THEN 0 ELSE 1 END AS read,
  view_minute(c.reads, c.read_base, c.read_n, x.read) AS read_minute
FROM message_rows m
  JOIN audiences a ON a.message = m.num
  -- The batch that holds the container's first member: those behind it are as large, but for the last.
  LEFT JOIN batches w ON a.part = 'send' AND w.message = a.message AND w.slot = a.slot AND w.first <= a.first AND w.first + w.n > a.first
  LEFT JOIN receipt_sets d ON a.part = 'send' AND d.message = a.message AND d.slot = a.slot AND d.kind = 1 AND d.chunk = a.chunk
  LEFT JOIN receipt_sets r ON a.part = 'send' AND r.message = a.message AND r.slot = a.slot AND r.kind = 5 AND r.chunk = a.chunk
  CROSS JOIN LATERAL (
    SELECT a.members || '' AS members, d.members || '' AS delivered_members, d.minutes || '' AS delivered, d.base AS delivered_base, d.n::bigint AS delivered_n,
      r.members || '' AS read_members, r.minutes || '' AS reads, r.base AS read_base, r.n::bigint AS read_n
    OFFSET 0
  ) c
  CROSS JOIN LATERAL (
    SELECT o.v, o.rank, p.rank AS delivered, q.rank AS read
    FROM view_members(c.members, a.n) WITH ORDINALITY o (v, rank)
      LEFT JOIN view_members(c.delivered_members, c.delivered_n) WITH ORDINALITY p (v, rank) ON p.v = o.v
      LEFT JOIN view_members(c.read_members, c.read_n) WITH ORDINALITY q (v, rank) ON q.v = o.v
    OFFSET 0
  ) x
  LEFT JOIN batches b ON b.message = a.message AND b.slot = a.slot AND b.batch = w.batch + (a.first + x.rank - 1 - w.first) / w.n
  LEFT JOIN exceptions e ON a.part = 'send' AND e.message = a.message AND e.slot = a.slot AND e.seq = a.chunk::bigint * 65536 + x.v
  CROSS JOIN LATERAL (SELECT (a.first + x.rank - 1 - b.first)::integer AS rank) i;

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
    WHEN result = 'skipped' AND own IS DISTINCT FROM 'skipped' THEN phase
    WHEN own IS NOT NULL THEN reason
    WHEN result = 'uncertain' THEN 'technical'
    ELSE ''
  END,
  CASE WHEN own IS NOT NULL AND result <> 'sent' THEN code ELSE '' END,
  CASE WHEN own IS NOT NULL AND result <> 'sent' THEN text WHEN result = 'uncertain' THEN 'its batch is damaged; run fanfare doctor' ELSE '' END,
  CASE
    WHEN part <> 'send' THEN 0
    WHEN own IS NOT NULL THEN greatest(attempts, 0)
    WHEN result = 'uncertain' THEN 0
    WHEN twice = 1 THEN 2
    WHEN result IN ('sent', 'in_flight') THEN 1
    ELSE 0
  END,
  greatest(coalesce(doubts, 0), twice),
  CASE WHEN result = 'sent' THEN view_sent(runs, rank) END,
  to_char(timestamp 'epoch' + delivered_minute * interval '1 minute', 'YYYY-MM-DD"T"HH24:MI:00"Z"'),
  read,
  to_char(timestamp 'epoch' + read_minute * interval '1 minute', 'YYYY-MM-DD"T"HH24:MI:00"Z"')
FROM (
  SELECT v.*, CASE WHEN doubted IS NOT NULL AND rank / 8 < length(doubted) THEN get_bit(doubted, rank) ELSE 0 END AS twice FROM view_items v
) i;
