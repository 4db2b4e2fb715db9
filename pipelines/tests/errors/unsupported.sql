-- What is not there yet is named.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE ALERT slow FROM telemetry WARNING WHEN latency_ms > 5;
CREATE TABLE t (a INT);
CREATE MATERIALIZED VIEW a AS SELECT a.host FROM telemetry a JOIN telemetry b ON a.host = b.host;
CREATE MATERIALIZED VIEW b AS SELECT host FROM telemetry ORDER BY host;
CREATE MATERIALIZED VIEW c AS SELECT host FROM telemetry LIMIT 5;
CREATE MATERIALIZED VIEW d AS SELECT host, row_number() OVER (PARTITION BY host) FROM telemetry;
CREATE MATERIALIZED VIEW e AS SELECT host FROM telemetry WHERE host IN (SELECT service FROM telemetry);
CREATE MATERIALIZED VIEW f AS SELECT host, service, count(*) FROM telemetry GROUP BY ROLLUP (host, service);
CREATE MATERIALIZED VIEW h AS SELECT host FROM telemetry EXCEPT SELECT service FROM telemetry;
CREATE MATERIALIZED VIEW i AS SELECT 1 AS one;
CREATE SOURCE s (a INT PRIMARY KEY) WITH (connector = 'feed', path = 'x');
CREATE SINK k FROM telemetry ENVELOPE upsert (host) WITH (connector = 'screen');
CREATE MATERIALIZED VIEW l WITH (state_ttl = '1 hour') AS SELECT host FROM telemetry;
DROP VIEW l;
