-- Windows without a grouping by them, and groupings that are more than a window.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW assigned AS SELECT * FROM TUMBLE(TABLE telemetry, DESCRIPTOR(ts), INTERVAL '10 seconds');
CREATE MATERIALIZED VIEW by_host AS SELECT host, count(*) AS n FROM HOP(telemetry, ts, INTERVAL '5 s', INTERVAL '10 s') GROUP BY host;
CREATE MATERIALIZED VIEW by_day AS
SELECT date_trunc('day', window_start) AS day, window_end, count(*) AS n, window_end - window_start AS length
FROM TUMBLE((SELECT ts, host FROM telemetry WHERE status = 200), ts, INTERVAL '1 hour') t
WHERE window_start >= TIMESTAMP '2026-01-01 00:00:00'
GROUP BY window_start, window_end, date_trunc('day', window_start);
CREATE MATERIALIZED VIEW distinct_hosts AS
SELECT DISTINCT window_start, host FROM TUMBLE(telemetry, ts, INTERVAL '1 day');
CREATE MATERIALIZED VIEW of_gauges AS
SELECT window_start, host, approx_median(value) AS median FROM TUMBLE(gauges, ts, INTERVAL '1 minute') GROUP BY 1, 2;
CREATE SOURCE gauges WITH (connector = 'gauge', rate = 5, idle_timeout = '5s');
