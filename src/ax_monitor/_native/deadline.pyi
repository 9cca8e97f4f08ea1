# SQL functions only: see `DEADLINE_EXTENSION` in the package.
