-- Version 3: metrics as series of samples.
--
-- A sample arrives in a chunk: what one batch brought of one series and minute. Once the minute is
-- over, its chunks are sealed into one block a series and minute, with its summary, and the hour's
-- summary grows by it. A sample is in exactly one of metric_chunks, metric_minutes and metric_rows.

CREATE TABLE metric_series (
  series INTEGER PRIMARY KEY,       -- 62 bits of a hash over what follows; or random, from elsewhere
  metric_type TEXT NOT NULL,
  unit TEXT,
  labels TEXT NOT NULL,             -- JSON object, keys in order
  tenant_id TEXT,
  defined_at INTEGER NOT NULL       -- when a recorder last said so: hourly, while it records it
);
CREATE INDEX metric_series_type ON metric_series(metric_type);

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
