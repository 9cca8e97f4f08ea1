-- Version 11, generated from the migrations by `make docs`.

CREATE TABLE recorder_rings (
  ring INTEGER PRIMARY KEY,
  ring_id BLOB NOT NULL UNIQUE,
  salt INTEGER NOT NULL,            -- part of the ids of the ring's records
  last_seq INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
, boot_id TEXT);

CREATE TABLE recorder_rejects (
  ring_id BLOB NOT NULL,
  ring_seq INTEGER NOT NULL,
  rejected_at INTEGER NOT NULL,
  error TEXT NOT NULL,
  record BLOB NOT NULL,
  PRIMARY KEY (ring_id, ring_seq)
) WITHOUT ROWID;

CREATE TABLE log_contexts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,     -- never used again: recorders remember them
  source TEXT NOT NULL,
  tenant_id TEXT,
  user_id TEXT,
  execution_id TEXT,
  trace_id TEXT
);

CREATE INDEX log_contexts_execution ON log_contexts(execution_id) WHERE execution_id IS NOT NULL;

CREATE INDEX log_contexts_trace ON log_contexts(trace_id) WHERE trace_id IS NOT NULL;

CREATE INDEX log_contexts_source ON log_contexts(source);

CREATE INDEX log_contexts_tenant ON log_contexts(tenant_id) WHERE tenant_id IS NOT NULL;

CREATE INDEX log_contexts_user ON log_contexts(user_id) WHERE user_id IS NOT NULL;

CREATE TABLE recorder_state (contexts_removed INTEGER NOT NULL, metric_batch INTEGER NOT NULL DEFAULT 0, metric_sealed INTEGER NOT NULL DEFAULT 0, metric_changed INTEGER NOT NULL DEFAULT 0, alert_rules_version INTEGER NOT NULL DEFAULT 0, alert_states_version INTEGER NOT NULL DEFAULT 0, syncs INTEGER NOT NULL DEFAULT 0);

CREATE TRIGGER log_contexts_ad AFTER DELETE ON log_contexts BEGIN
  UPDATE recorder_state SET contexts_removed = contexts_removed + 1;
END;

CREATE TABLE log_records (
  seq INTEGER PRIMARY KEY,          -- (timestamp << 12) + counter: the order of time is the order of rows
  context INTEGER NOT NULL,         -- log_contexts.id
  severity INTEGER NOT NULL,        -- OpenTelemetry severity number: 5, 9, 13, 17, 21
  span_id,                          -- 16 hex digits as a 64-bit integer; any other text as it is
  ring INTEGER,                     -- recorder_rings.ring; NULL: written by another program
  ring_seq INTEGER,
  id TEXT,                          -- NULL: computed from timestamp, ring_seq and the ring's salt
  message TEXT NOT NULL,
  metadata TEXT,                    -- JSON object
  stack_trace TEXT
);

CREATE INDEX log_records_context ON log_records(context);

CREATE INDEX log_records_errors ON log_records(seq) WHERE severity >= 17;

CREATE UNIQUE INDEX log_records_id ON log_records(id) WHERE id IS NOT NULL;

CREATE VIEW logs AS
SELECT
  coalesce(r.id, printf('%08x-%04x-7%03x-%04x-%012x',
    (r.seq >> 28) & 0xffffffff, (r.seq >> 12) & 0xffff, (r.ring_seq >> 28) & 0xfff,
    0x8000 | ((r.ring_seq >> 14) & 0x3fff), ((r.ring_seq & 0x3fff) << 34) | g.salt)) AS id,
  r.seq >> 12 AS timestamp,
  CASE WHEN r.severity < 9 THEN 'debug' WHEN r.severity < 13 THEN 'info'
    WHEN r.severity < 17 THEN 'warn' WHEN r.severity < 21 THEN 'error' ELSE 'fatal' END AS level,
  r.message,
  c.source,
  c.execution_id,
  c.trace_id,
  CASE typeof(r.span_id) WHEN 'integer' THEN printf('%016x', r.span_id) ELSE r.span_id END AS span_id,
  c.tenant_id,
  c.user_id,
  r.metadata,
  r.stack_trace,
  r.seq AS seq,
  r.seq AS rowid                    -- for joins with logs_fts.rowid
FROM log_records r
CROSS JOIN log_contexts c ON c.id = r.context
LEFT JOIN recorder_rings g ON g.ring = r.ring;

