-- Version 2: what a trace is called, whose it is, and how it ended.

ALTER TABLE traces ADD COLUMN name TEXT;                -- of the trace, else of its root span
ALTER TABLE traces ADD COLUMN tenant_id TEXT;
ALTER TABLE traces ADD COLUMN interrupted_at INTEGER;   -- its process ended before it was completed
ALTER TABLE traces ADD COLUMN ring INTEGER;             -- recorder_rings.ring of the process that began it;
                                                        -- NULL: only known by its spans, or from elsewhere
CREATE INDEX traces_open ON traces(ring) WHERE completed_at IS NULL AND interrupted_at IS NULL;

ALTER TABLE spans ADD COLUMN dropped_attributes INTEGER;    -- beyond the tracer's limits
ALTER TABLE spans ADD COLUMN dropped_events INTEGER;
CREATE INDEX spans_errors ON spans(trace_id) WHERE status = 'error';
