-- Sessions: of a partition, of everything, with groups inside, without a grouping, and by less than their partition.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW visits WITH (lateness = '10 s', on_late = 'revise', revise_until = '1h') AS
SELECT host, window_start, window_end, count(*) AS n
FROM SESSION(telemetry, ts, INTERVAL '5 minutes', PARTITION BY host) GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW by_service AS
SELECT region, window_end, service, host, max(latency_ms) AS worst
FROM TABLE(SESSION(TABLE telemetry PARTITION BY (host, service), DESCRIPTOR(ts), INTERVAL '5' MINUTE))
WHERE status = 200 AND window_start > TIMESTAMP '2026-01-01 00:00:00'
GROUP BY region, window_end, service, host EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW of_all AS
SELECT window_start, count(*) AS n FROM SESSION(telemetry, ts, INTERVAL '1 s') GROUP BY window_start;
CREATE MATERIALIZED VIEW assigned AS
SELECT ts, latency_ms, window_end FROM SESSION((SELECT ts, host, latency_ms FROM telemetry), ts, '5 s', PARTITION BY host);
CREATE MATERIALIZED VIEW meetings AS
SELECT window_start, window_end, count(DISTINCT host) AS hosts
FROM SESSION(telemetry, ts, INTERVAL '5 minutes', PARTITION BY host) GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW visits_per_hour AS
SELECT window_start, count(*) AS visits FROM TUMBLE(visits, window_end, INTERVAL '1 hour') GROUP BY window_start;

-- Sessions that rows begin and end.
CREATE MATERIALIZED VIEW marked AS
SELECT host, window_start, window_end, count(*) AS n
FROM SESSION(telemetry, ts, INTERVAL '5 minutes', PARTITION BY host START WHEN status = 101 END WHEN status >= 500)
WHERE latency_ms > 1 GROUP BY window_start, window_end, host;
