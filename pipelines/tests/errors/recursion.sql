-- Recursive queries that a view cannot be kept by, and those that mean nothing.
CREATE SOURCE spans (ts TIMESTAMP NOT NULL, span TEXT, parent TEXT, service TEXT, ms BIGINT, failed BOOLEAN,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW a AS WITH RECURSIVE t AS (SELECT span FROM spans UNION ALL SELECT max(s.span) FROM spans s JOIN t ON s.parent = t.span GROUP BY s.service) SELECT * FROM t;
CREATE MATERIALIZED VIEW b AS WITH RECURSIVE t AS (SELECT span FROM spans UNION ALL SELECT DISTINCT s.span FROM spans s JOIN t ON s.parent = t.span) SELECT * FROM t;
CREATE MATERIALIZED VIEW c AS WITH RECURSIVE t AS (SELECT span, parent FROM spans UNION SELECT a.span, b.parent FROM t a JOIN t b ON a.parent = b.span) SELECT * FROM t;
CREATE MATERIALIZED VIEW d AS WITH RECURSIVE t AS (SELECT span FROM spans UNION ALL SELECT s.span FROM spans s LEFT JOIN t ON s.parent = t.span) SELECT * FROM t;
CREATE MATERIALIZED VIEW e AS WITH RECURSIVE t AS (SELECT span FROM spans UNION SELECT s.span FROM spans s WHERE s.parent IN (SELECT span FROM t)) SELECT * FROM t;
CREATE MATERIALIZED VIEW f AS WITH RECURSIVE t AS (SELECT span FROM spans UNION (SELECT s.span FROM spans s JOIN t ON s.parent = t.span UNION SELECT parent FROM spans)) SELECT * FROM t;
CREATE MATERIALIZED VIEW g AS WITH RECURSIVE t AS (SELECT span, 0 AS n FROM spans UNION ALL SELECT s.span, row_number() OVER (ORDER BY s.span) FROM spans s JOIN t ON s.parent = t.span) SELECT * FROM t;
CREATE MATERIALIZED VIEW h AS WITH RECURSIVE t AS (SELECT span FROM spans UNION ALL SELECT s.span FROM spans s JOIN t ON s.parent = t.span UNION ALL SELECT s.parent FROM spans s JOIN t ON s.span = t.span) SELECT * FROM t;
CREATE MATERIALIZED VIEW i AS WITH RECURSIVE t AS (SELECT span FROM u UNION SELECT span FROM t), u AS (SELECT span FROM spans UNION SELECT span FROM t) SELECT * FROM t;
CREATE MATERIALIZED VIEW j AS WITH RECURSIVE t AS (SELECT s.span FROM spans s JOIN t ON s.parent = t.span) SELECT * FROM t;
CREATE MATERIALIZED VIEW k AS WITH RECURSIVE t AS (SELECT span FROM spans UNION ALL SELECT s.span FROM spans s JOIN t ON s.parent = t.span LIMIT 10) SELECT * FROM t;
CREATE MATERIALIZED VIEW l AS WITH RECURSIVE t AS (SELECT span FROM spans UNION ALL (WITH RECURSIVE u AS (SELECT span FROM t UNION SELECT s.span FROM spans s JOIN u ON s.parent = u.span) SELECT span FROM u)) SELECT * FROM t;
CREATE MATERIALIZED VIEW m AS WITH RECURSIVE t AS (SELECT span, ms FROM spans UNION ALL SELECT s.span FROM spans s JOIN t ON s.parent = t.span) SELECT * FROM t;
CREATE MATERIALIZED VIEW n WITH (recursion_limit = 10) AS SELECT span FROM spans;
CREATE MATERIALIZED VIEW o WITH (recursion_limit = 0) AS WITH RECURSIVE t AS (SELECT span FROM spans UNION SELECT s.span FROM spans s JOIN t ON s.parent = t.span) SELECT * FROM t;
CREATE MATERIALIZED VIEW p AS WITH RECURSIVE t AS (SELECT span, ts FROM spans UNION SELECT s.span, s.ts FROM spans s JOIN t ON s.parent = t.span) SELECT window_start, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW q AS WITH RECURSIVE t AS (SELECT span, ms FROM spans UNION ALL SELECT s.span, 'deep' FROM spans s JOIN t ON s.parent = t.span) SELECT * FROM t;
