-- Several groupings at once: within windows and without.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW rolled AS
SELECT region, host, count(*) AS n, grouping(host) AS of_all FROM telemetry GROUP BY ROLLUP (region, host);
CREATE MATERIALIZED VIEW in_windows AS
SELECT window_end, region, host, max(latency_ms) AS worst
FROM TUMBLE(telemetry, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, CUBE (region, host);
CREATE MATERIALIZED VIEW sets AS
SELECT region, status, count(DISTINCT host) AS hosts FROM telemetry GROUP BY GROUPING SETS ((region), (status), ());
