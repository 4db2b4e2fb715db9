CREATE SOURCE telemetry (
  ts TIMESTAMP NOT NULL, service TEXT, latency_ms DOUBLE, status INT, slow BOOLEAN AS (is_slow(latency_ms, 100)),
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (connector = 'file', path = '${DATA}/telemetry.ndjson', format = 'json');

CREATE FUNCTION is_slow(ms DOUBLE, bound INT) RETURNS BOOLEAN LANGUAGE SQL IMMUTABLE RETURN ms > bound;
CREATE FUNCTION ratio(part DOUBLE, whole DOUBLE) RETURNS DOUBLE AS $$ SELECT CASE WHEN whole = 0 THEN NULL ELSE part / whole END $$;
CREATE FUNCTION failed(status INT) RETURNS BIGINT AS 'SELECT count(*) FILTER (WHERE status >= 400);';
CREATE FUNCTION failure_rate(code INT) RETURNS DOUBLE AS 'SELECT ratio(failed(code), count(*))';
CREATE FUNCTION nothing() RETURNS TEXT RETURN 'nothing';

CREATE MATERIALIZED VIEW rates AS SELECT service, failure_rate(status), failed(status) AS n, count(*) AS requests
FROM telemetry GROUP BY service;
CREATE MATERIALIZED VIEW by_speed AS SELECT is_slow(latency_ms, bound => 50), count(*) AS n FROM telemetry GROUP BY is_slow(latency_ms, 50);
CREATE VIEW percent AS SELECT service, ratio(n, requests) * 100 AS p, nothing() AS text FROM rates;
