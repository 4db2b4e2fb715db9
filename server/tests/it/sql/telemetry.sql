CREATE SOURCE telemetry (
  ts TIMESTAMP NOT NULL, service TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (connector = 'file', path = '${DATA}/telemetry.ndjson', format = 'json');

CREATE MATERIALIZED VIEW per_window AS
SELECT window_start, window_end, service, count(*) AS requests, avg(latency_ms) AS avg_ms, max(latency_ms) AS max_ms
FROM TUMBLE(telemetry, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, service;

CREATE MATERIALIZED VIEW per_service AS
SELECT service, count(*) AS requests, sum(latency_ms) AS total_ms, count(*) FILTER (WHERE status >= 400) AS failed
FROM telemetry GROUP BY service;

CREATE MATERIALIZED VIEW failures AS
SELECT ts, service, status FROM telemetry WHERE status >= 400;

CREATE VIEW busiest AS SELECT service, requests FROM per_service WHERE requests > 2;
