-- Two services, a row a minute: a spike and a missing value, and a level that moves.
CREATE SOURCE samples (ts TIMESTAMP NOT NULL, service TEXT, region TEXT, ms DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
WITH (connector = 'file', path = '${DATA}/minutes.ndjson', format = 'json');

CREATE MATERIALIZED VIEW service_latency AS
SELECT window_start, window_end, service, region, max(ms) AS p99
FROM TUMBLE(samples, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, service, region;

CREATE MATERIALIZED VIEW latency_anomalies AS
SELECT * FROM DETECT_ANOMALIES(service_latency, time => window_end, value => p99, by => (service, region),
                               method => 'auto', season => INTERVAL '1 day', sensitivity => 3.0);

-- The rows of a source, by one column.
CREATE MATERIALIZED VIEW of_source AS
SELECT ts, service, ms, is_anomaly, reason FROM DETECT_ANOMALIES(samples, time => ts, value => ms, by => service, method => 'ewma');

-- A window over what was found.
CREATE MATERIALIZED VIEW an_hour AS
SELECT window_start, service, count(*) FILTER (WHERE is_anomaly) AS anomalies, count(*) AS n
FROM TUMBLE(latency_anomalies, window_end, INTERVAL '1 hour') GROUP BY window_start, window_end, service;

CREATE MATERIALIZED VIEW ahead AS
SELECT * FROM FORECAST(service_latency, time => window_end, value => p99, by => (service, region),
                       horizon => INTERVAL '1 hour', threshold => 1000);

-- Series of a region learn from each other; one that begins late is judged by its region from its first row on.
CREATE MATERIALIZED VIEW grouped AS
SELECT ts, service, region, is_anomaly, reason, learning
FROM DETECT_ANOMALIES((SELECT *, CASE WHEN ts < TIMESTAMP '2026-01-05 02:00:00' THEN 'v1' ELSE 'v2' END AS version FROM samples),
  time => ts, value => ms, by => (service, region), parent => region, deploy => version, method => 'ewma', max_series => 100,
  exclude => '2026-01-05T02:12:00/2026-01-05T02:30:00');
