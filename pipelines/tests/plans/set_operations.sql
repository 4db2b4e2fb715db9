-- UNION, EXCEPT and INTERSECT, with and without ALL.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');
CREATE MATERIALIZED VIEW hosts AS SELECT DISTINCT host FROM telemetry WHERE status = 500;

CREATE MATERIALIZED VIEW either AS SELECT host FROM telemetry UNION SELECT service FROM telemetry;
CREATE MATERIALIZED VIEW quiet AS SELECT host FROM telemetry EXCEPT SELECT host FROM hosts;
CREATE MATERIALIZED VIEW both_of AS SELECT host, region FROM telemetry INTERSECT SELECT service, region FROM telemetry;
CREATE MATERIALIZED VIEW left_over AS SELECT host FROM telemetry EXCEPT ALL SELECT service FROM telemetry;
CREATE MATERIALIZED VIEW paired AS SELECT host FROM telemetry INTERSECT ALL SELECT service FROM telemetry;
