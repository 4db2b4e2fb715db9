-- Window functions: ranking, looking around, running and framed aggregates; within windows they close.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW steps AS
SELECT host, ts, latency_ms - lag(latency_ms) OVER w AS step, sum(latency_ms * 2) OVER w AS so_far,
       avg(latency_ms) OVER (PARTITION BY host ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS smooth,
       count(*) FILTER (WHERE status = 500) OVER (PARTITION BY host) AS failed
FROM telemetry WINDOW w AS (PARTITION BY host ORDER BY ts);
CREATE MATERIALIZED VIEW shares AS
SELECT window_end, host, n, n * 1.0 / sum(n) OVER (PARTITION BY window_end) AS share FROM (
  SELECT window_end, host, count(*) AS n FROM TUMBLE(telemetry, ts, INTERVAL '1 minute') GROUP BY window_end, host)
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW lower_half AS
SELECT host, q FROM (SELECT host, ntile(2) OVER (ORDER BY latency_ms) AS q FROM telemetry) WHERE q = 1;
