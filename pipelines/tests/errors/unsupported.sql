-- What is not there yet is named.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW b AS SELECT host FROM telemetry ORDER BY host;
CREATE MATERIALIZED VIEW i AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW j AS SELECT host FROM telemetry ORDER BY host LIMIT (SELECT count(*) FROM telemetry);
CREATE SOURCE s (a INT PRIMARY KEY) WITH (connector = 'feed', path = 'x');
-- What a sink takes in an envelope is told in envelopes.sql.
DROP VIEW l;
