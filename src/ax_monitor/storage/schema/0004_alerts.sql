-- Version 4: alerting. What a rule may say beyond the document's columns, where each rule stands,
-- and what became of each alert.

ALTER TABLE alert_rules ADD COLUMN tenant_id TEXT;          -- only this tenant's samples; NULL: all
ALTER TABLE alert_rules ADD COLUMN match_labels TEXT;       -- JSON object: only samples with these
ALTER TABLE alert_rules ADD COLUMN group_by TEXT;           -- JSON array: names of labels that tell its alerts apart
ALTER TABLE alert_rules ADD COLUMN for_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alert_rules ADD COLUMN auto_resolve INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alert_rules ADD COLUMN no_data TEXT NOT NULL DEFAULT 'ignore';  -- ignore | alert | ok
ALTER TABLE alert_rules ADD COLUMN resolve_threshold REAL;
ALTER TABLE alert_rules ADD COLUMN origin TEXT;             -- the rules file that it comes from
CREATE INDEX alert_rules_metric ON alert_rules(metric_type);
CREATE INDEX alert_rules_name ON alert_rules(name);

ALTER TABLE alerts ADD COLUMN rule_id TEXT;
ALTER TABLE alerts ADD COLUMN group_labels TEXT;            -- JSON object, keys in order
ALTER TABLE alerts ADD COLUMN occurrences INTEGER NOT NULL DEFAULT 1;
ALTER TABLE alerts ADD COLUMN last_value REAL;
ALTER TABLE alerts ADD COLUMN updated_at INTEGER;           -- when it was triggered last
CREATE INDEX alerts_time ON alerts(timestamp);
CREATE INDEX alerts_severity ON alerts(severity, timestamp);
CREATE INDEX alerts_tenant ON alerts(tenant_id, timestamp) WHERE tenant_id IS NOT NULL;
CREATE INDEX alerts_rule ON alerts(rule_id, group_labels, timestamp) WHERE rule_id IS NOT NULL;

-- Where a rule stands, for each of its groups. A time is the wall clock's, and the monotonic clock's
-- in the boot that it was taken in: that one counts as long as the machine has not been restarted.
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

-- These grow with every change of a rule, or of where one stands, so that evaluations notice what
-- other processes changed. The recorder switches triggers off for itself and does the same.
ALTER TABLE recorder_state ADD COLUMN alert_rules_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recorder_state ADD COLUMN alert_states_version INTEGER NOT NULL DEFAULT 0;
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
