-- Filters, generated columns, plain views, WITH, UNION ALL, subqueries, CASE.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE VIEW slow AS SELECT ts, host, latency_ms AS ms, CASE WHEN status < 500 THEN 'ok' ELSE 'failed' END AS outcome
FROM telemetry WHERE latency_ms > 100;
CREATE MATERIALIZED VIEW slow_hosts AS SELECT host, outcome FROM slow WHERE ms > 200 + 50;
CREATE SOURCE IF NOT EXISTS traces (at TIMESTAMP, day DATE AS (at::date), body STRUCT<id BIGINT, tags TEXT[]>,
  _offset BIGINT, WATERMARK FOR at AS at) WITH (connector = 'feed', path = 'traces', format = 'parquet');
CREATE MATERIALIZED VIEW both_kinds AS
WITH recent AS (SELECT at, day, body['id'] AS id FROM traces)
SELECT at, id FROM recent WHERE day > DATE '2026-01-01' UNION ALL SELECT ts, status FROM telemetry;
CREATE MATERIALIZED VIEW counted AS
SELECT window_start, count(*) AS n FROM TUMBLE(both_kinds, at, INTERVAL '1 minute') GROUP BY window_start;
CREATE SINK raw AS SELECT host, status FROM telemetry WHERE status >= 500 WITH (connector = 'screen', format = 'csv');
