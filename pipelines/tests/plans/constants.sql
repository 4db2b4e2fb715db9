-- Constants: VALUES, queries without FROM; and what changes nothing in a view or is said in another way.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, labels MAP<TEXT, ARRAY<INT>>, at ROW(x DOUBLE, y DOUBLE),
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW owners (service, owner) AS VALUES ('api', 'ada'), ('web', NULL), ('db', upper('cyd'));
CREATE MATERIALIZED VIEW answer AS SELECT 40 + 2 AS answer, 'x' AS x;
CREATE MATERIALIZED VIEW owned AS SELECT t.host, o.owner FROM telemetry t JOIN owners o ON o.service = t.service ORDER BY host;
CREATE MATERIALIZED VIEW named AS SELECT host, owner FROM telemetry JOIN (VALUES ('api', 'ada')) AS o (name, owner) ON name = service;
CREATE MATERIALIZED VIEW latest AS SELECT ts, host FROM telemetry ORDER BY ts DESC OFFSET 1 ROWS FETCH NEXT 3 ROWS ONLY;
CREATE MATERIALIZED VIEW counted AS SELECT window_start, window_end, window_time, count(*) AS n
FROM TABLE(HOP(DATA => TABLE telemetry, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE, SLIDE => INTERVAL '10' SECONDS))
GROUP BY window_start, window_end, window_time;
CREATE MATERIALIZED VIEW rolled_up AS SELECT window_start, max(n) AS worst FROM TUMBLE(counted, window_time, INTERVAL '1 hour', INTERVAL '30 minutes')
GROUP BY window_start;
CREATE MATERIALIZED VIEW visits AS SELECT host, count(*) AS n FROM SESSION(telemetry, ts, INTERVAL '5 minutes', INTERVAL '1 minute', PARTITION BY host)
GROUP BY window_start, host;
CREATE MATERIALIZED VIEW nested AS SELECT host, labels['a'] AS a, at['x'] AS x FROM telemetry;
