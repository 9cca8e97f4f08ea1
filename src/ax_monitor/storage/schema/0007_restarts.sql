-- Version 7: restarts of the machine, and power cuts.

-- Its process is gone for certain once the machine has been started again, also if its ring is gone
-- with it (one in memory, or in /dev/shm). NULL: not known, or what it left has been ended.
ALTER TABLE recorder_rings ADD COLUMN boot_id TEXT;

-- Commits made to sync those before them: one that changes nothing would not be synced.
ALTER TABLE recorder_state ADD COLUMN syncs INTEGER NOT NULL DEFAULT 0;
