-- Version 11: the key of a chunk is apart from its samples, and is found without reading any.

-- In a table without rowids a key is compared by reading the whole row, and a chunk of a series with
-- many samples is long. What is not sealed yet is in memory meanwhile: the samples of some minutes.
-- (No RENAME: it would look at the views, which miss the table.)
CREATE TEMP TABLE metric_chunks_kept AS SELECT batch, series, minute, samples FROM metric_chunks;
DROP TABLE metric_chunks;
CREATE TABLE metric_chunks (
  chunk INTEGER PRIMARY KEY,
  batch INTEGER NOT NULL,           -- recorder_state.metric_batch at that time: the order of arrival
  series INTEGER NOT NULL,
  minute INTEGER NOT NULL,          -- since the Unix epoch
  samples BLOB NOT NULL             -- a block
);
INSERT INTO metric_chunks(batch, series, minute, samples) SELECT * FROM metric_chunks_kept;
DROP TABLE temp.metric_chunks_kept;
CREATE UNIQUE INDEX metric_chunks_key ON metric_chunks(batch, series, minute);
