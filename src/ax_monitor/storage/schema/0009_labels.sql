-- Version 9: which series have a label, and which a tenant: found without a look at the others.

-- The recorder fills the table itself, and deletes from it; the triggers are for other programs.

-- What `metric_series.labels` says, a row a label. A blob of no length says that labels have to be
-- read there: as `value`, because it is not a text; as `name`, because they are not JSON by RFC 8259.
CREATE VIEW metric_series_labels(metric_type, name, value, series) AS
SELECT s.metric_type, l.key,
  CASE WHEN l.type = 'text' THEN l.value ELSE x'' END, s.series
FROM metric_series s CROSS JOIN json_each(
  CASE WHEN json_valid(s.labels) AND json_type(s.labels) = 'object' THEN s.labels ELSE '{}' END) l
UNION ALL
SELECT metric_type, x'', x'', series FROM metric_series
WHERE NOT json_valid(labels);

CREATE TABLE metric_labels (
  metric_type TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  series INTEGER NOT NULL,
  PRIMARY KEY (metric_type, name, value, series)
) WITHOUT ROWID;
INSERT OR IGNORE INTO metric_labels SELECT * FROM metric_series_labels;
CREATE INDEX metric_series_tenant ON metric_series(metric_type, tenant_id);

CREATE TRIGGER metric_series_insert AFTER INSERT ON metric_series BEGIN
  INSERT INTO metric_labels SELECT * FROM metric_series_labels WHERE series = NEW.series
  ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER metric_series_delete BEFORE DELETE ON metric_series BEGIN
  DELETE FROM metric_labels WHERE (metric_type, name, value, series) IN
    (SELECT metric_type, name, value, series FROM metric_series_labels WHERE series = OLD.series);
END;
CREATE TRIGGER metric_series_change BEFORE UPDATE OF series, metric_type, labels ON metric_series
BEGIN
  DELETE FROM metric_labels WHERE (metric_type, name, value, series) IN
    (SELECT metric_type, name, value, series FROM metric_series_labels WHERE series = OLD.series);
END;
CREATE TRIGGER metric_series_changed AFTER UPDATE OF series, metric_type, labels ON metric_series
BEGIN
  INSERT INTO metric_labels SELECT * FROM metric_series_labels WHERE series = NEW.series
  ON CONFLICT DO NOTHING;
END;