CREATE TRIGGER logs_insert INSTEAD OF INSERT ON logs BEGIN
  SELECT RAISE(ABORT, 'NOT NULL constraint failed: logs.timestamp') WHERE NEW.timestamp IS NULL;
  SELECT RAISE(ABORT, 'logs.timestamp must be in milliseconds')
    WHERE NEW.timestamp NOT BETWEEN -(1 << 50) AND 1 << 50;
  SELECT RAISE(ABORT, 'UNIQUE constraint failed: logs.id')
    WHERE EXISTS (SELECT 1 FROM log_records WHERE id = NEW.id);
  SELECT RAISE(ABORT, 'NOT NULL constraint failed: logs.message') WHERE NEW.message IS NULL;
  SELECT RAISE(ABORT, 'NOT NULL constraint failed: logs.source') WHERE NEW.source IS NULL;
  SELECT RAISE(ABORT, 'logs.level must be debug, info, warn, error or fatal')
    WHERE coalesce(NEW.level NOT IN ('debug', 'info', 'warn', 'error', 'fatal'), 1);
  INSERT INTO log_contexts(source, tenant_id, user_id, execution_id, trace_id)
    SELECT NEW.source, NEW.tenant_id, NEW.user_id, NEW.execution_id, NEW.trace_id
    WHERE NOT EXISTS (
      SELECT 1 FROM log_contexts WHERE source = NEW.source AND tenant_id IS NEW.tenant_id
        AND user_id IS NEW.user_id AND execution_id IS NEW.execution_id AND trace_id IS NEW.trace_id);
  INSERT INTO log_records(seq, context, severity, span_id, id, message, metadata, stack_trace)
    SELECT
      -- The next key of its millisecond; when that is full, of the first after it that is not.
      (WITH RECURSIVE slots(first) AS (
        SELECT NEW.timestamp << 12
        UNION ALL
        SELECT first + 4096 FROM slots
          WHERE EXISTS (SELECT 1 FROM log_records WHERE seq = first + 4095))
      SELECT coalesce(
          (SELECT max(seq) + 1 FROM log_records WHERE seq BETWEEN slot AND slot + 4095), slot)
        FROM (SELECT max(first) AS slot FROM slots)),
      (SELECT max(id) FROM log_contexts WHERE source = NEW.source AND tenant_id IS NEW.tenant_id
        AND user_id IS NEW.user_id AND execution_id IS NEW.execution_id AND trace_id IS NEW.trace_id),
      CASE NEW.level WHEN 'debug' THEN 5 WHEN 'info' THEN 9 WHEN 'warn' THEN 13
        WHEN 'error' THEN 17 ELSE 21 END,
      NEW.span_id,
      coalesce(NEW.id, lower(hex(randomblob(16)))),
      NEW.message, NEW.metadata, NEW.stack_trace;
END;

CREATE TRIGGER logs_delete INSTEAD OF DELETE ON logs BEGIN
  DELETE FROM log_records WHERE seq = OLD.seq;
END;

CREATE TRIGGER logs_update INSTEAD OF UPDATE ON logs BEGIN
  SELECT RAISE(ABORT, 'NOT NULL constraint failed: logs.timestamp') WHERE NEW.timestamp IS NULL;
  SELECT RAISE(ABORT, 'logs.timestamp must be in milliseconds')
    WHERE NEW.timestamp NOT BETWEEN -(1 << 50) AND 1 << 50;
  SELECT RAISE(ABORT, 'logs.level must be debug, info, warn, error or fatal')
    WHERE coalesce(NEW.level NOT IN ('debug', 'info', 'warn', 'error', 'fatal'), 1);
  INSERT INTO log_contexts(source, tenant_id, user_id, execution_id, trace_id)
    SELECT NEW.source, NEW.tenant_id, NEW.user_id, NEW.execution_id, NEW.trace_id
    WHERE NOT EXISTS (
      SELECT 1 FROM log_contexts WHERE source = NEW.source AND tenant_id IS NEW.tenant_id
        AND user_id IS NEW.user_id AND execution_id IS NEW.execution_id AND trace_id IS NEW.trace_id);
  UPDATE log_records SET
    seq = CASE WHEN NEW.timestamp = OLD.timestamp THEN OLD.seq ELSE
      (WITH RECURSIVE slots(first) AS (
        SELECT NEW.timestamp << 12
        UNION ALL
        SELECT first + 4096 FROM slots
          WHERE EXISTS (SELECT 1 FROM log_records WHERE seq = first + 4095))
      SELECT coalesce(
          (SELECT max(seq) + 1 FROM log_records WHERE seq BETWEEN slot AND slot + 4095), slot)
        FROM (SELECT max(first) AS slot FROM slots)) END,
    context = (SELECT max(id) FROM log_contexts
      WHERE source = NEW.source AND tenant_id IS NEW.tenant_id AND user_id IS NEW.user_id
        AND execution_id IS NEW.execution_id AND trace_id IS NEW.trace_id),
    severity = CASE NEW.level WHEN 'debug' THEN 5 WHEN 'info' THEN 9 WHEN 'warn' THEN 13
      WHEN 'error' THEN 17 ELSE 21 END,
    span_id = NEW.span_id,
    id = NEW.id,
    message = NEW.message,
    metadata = NEW.metadata,
    stack_trace = NEW.stack_trace
  WHERE seq = OLD.seq;
