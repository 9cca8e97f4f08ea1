-- Version 6: costs that outlive the steps they are of, and budgets.

-- What the steps that a cleanup has deleted had cost, by the day (UTC) of their end.
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
-- A blob stands for NULL: no text equals it.
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

-- What has been told of a budget, so that of several processes one tells it.
CREATE TABLE budget_notices (
  budget_id TEXT NOT NULL,
  period_start INTEGER NOT NULL,
  level INTEGER NOT NULL,           -- 1 warning, 2 exceeded
  told_at INTEGER NOT NULL,
  PRIMARY KEY (budget_id, period_start)
) WITHOUT ROWID;
