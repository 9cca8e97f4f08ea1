-- Version 7: which start of the machine a recorder belongs to.

-- Its process is gone for certain once the machine has been started again, also if its ring is gone
-- with it (one in memory, or in /dev/shm). NULL: not known, or what it left has been ended.
ALTER TABLE recorder_rings ADD COLUMN boot_id TEXT;