END;

CREATE VIRTUAL TABLE logs_fts USING fts5(
  message, content=log_records, content_rowid=seq, columnsize=0
);

CREATE TRIGGER logs_ai AFTER INSERT ON log_records BEGIN
  INSERT INTO logs_fts(rowid, message) VALUES (NEW.seq, NEW.message);
END;

CREATE TRIGGER logs_ad AFTER DELETE ON log_records BEGIN
  INSERT INTO logs_fts(logs_fts, rowid, message) VALUES ('delete', OLD.seq, OLD.message);
END;

CREATE TRIGGER logs_au AFTER UPDATE OF seq, message ON log_records BEGIN
  INSERT INTO logs_fts(logs_fts, rowid, message) VALUES ('delete', OLD.seq, OLD.message);
  INSERT INTO logs_fts(rowid, message) VALUES (NEW.seq, NEW.message);
END;

CREATE TABLE traces (
  trace_id TEXT PRIMARY KEY,
  workflow_execution_id TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  completed_at INTEGER,
  duration REAL,
  span_count INTEGER NOT NULL DEFAULT 0
, name TEXT, tenant_id TEXT, interrupted_at INTEGER, ring INTEGER);

CREATE INDEX traces_execution ON traces(workflow_execution_id);

CREATE INDEX traces_started ON traces(started_at);

CREATE TABLE spans (
  span_id TEXT PRIMARY KEY,
  trace_id TEXT NOT NULL,
  parent_span_id TEXT,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,               -- internal | server | client | producer | consumer
  started_at INTEGER NOT NULL,
  completed_at INTEGER,
  duration REAL,
  status TEXT NOT NULL,             -- ok | error | unset
  attributes TEXT NOT NULL,         -- JSON object
  start_ns INTEGER,
  duration_ns INTEGER
, dropped_attributes INTEGER, dropped_events INTEGER);

CREATE INDEX spans_trace ON spans(trace_id);

CREATE TABLE span_events (
  id TEXT PRIMARY KEY,
  span_id TEXT NOT NULL,
  timestamp INTEGER NOT NULL,
  name TEXT NOT NULL,
  attributes TEXT                   -- JSON object
);

CREATE INDEX span_events_span ON span_events(span_id);

CREATE TABLE workflow_executions_monitor (
  id TEXT PRIMARY KEY,
  workflow_id TEXT,
  workflow_name TEXT,
  tenant_id TEXT,
  user_id TEXT,
  status TEXT DEFAULT 'pending',
  started_at INTEGER,
  completed_at INTEGER,
  duration REAL,
  steps_total INTEGER DEFAULT 0,
  steps_completed INTEGER DEFAULT 0,
  steps_failed INTEGER DEFAULT 0,
  current_step TEXT,
  error_message TEXT,
  metadata TEXT                     -- JSON object
, interrupted_at INTEGER, updated_at INTEGER, counts_given INTEGER, ring INTEGER);

CREATE INDEX workflow_executions_status ON workflow_executions_monitor(status, started_at);

