-- Version 3: metrics as series of samples.
--
-- A sample arrives in a chunk: what one batch brought of one series and minute. Once the minute is
-- over, its chunks are sealed into one block a series and minute, with its summary, and the hour's
-- summary grows by it. A sample is in exactly one of metric_chunks, metric_minutes and metric_rows.

CREATE TABLE metric_series (
  series INTEGER PRIMARY KEY,       -- 62 bits of a hash over what follows; or random, from elsewhere
  metric_type TEXT NOT NULL,
  unit TEXT,
  labels TEXT,                      -- JSON object, keys in order; of other programs, anything
  tenant_id TEXT,
  defined_at INTEGER NOT NULL       -- when a recorder last said so: hourly, while it records it
);
CREATE INDEX metric_series_type ON metric_series(metric_type, labels);

CREATE TABLE metric_chunks (
  batch INTEGER NOT NULL,           -- recorder_state.metric_batch at that time: the order of arrival
  series INTEGER NOT NULL,
  minute INTEGER NOT NULL,          -- since the Unix epoch
  samples BLOB NOT NULL,            -- a block: see below
  PRIMARY KEY (batch, series, minute)
) WITHOUT ROWID;

-- `samples`: n little-endian uint16 (milliseconds since the minute began, ascending), then n
-- little-endian IEEE 754 doubles in the same order.
CREATE TABLE metric_minutes (
  series INTEGER NOT NULL,
  minute INTEGER NOT NULL,
  count INTEGER NOT NULL,
  sum REAL NOT NULL,
  min REAL NOT NULL,
  max REAL NOT NULL,
  sketch BLOB,                      -- of the values, for quantiles; NULL: they are few, look at them
  samples BLOB NOT NULL,
  PRIMARY KEY (series, minute)
) WITHOUT ROWID;

-- The sum of the hour's rows in metric_minutes.
CREATE TABLE metric_hours (
  series INTEGER NOT NULL,
  hour INTEGER NOT NULL,
  count INTEGER NOT NULL,
  sum REAL NOT NULL,
  min REAL NOT NULL,
  max REAL NOT NULL,
  sketch BLOB,                      -- NULL: look at the minutes
  PRIMARY KEY (series, hour)
) WITHOUT ROWID;

-- Samples that other programs wrote, or have touched.
CREATE TABLE metric_rows (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  series INTEGER NOT NULL,
  timestamp INTEGER NOT NULL,
  value REAL NOT NULL
);
CREATE INDEX metric_rows_series ON metric_rows(series, timestamp);

ALTER TABLE recorder_state ADD COLUMN metric_batch INTEGER NOT NULL DEFAULT 0;   -- the last one
ALTER TABLE recorder_state ADD COLUMN metric_sealed INTEGER NOT NULL DEFAULT 0;  -- chunks up to this batch may be gone
ALTER TABLE recorder_state ADD COLUMN metric_changed INTEGER NOT NULL DEFAULT 0; -- how often other programs changed samples

INSERT INTO metric_series(series, metric_type, unit, labels, tenant_id, defined_at)
  SELECT random() & 0x3fffffffffffffff, metric_type, unit, labels, tenant_id, unixepoch() * 1000
  FROM performance_metrics GROUP BY metric_type, unit, labels, tenant_id;
INSERT INTO metric_rows(id, series, timestamp, value)
  SELECT coalesce(p.id, lower(hex(randomblob(16)))), s.series, p.timestamp, p.value
  FROM performance_metrics p JOIN metric_series s ON s.metric_type = p.metric_type
    AND s.unit IS p.unit AND s.labels IS p.labels AND s.tenant_id IS p.tenant_id
  WHERE typeof(p.value) = 'real' AND p.value - p.value IS 0.0
    AND typeof(p.timestamp) = 'integer' AND p.timestamp BETWEEN -(1 << 50) AND 1 << 50
  ORDER BY p.rowid;
DROP TABLE performance_metrics;

