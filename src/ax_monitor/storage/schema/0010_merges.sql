-- Version 10: segments of the full-text index are merged eight at a time, not four.

-- An entry is then merged two thirds as often, and a search looks into some more segments.
INSERT INTO logs_fts(logs_fts, rank) VALUES ('usermerge', 8);
