"""From the recording call to the database: ring files, the pump, recovery, and `Store`."""
