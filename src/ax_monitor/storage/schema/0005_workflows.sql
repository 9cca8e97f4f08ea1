-- Version 5: whose an execution is, how it ended, and what was tried before.

ALTER TABLE workflow_executions_monitor ADD COLUMN interrupted_at INTEGER;  -- its process ended before it was finished
ALTER TABLE workflow_executions_monitor ADD COLUMN updated_at INTEGER;      -- its last change
ALTER TABLE workflow_executions_monitor ADD COLUMN counts_given INTEGER;    -- 1: steps_completed, 2: steps_failed: the caller's own
ALTER TABLE workflow_executions_monitor ADD COLUMN ring INTEGER;            -- recorder_rings.ring of the process that has it;
                                                                            -- NULL: written by another program
-- A row without started_at is what another process has changed of an execution whose start is still
-- on its way here.
CREATE INDEX workflow_executions_started ON workflow_executions_monitor(started_at);
CREATE INDEX workflow_executions_tenant
  ON workflow_executions_monitor(tenant_id, started_at, status, duration) WHERE started_at IS NOT NULL;
CREATE INDEX workflow_executions_open
  ON workflow_executions_monitor(ring) WHERE status IN ('pending', 'running', 'paused');

ALTER TABLE workflow_step_executions ADD COLUMN earlier_attempts TEXT;      -- JSON array of objects, oldest first
ALTER TABLE workflow_step_executions ADD COLUMN late INTEGER;               -- 1: ended after its execution had: it does not count
ALTER TABLE workflow_step_executions ADD COLUMN interrupted_at INTEGER;     -- as of executions
ALTER TABLE workflow_step_executions ADD COLUMN ring INTEGER;               -- as of executions
CREATE INDEX workflow_steps_open
  ON workflow_step_executions(ring) WHERE status IN ('pending', 'running', 'paused');
