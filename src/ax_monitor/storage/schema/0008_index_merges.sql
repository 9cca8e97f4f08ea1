-- Version 8: segments of the full-text index are merged between commits, not within them.

-- The pump does it (`merge_index` in storage/search.py). Left to itself, FTS5 merges within every
-- commit that completes 64 pages, and at 16 segments of a level all of them at once: one commit in
-- twenty took more than 15 ms. 256: for programs that write here without us.
INSERT INTO logs_fts(logs_fts, rank) VALUES ('automerge', 0);
INSERT INTO logs_fts(logs_fts, rank) VALUES ('crisismerge', 256);