CREATE TABLE workflow_step_executions (
  id TEXT PRIMARY KEY,
  execution_id TEXT,
  step_key TEXT,
  step_name TEXT,
  status TEXT DEFAULT 'pending',
  started_at INTEGER,
  completed_at INTEGER,
  duration REAL,
  retry_count INTEGER DEFAULT 0,
  error_message TEXT,
  input_size INTEGER,
  output_size INTEGER,
  tokens_used INTEGER,
  cost REAL,
  provider TEXT,
  model TEXT
, earlier_attempts TEXT, late INTEGER, interrupted_at INTEGER, ring INTEGER);

CREATE INDEX workflow_steps_execution ON workflow_step_executions(execution_id);

CREATE TABLE alert_rules (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  enabled INTEGER NOT NULL DEFAULT 1,
  metric_type TEXT NOT NULL,
  condition_operator TEXT NOT NULL,
  condition_threshold REAL NOT NULL,
  condition_window_ms INTEGER NOT NULL,
  condition_aggregation TEXT NOT NULL,
  severity TEXT NOT NULL,
  labels TEXT NOT NULL,             -- JSON object
  cooldown_ms INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
, tenant_id TEXT, match_labels TEXT, group_by TEXT, for_ms INTEGER NOT NULL DEFAULT 0, auto_resolve INTEGER NOT NULL DEFAULT 0, no_data TEXT NOT NULL DEFAULT 'ignore', resolve_threshold REAL, origin TEXT);

CREATE TABLE alerts (
  id TEXT PRIMARY KEY,
  timestamp INTEGER NOT NULL,
  severity TEXT NOT NULL,
  status TEXT NOT NULL,
  title TEXT NOT NULL,
  description TEXT NOT NULL,
  source TEXT NOT NULL,
  labels TEXT NOT NULL,             -- JSON object
  tenant_id TEXT,
  acknowledged_by TEXT,
  acknowledged_at INTEGER,
  resolved_at INTEGER,
  metadata TEXT                     -- JSON object
, rule_id TEXT, group_labels TEXT, occurrences INTEGER NOT NULL DEFAULT 1, last_value REAL, updated_at INTEGER);

CREATE INDEX alerts_status ON alerts(status, timestamp);

CREATE INDEX traces_open ON traces(ring) WHERE completed_at IS NULL AND interrupted_at IS NULL;

CREATE INDEX spans_errors ON spans(trace_id) WHERE status = 'error';

CREATE TABLE metric_series (
  series INTEGER PRIMARY KEY,       -- 62 bits of a hash over what follows; or random, from elsewhere
  metric_type TEXT NOT NULL,
  unit TEXT,
  labels TEXT,                      -- JSON object, keys in order; of other programs, anything
  tenant_id TEXT,
  defined_at INTEGER NOT NULL       -- when a recorder last said so: hourly, while it records it
);

CREATE INDEX metric_series_type ON metric_series(metric_type, labels);

CREATE TABLE metric_minutes (
  series INTEGER NOT NULL,
  minute INTEGER NOT NULL,
  count INTEGER NOT NULL,
  sum REAL NOT NULL,
  min REAL NOT NULL,
  max REAL NOT NULL,
  sketch BLOB,                      -- of the values, for quantiles; NULL: they are few, look at them
  block INTEGER NOT NULL,           -- metric_blocks.block
  PRIMARY KEY (series, minute)
) WITHOUT ROWID;

CREATE TABLE metric_blocks (
  block INTEGER PRIMARY KEY,
  samples BLOB NOT NULL
);

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

CREATE TABLE metric_rows (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  series INTEGER NOT NULL,
  timestamp INTEGER NOT NULL,
  value REAL NOT NULL
);

CREATE INDEX metric_rows_series ON metric_rows(series, timestamp);

CREATE TABLE metric_bytes (bytes BLOB NOT NULL);

CREATE TABLE metric_powers (exponent INTEGER PRIMARY KEY, power REAL NOT NULL);

CREATE VIEW metric_batches AS
WITH RECURSIVE batches(batch) AS (
  SELECT min(batch) FROM metric_chunks
  UNION ALL
  SELECT (SELECT min(c.batch) FROM metric_chunks c WHERE c.batch > batches.batch)
    FROM batches WHERE batches.batch IS NOT NULL)
SELECT batch FROM batches WHERE batch IS NOT NULL;

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
  substr(b.samples, 200 * g.key + 1, min(200, length(b.samples) / 5 - 200 * g.key)),
  substr(b.samples, length(b.samples) / 5 + 800 * g.key + 1, 800)
