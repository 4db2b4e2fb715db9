-- Detection over a view of windows, over a source, over a subquery; a window over what was found.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');
CREATE SOURCE silent (at TIMESTAMP, watts BIGINT) WITH (connector = 'feed', path = 'x');

CREATE MATERIALIZED VIEW service_latency AS
SELECT window_end, service, region, max(latency_ms) AS p99
FROM TUMBLE(telemetry, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, service, region;
CREATE MATERIALIZED VIEW latency_anomalies AS
SELECT * FROM DETECT_ANOMALIES(service_latency, time => window_end, value => p99, by => (service, region),
                               method => 'auto', season => INTERVAL '1 day', sensitivity => 3.0);
CREATE MATERIALIZED VIEW found AS
SELECT window_start, count(*) AS n FROM TUMBLE(latency_anomalies, window_end, INTERVAL '1 hour') WHERE is_anomaly GROUP BY window_start;
CREATE MATERIALIZED VIEW hot WITH (lateness = '10 s') AS
SELECT a.ts, a.host, a.reason FROM DETECT_ANOMALIES((SELECT ts, host, latency_ms * 2 AS twice FROM telemetry WHERE status < 500),
  time => ts, value => twice, by => host, method => mad, direction => 'above', lower_bound => 0, upper_bound => 1e3,
  min_effect => 5, min_effect_ratio => 0.1, debounce => 2, warm_up => 60, ttl => INTERVAL '7 days') AS a WHERE a.score > 0.5;
CREATE MATERIALIZED VIEW watts AS SELECT * FROM DETECT_ANOMALIES(silent, time => at, value => watts);
CREATE MATERIALIZED VIEW ahead AS
SELECT * FROM FORECAST(service_latency, time => window_end, value => p99, by => service, horizon => INTERVAL '4 hours',
                       season => INTERVAL '1 day', time_zone => 'Europe/Zurich', threshold => 500, lower_bound => 0);
CREATE MATERIALIZED VIEW grouped AS
SELECT * FROM DETECT_ANOMALIES(telemetry, time => ts, value => status, by => (host, region), parent => region, deploy => service,
  method => 'poisson', exclude => ('2026-12-24T18:00:00/2026-12-27', '2026-01-01/2026-01-02'), time_zone => 'Europe/Zurich',
  max_series => 100000);

-- Several values that are judged together.
CREATE MATERIALIZED VIEW together AS
SELECT ts, host, reason FROM DETECT_ANOMALIES(telemetry, time => ts, value => (latency_ms, status), by => host, method => 'random_cut_forest');
