-- name: sets.names
SELECT DISTINCT name FROM sets WHERE slot = ? AND name >= ? AND name <= ? ORDER BY name;

-- name: sets.family
SELECT name, chunk, n, crc, members FROM sets WHERE slot = ? AND name >= ? AND name <= ? ORDER BY name, chunk;

-- name: attributes.range
SELECT seq, attributes FROM recipients_/*slot*/ WHERE seq >= ? AND seq <= ? ORDER BY seq;

-- name: attributes.rows
WITH want (seq) AS (VALUES /*rows*/(?)/*end*/)
SELECT r.seq, r.attributes FROM want w CROSS JOIN recipients_/*slot*/ r ON r.seq = w.seq;