-- From here on: what other programs see and do. All of it is SQL that any SQLite since 3.38 has.
-- Blocks are taken apart with what there is: the number of a byte is its place among all bytes.
CREATE TABLE metric_bytes (bytes BLOB NOT NULL);
INSERT INTO metric_bytes VALUES (x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff');

-- 2^(exponent - 1075), for exponents as IEEE 754 has them: 52 bits below the leading one. Made by
-- doubling and halving, which is exact. 0 is that of the subnormal numbers.
CREATE TABLE metric_powers (exponent INTEGER PRIMARY KEY, power REAL NOT NULL);
INSERT INTO metric_powers
  WITH RECURSIVE up(exponent, power) AS (
    SELECT 1075, 1.0 UNION ALL SELECT exponent + 1, power * 2.0 FROM up WHERE exponent < 2046
  ), down(exponent, power) AS (
    SELECT 1074, 0.5 UNION ALL SELECT exponent - 1, power * 0.5 FROM down WHERE exponent > 1
  )
  SELECT * FROM up
  UNION ALL SELECT * FROM down
  UNION ALL SELECT 0, power FROM down WHERE exponent = 1;

CREATE VIEW metric_batches AS
WITH RECURSIVE batches(batch) AS (
  SELECT min(batch) FROM metric_chunks
  UNION ALL
  SELECT (SELECT min(c.batch) FROM metric_chunks c WHERE c.batch > batches.batch)
    FROM batches WHERE batches.batch IS NOT NULL)
SELECT batch FROM batches WHERE batch IS NOT NULL;

-- All blocks, in pieces of up to 100 samples: their offsets and their values. A blob is copied
-- whenever something is taken out of it, so to take samples out of a large one is slow.
CREATE VIEW metric_pieces AS
SELECT
  c.batch, c.series, c.minute, 100 * g.key AS first,
  substr(c.samples, 200 * g.key + 1, min(200, length(c.samples) / 5 - 200 * g.key)) AS offsets,
  substr(c.samples, length(c.samples) / 5 + 800 * g.key + 1, 800) AS "values"
FROM metric_batches b CROSS JOIN metric_chunks c ON c.batch = b.batch CROSS JOIN json_each(
  '[' || substr(replace(hex(zeroblob((length(c.samples) + 999) / 1000)), '00', ',0'), 2) || ']') g
WHERE length(c.samples) % 10 = 0
UNION ALL
SELECT
  0, m.series, m.minute, 100 * g.key,
  substr(m.samples, 200 * g.key + 1, min(200, length(m.samples) / 5 - 200 * g.key)),
  substr(m.samples, length(m.samples) / 5 + 800 * g.key + 1, 800)
FROM metric_minutes m CROSS JOIN json_each(
  '[' || substr(replace(hex(zeroblob((length(m.samples) + 999) / 1000)), '00', ',0'), 2) || ']') g
WHERE length(m.samples) % 10 = 0;

-- The samples of all blocks. Subqueries with LIMIT, and json_each() of one number, have something
-- computed once that is used more than once. Damage: a time beyond the minute is passed over, the
-- value of what is no finite number is NULL.
CREATE VIEW metric_samples AS
SELECT
  d.metric_type, d.unit, d.labels, d.tenant_id, d.series, d.minute, d.batch, d.position,
  (SELECT printf('%08x-%04x-7%03x-%04x-%012x',
      (d.timestamp >> 16) & 0xffffffff, d.timestamp & 0xffff, d.position & 0xfff,
      0x8000 | (place >> 48), place & 0xffffffffffff)
    -- Where the sample is, in 62 bits: with `position & 0xfff` it is there once.
    FROM (SELECT (d.series + (d.batch << 15) + (d.position >> 12)) & 0x3fffffffffffffff AS place
      LIMIT 1)) AS id,
  d.timestamp,
  (SELECT CASE WHEN top >> 15 THEN -power ELSE power END * (
      ((exponent > 0) << 52) + ((top & 0xf) << 48)
      + instr(d.bytes, substr(d."values", d.at + 1, 1))
      + (instr(d.bytes, substr(d."values", d.at + 2, 1)) << 8)
      + (instr(d.bytes, substr(d."values", d.at + 3, 1)) << 16)
      + (instr(d.bytes, substr(d."values", d.at + 4, 1)) << 24)
      + (instr(d.bytes, substr(d."values", d.at + 5, 1)) << 32)
      + (instr(d.bytes, substr(d."values", d.at + 6, 1)) << 40)
      - 0x010101010101)                             -- places are counted from 1
    FROM (SELECT                                    -- sign, exponent, 4 bits of the mantissa
        instr(d.bytes, substr(d."values", d.at + 7, 1))
        + (instr(d.bytes, substr(d."values", d.at + 8, 1)) << 8) - 0x0101 AS top LIMIT 1)
    CROSS JOIN metric_powers WHERE exponent = (top >> 4) & 0x7ff) AS value
FROM (
  SELECT
    s.metric_type, s.unit, s.labels, s.tenant_id, p.series, p.minute, p.batch,
    p.first + i.key AS position, p."values", y.bytes, 8 * i.key AS at,
    60000 * p.minute + o.value AS timestamp
  FROM metric_pieces p CROSS JOIN metric_series s ON s.series = p.series
  CROSS JOIN metric_bytes y
  CROSS JOIN json_each(
    '[' || substr(replace(hex(zeroblob(length(p.offsets) / 2)), '00', ',0'), 2) || ']') i
  CROSS JOIN json_each('[' || (
    instr(y.bytes, substr(p.offsets, 2 * i.key + 1, 1))
    + (instr(y.bytes, substr(p.offsets, 2 * i.key + 2, 1)) << 8) - 0x0101) || ']') o
  WHERE o.value < 60000
) d;

CREATE VIEW performance_metrics AS
SELECT r.id, r.timestamp, s.metric_type, r.value, s.unit, s.labels, s.tenant_id
  FROM metric_rows r CROSS JOIN metric_series s ON s.series = r.series
UNION ALL
SELECT id, timestamp, metric_type, value, unit, labels, tenant_id FROM metric_samples;

CREATE TRIGGER performance_metrics_insert INSTEAD OF INSERT ON performance_metrics BEGIN
  INSERT INTO metric_checks(timestamp, metric_type, value)
    VALUES (NEW.timestamp, NEW.metric_type, NEW.value);
  -- With OR REPLACE the row of the same id goes.
  UPDATE recorder_state SET metric_changed = metric_changed + 1
    WHERE EXISTS (SELECT 1 FROM metric_rows WHERE id = NEW.id);
  INSERT INTO metric_series(series, metric_type, unit, labels, tenant_id, defined_at)
    SELECT random() & 0x3fffffffffffffff, NEW.metric_type, NEW.unit, NEW.labels, NEW.tenant_id,
      unixepoch() * 1000
    WHERE NOT EXISTS (
      SELECT 1 FROM metric_series WHERE metric_type = NEW.metric_type AND unit IS NEW.unit
        AND labels IS NEW.labels AND tenant_id IS NEW.tenant_id);
  INSERT INTO metric_rows(id, series, timestamp, value)
    SELECT coalesce(NEW.id, lower(hex(randomblob(16)))), max(series),
      CAST(NEW.timestamp AS INTEGER), CAST(NEW.value AS REAL)
    FROM metric_series WHERE metric_type = NEW.metric_type AND unit IS NEW.unit
      AND labels IS NEW.labels AND tenant_id IS NEW.tenant_id;
END;

CREATE TRIGGER performance_metrics_delete INSTEAD OF DELETE ON performance_metrics BEGIN
  INSERT INTO metric_moves(series, minute)
    SELECT series, OLD.timestamp / 60000 - (OLD.timestamp % 60000 < 0) FROM metric_series
    WHERE metric_type = OLD.metric_type AND unit IS OLD.unit AND labels IS OLD.labels
      AND tenant_id IS OLD.tenant_id AND NOT EXISTS (SELECT 1 FROM metric_rows WHERE id = OLD.id);
  UPDATE recorder_state SET metric_changed = metric_changed + 1;
  DELETE FROM metric_rows WHERE id = OLD.id;
END;

CREATE TRIGGER performance_metrics_update INSTEAD OF UPDATE ON performance_metrics BEGIN
  INSERT INTO metric_checks(timestamp, metric_type, value)
    VALUES (NEW.timestamp, NEW.metric_type, NEW.value);
  INSERT INTO metric_moves(series, minute)
    SELECT series, OLD.timestamp / 60000 - (OLD.timestamp % 60000 < 0) FROM metric_series
    WHERE metric_type = OLD.metric_type AND unit IS OLD.unit AND labels IS OLD.labels
      AND tenant_id IS OLD.tenant_id AND NOT EXISTS (SELECT 1 FROM metric_rows WHERE id = OLD.id);
  UPDATE recorder_state SET metric_changed = metric_changed + 1;
  INSERT INTO metric_series(series, metric_type, unit, labels, tenant_id, defined_at)
    SELECT random() & 0x3fffffffffffffff, NEW.metric_type, NEW.unit, NEW.labels, NEW.tenant_id,
      unixepoch() * 1000
    WHERE NOT EXISTS (
      SELECT 1 FROM metric_series WHERE metric_type = NEW.metric_type AND unit IS NEW.unit
        AND labels IS NEW.labels AND tenant_id IS NEW.tenant_id);
  UPDATE metric_rows SET
    id = NEW.id,
    series = (SELECT max(series) FROM metric_series
      WHERE metric_type = NEW.metric_type AND unit IS NEW.unit
        AND labels IS NEW.labels AND tenant_id IS NEW.tenant_id),
    timestamp = CAST(NEW.timestamp AS INTEGER),
    value = CAST(NEW.value AS REAL)
  WHERE id = OLD.id;
END;

-- What all of these share. Inserting here does it; there is nothing to see.
CREATE VIEW metric_checks AS SELECT NULL AS timestamp, NULL AS metric_type, NULL AS value WHERE 0;

-- A sample's columns are as the document's table had them, and fit a block. A text that is a number
-- is one, as in a column of that type.
CREATE TRIGGER metric_checks_insert INSTEAD OF INSERT ON metric_checks BEGIN
  SELECT RAISE(ABORT, 'NOT NULL constraint failed: performance_metrics.timestamp')
    WHERE NEW.timestamp IS NULL;
  SELECT RAISE(ABORT, 'performance_metrics.timestamp must be in milliseconds')
    WHERE CAST(NEW.timestamp AS INTEGER) NOT BETWEEN -(1 << 50) AND 1 << 50
      OR (typeof(NEW.timestamp) NOT IN ('integer', 'real')
        AND NEW.timestamp <> CAST(NEW.timestamp AS INTEGER));
  SELECT RAISE(ABORT, 'NOT NULL constraint failed: performance_metrics.metric_type')
    WHERE NEW.metric_type IS NULL;
  SELECT RAISE(ABORT, 'NOT NULL constraint failed: performance_metrics.value')
    WHERE NEW.value IS NULL;
  SELECT RAISE(ABORT, 'performance_metrics.value must be a finite number')
    WHERE CAST(NEW.value AS REAL) - CAST(NEW.value AS REAL) IS NOT 0.0
      OR (typeof(NEW.value) NOT IN ('integer', 'real') AND NEW.value <> CAST(NEW.value AS REAL));
END;

CREATE VIEW metric_moves AS SELECT NULL AS series, NULL AS minute WHERE 0;

-- The samples of a series and minute become rows, which can be changed one by one. Their ids stay.
CREATE TRIGGER metric_moves_insert INSTEAD OF INSERT ON metric_moves BEGIN
  INSERT INTO metric_rows(id, series, timestamp, value)
    SELECT id, series, timestamp, value FROM metric_samples
    WHERE series = NEW.series AND minute = NEW.minute AND value IS NOT NULL
    ORDER BY batch, position;
  DELETE FROM metric_chunks WHERE batch IN (SELECT batch FROM metric_batches)
    AND series = NEW.series AND minute = NEW.minute;
  DELETE FROM metric_minutes WHERE series = NEW.series AND minute = NEW.minute;
  DELETE FROM metric_hours WHERE series = NEW.series
    AND hour = NEW.minute / 60 - (NEW.minute % 60 < 0);
  INSERT INTO metric_hours(series, hour, count, sum, min, max)
    SELECT series, NEW.minute / 60 - (NEW.minute % 60 < 0), sum(count), sum(sum), min(min), max(max)
    FROM metric_minutes WHERE series = NEW.series
      AND minute BETWEEN 60 * (NEW.minute / 60 - (NEW.minute % 60 < 0))
        AND 60 * (NEW.minute / 60 - (NEW.minute % 60 < 0)) + 59
    GROUP BY series;
END;
