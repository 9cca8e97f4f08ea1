# SQL functions only: see `SAMPLES_EXTENSION` in the package.
