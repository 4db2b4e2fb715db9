-- A windowed view over a source, and its history.
CREATE SINK latency_history FROM service_latency WITH (connector = 'store', path = 'out');

CREATE MATERIALIZED VIEW service_latency AS
SELECT window_start, window_end, service, region, count(*) AS requests, avg(latency_ms) AS avg_ms,
       max(latency_ms) AS max_ms, approx_percentile_cont(latency_ms, 0.99) AS p99
FROM TUMBLE(telemetry, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, service, region;

CREATE SOURCE telemetry (
  ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (connector = 'feed', path = 'data/*.ndjson', format = 'json');