FROM metric_minutes m CROSS JOIN metric_blocks b ON b.block = m.block CROSS JOIN json_each(
  '[' || substr(replace(hex(zeroblob((length(b.samples) + 999) / 1000)), '00', ',0'), 2) || ']') g
WHERE length(b.samples) % 10 = 0;

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

CREATE VIEW metric_checks AS SELECT NULL AS timestamp, NULL AS metric_type, NULL AS value WHERE 0;

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

CREATE TRIGGER metric_moves_insert INSTEAD OF INSERT ON metric_moves BEGIN
  INSERT INTO metric_rows(id, series, timestamp, value)
    SELECT id, series, timestamp, value FROM metric_samples
    WHERE series = NEW.series AND minute = NEW.minute AND value IS NOT NULL
    ORDER BY batch, position;
  DELETE FROM metric_chunks WHERE batch IN (SELECT batch FROM metric_batches)
    AND series = NEW.series AND minute = NEW.minute;
  DELETE FROM metric_blocks WHERE block =
    (SELECT block FROM metric_minutes WHERE series = NEW.series AND minute = NEW.minute);
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

CREATE INDEX alert_rules_metric ON alert_rules(metric_type);

CREATE INDEX alert_rules_name ON alert_rules(name);

CREATE INDEX alerts_time ON alerts(timestamp);

CREATE INDEX alerts_severity ON alerts(severity, timestamp);

CREATE INDEX alerts_tenant ON alerts(tenant_id, timestamp) WHERE tenant_id IS NOT NULL;

CREATE INDEX alerts_rule ON alerts(rule_id, group_labels, timestamp) WHERE rule_id IS NOT NULL;

CREATE TABLE alert_states (
  rule_id TEXT NOT NULL,
  group_labels TEXT NOT NULL,       -- as in alerts; {} if the rule has no groups
  phase INTEGER NOT NULL,           -- 0 inactive, 1 pending: met, but not long enough, 2 firing
  met_since INTEGER NOT NULL,
  met_since_boot TEXT NOT NULL,
  met_since_mono INTEGER NOT NULL,
  last_trigger INTEGER,             -- NULL: never
  last_trigger_boot TEXT,
  last_trigger_mono INTEGER,
  triggers INTEGER NOT NULL DEFAULT 0,  -- how many there were
  version INTEGER NOT NULL,         -- recorder_state.alert_states_version of the last change
  PRIMARY KEY (rule_id, group_labels)
) WITHOUT ROWID;

CREATE INDEX alert_states_version ON alert_states(version);

CREATE TABLE alert_transitions (
  id TEXT PRIMARY KEY,
  alert_id TEXT NOT NULL,
  rule_id TEXT,
  timestamp INTEGER NOT NULL,
  from_status TEXT,                 -- NULL: raised by this
  to_status TEXT NOT NULL,
  value REAL,
  actor TEXT
);

CREATE INDEX alert_transitions_alert ON alert_transitions(alert_id);

CREATE INDEX alert_transitions_rule ON alert_transitions(rule_id, timestamp);

CREATE TABLE alert_silences (
  id TEXT PRIMARY KEY,
  rule_id TEXT,                     -- NULL in this and the next: of any
  severity TEXT,
  labels TEXT NOT NULL,             -- JSON object: of alerts with all of these
  starts_at INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  started_boot TEXT,                -- with the next: of one that lasts a while from its making;
  started_mono INTEGER,             -- as in alert_states. NULL: the wall clock counts
  created_by TEXT,
  comment TEXT
);

CREATE INDEX alert_silences_end ON alert_silences(ends_at);

CREATE TRIGGER alert_rules_ai AFTER INSERT ON alert_rules BEGIN
  UPDATE recorder_state SET alert_rules_version = alert_rules_version + 1;
END;

CREATE TRIGGER alert_rules_au AFTER UPDATE ON alert_rules BEGIN
  UPDATE recorder_state SET alert_rules_version = alert_rules_version + 1;
  UPDATE alert_states SET phase = 0 WHERE rule_id = NEW.id AND phase = 1;
END;

CREATE TRIGGER alert_rules_ad AFTER DELETE ON alert_rules BEGIN
  UPDATE recorder_state SET alert_rules_version = alert_rules_version + 1;
  DELETE FROM alert_states WHERE rule_id = OLD.id;
END;

CREATE INDEX workflow_executions_started ON workflow_executions_monitor(started_at);

CREATE INDEX workflow_executions_tenant
  ON workflow_executions_monitor(tenant_id, started_at, status, duration) WHERE started_at IS NOT NULL;

CREATE INDEX workflow_executions_open
  ON workflow_executions_monitor(ring) WHERE status IN ('pending', 'running', 'paused');

CREATE INDEX workflow_steps_open
  ON workflow_step_executions(ring) WHERE status IN ('pending', 'running', 'paused');

CREATE TABLE cost_days (
  day INTEGER NOT NULL,             -- its first moment, in ms since the epoch
  provider TEXT,
  model TEXT,
  workflow TEXT,
  tenant_id TEXT,
  cost REAL,                        -- in US dollars
  tokens INTEGER,
  steps INTEGER
);

CREATE UNIQUE INDEX cost_days_key ON cost_days(
  day, ifnull(provider, x''), ifnull(model, x''), ifnull(workflow, x''), ifnull(tenant_id, x'')
);

CREATE INDEX workflow_steps_costs ON workflow_step_executions(
  coalesce(completed_at, started_at), execution_id, provider, model, cost, tokens_used
) WHERE cost IS NOT NULL OR tokens_used IS NOT NULL;

CREATE TABLE budgets (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  amount REAL NOT NULL,             -- in US dollars
  period TEXT NOT NULL,             -- day | week | month: of the calendar, in UTC
  provider TEXT,                    -- only costs of this one, as of the next three; NULL: of all
  model TEXT,
  workflow TEXT,
  tenant_id TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);

CREATE TABLE budget_notices (
  budget_id TEXT NOT NULL,
  period_start INTEGER NOT NULL,
  level INTEGER NOT NULL,           -- 1 warning, 2 exceeded
  told_at INTEGER NOT NULL,
  PRIMARY KEY (budget_id, period_start)
) WITHOUT ROWID;

CREATE VIEW metric_series_labels(metric_type, name, value, series) AS
SELECT s.metric_type, l.key,
  CASE WHEN l.type = 'text' THEN l.value ELSE x'' END, s.series
FROM metric_series s CROSS JOIN json_each(
  CASE WHEN json_valid(s.labels) AND json_type(s.labels) = 'object' THEN s.labels ELSE '{}' END) l
UNION ALL
SELECT metric_type, x'', x'', series FROM metric_series
WHERE NOT json_valid(labels);

CREATE TABLE metric_labels (
  metric_type TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  series INTEGER NOT NULL,
  PRIMARY KEY (metric_type, name, value, series)
) WITHOUT ROWID;

CREATE INDEX metric_series_tenant ON metric_series(metric_type, tenant_id);

CREATE TRIGGER metric_series_insert AFTER INSERT ON metric_series BEGIN
  INSERT INTO metric_labels SELECT * FROM metric_series_labels WHERE series = NEW.series
  ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER metric_series_delete BEFORE DELETE ON metric_series BEGIN
  DELETE FROM metric_labels WHERE (metric_type, name, value, series) IN
    (SELECT metric_type, name, value, series FROM metric_series_labels WHERE series = OLD.series);
END;

CREATE TRIGGER metric_series_change BEFORE UPDATE OF series, metric_type, labels ON metric_series
BEGIN
  DELETE FROM metric_labels WHERE (metric_type, name, value, series) IN
    (SELECT metric_type, name, value, series FROM metric_series_labels WHERE series = OLD.series);
END;

CREATE TRIGGER metric_series_changed AFTER UPDATE OF series, metric_type, labels ON metric_series
BEGIN
  INSERT INTO metric_labels SELECT * FROM metric_series_labels WHERE series = NEW.series
  ON CONFLICT DO NOTHING;
END;

CREATE TABLE metric_chunks (
  chunk INTEGER PRIMARY KEY,
  batch INTEGER NOT NULL,           -- recorder_state.metric_batch at that time: the order of arrival
  series INTEGER NOT NULL,
  minute INTEGER NOT NULL,          -- since the Unix epoch
  samples BLOB NOT NULL             -- a block
);

CREATE UNIQUE INDEX metric_chunks_key ON metric_chunks(batch, series, minute);

